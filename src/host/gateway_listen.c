/* Listening sockets by their text. Who may connect to a unix socket is a matter of its mode,
 * owner, group and directory; its file goes when the gateway does, unless somebody has put another one
 * in its place meanwhile. */
#include "host/gateway_listen.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

/* --- internet addresses ---------------------------------------------------------------------------------- */

/* Splits "ADDR:PORT" or "[ADDR]:PORT". */
static int split_address(const char *text, char *host, size_t host_cap, char *port, size_t port_cap, struct err *err)
{
	const char *colon = strrchr(text, ':');
	uint64_t number;
	if (colon == NULL || !text_to_u64(bytes_str(colon + 1), UINT16_MAX, &number))
		return fail(err, 0, "\"%.80s\" is no address to listen on; give ADDR:PORT, as in 127.0.0.1:8080", text);
	struct bytes h = bytes_of(text, (size_t)(colon - text));
	if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = bytes_of(h.p + 1, h.n - 2);
	else if (memchr(h.p, ':', h.n) != NULL)
		return fail(err, 0, "\"%.80s\": write an IPv6 address in brackets, as in [::1]:8080", text);
	if (h.n == 0 || !bytes_to_cstr(h, host, host_cap) || !bytes_to_cstr(bytes_str(colon + 1), port, port_cap))
		return fail(err, 0, "\"%.80s\" is no address to listen on; give ADDR:PORT", text);
	return 0;
}

static int listen_inet(const char *text, int *ret_fd, struct err *err)
{
	char host[256], port[8];
	int ret = split_address(text, host, sizeof host, port, sizeof port, err);
	if (ret < 0)
		return ret;
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found;
	int gai = getaddrinfo(host, port, &hints, &found);
	if (gai != 0)
		return fail(err, 0, "look up the address %s: %s", host, gai_strerror(gai));
	CLEANUP(close_fd) int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;
	if (fd < 0)
		ret = fail(err, errno, "make a socket");
	else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	         bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
		ret = fail(err, errno, "listen on %s", text);
	freeaddrinfo(found);
	if (ret == 0)
		*ret_fd = fd_steal(&fd);
	return ret;
}

/* --- unix sockets ---------------------------------------------------------------------------------------- */

/* A socket that nobody listens on any more is in the way of the next one; anything else is left alone. */
static void remove_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && lstat(addr->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (const struct sockaddr *)addr, sizeof *addr) != 0 && errno == ECONNREFUSED)
		unlink(addr->sun_path);
}

static int listen_unix(const char *path, mode_t mode, struct listener *l, struct err *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (path[0] == '\0' || !bytes_to_cstr(bytes_str(path), addr.sun_path, sizeof addr.sun_path))
		return fail(err, 0, "unix:%.120s: the path of a socket has 1 to %zu bytes", path, sizeof addr.sun_path - 1);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(err, errno, "make a socket");
	remove_stale(&addr);
	mode_t mask = umask(~mode & 0777);
	int bound = bind(fd, (struct sockaddr *)&addr, sizeof addr), why = errno;
	umask(mask);
	struct stat st;
	if (bound != 0 || listen(fd, BACKLOG) != 0 || lstat(path, &st) != 0)
		return fail(err, bound != 0 ? why : errno, "listen on unix:%s", path);
	snprintf(l->path, sizeof l->path, "%s", path);
	l->inode = st.st_ino;
	l->device = st.st_dev;
	l->fd = fd_steal(&fd);
	return 0;
}

/* --- either ------------------------------------------------------------------------------------------------ */

int listener_open(const char *text, mode_t mode, struct listener *l, struct err *err)
{
	static const char prefix[] = "unix:";
	if (strncmp(text, prefix, sizeof prefix - 1) == 0)
		return listen_unix(text + sizeof prefix - 1, mode, l, err);
	return listen_inet(text, &l->fd, err);
}

int listener_inherit(int fd, const char *name, struct listener *l, struct err *err)
{
	int listens = 0, flags = fcntl(fd, F_GETFL);
	socklen_t n = sizeof listens;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) != 0 || !listens)
		return fail(err, 0, "the inherited descriptor \"%s\" is no listening socket", name);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return fail(err, errno, "the inherited socket \"%s\"", name);
	l->fd = fd;
	return 0;
}

void listener_close(struct listener *l)
{
	struct stat st;
	close_fd(&l->fd);
	if (l->path[0] != '\0' && lstat(l->path, &st) == 0 && st.st_ino == l->inode && st.st_dev == l->device)
		unlink(l->path);
	l->path[0] = '\0';
}

void listener_say(const struct listener *l, const char *what)
{
	struct sockaddr_storage addr;
	socklen_t n = sizeof addr;
	char host[INET6_ADDRSTRLEN], port[8];
	if (l->path[0] != '\0')
		log_info("%s unix:%s", what, l->path);
	else if (getsockname(l->fd, (struct sockaddr *)&addr, &n) == 0 &&
	         getnameinfo((struct sockaddr *)&addr, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		log_info(addr.ss_family == AF_INET6 ? "%s http://[%s]:%s" : "%s http://%s:%s", what, host, port);
}
