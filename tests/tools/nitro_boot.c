/* The hypervisor's other half in tests of the Nitro backend: boots an image in QEMU (sim/qemu.h) and joins its vsock to the
 * abstract unix sockets that tests/tools/nitro_standin.c has in place of AF_VSOCK.
 *
 *     nitro_boot IMAGE RUN_DIR STATE_DIR VSOCK CID MEMORY_MIB CPUS debug|production
 *
 *     enclave calls port 9000, 9001 ──▶ VSOCK/port-P, from VSOCK/cid-CID-PORT-n     VSOCK: a name, after its zero byte
 *     VSOCK/enclave-CID-P (9002, 9003, 9103) ──▶ port P in the enclave
 *
 * Its console goes to standard output in debug mode. Says "booted" on standard error, ends with the enclave (0) or is killed (SIGTERM). */
#include "base/cleanup.h"
#include "base/log.h"
#include "format/frame.h"
#include "sim/qemu.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { AGENT_PORT = 9103 };                      /* of tests/tools/vm_agent.c */

static struct boot {
	struct loop loop;
	struct backend *b;
	struct backend_owner owner;
	const char *vsock;
	unsigned cid;
	struct port { struct watch watch; uint32_t number; bool inwards; } ports[5];
	struct watch signals, console;
	bool over;
} boot;

static _Noreturn void die(const char *what, const struct err *err)
{
	fprintf(stderr, "nitro_boot: %s: %s\n", what, err != NULL ? err->text : strerror(errno));
	exit(1);
}

/* --- joining two streams ---------------------------------------------------------------------------------------- */

struct pipe { int from, to; };

static void *copy(void *argument)
{
	struct pipe p = *(struct pipe *)argument;
	uint8_t buf[32 << 10];
	free(argument);
	for (;;) {
		struct pollfd in = { .fd = p.from, .events = POLLIN };
		poll(&in, 1, -1);
		ssize_t n = read(p.from, buf, sizeof buf);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			break;
		for (ssize_t done = 0; done < n;) {
			struct pollfd out = { .fd = p.to, .events = POLLOUT };
			poll(&out, 1, -1);
			ssize_t sent = send(p.to, buf + done, (size_t)(n - done), MSG_NOSIGNAL);
			if (sent < 0 && errno != EAGAIN && errno != EINTR) {
				shutdown(p.from, SHUT_RD);
				goto out;
			}
			done += sent > 0 ? sent : 0;
		}
	}
out:
	shutdown(p.to, SHUT_WR);
	return NULL;
}

static void *join(void *argument)
{
	struct pipe ends = *(struct pipe *)argument;
	pthread_t thread;
	struct pipe *back = malloc(sizeof *back);
	*back = (struct pipe){ ends.to, ends.from };
	bool started = pthread_create(&thread, NULL, copy, back) == 0;
	copy(argument);
	if (started)
		pthread_join(thread, NULL);
	close(ends.from);
	close(ends.to);
	return NULL;
}

static void join_streams(int a, int b)
{
	pthread_t thread;
	struct pipe *ends = malloc(sizeof *ends);
	*ends = (struct pipe){ a, b };
	if (pthread_create(&thread, NULL, join, ends) != 0)
		die("thread", NULL);
	pthread_detach(thread);
}

/* --- the names ---------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3)))
static socklen_t name(struct sockaddr_un *a, const char *what, ...)
{
	va_list ap;
	char text[64];
	va_start(ap, what);
	vsnprintf(text, sizeof text, what, ap);
	va_end(ap);
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%.60s/%s", boot.vsock, text);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int stream(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket", NULL);
	return fd;
}

/* The enclave called the parent. */
static void on_call(struct watch *w, uint32_t events)
{
	static unsigned calls;
	struct port *p = CONTAINER_OF(w, struct port, watch);
	struct sockaddr_un from, to;
	int fd;
	uint32_t port;
	(void)events;
	if (boot.b->ops->accept(boot.b, w->fd, &fd, &port, NULL) < 0)
		return;
	int out = stream();
	socklen_t n = name(&from, "cid-%u-%u-%u", boot.cid, port, ++calls), to_n = name(&to, "port-%u", p->number);
	if (bind(out, (struct sockaddr *)&from, n) != 0 || connect(out, (struct sockaddr *)&to, to_n) != 0) {
		close(out);
		close(fd);
		return;
	}
	join_streams(fd, out);
}

/* The parent calls the enclave. */
static void on_parent(struct watch *w, uint32_t events)
{
	struct port *p = CONTAINER_OF(w, struct port, watch);
	int in = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC), fd;
	(void)events;
	if (in < 0)
		return;
	if (boot.b->ops->connect(boot.b, p->number, &fd, NULL) < 0)
		close(in);
	else
		join_streams(in, fd);
}

static void open_port(size_t i, uint32_t number, bool inwards)
{
	struct port *p = &boot.ports[i];
	struct err err;
	struct sockaddr_un a;
	int fd = -1;
	*p = (struct port){ .number = number, .inwards = inwards, .watch.on_event = inwards ? on_parent : on_call };
	if (inwards) {
		socklen_t n = name(&a, "enclave-%u-%u", boot.cid, number);
		fd = stream();
		if (bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 64) != 0)
			die("listen", NULL);
	} else if (boot.b->ops->listen(boot.b, number, &fd, &err) < 0) {
		die("listen", &err);
	}
	if (loop_add(&boot.loop, &p->watch, fd, EPOLLIN) < 0)
		die("watch", NULL);
}

/* --- the machine ---------------------------------------------------------------------------------------------------- */

static void on_event(struct backend *b, enum backend_event e)
{
	if (e == BACKEND_FAILING)
		b->ops->stop(b, BACKEND_KILL);
	if (e == BACKEND_DEAD)
		boot.over = true;
}

static void on_signal(struct watch *w, uint32_t events)
{
	(void)w;
	(void)events;
	boot.b->ops->stop(boot.b, BACKEND_KILL);
}

static void on_console(struct watch *w, uint32_t events)
{
	uint8_t buf[4096];
	(void)events;
	ssize_t n = read(w->fd, buf, sizeof buf);
	if (n > 0)
		(void)!write(STDOUT_FILENO, buf, (size_t)n);
	else if (n == 0)
		loop_del(&boot.loop, w);
}

static void watch_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	boot.signals.on_event = on_signal;
	if (loop_add(&boot.loop, &boot.signals, signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), EPOLLIN) < 0)
		die("signals", NULL);
}

int main(int argc, char **argv)
{
	struct err err;
	char service[PATH_MAX], programs[PATH_MAX];
	if (argc != 9) {
		fprintf(stderr, "usage: nitro_boot IMAGE RUN_DIR STATE_DIR VSOCK CID MEMORY_MIB CPUS debug|production\n");
		return 2;
	}
	log_init("nitro_boot");
	ssize_t n = readlink("/proc/self/exe", programs, sizeof programs - 16);
	programs[n > 0 ? n : 0] = '\0';
	for (int i = 0; i < 3; i++)                      /* build/tests/tools/nitro_boot */
		*strrchr(programs, '/') = '\0';
	snprintf(service, sizeof service, "%s/service.sock", argv[2]);
	boot.vsock = argv[4];
	boot.cid = (unsigned)strtoul(argv[5], NULL, 10);
	struct qemu_options o = {
		.program_dir = programs, .image = argv[1], .state_dir = argv[3], .memory_mib = strtoull(argv[6], NULL, 10),
		.cpus = strtoull(argv[7], NULL, 10), .cid = boot.cid, .debug = strcmp(argv[8], "debug") == 0,
	};
	boot.b = qemu_backend_open(&o);
	boot.owner = (struct backend_owner){ .loop = &boot.loop, .name = "nitro-boot", .dir = argv[2], .service_path = service,
	                                     .on_event = on_event };
	boot.b->owner = &boot.owner;
	if (loop_open(&boot.loop, &err) < 0 || boot.b->ops->prepare(boot.b, &err) < 0)
		die("prepare", &err);
	watch_signals();
	open_port(0, PORT_HEARTBEAT, false);
	open_port(1, PORT_CONTROL, false);
	open_port(2, PORT_SERVICE, true);
	open_port(3, PORT_SHUTDOWN, true);
	open_port(4, AGENT_PORT, true);
	if (boot.b->ops->start(boot.b, &err) < 0)
		die("start", &err);
	int fd;
	boot.console.on_event = on_console;
	if (o.debug && (boot.b->ops->console(boot.b, &fd, &err) < 0 || loop_add(&boot.loop, &boot.console, fd, EPOLLIN) < 0))
		die("console", &err);
	fprintf(stderr, "booted\n");
	while (!boot.over && loop_once(&boot.loop, -1, &err) == 0)
		;
	boot.b->ops->close(boot.b);
	return 0;
}
