/* prepare looks (image, QEMU, machine), start makes sockets and starts the three programs, and then their ends are what
 * happens. QEMU's end is the enclave's death; its devices' end with an error is a reason to kill it. When QEMU hangs up, its
 * vsock device ends too, and may be seen to end first: QEMU is given a moment to say why. */
#include "sim/qemu.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "host/child.h"
#include "sim/qemu_image.h"
#include "sim/qemu_machine.h"
#include "sim/vsock_device.h"

#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
	UID_SIM = 63903,                         /* of the three programs when we are root */
	READY_MS = 300 * 1000, STOP_MS = 20 * 1000, CLOSE_MS = 5 * 1000,
	HANGUP_MS = 500,
	BACKLOG = 128
};

enum role { NSM, VSOCK, QEMU, ROLE_COUNT };
static const char *const role_name[ROLE_COUNT] = { "sim-nsm", "sim-vsock", "qemu" };

struct qemu {
	struct backend b;
	const struct qemu_options *o;
	struct qemu_program program;
	struct qemu_image image;
	bool kvm;
	uint64_t memory_mib;
	struct child child[ROLE_COUNT];
	bool started, stopping, failing;
	struct timer later;                      /* DRAINED, or FAILING after QEMU hung up */
	struct shutdown_call shutdown;
	int console;                             /* owned: our end, until somebody takes it; a stuck one stays here */
};

static struct qemu *of(const struct backend *b) { return CONTAINER_OF((struct backend *)(uintptr_t)b, struct qemu, b); }

/* --- prepare ---------------------------------------------------------------------------------------------------- */

static int measure(struct qemu *q, int index, const char *text, bool (*valid)(struct bytes), bool (*extend)(struct bytes, uint8_t *),
                   const char *option, struct err *err)
{
	if (text == NULL)
		return 0;
	if (!valid(bytes_str(text)))
		return fail(err, 0, "--%s %.80s: that is none", option, text);
	if (!extend(bytes_str(text), q->b.pcr[index]))
		return fail(err, ENOMEM, "measure --%s", option);
	q->b.pcr_known |= UINT32_C(1) << index;
	return 0;
}

static int check_options(const struct qemu_options *o, struct err *err)
{
	if (o->image == NULL || o->image[0] == '\0')
		return fail(err, 0, "which image? tee-rex run --backend qemu IMAGE.eif --memory MIB");
	if (o->memory_mib > QEMU_MEMORY_MAX_MIB)
		return fail(err, 0, "--memory takes up to %d MiB", QEMU_MEMORY_MAX_MIB);
	if (o->cpus < 1 || o->cpus > QEMU_CPUS_MAX)
		return fail(err, 0, "--cpus takes 1 to %d", QEMU_CPUS_MAX);
	return 0;
}

/* As much as was asked for, or else what it takes to boot. Less than that is refused here: the guest would only hang. */
static int choose_memory(struct qemu *q, struct err *err)
{
	char text[200];
	uint64_t need = q->image.need.total >> 20;
	q->memory_mib = q->o->memory_mib != 0 ? q->o->memory_mib : need > QEMU_MEMORY_MIN_MIB ? need : QEMU_MEMORY_MIN_MIB;
	return q->memory_mib < need || q->memory_mib < QEMU_MEMORY_MIN_MIB
		? fail(err, 0, "%s does not boot in %llu MiB. It needs %s; say --memory %llu or more", q->o->image, (unsigned long long)q->memory_mib,
		       enclave_need_text(&q->image.need, text, sizeof text), (unsigned long long)need) : 0;
}

static int prepare(struct backend *b, struct err *err)
{
	struct qemu *q = of(b);
	const struct qemu_options *o = q->o;
	int ret = check_options(o, err);
	if (ret == 0)
		ret = qemu_image_load(&q->image, o->image, b, err);
	if (ret == 0)
		ret = choose_memory(q, err);
	if (ret == 0)
		ret = measure(q, 3, o->role_arn, pcr_role_valid, pcr_of_role, "role", err);
	if (ret == 0)
		ret = measure(q, 4, o->instance_id, pcr_instance_valid, pcr_of_instance, "instance", err);
	int n = snprintf(b->root, sizeof b->root, "%s/root.pem", o->state_dir);
	if (ret == 0 && (n < 0 || (size_t)n >= sizeof b->root))
		ret = fail(err, ENAMETOOLONG, "the directory %s", o->state_dir);
	return ret;
}

/* --- sockets ---------------------------------------------------------------------------------------------------- */

/* A listening socket of that name in the runtime directory, for uid and gid to connect to. */
static int listen_at(struct qemu *q, const char *path, uid_t uid, gid_t gid, int *ret_fd, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)q;
	if (!bytes_to_cstr(bytes_str(path), a.sun_path, sizeof a.sun_path))
		return fail(err, ENAMETOOLONG, "the socket %s", path);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, BACKLOG) != 0)
		return fail(err, errno, "listen on %s", path);
	if (chmod(path, 0660) != 0 || (geteuid() == 0 && chown(path, uid, gid) != 0))
		return fail(err, errno, "set permissions of %s", path);
	*ret_fd = fd_steal(&fd);
	return 0;
}

/* Where the vsock device takes the guest's connections to this port. */
static int listen_port(struct backend *b, uint32_t port, int *ret_fd, struct err *err)
{
	char path[BACKEND_PATH_MAX];
	snprintf(path, sizeof path, "%s/vsock_%u", b->owner->dir, (unsigned)port);
	return listen_at(of(b), path, UID_SIM, UID_SIM, ret_fd, err);
}

static int accept_port(struct backend *b, int listener, int *ret_fd, uint32_t *ret_port, struct err *err)
{
	(void)b;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return fail(err, errno, "accept a connection of the enclave");
	*ret_fd = fd;
	*ret_port = vsock_device_source(fd);
	return 0;
}

static void dial_path(const struct backend *b, char *buf, size_t cap) { snprintf(buf, cap, "%s/dial.sock", b->owner->dir); }

static int connect_port(struct backend *b, uint32_t port, int *ret_fd, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char line[32];
	dial_path(b, a.sun_path, sizeof a.sun_path);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(line, sizeof line, "CONNECT %u\n", (unsigned)port);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0 || send(fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		return fail(err, errno, "connect to port %u of the enclave", (unsigned)port);
	*ret_fd = fd_steal(&fd);
	return 0;
}

static int pair(int type, int *ret_a, int *ret_b, struct err *err)
{
	int fds[2];
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0)
		return fail(err, errno, "make a socket pair");
	*ret_a = fds[0];
	*ret_b = fds[1];
	return 0;
}

/* --- ends ------------------------------------------------------------------------------------------------------- */

static bool any_running(const struct qemu *q)
{
	bool any = false;
	for (int i = 0; i < ROLE_COUNT; i++)
		any |= child_running(&q->child[i]);
	return any;
}

static void kill_all(struct qemu *q)
{
	for (int i = 0; i < ROLE_COUNT; i++)
		child_signal(&q->child[i], SIGKILL);
}

static void stop(struct backend *b, enum backend_stop how)
{
	struct qemu *q = of(b);
	if (how == BACKEND_DRAIN) {
		/* the gateway was what served; whoever speaks to the service directly sees init stop it in order */
		timer_arm(b->owner->loop, &q->later, 0);
		return;
	}
	q->stopping = true;
	if (how == BACKEND_KILL || q->failing)
		kill_all(q);
	else
		shutdown_call_ask(&q->shutdown, b);
}

static void on_later(struct timer *t)
{
	struct qemu *q = CONTAINER_OF(t, struct qemu, later);
	if (child_running(&q->child[VSOCK])) {
		q->b.owner->on_event(&q->b, BACKEND_DRAINED);
	} else if (!q->failing) {
		q->b.result = fail(&q->b.why, 0, "qemu gave up its vsock device");
		q->failing = true;
		q->b.owner->on_event(&q->b, BACKEND_FAILING);
	}
}

static void explain(struct qemu *q, enum role role, int status)
{
	if (WIFSIGNALED(status))
		q->b.result = fail(&q->b.why, 0, "%s was killed by signal %d (%s)", role_name[role], WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (role == QEMU && WEXITSTATUS(status) == 0)
		q->b.result = fail(&q->b.why, 0, "the enclave is over: its kernel powered off, restarted or panicked");
	else
		q->b.result = fail(&q->b.why, 0, "%s ended with status %d", role_name[role], WEXITSTATUS(status));
}

static void on_child_exit(struct child *c, int status)
{
	enum role role = (enum role)0;
	while (strcmp(role_name[role], c->name) != 0)
		role++;
	struct qemu *q = CONTAINER_OF(c - role, struct qemu, child);
	const struct backend_owner *owner = q->b.owner;
	bool hung_up = role == VSOCK && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (role == QEMU) {
		q->b.pid = 0;
		timer_disarm(&q->later);
		child_signal(&q->child[NSM], SIGTERM);
		child_signal(&q->child[VSOCK], SIGTERM);
	}
	if (!q->stopping && !q->failing && hung_up) {
		timer_arm(owner->loop, &q->later, HANGUP_MS);
	} else if (!q->stopping && !q->failing) {
		explain(q, role, status);
		q->failing = true;
		owner->on_event(&q->b, BACKEND_FAILING);
	}
	if (q->started && !any_running(q)) {
		q->started = false;
		owner->on_event(&q->b, BACKEND_DEAD);
	}
}

/* --- start ------------------------------------------------------------------------------------------------------ */

static int start_child(struct qemu *q, enum role role, struct child_spec *spec, struct err *err)
{
	spec->name = role_name[role];
	spec->death_signal = SIGKILL;
	q->child[role].on_exit = on_child_exit;
	return child_start(&q->child[role], q->b.owner->loop, spec, err);
}

static int start_nsm(struct qemu *q, int sock, struct err *err)
{
	const char *argv[8 + 2 * BACKEND_PCRS];
	char program[PATH_MAX], preset[BACKEND_PCRS][2 * BACKEND_PCR_SIZE + 8];
	size_t n = 0;
	snprintf(program, sizeof program, "%s/tee-rex-sim-nsm", q->o->program_dir);
	argv[n++] = program;
	argv[n++] = "--state";
	argv[n++] = q->o->state_dir;
	if (q->b.debug)
		argv[n++] = "--debug";
	for (unsigned i = 0; i < BACKEND_PCRS; i++)
		if (q->b.pcr_known >> i & 1) {
			int prefix = snprintf(preset[i], sizeof preset[i], "%u=", i);
			hex_encode(BYTES_ARRAY(q->b.pcr[i]), preset[i] + prefix);
			argv[n++] = "--pcr";
			argv[n++] = preset[i];
		}
	argv[n] = NULL;
	struct child_spec spec = { .argv = argv, .fds = { { "nsm", sock } } };
	return start_child(q, NSM, &spec, err);
}

static int start_vsock(struct qemu *q, int sock, struct err *err)
{
	char program[PATH_MAX], cid[16], dial[BACKEND_PATH_MAX];
	CLEANUP(close_fd) int service = -1, dialling = -1;
	dial_path(&q->b, dial, sizeof dial);
	int ret = listen_at(q, q->b.owner->service_path, 0, q->b.owner->service_gid, &service, err);
	if (ret == 0)
		ret = listen_at(q, dial, 0, 0, &dialling, err);
	if (ret < 0)
		return ret;
	snprintf(program, sizeof program, "%s/tee-rex-sim-vsock", q->o->program_dir);
	snprintf(cid, sizeof cid, "%u", (unsigned)q->b.cid);
	const char *argv[] = { program, "--cid", cid, "--dir", q->b.owner->dir, q->o->push_back ? "--push-back" : NULL, NULL };
	struct child_spec spec = {
		.argv = argv, .fds = { { "qemu", sock }, { "service", service }, { "dial", dialling } },
		.uid = geteuid() == 0 ? UID_SIM : 0,
	};
	return start_child(q, VSOCK, &spec, err);
}

static int start_qemu(struct qemu *q, int vsock, int nsm, int console, struct err *err)
{
	char text[QEMU_TEXT_MAX], preload[PATH_MAX];
	const char *argv[QEMU_ARGS_MAX];
	/* the order of fds below: descriptors 3, 4, … */
	struct qemu_machine m = {
		.program = q->program.path, .kvm = q->kvm, .memory_mib = q->memory_mib, .cpus = q->o->cpus,
		.cmdline = q->image.cmdline, .tsc_khz = q->kvm ? 0 : qemu_tsc_khz(),
		.kernel = 3, .initrd = 4, .vsock = 5, .console = console < 0 ? -1 : 7,
	};
	int ret = qemu_argv(&m, argv, text, err);
	if (ret < 0)
		return ret;
	snprintf(preload, sizeof preload, "LD_PRELOAD=%s/libteerex-sim-nsm.so", q->o->program_dir);
	const char *const env[] = { preload, "TEE_REX_SIM_NSM_FD=6", NULL };
	struct child_spec spec = {
		.argv = argv, .env = env,
		.fds = { { "kernel", q->image.kernel }, { "initrd", q->image.initrd }, { "vsock", vsock }, { "nsm", nsm },
		         { console < 0 ? NULL : "console", console } },
		/* with KVM the user that may open /dev/kvm, which is us */
		.uid = geteuid() == 0 && !q->kvm ? UID_SIM : 0,
	};
	ret = start_child(q, QEMU, &spec, err);
	q->b.pid = q->child[QEMU].pid;
	return ret;
}

static int choose_accelerator(struct qemu *q, struct err *err)
{
	int ret = qemu_find(&q->program, err);
	if (ret < 0)
		return ret;
	q->kvm = q->o->accel != QEMU_TCG && qemu_kvm_works(&q->program, q->image.kernel);
	if (q->o->accel == QEMU_KVM && !q->kvm)
		return fail(err, 0, "KVM does not run a guest on this machine; leave --accel away, or say --accel tcg");
	return 0;
}

static int start(struct backend *b, struct err *err)
{
	struct qemu *q = of(b);
	CLEANUP(close_fd) int nsm_a = -1, nsm_b = -1, vsock_a = -1, vsock_b = -1, console = -1;
	int ret = choose_accelerator(q, err);
	if (ret == 0)
		ret = pair(SOCK_SEQPACKET, &nsm_a, &nsm_b, err);
	if (ret == 0)
		ret = pair(SOCK_STREAM, &vsock_a, &vsock_b, err);
	if (ret == 0 && (b->debug || q->o->console == QEMU_CONSOLE_STUCK))
		ret = pair(SOCK_STREAM, &console, &q->console, err);
	if (ret == 0)
		ret = start_nsm(q, nsm_a, err);
	if (ret == 0)
		ret = start_vsock(q, vsock_a, err);
	if (ret == 0)
		ret = start_qemu(q, vsock_b, nsm_b, console, err);
	qemu_image_close(&q->image);             /* QEMU has it now */
	if (ret == 0)
		log_info("SIMULATED enclave in QEMU %s (%s), %llu MiB, %llu processors", q->program.version, q->kvm ? "KVM" : "software emulation",
		         (unsigned long long)q->memory_mib, (unsigned long long)q->o->cpus);
	q->started = ret == 0;
	return ret;
}

static void address(const struct backend *b, char ret_text[BACKEND_ADDRESS_MAX])
{
	snprintf(ret_text, BACKEND_ADDRESS_MAX, "unix:%s", b->owner->service_path);
}

static int console(struct backend *b, int *ret_fd, struct err *err)
{
	struct qemu *q = of(b);
	if (q->console < 0 || q->o->console == QEMU_CONSOLE_STUCK)
		return fail(err, EPERM, "the console of this enclave cannot be read");
	*ret_fd = fd_steal(&q->console);
	return 0;
}

static void close_backend(struct backend *b)
{
	struct qemu *q = of(b);
	struct err ignored;
	q->started = false;
	q->stopping = true;
	if (any_running(q))
		kill_all(q);
	int64_t until = clock_monotonic_ms() + CLOSE_MS;
	while (any_running(q) && clock_monotonic_ms() < until && loop_once(b->owner->loop, 50, &ignored) == 0)
		;
	timer_disarm(&q->later);
	shutdown_call_close(&q->shutdown);
	close_fd(&q->console);
	qemu_image_close(&q->image);
}

static const struct backend_ops ops = {
	.name = "qemu", .simulated = true, .ready_ms = READY_MS, .stop_ms = STOP_MS,
	.prepare = prepare, .listen = listen_port, .accept = accept_port, .start = start, .connect = connect_port, .address = address, .console = console,
	.stop = stop, .close = close_backend,
};

struct backend *qemu_backend_open(const struct qemu_options *o)
{
	static struct qemu q;
	q = (struct qemu){
		.b = { .ops = &ops, .debug = o->debug, .cid = o->cid != 0 ? o->cid : QEMU_CID }, .o = o, .image = QEMU_IMAGE_NONE, .console = -1,
		.later.on_expiry = on_later, .shutdown = SHUTDOWN_CALL_NONE,
	};
	return &q.b;
}
