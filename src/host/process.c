#include "host/process.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "host/child.h"
#include "host/frame_call.h"

#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
	/* users of the roles when we are root; the launcher's jobs have theirs from the configuration */
	UID_PROVER = 63901, UID_GATEWAY = 63902,
	DRAIN_MS = 10 * 1000,                    /* for exchanges under way, after the first signal */
	STOP_MS = 3 * 1000,                      /* for everybody, before SIGKILL */
	READY_POLL_MS = 20, READY_WAIT_MS = 1000, READY_TRIES = 1000
};

enum role { NSM, LAUNCHER, PROVER, GATEWAY, ROLE_COUNT };
static const char *const role_name[ROLE_COUNT] = { "sim-nsm", "launcher", "prover", "gateway" };

enum phase { RUNNING, DRAINING, STOPPING, KILLING };

struct group {
	const struct process_options *o;
	struct loop loop;
	struct child child[ROLE_COUNT];
	struct watch signals;
	struct timer timer;                      /* of the phase */
	struct timer ready_poll;
	unsigned ready_tries;
	enum phase phase;
	int result;
	bool blamed_signal;                      /* why tells of a death by signal */
	struct err why;                          /* of result */
	char dir[PATH_MAX / 2], socket[PATH_MAX / 2 + 16], config[PATH_MAX / 2 + 16];
	int dir_lock;
};

/* --- runtime directory ------------------------------------------------------------------------------------- */

static int make_dir(const char *path, mode_t mode, struct err *err)
{
	if (mkdir(path, mode) != 0 && errno != EEXIST)
		return fail(err, errno, "make the directory %s", path);
	return 0;
}

/* /run/tee-rex/NAME for root, $XDG_RUNTIME_DIR/tee-rex/NAME (or /tmp/tee-rex-UID/NAME) for a user. Locked,
 * so that two instances cannot share a name; what a killed one left there is removed. */
static int prepare_dir(struct group *g, struct err *err)
{
	char base[PATH_MAX / 4];
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	if (geteuid() == 0)
		snprintf(base, sizeof base, "/run/tee-rex");
	else if (xdg != NULL && xdg[0] == '/')
		snprintf(base, sizeof base, "%s/tee-rex", xdg);
	else
		snprintf(base, sizeof base, "/tmp/tee-rex-%u", (unsigned)geteuid());
	snprintf(g->dir, sizeof g->dir, "%s/%s", base, g->o->name);
	snprintf(g->socket, sizeof g->socket, "%s/service.sock", g->dir);
	snprintf(g->config, sizeof g->config, "%s/config", g->dir);
	int ret = make_dir(base, 0755, err);
	if (ret == 0)
		ret = make_dir(g->dir, 0711, err);
	if (ret < 0)
		return ret;
	struct stat st;
	if (lstat(base, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return fail(err, 0, "%s belongs to somebody else", base);
	g->dir_lock = open(g->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->dir_lock < 0)
		return fail(err, errno, "open %s", g->dir);
	if (flock(g->dir_lock, LOCK_EX | LOCK_NB) != 0)
		return fail(err, errno, "an instance named \"%s\" runs already (%s is locked); give another --name",
		            g->o->name, g->dir);
	unlink(g->socket);
	return 0;
}

static void remove_dir(struct group *g)
{
	unlink(g->socket);
	unlink(g->config);
	rmdir(g->dir);
	close_fd(&g->dir_lock);
}

/* The configuration as it is now: later edits of the file do not reach a running service, and the prover
 * need not be able to read where it came from. */
static int copy_config(struct group *g, struct err *err)
{
	char buf[4096];
	ssize_t n;
	CLEANUP(close_fd) int to = open(g->config, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (to < 0 || fchmod(to, 0644) != 0)
		return fail(err, errno, "write %s", g->config);
	/* simulated NSM: the one setting that belongs to the backend, whatever the file says */
	static const char head[] = "nsm = simulated-socket\n";
	if (write(to, head, sizeof head - 1) != (ssize_t)(sizeof head - 1))
		return fail(err, errno, "write %s", g->config);
	if (g->o->config == NULL)
		return 0;
	CLEANUP(close_fd) int from = open(g->o->config, O_RDONLY | O_CLOEXEC);
	if (from < 0)
		return fail(err, errno, "open the configuration %s", g->o->config);
	while ((n = read(from, buf, sizeof buf)) > 0)
		if (write(to, buf, (size_t)n) != n)
			return fail(err, errno, "write %s", g->config);
	return n < 0 ? fail(err, errno, "read %s", g->o->config) : 0;
}

static int listen_on(struct group *g, int *ret_fd, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (strlen(g->socket) >= sizeof a.sun_path)
		return fail(err, ENAMETOOLONG, "the socket %s", g->socket);
	strcpy(a.sun_path, g->socket);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 128) != 0)
		return fail(err, errno, "listen on %s", g->socket);
	/* connecting needs write permission: ours, and the gateway's */
	if (chmod(g->socket, 0660) != 0 || (geteuid() == 0 && chown(g->socket, 0, UID_GATEWAY) != 0))
		return fail(err, errno, "set permissions of %s", g->socket);
	*ret_fd = fd_steal(&fd);
	return 0;
}

/* --- stopping ------------------------------------------------------------------------------------------------ */

static bool any_running(const struct group *g)
{
	bool any = false;
	for (int i = 0; i < ROLE_COUNT; i++)
		any |= child_running(&g->child[i]);
	return any;
}

static void signal_all(struct group *g, int n)
{
	for (int i = 0; i < ROLE_COUNT; i++)
		child_signal(&g->child[i], n);
}

static void enter(struct group *g, enum phase phase)
{
	if (phase <= g->phase)
		return;
	g->phase = phase;
	timer_disarm(&g->ready_poll);
	if (phase == DRAINING) {
		child_signal(&g->child[GATEWAY], SIGTERM);
		child_signal(&g->child[PROVER], SIGTERM);
		timer_arm(&g->loop, &g->timer, DRAIN_MS);
	} else if (phase == STOPPING) {
		signal_all(g, SIGTERM);
		timer_arm(&g->loop, &g->timer, STOP_MS);
	} else {
		signal_all(g, SIGKILL);
	}
}

static void on_timer(struct timer *t)
{
	struct group *g = CONTAINER_OF(t, struct group, timer);
	if (g->phase == STOPPING)
		log_warn("not everybody stopped in time: killing");
	enter(g, g->phase == DRAINING ? STOPPING : KILLING);
}

static void on_signal(struct watch *w, uint32_t events)
{
	struct group *g = CONTAINER_OF(w, struct group, signals);
	struct signalfd_siginfo info;
	(void)events;
	if (read(w->fd, &info, sizeof info) == (ssize_t)sizeof info)
		enter(g, g->phase == RUNNING ? DRAINING : g->phase == DRAINING ? STOPPING : KILLING);
}

static void on_child_exit(struct child *c, int status)
{
	enum role role = (enum role)0;
	while (strcmp(role_name[role], c->name) != 0)
		role++;
	struct group *g = CONTAINER_OF(c - role, struct group, child);
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) != SIGTERM;
	/* The prover ends when the launcher does, and its end may be seen first: a death by a signal that we did not
	 * send explains the others. */
	if (g->phase == RUNNING || (killed && g->result < 0 && !g->blamed_signal && g->phase == STOPPING)) {
		if (WIFSIGNALED(status))
			g->result = fail(&g->why, 0, "%s was killed by signal %d (%s)", c->name, WTERMSIG(status),
			                 strsignal(WTERMSIG(status)));
		else
			g->result = fail(&g->why, 0, "%s ended with status %d", c->name, WEXITSTATUS(status));
		g->blamed_signal = WIFSIGNALED(status);
		enter(g, STOPPING);
	} else if (g->phase == DRAINING && !child_running(&g->child[PROVER]) && !child_running(&g->child[GATEWAY])) {
		enter(g, STOPPING);
	}
}

/* --- starting --------------------------------------------------------------------------------------------------- */

static int start_child(struct group *g, enum role role, struct child_spec *spec, struct err *err)
{
	spec->name = role_name[role];
	g->child[role].on_exit = on_child_exit;
	return child_start(&g->child[role], &g->loop, spec, err);
}

static int start_nsm(struct group *g, int sock, struct err *err)
{
	const char *argv[8 + 2 * PROCESS_PCRS_MAX];
	char program[PATH_MAX];
	size_t n = 0;
	snprintf(program, sizeof program, "%s/tee-rex-sim-nsm", g->o->program_dir);
	argv[n++] = program;
	argv[n++] = "--state";
	argv[n++] = g->o->state_dir;
	if (g->o->debug)
		argv[n++] = "--debug";
	for (size_t i = 0; i < g->o->pcr_count; i++) {
		argv[n++] = "--pcr";
		argv[n++] = g->o->pcrs[i];
	}
	argv[n] = NULL;
	struct child_spec spec = { .argv = argv, .fds = { { "nsm", sock } }, .death_signal = SIGKILL };
	return start_child(g, NSM, &spec, err);
}

static int start_launcher(struct group *g, int sock, struct err *err)
{
	char program[PATH_MAX];
	snprintf(program, sizeof program, "%s/tee-rex-launcher", g->o->program_dir);
	const char *argv[] = { program, "--config", g->config, NULL };
	/* SIGTERM: it has mounts and cgroups to put away */
	struct child_spec spec = { .argv = argv, .fds = { { "prover", sock } }, .death_signal = SIGTERM };
	return start_child(g, LAUNCHER, &spec, err);
}

static int start_prover(struct group *g, int service, int launcher, int nsm, struct err *err)
{
	char program[PATH_MAX];
	snprintf(program, sizeof program, "%s/tee-rex-prover", g->o->program_dir);
	const char *argv[] = { program, "--config", g->config, NULL };
	struct child_spec spec = {
		.argv = argv, .fds = { { "service", service }, { "launcher", launcher }, { "nsm", nsm } },
		.uid = geteuid() == 0 ? UID_PROVER : 0, .death_signal = SIGKILL,
	};
	return start_child(g, PROVER, &spec, err);
}

static int start_gateway(struct group *g, struct err *err)
{
	char enclave[PATH_MAX];
	snprintf(enclave, sizeof enclave, "unix:%s", g->socket);
	const char *argv[] = { g->o->self, "gateway", "--listen", g->o->listen, "--enclave", enclave, NULL };
	struct child_spec spec = { .argv = argv, .uid = geteuid() == 0 ? UID_GATEWAY : 0, .death_signal = SIGKILL };
	return start_child(g, GATEWAY, &spec, err);
}

static int pair(int fds[2], int type, struct err *err)
{
	return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0 ? fail(err, errno, "make a socket pair") : 0;
}

static int start_all(struct group *g, struct err *err)
{
	CLEANUP(close_fd) int service = -1, nsm_a = -1, nsm_b = -1, link_a = -1, link_b = -1;
	int fds[2];
	int ret = listen_on(g, &service, err);
	if (ret == 0 && (ret = pair(fds, SOCK_SEQPACKET, err)) == 0)
		nsm_a = fds[0], nsm_b = fds[1];
	if (ret == 0 && (ret = pair(fds, SOCK_SEQPACKET, err)) == 0)
		link_a = fds[0], link_b = fds[1];
	if (ret == 0)
		ret = start_nsm(g, nsm_a, err);
	if (ret == 0)
		ret = start_launcher(g, link_a, err);
	if (ret == 0)
		ret = start_prover(g, service, link_b, nsm_b, err);
	if (ret == 0 && g->o->listen != NULL)
		ret = start_gateway(g, err);
	return ret;
}

/* --- readiness ----------------------------------------------------------------------------------------------------- */

static bool service_answers(struct group *g)
{
	struct frame_call c;
	struct frame_reply reply;
	struct err ignored;
	enum outcome code;
	const struct frame_request q = { .op = OP_HEALTH };
	bool ok = frame_call_open(&c, g->socket, READY_WAIT_MS, &ignored) == 0 &&
	          frame_call_request(&c, &q, &ignored) == 0 && frame_call_reply(&c, &reply, &code, &ignored) == 0;
	frame_call_close(&c);
	return ok;
}

/* The gateway's port takes connections. */
static bool gateway_answers(const struct group *g)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *a = NULL;
	char host[64];
	const char *colon = g->o->listen == NULL ? NULL : strrchr(g->o->listen, ':');
	if (colon == NULL)
		return true;
	size_t n = (size_t)(colon - g->o->listen);
	bool bracketed = n > 2 && g->o->listen[0] == '[';
	snprintf(host, sizeof host, "%.*s", (int)(bracketed ? n - 2 : n), g->o->listen + bracketed);
	if (getaddrinfo(host, colon + 1, &hints, &a) != 0)
		return true;                     /* not ours to judge: the gateway refuses what it cannot use */
	CLEANUP(close_fd) int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0;
	freeaddrinfo(a);
	return ok;
}

static void on_ready_poll(struct timer *t)
{
	struct group *g = CONTAINER_OF(t, struct group, ready_poll);
	if (service_answers(g) && gateway_answers(g)) {
		printf("ready: SIMULATED enclave \"%s\", service socket %s%s%s, test root %s/root.pem\n", g->o->name, g->socket,
		       g->o->listen != NULL ? ", gateway http://" : "", g->o->listen != NULL ? g->o->listen : "", g->o->state_dir);
		fflush(stdout);
		return;
	}
	if (++g->ready_tries == READY_TRIES) {
		g->result = fail(&g->why, ETIMEDOUT, "the service does not answer");
		enter(g, STOPPING);
		return;
	}
	timer_arm(&g->loop, t, READY_POLL_MS);
}

static int watch_signals(struct group *g, struct err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	g->signals.on_event = on_signal;
	if (fd < 0 || loop_add(&g->loop, &g->signals, fd, EPOLLIN) < 0)
		return fail(err, errno, "watch signals");
	return 0;
}

int process_run(const struct process_options *o, struct err *err)
{
	static struct group g;
	g = (struct group){ .o = o, .dir_lock = -1, .signals.fd = -1 };
	int ret = prepare_dir(&g, err);
	if (ret < 0) {
		close_fd(&g.dir_lock);           /* locked by another instance: its files stay */
		return ret;
	}
	ret = copy_config(&g, err);
	if (ret == 0)
		ret = loop_open(&g.loop, err);
	if (ret == 0)
		ret = watch_signals(&g, err);
	g.timer.on_expiry = on_timer;
	g.ready_poll.on_expiry = on_ready_poll;
	if (ret == 0) {
		ret = start_all(&g, err);
		if (ret < 0)
			enter(&g, STOPPING);     /* some may run already */
		else
			timer_arm(&g.loop, &g.ready_poll, 0);
		struct err loop_err;
		while (any_running(&g) && loop_once(&g.loop, -1, &loop_err) == 0)
			;
	}
	remove_dir(&g);
	if (ret == 0 && g.result < 0) {
		*err = g.why;
		ret = g.result;
	}
	return ret;
}
