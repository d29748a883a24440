/* Phases, entered one after another and never back:
 *
 *     STARTING ─ready─▶ RUNNING ─signal, operator─▶ DRAINING ─drained, 10 s─▶ STOPPING ─too late, 3rd signal─▶ KILLING
 *          └───────────────┴───── the enclave or the gateway ends ──────────────▶┘
 *
 * and over when nothing runs any more. Draining, the gateway ends first, within its grace: what it has accepted still needs
 * the enclave. A gateway that ends in order by itself was told to (tee-rex operator drain), and the instance drains, too. The first cause of an end that nobody asked for is the result. */
#include "host/run.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/make_path.h"
#include "base/text.h"
#include "format/frame.h"
#include "host/admin.h"
#include "host/child.h"
#include "host/collector.h"
#include "host/gateway_listen.h"
#include "host/health.h"
#include "host/heartbeat.h"
#include "host/history.h"
#include "host/notify.h"
#include "host/run_dir.h"

#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
	UID_GATEWAY = 63902,                     /* its user when we are root */
	DRAIN_MS = 10 * 1000,                    /* for exchanges under way, after the first signal */
	READY_POLL_MS = 20,
	CONSOLE_READ = 4096
};

enum phase { STARTING, RUNNING, DRAINING, STOPPING, KILLING };
static const char *const phase_name[] = { "starting", "running", "draining", "stopping", "stopping" };

struct run {
	const struct run_options *o;
	struct backend *b;
	struct backend_owner owner;
	struct loop loop;
	struct run_dir dir;
	struct notify notify;
	struct watch signals, console, control;  /* control: the listener of PORT_CONTROL, owned */
	struct timer phase_timer, ready_poll, watchdog;
	struct health health;
	struct heartbeat heartbeat;
	struct collector collector;
	struct admin admin;
	struct feed logs, console_kept;
	struct child gateway;
	struct listener operator;                /* its operator's socket: the file is ours to remove */
	enum phase phase;
	int64_t started_ms;
	bool alive, drained;                     /* the backend */
	int result;
	struct err why;                          /* of result */
	char service_path[RUN_DIR_MAX + 16], admin_path[RUN_DIR_MAX + 16], address[BACKEND_ADDRESS_MAX];
};

/* --- stopping ------------------------------------------------------------------------------------------------ */

static void drain_backend(struct run *r)
{
	r->b->ops->stop(r->b, BACKEND_DRAIN);
	timer_arm(&r->loop, &r->phase_timer, DRAIN_MS);
}

static void enter(struct run *r, enum phase phase)
{
	if (phase <= r->phase)
		return;
	r->phase = phase;
	timer_disarm(&r->phase_timer);
	if (phase == RUNNING)
		return;
	timer_disarm(&r->ready_poll);
	timer_disarm(&r->watchdog);
	if (phase == DRAINING) {
		notify_say(&r->notify, "STOPPING=1");
		child_signal(&r->gateway, SIGTERM);
		timer_arm(&r->loop, &r->phase_timer, (int64_t)r->o->gateway_grace_s * 1000 + DRAIN_MS);
		if (!child_running(&r->gateway))
			drain_backend(r);
	} else if (phase == STOPPING) {
		child_signal(&r->gateway, SIGTERM);
		r->b->ops->stop(r->b, BACKEND_TERM);
		timer_arm(&r->loop, &r->phase_timer, r->b->ops->stop_ms);
	} else {
		child_signal(&r->gateway, SIGKILL);
		r->b->ops->stop(r->b, BACKEND_KILL);
	}
}

/* The next level of urgency, as each signal asks for. */
static void press(struct run *r)
{
	enter(r, r->phase < DRAINING ? DRAINING : r->phase == DRAINING ? STOPPING : KILLING);
}

static void stop_for(struct run *r, int result, const struct err *why)
{
	if (r->phase < DRAINING && r->result == 0) {
		r->result = result;
		r->why = *why;
	}
	enter(r, STOPPING);
}

static void on_phase_timer(struct timer *t)
{
	struct run *r = CONTAINER_OF(t, struct run, phase_timer);
	if (r->phase == STOPPING)
		log_warn("not everybody stopped in time: killing");
	enter(r, r->phase == DRAINING ? STOPPING : KILLING);
}

static void on_signal(struct watch *w, uint32_t events)
{
	struct run *r = CONTAINER_OF(w, struct run, signals);
	struct signalfd_siginfo info;
	(void)events;
	if (read(w->fd, &info, sizeof info) == (ssize_t)sizeof info)
		press(r);
}

static void stop_when_drained(struct run *r)
{
	if (r->phase == DRAINING && r->drained && !child_running(&r->gateway))
		enter(r, STOPPING);
}

static void on_gateway_exit(struct child *c, int status)
{
	struct run *r = CONTAINER_OF(c, struct run, gateway);
	struct err why;
	int ret = WIFSIGNALED(status)
		? fail(&why, 0, "gateway was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)))
		: fail(&why, 0, "gateway ended with status %d", WEXITSTATUS(status));
	if (r->phase < DRAINING && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		log_info("stopping: the gateway was told to drain, and has ended");
		enter(r, DRAINING);
	} else if (r->phase < DRAINING) {
		stop_for(r, ret, &why);
	} else if (r->phase == DRAINING) {
		drain_backend(r);
	}
	stop_when_drained(r);
}

static void on_backend_event(struct backend *b, enum backend_event e)
{
	struct run *r = CONTAINER_OF(b->owner, struct run, owner);
	switch (e) {
	case BACKEND_DRAINED:
		r->drained = true;
		stop_when_drained(r);
		break;
	case BACKEND_FAILING:
		stop_for(r, 0, &b->why);         /* the backend keeps its reason, which may still become more exact */
		break;
	case BACKEND_DEAD:
		r->alive = false;
		stop_for(r, 0, &b->why);
		break;
	}
}

/* --- readiness and health ------------------------------------------------------------------------------------- */

/* The gateway's port takes connections. */
static bool gateway_answers(const struct run *r)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *a = NULL;
	char host[64];
	const char *listen_on = r->o->listen, *colon = listen_on == NULL ? NULL : strrchr(listen_on, ':');
	if (colon == NULL)
		return true;
	size_t n = (size_t)(colon - listen_on);
	bool bracketed = n > 2 && listen_on[0] == '[';
	snprintf(host, sizeof host, "%.*s", (int)(bracketed ? n - 2 : n), listen_on + bracketed);
	if (getaddrinfo(host, colon + 1, &hints, &a) != 0)
		return true;                     /* not ours to judge: the gateway refuses what it cannot use */
	CLEANUP(close_fd) int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0;
	freeaddrinfo(a);
	return ok;
}

static const char *service_name(const struct run *r)
{
	return strncmp(r->address, "unix:", 5) == 0 ? r->address + 5 : r->address;
}

static void ready(struct run *r)
{
	const struct run_options *o = r->o;
	printf("ready: %s \"%s\", service socket %s%s%s%s%s\n", r->b->ops->simulated ? "SIMULATED enclave" : "enclave", o->name,
	       service_name(r), o->listen != NULL ? ", gateway http://" : "", o->listen != NULL ? o->listen : "",
	       r->b->root[0] != '\0' ? ", test root " : "", r->b->root);
	fflush(stdout);
	enter(r, RUNNING);
	notify_say(&r->notify, "READY=1");
	if (r->notify.watchdog_ms > 0)
		timer_arm(&r->loop, &r->watchdog, 0);
}

static void not_ready_yet(struct run *r)
{
	struct err why;
	if (clock_monotonic_ms() - r->started_ms > r->b->ops->ready_ms) {
		int ret = fail(&why, ETIMEDOUT, r->o->ready == RUN_READY_SERVICE ? "the service does not answer"
		               : "the enclave's init does not report");
		stop_for(r, ret, &why);
	} else {
		timer_arm(&r->loop, &r->ready_poll, READY_POLL_MS);
	}
}

static void on_ready_poll(struct timer *t)
{
	struct run *r = CONTAINER_OF(t, struct run, ready_poll);
	if (r->o->ready == RUN_READY_SERVICE && !r->health.answers)
		health_ask(&r->health);
	else if ((r->o->ready != RUN_READY_HEARTBEAT || r->heartbeat.beats > 0) && gateway_answers(r))
		ready(r);
	else
		not_ready_yet(r);
}

static void on_health(struct health *h, bool answers, const struct err *why)
{
	struct run *r = CONTAINER_OF(h, struct run, health);
	if (r->phase == STARTING && answers)
		timer_arm(&r->loop, &r->ready_poll, 0);
	else if (r->phase == STARTING)
		not_ready_yet(r);
	else if (answers)
		notify_say(&r->notify, "WATCHDOG=1");
	else
		log_warn("the service does not answer: %s", why->text);
}

static void on_watchdog(struct timer *t)
{
	struct run *r = CONTAINER_OF(t, struct run, watchdog);
	health_ask(&r->health);
	timer_arm(&r->loop, &r->watchdog, r->notify.watchdog_ms / 3);
}

static void on_beat(struct heartbeat *h)
{
	if (h->beats == 1)
		log_info("heartbeat: init runs");
}

/* --- what init says --------------------------------------------------------------------------------------------- */

static void on_line(struct collector *c, enum control_kind kind, struct bytes json, const char *text)
{
	struct run *r = CONTAINER_OF(c, struct run, collector);
	(void)kind;
	log_info("enclave: %s", text);
	feed_put(&r->logs, json);
	admin_feed(&r->admin, &r->logs);
}

static void on_withheld(struct collector *c, bool log, uint64_t lines)
{
	struct run *r = CONTAINER_OF(c, struct run, collector);
	char json[128];
	log_warn("enclave: %llu %s not shown: it says more than %d KiB a second", (unsigned long long)lines, log ? "log lines" : "events",
	         COLLECTOR_PASSED_BYTES_S >> 10);
	int n = snprintf(json, sizeof json, "{\"kind\":\"withheld\",\"ms\":%lld,\"stream\":\"%s\",\"count\":%llu}\n", (long long)c->last_ms,
	                 log ? "log" : "event", (unsigned long long)lines);
	feed_put(&r->logs, bytes_of(json, (size_t)n));
	admin_feed(&r->admin, &r->logs);
}

static void on_control(struct watch *w, uint32_t events)
{
	struct run *r = CONTAINER_OF(w, struct run, control);
	struct err err;
	uint32_t port;
	int fd;
	(void)events;
	if (r->b->ops->accept(r->b, w->fd, &fd, &port, &err) == 0 && !collector_add(&r->collector, fd, port) && r->collector.refused == 1)
		log_warn("a program of the enclave that is not init called the control channel (from port %u): it is not listened to; "
		         "such calls are counted", port);
}

static int open_control(struct run *r, struct err *err)
{
	int fd;
	collector_init(&r->collector, &r->loop);
	r->collector.on_line = on_line;
	r->collector.on_withheld = on_withheld;
	r->control.on_event = on_control;
	if (r->b->ops->listen == NULL)
		return 0;
	int ret = r->b->ops->listen(r->b, PORT_CONTROL, &fd, err);
	if (ret == 0 && (ret = loop_add(&r->loop, &r->control, fd, EPOLLIN)) < 0) {
		close(fd);
		fail(err, -ret, "watch the control channel");
	}
	return ret;
}

static void close_control(struct run *r)
{
	int fd = r->control.fd;
	collector_close(&r->collector);
	loop_del(&r->loop, &r->control);
	close_fd(&fd);
}

/* --- console and the operator ----------------------------------------------------------------------------------- */

static void on_console(struct watch *w, uint32_t events)
{
	struct run *r = CONTAINER_OF(w, struct run, console);
	uint8_t buf[CONSOLE_READ];
	(void)events;
	ssize_t n = read(w->fd, buf, sizeof buf);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		int fd = w->fd;
		loop_del(&r->loop, w);
		close(fd);
		return;
	}
	feed_put(&r->console_kept, bytes_of(buf, (size_t)n));
	admin_feed(&r->admin, &r->console_kept);
}

static json_t *registers(const struct backend *b)
{
	json_t *all = json_object();
	char name[4], hex[2 * BACKEND_PCR_SIZE + 1];
	for (unsigned i = 0; all != NULL && i < BACKEND_PCRS; i++) {
		bool of_image = i <= 2 || i == 8;
		if (!(b->pcr_known >> i & 1))
			continue;
		snprintf(name, sizeof name, "%u", i);
		hex_encode(BYTES_ARRAY(b->pcr[i]), hex);
		if (b->debug && of_image)
			memset(hex, '0', sizeof hex - 1);
		json_object_set_new(all, name, json_string(hex));
	}
	return all;
}

static json_t *health_status(const struct run *r)
{
	if (r->o->ready != RUN_READY_SERVICE)
		return json_null();
	const struct health *h = &r->health;
	json_t *versions = json_object();
	char hex[2 * sizeof h->version[0].sha256 + 1];
	for (size_t i = 0; i < h->version_count; i++)
		json_object_set_new(versions, h->version[i].name, json_string(hex_encode(BYTES_ARRAY(h->version[i].sha256), hex)));
	return json_pack("{s:b,s:I,s:I,s:I,s:I,s:o}", "answers", h->answers,
	                 "answered_ms_ago", h->answered_ms == 0 ? (json_int_t)-1 : (json_int_t)(clock_monotonic_ms() - h->answered_ms),
	                 "uptime_ms", (json_int_t)h->uptime_ms, "jobs_running", (json_int_t)h->jobs_running,
	                 "jobs_queued", (json_int_t)h->jobs_queued, "versions", versions);
}

static json_t *on_status(struct admin *a)
{
	struct run *r = CONTAINER_OF(a, struct run, admin);
	const struct backend *b = r->b;
	if (r->phase == RUNNING && r->o->ready == RUN_READY_SERVICE)
		health_ask(&r->health);          /* for the next one who looks */
	return json_pack("{s:s,s:s,s:b,s:b,s:s,s:i,s:i,s:I,s:I,s:s,s:s*,s:s*,s:I,s:o,s:o,s:o}",
	                 "name", r->o->name, "backend", b->ops->name, "simulated", b->ops->simulated, "debug", b->debug,
	                 "phase", phase_name[r->phase], "pid", (int)getpid(), "enclave_pid", (int)b->pid,
	                 "cid", (json_int_t)b->cid, "uptime_ms", (json_int_t)(clock_monotonic_ms() - r->started_ms),
	                 "service", r->address, "gateway", r->o->listen, "root", b->root[0] != '\0' ? b->root : NULL,
	                 "heartbeats", (json_int_t)r->heartbeat.beats, "pcrs", registers(b), "health", health_status(r),
	                 "control", collector_status(&r->collector));
}

static void on_stop(struct admin *a, bool force)
{
	struct run *r = CONTAINER_OF(a, struct run, admin);
	log_info("stopping: the operator asked for it");
	if (force)
		enter(r, STOPPING);
	else
		press(r);
}

/* --- starting --------------------------------------------------------------------------------------------------- */

static int watch_signals(struct run *r, struct err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r->signals.on_event = on_signal;
	if (fd < 0 || loop_add(&r->loop, &r->signals, fd, EPOLLIN) < 0)
		return fail(err, errno, "watch signals");
	return 0;
}

static int open_heartbeat(struct run *r, struct err *err)
{
	int fd;
	r->heartbeat.on_beat = on_beat;
	if (r->b->ops->listen == NULL)
		return r->o->ready == RUN_READY_HEARTBEAT ? fail(err, 0, "a %s enclave has no heartbeat to wait for", r->b->ops->name) : 0;
	int ret = r->b->ops->listen(r->b, PORT_HEARTBEAT, &fd, err);
	return ret < 0 ? ret : heartbeat_open(&r->heartbeat, r->b, fd, err);
}

static int open_console(struct run *r, struct err *err)
{
	int fd;
	r->admin.why_no_console = r->b->ops->console == NULL ? "this backend has no console"
		: "the console can be read in debug mode only (run --debug), in which documents show zero registers";
	if (r->b->ops->console == NULL || !r->b->debug)
		return 0;
	int ret = r->b->ops->console(r->b, &fd, err);
	if (ret < 0)
		return ret;
	r->console.on_event = on_console;
	ret = loop_add(&r->loop, &r->console, fd, EPOLLIN);
	if (ret < 0) {
		close(fd);
		return fail(err, -ret, "watch the console");
	}
	r->admin.console = &r->console_kept;
	return 0;
}

static int open_admin(struct run *r, struct err *err)
{
	r->admin.status = on_status;
	r->admin.stop = on_stop;
	r->logs.lines = true;
	r->admin.logs = &r->logs;
	return admin_open(&r->admin, &r->loop, r->admin_path, err);
}

/* The gateway's user cannot make it where only root may. */
static int make_keep_dir(const char *path, uid_t uid, struct err *err)
{
	int ret = make_path_to(path, 0755, err);
	bool made = ret == 0 && mkdir(path, 0700) == 0;
	if (ret == 0 && !made && errno != EEXIST)
		return fail(err, errno, "make the directory %s", path);
	return made && uid != 0 && chown(path, uid, (gid_t)uid) != 0 ? fail(err, errno, "give %s to the gateway", path) : ret;
}

/* It does not get to the instance's directory by itself, so it is given its operator socket; and as it may not be able
 * to read the configuration either, what that says comes as options. The last of an option counts. */
static int start_gateway(struct run *r, struct err *err)
{
	char address[RUN_DIR_MAX + 32];
	snprintf(address, sizeof address, "unix:%s/operator.sock", r->dir.path);
	if (r->o->listen == NULL)
		return 0;
	int ret = listener_open(r->o->operator != NULL ? r->o->operator : address, 0666, &r->operator, err);
	if (ret < 0)
		return ret;
	uid_t uid = geteuid() == 0 ? UID_GATEWAY : 0;
	if (r->o->gateway_keep_dir != NULL && (ret = make_keep_dir(r->o->gateway_keep_dir, uid, err)) < 0)
		return ret;
	const char *argv[2 + SETTINGS_WORDS_MAX + 5] = { r->o->self, "gateway" };
	size_t n = 2;
	for (size_t i = 0; r->o->gateway != NULL && i < r->o->gateway->n; i++)
		argv[n++] = r->o->gateway->word[i];
	const char *const own[] = { "--listen", r->o->listen, "--enclave", r->address, NULL };
	memcpy(argv + n, own, sizeof own);
	struct child_spec spec = {
		.name = "gateway", .argv = argv, .fds = { { "operator", r->operator.fd } }, .keep_stdout = true,
		.uid = uid, .death_signal = SIGKILL,
	};
	r->gateway.on_exit = on_gateway_exit;
	ret = child_start(&r->gateway, &r->loop, &spec, err);
	close_fd(&r->operator.fd);
	return ret;
}

/* For the gateway and tee-rex upload, which are told the path and not the CID. */
static int leave_address(const struct run *r, struct err *err)
{
	if (strncmp(r->address, "unix:", 5) != 0 && symlink(r->address, r->service_path) != 0)
		return fail(err, errno, "say in %s where the service listens", r->service_path);
	return 0;
}

/* Everything up to a booting enclave. */
static int start(struct run *r, struct err *err)
{
	int ret = watch_signals(r, err);
	if (ret == 0)
		ret = open_heartbeat(r, err);
	if (ret == 0)
		ret = open_control(r, err);
	if (ret == 0)
		ret = open_admin(r, err);
	r->started_ms = clock_monotonic_ms();
	if (ret == 0)
		ret = r->b->ops->start(r->b, err);
	if (ret < 0)
		return ret;
	r->alive = true;
	r->b->ops->address(r->b, r->address);
	r->health.on_result = on_health;
	ret = leave_address(r, err);
	if (ret == 0)
		ret = open_console(r, err);
	if (ret == 0)
		ret = health_open(&r->health, &r->loop, r->address, err);
	if (ret == 0)
		ret = start_gateway(r, err);
	if (ret == 0)
		timer_arm(&r->loop, &r->ready_poll, 0);
	else
		enter(r, STOPPING);              /* it runs already */
	return ret;
}

static int prepare(struct run *r, struct err *err)
{
	int ret = r->b->ops->prepare(r->b, err);
	if (ret == 0)
		ret = run_dir_open(&r->dir, r->o->name, err);
	if (ret == 0)
		ret = loop_open(&r->loop, err);
	snprintf(r->service_path, sizeof r->service_path, "%s/service.sock", r->dir.path);
	snprintf(r->admin_path, sizeof r->admin_path, "%s/admin.sock", r->dir.path);
	return ret;
}

/* With the enclave's own last words about it, when there are any. */
static const struct err *whole_cause(const struct run *r, const struct err *err, struct err *ret)
{
	const char *inside = r->collector.shutdown[0] != '\0' ? r->collector.shutdown : r->collector.last_death;
	if (inside[0] == '\0')
		return err;
	fail(ret, 0, "%.250s; the enclave said: %.200s", err->text, inside);
	return ret;
}

/* Nothing runs yet and no signal is blocked: one ends this. */
static void back_off(struct run *r)
{
	struct history h;
	struct err ignored;
	char word[64];
	int64_t ms = history_load(r->o->name, &h, &ignored) < 0 ? 0 : history_delay_ms(&h);
	if (ms == 0)
		return;
	log_info("the last life was short: %s; waiting %lld s before the next", h.death[0] != '\0' ? h.death : "it was killed", (long long)(ms / 1000));
	snprintf(word, sizeof word, "STATUS=waiting %lld s before the next start", (long long)(ms / 1000));
	notify_say(&r->notify, word);
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

int run_enclave(const struct run_options *o, struct err *err)
{
	static struct run r;
	r = (struct run){
		.o = o, .b = o->backend, .dir = RUN_DIR_NONE, .signals.fd = -1, .console.fd = -1, .control.fd = -1, .operator.fd = -1,
		.phase_timer.on_expiry = on_phase_timer, .ready_poll.on_expiry = on_ready_poll, .watchdog.on_expiry = on_watchdog,
	};
	r.owner = (struct backend_owner){
		.loop = &r.loop, .name = o->name, .dir = r.dir.path, .service_path = r.service_path,
		.service_gid = geteuid() == 0 ? UID_GATEWAY : 0, .on_event = on_backend_event,
	};
	r.b->owner = &r.owner;
	notify_open(&r.notify);
	struct err ignored, cause;
	if (o->backoff)
		back_off(&r);
	int ret = prepare(&r, err);
	/* an instance that cannot even be prepared has failed, too, unless another of its name runs */
	if (ret < 0 && r.dir.lock < 0)
		run_dir_open(&r.dir, o->name, &ignored);
	if (r.dir.lock >= 0 && history_begin(o->name, &ignored) < 0)
		log_warn("this start will not be remembered: %s", ignored.text);
	if (ret == 0)
		ret = start(&r, err);
	struct err loop_err;
	while ((r.alive || child_running(&r.gateway)) && loop_once(&r.loop, -1, &loop_err) == 0)
		;
	health_close(&r.health);
	heartbeat_close(&r.heartbeat);
	close_control(&r);
	if (ret == 0 && r.result < 0) {
		*err = r.why;
		ret = r.result;
	} else if (ret == 0 && r.b->result < 0) {
		*err = r.b->why;
		ret = r.b->result;
	}
	r.b->ops->close(r.b);
	listener_close(&r.operator);
	admin_close(&r.admin);
	if (r.dir.lock >= 0)
		history_end(o->name, ret < 0 ? whole_cause(&r, err, &cause) : NULL, &ignored);
	run_dir_close(&r.dir);
	notify_close(&r.notify);
	return ret;
}
