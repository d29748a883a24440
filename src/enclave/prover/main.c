/* tee-rex-prover: the service inside the enclave. Holds the keys and the NSM descriptor, parses what the
 * host sends, and has no privilege: what needs root is the launcher's, on the other end of a socket.
 *
 * Inherited descriptors (LISTEN_FDS): "service" a listening stream socket, "launcher" a connected
 * SOCK_SEQPACKET; where the configuration says `nsm = simulated-socket`, "nsm"; and perhaps "ready", where a newline
 * says that requests are answered. */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/options.h"
#include "base/text.h"
#include "enclave/config.h"
#include "enclave/prover/service.h"
#include "linux/cgroup.h"
#include "linux/listen_fds.h"
#include "linux/seal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

struct prover_args { const char *config; };

static const struct option_spec options[] = {
	{ 'c', "config", OPT_STRING, offsetof(struct prover_args, config), "FILE", "measured configuration" },
	OPTIONS_HELP,
	OPTIONS_END
};

/* All state of the service: no allocation of our own after start. */
static struct prover {
	struct config cfg;
	struct loop loop;
	struct nsm nsm;
	struct keyring keys;
	struct versions versions;
	struct attestor attestor;
	struct link link;
	struct jobs jobs;
	struct service service;
	struct timer rotation, drained;
	struct watch signals;
	int service_fd, ready_fd;                /* ready_fd: -1 when nobody asked, or was told */
	bool stopping, failed;
} prover;

static int harden(struct err *err)
{
	/* not dumpable: no core file, no ptrace, /proc/PID belongs to root */
	if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail(err, errno, "make the process non-dumpable");
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	return crypto_lock_secrets(err);
}

static void on_rotation(struct timer *t)
{
	struct err err;
	if (keyring_rotate(&prover.keys, (int64_t)prover.cfg.key_keep_s * 1000, &err) < 0) {
		log_warn("key rotation: %s; the current key goes on", err.text);
		timer_arm(&prover.loop, t, 60 * 1000);
		return;
	}
	prover.service.stats.key_rotations++;
	log_info("new key, the former one is kept for %u s", prover.cfg.key_keep_s);
	timer_arm(&prover.loop, t, (int64_t)prover.cfg.key_rotate_s * 1000);
}

/* The launcher has built a cell for trial and can run jobs: now the service answers. */
static void on_launcher_ready(const struct launch_message *m)
{
	struct err err;
	if (prover.service.listener.fd >= 0)
		return;
	text_escape(m->text, prover.service.guards, sizeof prover.service.guards);
	if (service_start(&prover.service, prover.service_fd, &err) < 0) {
		log_error("%s", err.text);
		prover.failed = prover.loop.stop = true;
		return;
	}
	if (prover.ready_fd >= 0 && write(prover.ready_fd, "\n", 1) != 1)
		log_warn("nobody takes the word that the service is ready");
	close_fd(&prover.ready_fd);
	log_info("ready: %u job slots, %u at once", prover.cfg.slots, prover.cfg.jobs);
}

static void on_launcher_message(struct link *l, const struct launch_message *m, int fd)
{
	(void)l;
	if (m->kind != LAUNCH_READY)
		jobs_on_launcher(&prover.jobs, m, fd);
	else if (fd >= 0)
		close(fd);
	else
		on_launcher_ready(m);
}

static void on_launcher_lost(struct link *l, const char *why)
{
	(void)l;
	log_error("launcher lost: %s; ending, so that both are started anew", why);
	prover.failed = true;
	prover.loop.stop = true;
}

/* Every 50 ms while stopping: ends when the last exchange has. */
static void on_drained(struct timer *t)
{
	if (prover.service.conn_count == 0)
		prover.loop.stop = true;
	else
		timer_arm(&prover.loop, t, 50);
}

static void on_signal(struct watch *w, uint32_t events)
{
	struct signalfd_siginfo info;
	(void)events;
	if (read(w->fd, &info, sizeof info) != (ssize_t)sizeof info)
		return;
	if (prover.stopping) {
		prover.loop.stop = true;
		return;
	}
	log_info("%s: finishing %zu exchanges; a second one stops at once", strsignal((int)info.ssi_signo),
	         prover.service.conn_count);
	prover.stopping = true;
	service_stop_accepting(&prover.service);
	on_drained(&prover.drained);
}

static int watch_signals(struct err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	prover.signals.on_event = on_signal;
	if (fd < 0 || loop_add(&prover.loop, &prover.signals, fd, EPOLLIN) < 0)
		return fail(err, errno, "watch signals");
	return 0;
}

static int open_nsm(const struct listen_fds *fds, struct err *err)
{
	if (prover.cfg.nsm == CONFIG_NSM_DEVICE)
		return nsm_open_device(&prover.nsm, "/dev/nsm", err);
	int fd = listen_fds_find(fds, "nsm");
	if (fd < 0)
		return fail(err, 0, "nsm = simulated-socket, but no descriptor named \"nsm\" was inherited");
	log_warn("SIMULATED: attestation documents come from a software NSM");
	return nsm_from_socket(&prover.nsm, fd, err);
}

/* From here on nothing new can be opened, started or connected to. */
static int seal(struct err *err)
{
	struct seal_report r;
	int ret = seal_service(&r, err);
	if (ret == 0)
		log_info("sealed: no capabilities, seccomp=%s landlock=%s", r.seccomp ? "yes" : "NO (not in this kernel)",
		         r.landlock ? "yes" : "NO (not in this kernel)");
	return ret;
}

/* Payloads and uploaded programs are memory files that this process writes: its group pays for their pages. What is
 * promised to peers has to fit, or a payload would end the service instead of being refused. */
static int check_budget(struct err *err)
{
	const struct config *c = &prover.cfg;
	const uint64_t limit = cgroup_own_memory_limit(""), payloads = c->payload_budget_mib;
	const uint64_t need = payloads + c->versions_total_mib + PROVER_FIXED_MIB;

	if (limit == 0 || need <= limit >> 20)
		return 0;
	fail(err, 0, "this service's cgroup allows %llu MiB, but payload_budget_mib = %llu, versions_total_mib = %u and %d of its own "
	     "are %llu MiB: raise the one or lower the others", (unsigned long long)(limit >> 20), (unsigned long long)payloads,
	     c->versions_total_mib, PROVER_FIXED_MIB, (unsigned long long)need);
	if (c->nsm == CONFIG_NSM_DEVICE)
		return -ENOMEM;
	log_warn("%s; on hardware it would not start", err->text);
	return 0;
}

static int start(const char *config_path, struct err *err)
{
	struct listen_fds fds;
	int ret = 0;
	if (config_path != NULL)
		ret = config_load(config_path, &prover.cfg, err);
	else
		config_defaults(&prover.cfg);
	if (ret == 0)
		ret = check_budget(err);
	if (ret == 0)
		ret = harden(err);
	if (ret == 0)
		ret = listen_fds_take(&fds, err);
	if (ret == 0)
		ret = open_nsm(&fds, err);
	if (ret == 0)
		ret = loop_open(&prover.loop, err);
	if (ret == 0)
		ret = keyring_init(&prover.keys, err);
	if (ret < 0)
		return ret;
	int launcher_fd = listen_fds_find(&fds, "launcher");
	prover.service_fd = listen_fds_find(&fds, "service");
	prover.ready_fd = listen_fds_find(&fds, "ready");
	if (prover.service_fd < 0 || launcher_fd < 0)
		return fail(err, 0, "descriptors named \"service\" and \"launcher\" must be inherited (LISTEN_FDS)");

	versions_init(&prover.versions, &prover.cfg);
	ret = versions_preload(&prover.versions, err);
	if (ret < 0)
		return ret;
	attestor_init(&prover.attestor, &prover.nsm, (int64_t)prover.cfg.document_cache_s * 1000);
	jobs_init(&prover.jobs, &prover.cfg, &prover.keys, &prover.versions, &prover.link);
	prover.link.on_message = on_launcher_message;
	prover.link.on_lost = on_launcher_lost;
	prover.service.loop = &prover.loop;
	prover.service.cfg = &prover.cfg;
	prover.service.keys = &prover.keys;
	prover.service.versions = &prover.versions;
	prover.service.attestor = &prover.attestor;
	prover.service.jobs = &prover.jobs;
	prover.service.listener.fd = -1;
	prover.rotation.on_expiry = on_rotation;
	prover.drained.on_expiry = on_drained;
	timer_arm(&prover.loop, &prover.rotation, (int64_t)prover.cfg.key_rotate_s * 1000);
	ret = watch_signals(err);
	if (ret == 0)
		ret = link_start(&prover.link, &prover.loop, launcher_fd, err);
	return ret < 0 ? ret : seal(err);
}

int main(int argc, char **argv)
{
	struct prover_args args = { NULL };
	struct err err;
	size_t n;
	log_init("tee-rex-prover");
	switch (options_parse(options, &args, argc, argv, NULL, 0, &n, &err)) {
	case OPTIONS_OK: break;
	case OPTIONS_WANT_HELP: printf("Usage: tee-rex-prover [--config FILE]\nStarted by tee-rex run or by tee-rex-init, not by hand.\n"); return 0;
	case OPTIONS_USAGE: log_error("%s", err.text); return 2;
	}
	if (start(args.config, &err) < 0) {
		log_error("cannot start: %s", err.text);
		return 1;
	}
	if (loop_run(&prover.loop, &err) < 0) {
		log_error("%s", err.text);
		prover.failed = true;
	}
	keyring_close(&prover.keys);
	return prover.failed ? 1 : 0;
}
