/* tee-rex-sim-vsock: the vsock device of one simulated enclave (sim/vsock_device.h), a process of its own between QEMU and
 * `tee-rex run`, so that whatever a guest makes of its parser, it makes of a process without rights. Descriptors (LISTEN_FDS):
 * "qemu", the vhost-user socket; "service", a listening socket whose connections go to PORT_SERVICE of the guest; "dial", one
 * whose connections name their port. Lives until QEMU hangs up or its parent dies. */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/options.h"
#include "format/frame.h"
#include "linux/listen_fds.h"
#include "sim/vsock_device.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

struct args { uint64_t cid; const char *dir; bool push_back; };
static const struct option_spec options[] = {
	{ 'c', "cid", OPT_U64, offsetof(struct args, cid), "N", "the guest's context id, 4 or more (required)" },
	{ 'd', "dir", OPT_STRING, offsetof(struct args, dir), "DIR", "where the guest's connections to port P find vsock_P (required)" },
	{ 0, "push-back", OPT_FLAG, offsetof(struct args, push_back), NULL, "take nothing while answers wait, as Linux's own driver did" },
	OPTIONS_HELP,
	OPTIONS_END
};

static struct { struct loop loop; struct vsock_device device; int result; struct err why; } sim;

static void on_end(struct vsock_device *d, int ret, const struct err *why)
{
	(void)d;
	sim.result = ret;
	if (ret < 0)
		sim.why = *why;
	sim.loop.stop = true;
}

static int take(const struct listen_fds *fds, const char *name, int *ret_fd, struct err *err)
{
	*ret_fd = listen_fds_find(fds, name);
	if (*ret_fd < 0 || fcntl(*ret_fd, F_SETFL, O_NONBLOCK) != 0)
		return fail(err, 0, "no socket \"%s\" was inherited (LISTEN_FDS); tee-rex run --backend qemu starts this program", name);
	return 0;
}

static int start(const struct args *a, struct err *err)
{
	struct listen_fds fds;
	int qemu, service, dial, chosen = 0;
	if (prctl(PR_GET_PDEATHSIG, &chosen) != 0 || (chosen == 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) != 0))
		return fail(err, errno, "prctl(PR_SET_PDEATHSIG)");
	signal(SIGPIPE, SIG_IGN);
	struct rlimit files;                     /* a descriptor for each connection, and it may be started with 1024 */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	int ret = listen_fds_take(&fds, err);
	if (ret == 0)
		ret = take(&fds, "qemu", &qemu, err);
	if (ret == 0)
		ret = take(&fds, "service", &service, err);
	if (ret == 0)
		ret = take(&fds, "dial", &dial, err);
	if (ret == 0)
		ret = loop_open(&sim.loop, err);
	if (ret < 0)
		return ret;
	struct vsock_device *d = &sim.device;
	d->cid = a->cid;
	d->push_back = a->push_back;
	d->on_end = on_end;
	snprintf(d->dir, sizeof d->dir, "%s", a->dir);
	ret = vsock_device_open(d, &sim.loop, qemu, err);
	if (ret == 0)
		ret = vsock_device_listen(d, service, PORT_SERVICE, err);
	if (ret == 0)
		ret = vsock_device_listen(d, dial, 0, err);
	return ret;
}

int main(int argc, char **argv)
{
	struct args a = { 0 };
	struct err err;
	size_t n = 0;
	log_init("sim-vsock");
	enum option_result parsed = options_parse(options, &a, argc, argv, NULL, 0, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "tee-rex-sim-vsock", "--cid N --dir DIR [OPTIONS]",
		             "The vsock device of a simulated enclave, behind inherited sockets.", options);
		return 0;
	}
	if (parsed == OPTIONS_OK && (a.cid < 4 || a.cid >= UINT32_MAX || a.dir == NULL || strlen(a.dir) >= VSOCK_DIR_MAX)) {
		fail(&err, 0, "--cid N (4 or more) and --dir DIR (at most %d characters) are required", VSOCK_DIR_MAX - 1);
		parsed = OPTIONS_USAGE;
	}
	if (parsed != OPTIONS_OK) {
		log_error("%s", err.text);
		return 2;
	}
	int ret = start(&a, &err);
	if (ret == 0)
		ret = loop_run(&sim.loop, &err);
	if (ret == 0 && sim.result < 0) {
		err = sim.why;
		ret = sim.result;
	}
	if (ret < 0)
		log_error("%s", err.text);
	vsock_device_close(&sim.device);
	return ret < 0 ? 1 : 0;
}
