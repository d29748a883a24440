/* tee-rex-init: PID 1 of an enclave. Makes a machine out of what the kernel hands over, starts the services of the measured
 * table (format/service_table.h), keeps them running, and tells the parent what happens (format/control.h). It has every
 * privilege, so it parses nothing that comes from outside but one byte, and waits for nobody: one loop, fixed memory. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "enclave/init/boot.h"
#include "enclave/init/bridge.h"
#include "enclave/init/bug.h"
#include "enclave/init/console.h"
#include "enclave/init/memory.h"
#include "enclave/init/parent.h"
#include "enclave/init/services.h"
#include "enclave/init/signals.h"
#include "enclave/init/wallclock.h"
#include "linux/sandbox.h"
#include "linux/vsock.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define TABLE_PATH "/etc/tee-rex/init.conf"

static struct init {
	struct service_table table;
	struct loop loop;
	struct events events;
	struct services services;
	struct bridges bridges;
	struct parent parent;
	struct memory memory;
	struct wallclock wallclock;
	struct nsm nsm;
	dev_t nsm_device;
	struct signals signals;
	struct timer last_words;
	int64_t end_ms;                          /* last_words: no later than this */
	bool leaving;                            /* … everything was handed over */
} init;

/* --- the end --------------------------------------------------------------------------------------- */
/* Says why and ends, when what was told has left, or after a while; what was handed over needs a moment more. */
static void on_last_words(struct timer *t)
{
	bool idle = events_idle(&init.events);
	if (init.leaving || clock_monotonic_ms() > init.end_ms)
		power_off();
	init.leaving = idle;
	timer_arm(&init.loop, t, idle ? INIT_LEAVE_MS : INIT_LEAVE_MS / 5);
}

static void end(const char *reason)
{
	TELL(&init.events, CONTROL_SHUTDOWN, control_str("reason", reason));
	console_say("tee-rex-init: the enclave ends: %s", reason);
	init.end_ms = clock_monotonic_ms() + INIT_FLUSH_MS;
	timer_arm(&init.loop, &init.last_words, 0);
}

static void on_over(struct services *s, const char *reason) { (void)s; end(reason); }
static void on_asked(struct parent *p) { (void)p; services_stop(&init.services, "the parent asked for it"); }

/* --- children --------------------------------------------------------------------------------------- */
/* Those that are nobody's were left to us by services. */
static void on_reaped(struct signals *s, pid_t pid, int status)
{
	(void)s;
	if (!services_reaped(&init.services, pid, status))
		wallclock_reaped(&init.wallclock, pid);
}

/* --- boot -------------------------------------------------------------------------------------------- */
static void stage(const char *name)
{
	TELL(&init.events, CONTROL_BOOT, control_str("stage", name));
	console_say("tee-rex-init: %s", name);
}

static int load_table(struct err *err)
{
	static uint8_t text[SERVICE_TABLE_MAX + 1];
	CLEANUP(close_fd) int fd = open(TABLE_PATH, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(err, errno, "open " TABLE_PATH);
	size_t n = 0;
	for (ssize_t got; n < sizeof text && (got = read(fd, text + n, sizeof text - n)) > 0;)
		n += (size_t)got;
	return service_table_parse(bytes_of(text, n), TABLE_PATH, &init.table, err);
}

/* Without entropy no key may be made. Test programs alone may go on, to boot where no NSM is. */
static int entropy(struct err *err)
{
	int bad = boot_module(err);
	if (bad == 0)
		bad = boot_entropy(&init.nsm, &init.nsm_device, err);
#ifdef TEEREX_TEST_GUARDS
	if (bad != 0) {
		console_say("tee-rex-init-UNSAFE: going on without: %s", err->text);
		init.nsm.fd = -1;
		bad = 0;
	}
#endif
	return bad;
}

static int open_bridges(struct err *err)
{
	bridges_init(&init.bridges, &init.loop, &init.events);
	for (uint32_t i = 0; i < init.table.service_count; i++)
		for (uint32_t k = 0; k < init.table.service[i].bridge_count; k++) {
			const struct service_bridge *b = &init.table.service[i].bridge[k];
			int fd, bad = vsock_listen(b->port, &fd, err);
			if (bad == 0)
				bad = bridges_add(&init.bridges, fd, b->tcp_port, err);
			if (bad != 0)
				return bad;
		}
	return 0;
}

static int open_services(struct err *err)
{
	init.services.loop = &init.loop;
	init.services.events = &init.events;
	init.services.table = &init.table;
	init.services.app = BOOT_APP;
	init.services.nsm = init.nsm_device;
	init.services.on_over = on_over;
	return services_open(&init.services, err);
}

/* A user that no service has. Services of user 0 could stop or starve PID 1 otherwise: an equal user may set its limits and priority. */
static int stand_apart(struct err *err)
{
	uid_t uid = UINT32_MAX - 1;
	for (uint32_t i = 0; i < init.table.service_count; i++)
		if (init.table.service[i].uid == uid) {
			uid--;
			i = UINT32_MAX;          /* from the start */
		}
#ifdef TEEREX_TEST_GUARDS
	return 0;                                /* to show what would happen */
#endif
	return sandbox_apart(uid, err);
}

static int boot(struct err *err)
{
	int bad = loop_open(&init.loop, err);
	init.last_words.on_expiry = on_last_words;
	init.signals = (struct signals){ .loop = &init.loop, .events = &init.events, .on_reaped = on_reaped };
	if (bad == 0)
		bad = signals_open(&init.signals, err);
	if (bad == 0)
		bad = boot_mounts(err);
	console_open();                          /* devices are there, or the console stays closed */
	bug_watch(&init.loop, &init.events, &init.signals);
	if (bad == 0)
		bad = load_table(err);
	if (bad == 0)
		bad = boot_system(&init.table, err);
	if (bad != 0)
		return bad;
	TELL(&init.events, CONTROL_BOOT, control_str("stage", "table"), control_str("version", TEEREX_VERSION), control_number("epoch", init.table.epoch));
	parent_connect(&init.parent, &init.table, &init.loop, &init.events);
	bad = entropy(err);
	if (bad != 0)
		return bad;
	stage("entropy");
	wallclock_open(&init.wallclock, &init.loop, &init.events, &init.nsm);
	bad = boot_application(&init.table, err);
	if (bad == 0)
		bad = open_services(err);
	if (bad == 0)
		bad = open_bridges(err);
	if (bad == 0)
		bad = parent_listen(&init.parent, on_asked, err);
	if (bad == 0)
		bad = memory_open(&init.memory, &init.loop, &init.events, &init.services, err);
	if (bad == 0)
		bad = console_quiet_kernel(err); /* as root: the kernel's settings know no capabilities */
	if (bad == 0)
		bad = stand_apart(err);
	if (bad == 0)
		stage("services");
	return bad;
}

int main(void)
{
	struct err err = { "" };
	umask(022);
	events_init(&init.events);
	if (getpid() != 1) {
		fprintf(stderr, "tee-rex-init: this is PID 1 of an enclave and nothing else; see tee-rex-init(8)\n");
		return 2;
	}
	if (boot(&err) == 0) {
		services_start(&init.services);
	} else {
		struct err why = err;
		fail_in(&why, 0, "boot failed");
		end(why.text);
	}
	for (;;) {
		if (loop_once(&init.loop, -1, &err) != 0) {
			console_say("tee-rex-init: bug: %s", err.text);
			power_off();
		}
	}
}
