#include "host/notify.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <stddef.h>
#include <sys/socket.h>

void notify_open(struct notify *n)
{
	*n = (struct notify){ .fd = -1, .to.sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t v;
	/* '@' stands for the zero byte of an abstract name */
	if (path != NULL && (path[0] == '/' || path[0] == '@') && bytes_to_cstr(bytes_str(path), n->to.sun_path, sizeof n->to.sun_path)) {
		n->to_n = (unsigned)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
		if (path[0] == '@')
			n->to.sun_path[0] = '\0';
		n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	bool ours = pid == NULL || (text_to_u64(bytes_str(pid), INT32_MAX, &v) && (pid_t)v == getpid());
	if (n->fd >= 0 && ours && usec != NULL && text_to_u64(bytes_str(usec), INT64_MAX, &v))
		n->watchdog_ms = (int64_t)(v / 1000);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify_say(const struct notify *n, const char *word)
{
	if (n->fd >= 0)
		(void)!sendto(n->fd, word, strlen(word), MSG_NOSIGNAL, (const struct sockaddr *)&n->to, n->to_n);
}

void notify_close(struct notify *n) { close_fd(&n->fd); }
