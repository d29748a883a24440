/* Run asks to stop, this file knows in which order: draining means that the prover finishes what it has, and the group
 * ends when no program of it runs any more. */
#include "host/process.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "host/child.h"
#include "linux/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
	UID_PROVER = 63901,                      /* its user when we are root; the launcher's jobs have theirs from the configuration */
	READY_MS = 30 * 1000, STOP_MS = 3 * 1000
};

enum role { NSM, LAUNCHER, PROVER, ROLE_COUNT };
static const char *const role_name[ROLE_COUNT] = { "sim-nsm", "launcher", "prover" };

struct process {
	struct backend b;
	const struct process_options *o;
	struct child child[ROLE_COUNT];
	bool started, stopping;                  /* stopping: TERM or KILL was asked for, or one of them ended */
	bool draining, blamed_signal;            /* blamed_signal: b.why tells of a death by signal */
	char config[BACKEND_PATH_MAX];
};

/* --- files --------------------------------------------------------------------------------------------------- */

/* The configuration as it is now: later edits of the file do not reach a running service, and the prover
 * need not be able to read where it came from. */
static int copy_config(struct process *g, struct err *err)
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

static int listen_on(struct process *g, int *ret_fd, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (!bytes_to_cstr(bytes_str(g->b.owner->service_path), a.sun_path, sizeof a.sun_path))
		return fail(err, ENAMETOOLONG, "the socket %s", g->b.owner->service_path);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 128) != 0)
		return fail(err, errno, "listen on %s", g->b.owner->service_path);
	/* connecting needs write permission: ours, and the gateway's */
	if (chmod(g->b.owner->service_path, 0660) != 0 || (g->b.owner->service_gid != 0 && chown(g->b.owner->service_path, 0, g->b.owner->service_gid) != 0))
		return fail(err, errno, "set permissions of %s", g->b.owner->service_path);
	*ret_fd = fd_steal(&fd);
	return 0;
}

/* --- stopping ------------------------------------------------------------------------------------------------ */

static bool any_running(const struct process *g)
{
	bool any = false;
	for (int i = 0; i < ROLE_COUNT; i++)
		any |= child_running(&g->child[i]);
	return any;
}

static void stop(struct backend *b, enum backend_stop how)
{
	struct process *g = CONTAINER_OF(b, struct process, b);
	g->draining = how == BACKEND_DRAIN;
	if (how == BACKEND_DRAIN) {
		child_signal(&g->child[PROVER], SIGTERM);
		return;
	}
	g->stopping = true;
	for (int i = 0; i < ROLE_COUNT; i++)
		child_signal(&g->child[i], how == BACKEND_TERM ? SIGTERM : SIGKILL);
}

static void blame(struct process *g, const struct child *c, int status)
{
	if (WIFSIGNALED(status))
		g->b.result = fail(&g->b.why, 0, "%s was killed by signal %d (%s)", c->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		g->b.result = fail(&g->b.why, 0, "%s ended with status %d", c->name, WEXITSTATUS(status));
	g->blamed_signal = WIFSIGNALED(status);
}

static void on_child_exit(struct child *c, int status)
{
	enum role role = (enum role)0;
	while (strcmp(role_name[role], c->name) != 0)
		role++;
	struct process *g = CONTAINER_OF(c - role, struct process, child);
	const struct backend_owner *owner = g->b.owner;
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) != SIGTERM;
	if (role == LAUNCHER && WIFSIGNALED(status))
		cgroup_homes_sweep("");          /* it could not put its jobs' groups away */
	if (!g->stopping && !g->draining) {
		blame(g, c, status);
		owner->on_event(&g->b, BACKEND_FAILING);
	} else if (killed && g->b.result < 0 && !g->blamed_signal) {
		/* The prover ends when the launcher does, and its end may be seen first: a death by a signal that we did
		 * not send explains the others. */
		blame(g, c, status);
	} else if (g->draining && role == PROVER) {
		owner->on_event(&g->b, BACKEND_DRAINED);
	}
	if (g->started && !any_running(g)) {
		g->started = false;
		owner->on_event(&g->b, BACKEND_DEAD);
	}
}

/* --- starting --------------------------------------------------------------------------------------------------- */

static int start_child(struct process *g, enum role role, struct child_spec *spec, struct err *err)
{
	spec->name = role_name[role];
	g->child[role].on_exit = on_child_exit;
	return child_start(&g->child[role], g->b.owner->loop, spec, err);
}

static int start_nsm(struct process *g, int sock, struct err *err)
{
	const char *argv[8 + 2 * BACKEND_PCRS];
	char program[PATH_MAX], preset[BACKEND_PCRS][2 * BACKEND_PCR_SIZE + 8];
	size_t n = 0;
	snprintf(program, sizeof program, "%s/tee-rex-sim-nsm", g->o->program_dir);
	argv[n++] = program;
	argv[n++] = "--state";
	argv[n++] = g->o->state_dir;
	if (g->b.debug)
		argv[n++] = "--debug";
	for (unsigned i = 0; i < BACKEND_PCRS; i++)
		if (g->b.pcr_known >> i & 1) {
			int prefix = snprintf(preset[i], sizeof preset[i], "%u=", i);
			hex_encode(BYTES_ARRAY(g->b.pcr[i]), preset[i] + prefix);
			argv[n++] = "--pcr";
			argv[n++] = preset[i];
		}
	argv[n] = NULL;
	struct child_spec spec = { .argv = argv, .fds = { { "nsm", sock } }, .death_signal = SIGKILL };
	return start_child(g, NSM, &spec, err);
}

static int start_launcher(struct process *g, int sock, struct err *err)
{
	char program[PATH_MAX];
	snprintf(program, sizeof program, "%s/tee-rex-launcher", g->o->program_dir);
	const char *argv[] = { program, "--config", g->config, NULL };
	/* SIGTERM: it has mounts and cgroups to put away */
	struct child_spec spec = { .argv = argv, .fds = { { "prover", sock } }, .death_signal = SIGTERM };
	return start_child(g, LAUNCHER, &spec, err);
}

static int start_prover(struct process *g, int service, int launcher, int nsm, struct err *err)
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

static int pair(int fds[2], int type, struct err *err)
{
	return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0 ? fail(err, errno, "make a socket pair") : 0;
}

static int start_all(struct process *g, struct err *err)
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
	return ret;
}

static int prepare(struct backend *b, struct err *err)
{
	struct process *g = CONTAINER_OF(b, struct process, b);
	CLEANUP(close_fd) int fd = -1;
	if (g->o->config != NULL && (fd = open(g->o->config, O_RDONLY | O_CLOEXEC)) < 0)
		return fail(err, errno, "open the configuration %s", g->o->config);
	int n = snprintf(b->root, sizeof b->root, "%s/root.pem", g->o->state_dir);
	return n < 0 || (size_t)n >= sizeof b->root ? fail(err, ENAMETOOLONG, "the directory %s", g->o->state_dir) : 0;
}

static int start(struct backend *b, struct err *err)
{
	struct process *g = CONTAINER_OF(b, struct process, b);
	snprintf(g->config, sizeof g->config, "%s/config", b->owner->dir);
	int ret = copy_config(g, err);
	if (ret == 0)
		ret = start_all(g, err);
	g->started = ret == 0;
	return ret;
}

static void address(const struct backend *b, char ret_text[BACKEND_ADDRESS_MAX])
{
	snprintf(ret_text, BACKEND_ADDRESS_MAX, "unix:%s", b->owner->service_path);
}

static void close_backend(struct backend *b)
{
	struct process *g = CONTAINER_OF(b, struct process, b);
	struct err ignored;
	g->started = false;
	g->stopping = true;
	stop(b, any_running(g) ? BACKEND_TERM : BACKEND_KILL);
	for (int i = 0; any_running(g) && i < 2; i++) {
		int64_t until = clock_monotonic_ms() + STOP_MS;
		while (any_running(g) && clock_monotonic_ms() < until && loop_once(b->owner->loop, 50, &ignored) == 0)
			;
		stop(b, BACKEND_KILL);
	}
}

static const struct backend_ops ops = {
	.name = "process", .simulated = true, .ready_ms = READY_MS, .stop_ms = STOP_MS,
	.prepare = prepare, .start = start, .address = address, .stop = stop, .close = close_backend,
};

struct backend *process_backend_open(const struct process_options *o)
{
	static struct process g;
	g = (struct process){ .b = { .ops = &ops, .debug = o->debug }, .o = o };
	return &g.b;
}
