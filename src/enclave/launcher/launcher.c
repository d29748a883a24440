/* One packet a turn, answered or begun at once; what takes time is told later by the slot's handler.
 * Answers that do not fit the socket wait in a fixed queue, and while they do nothing is read, so the
 * queue is bounded: past the packet being answered, a slot can have one OPENED or ENDED and its FAILED
 * and CLOSED outstanding. */
#include "enclave/launcher/launcher.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "enclave/launcher/probe.h"
#include "enclave/launcher/unsafe.h"
#include "linux/fdpass.h"
#include "linux/sandbox.h"
#include "linux/seal.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

_Static_assert(LAUNCHER_SEND_QUEUE > 3 * LAUNCH_SLOTS_MAX + 1, "the queue holds the most that can be outstanding");

static void stop(struct launcher *l, int exit_code)
{
	if (l->stopping)
		return;
	l->stopping = true;
	l->exit_code = exit_code;
	l->loop.stop = true;
}

/* --- messages out ------------------------------------------------------------------------------------ */
static struct launcher *launcher_of(struct slot *s) { return CONTAINER_OF(s->host, struct launcher, host); }

static void watch_prover(struct launcher *l)
{
	loop_set(&l->loop, &l->prover, l->queue_n > 0 ? EPOLLOUT : EPOLLIN);
}

/* A send failed for good. A prover that is gone is the usual end; anything else is ours. */
static void give_up_prover(struct launcher *l, int error)
{
	bool gone = error == EPIPE || error == ECONNRESET;
	if (gone)
		log_info("the prover is gone; ending all jobs");
	else
		log_error("cannot answer the prover: %s; stopping", strerror(error));
	stop(l, gone ? 0 : 1);
}

/* Sends or queues; fd is borrowed, -1 for none. */
static void send_message(struct launcher *l, const struct launch_message *m, int fd)
{
	uint8_t buf[LAUNCH_MESSAGE_MAX];
	struct writer w = writer_of(buf, sizeof buf);

	if (l->stopping)
		return;
	launch_put(&w, m);
	struct bytes packet = writer_bytes(&w);
	int bad = l->queue_n > 0 ? -EAGAIN : fdpass_send(l->prover.fd, packet, &fd, fd >= 0);
	if (bad == 0)
		return;
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (bad != -EAGAIN || l->queue_n == LAUNCHER_SEND_QUEUE || (fd >= 0 && copy < 0)) {
		close_fd(&copy);
		give_up_prover(l, bad != -EAGAIN ? -bad : ENOBUFS);
		return;
	}
	struct queued *q = &l->queue[(l->queue_head + l->queue_n++) % LAUNCHER_SEND_QUEUE];
	memcpy(q->bytes, packet.p, packet.n);
	q->n = packet.n;
	q->fd = copy;
	watch_prover(l);
}

static void send_queued(struct launcher *l)
{
	while (l->queue_n > 0) {
		struct queued *q = &l->queue[l->queue_head];
		int bad = fdpass_send(l->prover.fd, bytes_of(q->bytes, q->n), &q->fd, q->fd >= 0);
		if (bad == -EAGAIN)
			return;
		if (bad != 0) {
			give_up_prover(l, -bad);
			return;
		}
		close_fd(&q->fd);
		l->queue_head = (l->queue_head + 1) % LAUNCHER_SEND_QUEUE;
		l->queue_n--;
	}
	watch_prover(l);
}

static void send_plain(struct slot *s, enum launch_kind kind, int fd)
{
	send_message(launcher_of(s), &(struct launch_message){ .kind = kind, .slot = s->number }, fd);
}

static void send_failed(struct launcher *l, uint8_t slot, enum outcome how, const char *text)
{
	log_warn("slot %u: %s: %s", slot, outcome_name(how), text);
	send_message(l, &(struct launch_message){ .kind = LAUNCH_FAILED, .slot = slot, .how = how, .text = bytes_str(text) }, -1);
}

/* --- what slots tell ----------------------------------------------------------------------------------- */
static void on_opened(struct slot *s) { send_plain(s, LAUNCH_OPENED, s->input); }
static void on_failed(struct slot *s, const char *text) { send_failed(launcher_of(s), s->number, OUTCOME_INTERNAL, text); }
static void on_closed(struct slot *s) { send_plain(s, LAUNCH_CLOSED, -1); }

static void on_ended(struct slot *s, const struct launch_message *m, int proof)
{
	/* no figures: the log may be read outside the enclave */
	log_info("slot %u: job ended: %s%s%.*s", s->number, outcome_name(m->how), m->text.n > 0 ? ": " : "",
	         (int)m->text.n, m->text.n > 0 ? (const char *)m->text.p : "");
	send_message(launcher_of(s), m, proof);
}

static const struct slot_handler handler = { on_opened, on_failed, on_ended, on_closed };

/* --- messages in --------------------------------------------------------------------------------------- */
typedef enum outcome action(struct slot *s, const struct launch_message *m, int fd, struct err *err);

static enum outcome act_open(struct slot *s, const struct launch_message *m, int fd, struct err *err)
{
	(void)fd;
	return slot_open(s, m->payload_bytes, err);
}

static enum outcome act_start(struct slot *s, const struct launch_message *m, int fd, struct err *err)
{
	return slot_start(s, fd, m->memory_bytes, m->deadline_ms, err);
}

static enum outcome act_cancel(struct slot *s, const struct launch_message *m, int fd, struct err *err)
{
	(void)m, (void)fd, (void)err;
	slot_cancel(s);
	return OUTCOME_OK;
}

static enum outcome act_close(struct slot *s, const struct launch_message *m, int fd, struct err *err)
{
	(void)m, (void)fd, (void)err;
	slot_close(s);
	return OUTCOME_OK;
}

static enum outcome act_closed_already(struct slot *s, const struct launch_message *m, int fd, struct err *err)
{
	(void)m, (void)fd, (void)err;
	send_plain(s, LAUNCH_CLOSED, -1);
	return OUTCOME_OK;
}

/* CANCEL crossed the ENDED on the wire. */
static enum outcome act_ignore(struct slot *s, const struct launch_message *m, int fd, struct err *err)
{
	(void)s, (void)m, (void)fd, (void)err;
	return OUTCOME_OK;
}

static action *const on_message[SLOT_STATE_COUNT][LAUNCH_CLOSE + 1] = {      /* absent = out of order */
	[SLOT_CLOSED]  = { [LAUNCH_OPEN] = act_open, [LAUNCH_CLOSE] = act_closed_already },
	[SLOT_OPENING] = { [LAUNCH_CLOSE] = act_close },
	[SLOT_OPEN]    = { [LAUNCH_START] = act_start, [LAUNCH_CLOSE] = act_close },
	[SLOT_RUNNING] = { [LAUNCH_CANCEL] = act_cancel, [LAUNCH_CLOSE] = act_close },
	[SLOT_ENDED]   = { [LAUNCH_CANCEL] = act_ignore, [LAUNCH_CLOSE] = act_close },
	[SLOT_CLOSING] = { [LAUNCH_CLOSE] = act_close },
};

static const char *const state_words[SLOT_STATE_COUNT] = { "closed", "opening", "open", "running", "ended", "closing" };
static const char *const kind_words[] = { "", "OPEN", "START", "CANCEL", "CLOSE" };

static void act(struct launcher *l, struct bytes packet, const struct fdpass_packet *p)
{
	struct launch_message m;
	struct err err;

	if (!launch_parse(packet, &m) || m.kind > LAUNCH_CLOSE) {
		uint8_t number = packet.n >= 2 && packet.p[1] < LAUNCH_SLOTS_MAX ? packet.p[1] : 0;
		send_failed(l, number, OUTCOME_BAD_REQUEST, "not one of the messages OPEN, START, CANCEL, CLOSE");
		return;
	}
	if (m.slot >= l->config->slots) {
		fail(&err, 0, "there is no such slot; slots = %u are configured", l->config->slots);
		send_failed(l, m.slot, OUTCOME_BAD_REQUEST, err.text);
		return;
	}
	struct slot *s = &l->slot[m.slot];
	if (p->fd_count != (m.kind == LAUNCH_START)) {
		fail(&err, 0, "%s came with %zu descriptors; %s", kind_words[m.kind], p->fd_count,
		     m.kind == LAUNCH_START ? "one, the program, is wanted" : "none is wanted");
		send_failed(l, m.slot, OUTCOME_BAD_REQUEST, err.text);
		return;
	}
	if (m.kind == LAUNCH_OPEN && launcher_check_crs(l, &err) != 0) {
		send_failed(l, m.slot, OUTCOME_INTERNAL, err.text);
		stop(l, 1);
		return;
	}
	action *a = on_message[s->state][m.kind];
	if (a == NULL) {
		fail(&err, 0, "%s of a slot that is %s", kind_words[m.kind], state_words[s->state]);
		send_failed(l, m.slot, OUTCOME_BAD_REQUEST, err.text);
		return;
	}
	enum outcome how = a(s, &m, p->fd_count > 0 ? p->fd[0] : -1, &err);
	if (how != OUTCOME_OK)
		send_failed(l, m.slot, how, err.text);
}

static void on_prover(struct watch *w, uint32_t events)
{
	struct launcher *l = CONTAINER_OF(w, struct launcher, prover);
	uint8_t buf[LAUNCH_MESSAGE_MAX];
	struct fdpass_packet p;

	if (l->queue_n > 0) {
		if (events & (EPOLLHUP | EPOLLERR))
			give_up_prover(l, EPIPE);
		else
			send_queued(l);
		return;
	}
	int bad = fdpass_receive(w->fd, buf, sizeof buf, true, &p);
	if (bad == -EAGAIN)
		return;
	if (bad == -EMSGSIZE || bad == -E2BIG) {
		send_failed(l, 0, OUTCOME_BAD_REQUEST, bad == -E2BIG ? "a message with too many descriptors" : "a message too long for any kind");
		return;
	}
	if (bad != 0 || p.size == 0) {
		give_up_prover(l, EPIPE);
		return;
	}
	act(l, bytes_of(buf, p.size), &p);
	fdpass_close(&p);
}

/* --- life ------------------------------------------------------------------------------------------------ */
static void on_signal(struct watch *w, uint32_t events)
{
	struct launcher *l = CONTAINER_OF(w, struct launcher, signals);
	struct signalfd_siginfo si;
	(void)events;
	if (read(w->fd, &si, sizeof si) != sizeof si)
		return;
	log_info("%s; ending all jobs", strsignal((int)si.ssi_signo));
	stop(l, 0);
}

static int watch_signals(struct launcher *l, struct err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);        /* inherited as ignored, it would reap keepers behind our back */
	if (sigprocmask(SIG_SETMASK, &set, NULL) != 0)
		return fail(err, errno, "block signals");
	l->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->signal_fd < 0)
		return fail(err, errno, "signalfd");
	l->signals.on_event = on_signal;
	int bad = loop_add(&l->loop, &l->signals, l->signal_fd, EPOLLIN);
	return bad != 0 ? fail(err, -bad, "watch for signals") : 0;
}

static uint32_t usable_cpus(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

/* Before the first cell is built: that one shows that all of them can be. */
static int seal(struct err *err)
{
	bool seccomp = false;
	if (guard_off("sealed-launcher"))
		return 0;
	int bad = seal_launcher(&seccomp, err);
	if (bad == 0)
		log_info("sealed: capabilities=%s seccomp=%s", sandbox_privileged() ? "7" : "none", seccomp ? "yes" : "NO (not in this kernel)");
	return bad;
}

int launcher_open(struct launcher *l, const struct config *config, struct err *err)
{
	*l = (struct launcher){ .config = config, .signal_fd = -1, .prover.fd = -1, .signals.fd = -1, .loop.epoll_fd = -1 };
	l->host = (struct slot_host){
		.loop = &l->loop, .config = config, .homes = &l->homes,
		.own_ids = sandbox_privileged(),
		.threads = config->recipe.threads != 0 ? config->recipe.threads : usable_cpus(),
		.handler = &handler,
	};
	cgroup_homes_open(&l->homes, "", getpid());
	if (!guard_off("cpu-weight") && !cgroup_homes_weigh(&l->homes, config->recipe.cpu_weight))
		log_info("no cpu cgroup: jobs count as much as the service when CPU time is short, each of their threads for itself");
	for (unsigned i = 0; i < LAUNCH_SLOTS_MAX; i++)
		slot_init(&l->slot[i], (uint8_t)i, &l->host);
	int bad = seal(err);
	if (bad == 0)
		bad = loop_open(&l->loop, err);
	if (bad == 0)
		bad = watch_signals(l, err);
	if (bad == 0 && !guard_off("crs-hash"))
		bad = crs_look(config, l->host.own_ids, &l->host.crs, err);
	if (bad == 0)
		bad = probe_guards(&l->slot[0], &l->guards, err);
	if (bad != 0)
		launcher_close(l);
	return bad;
}

int launcher_check_crs(struct launcher *l, struct err *err)
{
	int bad = l->crs_checked || guard_off("crs-hash") ? 0 : crs_check(l->config, &l->host.crs, err);
	l->crs_checked = bad == 0;
	return bad;
}

/* Megabytes to read and hash, which nobody needs before there is a job: when the service has become ready. */
static void on_crs_due(struct timer *t)
{
	struct launcher *l = CONTAINER_OF(t, struct launcher, crs_due);
	struct err err;
	if (launcher_check_crs(l, &err) == 0)
		return;
	log_error("%s", err.text);
	stop(l, 1);
}

/* Kills and removes everything; a slot stuck in the kernel is given up after a while. */
static void end_all(struct launcher *l)
{
	int64_t give_up = clock_monotonic_ms() + JOB_REAP_MS;
	struct err err;
	bool busy = true;

	for (unsigned i = 0; i < LAUNCH_SLOTS_MAX; i++)
		if (l->slot[i].state != SLOT_CLOSED)
			slot_close(&l->slot[i]);
	while (busy && clock_monotonic_ms() < give_up) {
		busy = false;
		for (unsigned i = 0; i < LAUNCH_SLOTS_MAX; i++)
			busy = busy || l->slot[i].state != SLOT_CLOSED;
		if (busy && loop_once(&l->loop, 100, &err) != 0)
			return;
	}
	if (busy) {
		log_error("some processes do not end after SIGKILL; leaving them to the kernel");
		l->exit_code = 1;
	}
}

/* Tells the prover that jobs can be run, and with which guards. */
static void say_ready(struct launcher *l)
{
	char line[LAUNCH_TEXT_MAX];
	struct writer w = writer_of(line, sizeof line);
	guards_line(&l->guards, &w);
	struct launch_message m = { .kind = LAUNCH_READY, .text = writer_bytes(&w) };
	send_message(l, &m, -1);
}

int launcher_serve(struct launcher *l, int prover_socket)
{
	struct err err;
	l->prover.on_event = on_prover;
	int bad = loop_add(&l->loop, &l->prover, prover_socket, EPOLLIN);
	if (bad != 0) {
		log_error("watch the prover's socket: %s", strerror(-bad));
		return 1;
	}
	say_ready(l);
	l->crs_due.on_expiry = on_crs_due;
	timer_arm(&l->loop, &l->crs_due, LAUNCHER_CRS_MS);
	if (loop_run(&l->loop, &err) != 0) {
		log_error("%s", err.text);
		stop(l, 1);
	}
	loop_del(&l->loop, &l->prover);
	for (; l->queue_n > 0; l->queue_n--) {
		close_fd(&l->queue[l->queue_head].fd);
		l->queue_head = (l->queue_head + 1) % LAUNCHER_SEND_QUEUE;
	}
	end_all(l);
	return l->exit_code;
}

void launcher_close(struct launcher *l)
{
	cgroup_homes_close(&l->homes);
	loop_close(&l->loop);
	close_fd(&l->signal_fd);
}
