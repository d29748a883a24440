/* Time and bytes of one run. What comes is judged when it comes, by the bytes sent until then: an answer
 * may come early, but never for what has not been said yet. */
#include "hostile_lane.h"

#include "hostile_answer.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#include <sys/socket.h>

enum { IN_START = 8 << 10, RETRY_MS = 2, FLOOD_SIZE = 4096, EVENTS_MAX = 200 };

/* --- the end of a run --------------------------------------------------------------------------------------------- */

static void hang_up(struct lane *l)
{
	timer_disarm(&l->deadline);
	timer_disarm(&l->act);
	timer_disarm(&l->reading);
	int fd = l->watch.fd;
	loop_del(l->host->loop, &l->watch);
	if (fd >= 0)
		close(fd);
	while (l->extra_n > 0)
		close(l->extra[--l->extra_n]);
	l->on_act = NULL;
}

static void end_run(struct lane *l, unsigned ended, const char *fault)
{
	hang_up(l);
	l->host->on_end(l, ended, fault);
}

static void close_lane(struct lane *l, unsigned ended) { end_run(l, ended, NULL); }

static void end_badly(struct lane *l, const char *what) { end_run(l, l->answered ? (unsigned)l->code : ENDED_SILENT, what); }

static struct verdict judge(const struct lane *l)
{
	struct verdict v;
	hostile_judge(l->host->material, bytes_of(l->script.bytes, l->sent), &v);
	return v;
}

static void on_deadline(struct timer *t)
{
	struct lane *l = CONTAINER_OF(t, struct lane, deadline);
	end_badly(l, l->answered && l->script.linger ? "answered, and not cut off by the deadline" :
	             l->answered ? "answered, but the connection stays open" : "no answer");
}

static void on_act(struct timer *t)
{
	struct lane *l = CONTAINER_OF(t, struct lane, act);
	l->on_act(l);
}

static void act_in(struct lane *l, unsigned ms, void (*what)(struct lane *l))
{
	l->on_act = what;
	timer_arm(l->host->loop, &l->act, ms);
}

static void leave_now(struct lane *l) { close_lane(l, l->answered ? (unsigned)l->code : ENDED_LEFT); }

/* --- what comes --------------------------------------------------------------------------------------------------- */

static void set_events(struct lane *l)
{
	bool write = !l->all_sent && !l->write_broken && l->on_act == NULL;
	loop_set(l->host->loop, &l->watch, (l->may_read ? (uint32_t)EPOLLIN : 0) | (write ? (uint32_t)EPOLLOUT : 0));
}

/* The final frame is there: is it the right one? */
static bool judge_answer(struct lane *l, const struct frame *f)
{
	struct verdict v = judge(l);
	struct frame_error e;
	if (f->kind == FRAME_REPLY) {
		const char *fault = v.codes & CODE(OUTCOME_OK) ? hostile_reply_fault(l->host->material, &v, f->payload) :
		                    "a reply that these bytes do not deserve";
		if (fault != NULL) {
			end_badly(l, fault);
			return false;
		}
		l->code = OUTCOME_OK;
		l->replied = v.op;
	} else if (!frame_error_parse(f->payload, &e)) {
		end_badly(l, "a malformed error");
		return false;
	} else {
		int64_t took = clock_monotonic_ms() - l->began_ms;
		l->code = e.code;
		bool late = e.code == OUTCOME_TIMED_OUT && took + 20 >= l->host->stage_ms;
		if (!(v.codes & CODE(e.code)) && !late) {
			char what[400], text[4 * FRAME_MESSAGE_MAX + 1];
			snprintf(what, sizeof what, "answered %s: %.300s", outcome_name(e.code), text_escape(e.message, text, sizeof text));
			end_badly(l, what);
			return false;
		}
	}
	l->answered = true;
	timer_arm(l->host->loop, &l->deadline, l->host->patience_ms);
	l->right = l->code == OUTCOME_OK || (v.prove != NULL && l->code == v.prove->code);
	return true;
}

static bool judge_event(struct lane *l, struct bytes payload)
{
	struct verdict v = judge(l);
	const char *fault = v.may_run ? hostile_event_fault(payload) : "an event for an exchange that has none";
	if (fault == NULL && ++l->events > EVENTS_MAX)
		fault = "too many events";
	if (fault != NULL) {
		end_badly(l, fault);
		return false;
	}
	if (l->script.end == END_CLOSE_ON_EVENT && l->all_sent && l->on_act == NULL)
		act_in(l, l->script.end_ms, leave_now);
	return true;
}

/* Takes the frames that are there. False when the run is over. */
static bool take_frames(struct lane *l)
{
	size_t at = 0;
	for (;;) {
		struct frame f;
		size_t used = 0;
		enum frame_result r = frame_parse(bytes_of(l->in + at, l->in_n - at), &f, &used);
		if (l->answered && l->in_n > at) {
			end_badly(l, "something after the answer");
			return false;
		}
		if (r == FRAME_MORE) {
			memmove(l->in, l->in + at, l->in_n - at);
			l->in_n -= at;
			if (used > l->in_cap) {
				l->in = realloc(l->in, used);
				l->in_cap = used;
			}
			return true;
		}
		if (r != FRAME_OK || (f.kind != FRAME_EVENT && f.kind != FRAME_REPLY && f.kind != FRAME_ERROR)) {
			end_badly(l, r != FRAME_OK ? "something that is no frame" : "a frame that only a client sends");
			return false;
		}
		if (!(f.kind == FRAME_EVENT ? judge_event(l, f.payload) : judge_answer(l, &f)))
			return false;
		at += used;
	}
}

static void flood_on(struct lane *l);

/* The prover has nothing more to say. */
static void on_end(struct lane *l)
{
	if (l->answered) {
		if (!l->script.linger) {
			close_lane(l, l->code);
			return;
		}
		/* it must not wait for ever for us to close */
		timer_disarm(&l->reading);
		l->may_read = false;
		l->all_sent = true;
		set_events(l);
		timer_arm(l->host->loop, &l->deadline, l->host->stage_ms + l->host->patience_ms);
		act_in(l, 5, flood_on);
		return;
	}
	struct verdict v = judge(l);
	/* who half-closes cancels a job, and is not answered before the end of what it sends */
	if (l->script.deaf && clock_monotonic_ms() - l->began_ms >= l->host->stage_ms)
		close_lane(l, ENDED_SILENT);     /* it has stopped talking to a wall */
	else if (!l->half_closed)
		end_badly(l, "closed without an answer");
	else if (v.owed && !v.may_run)
		end_badly(l, "closed without the answer it owes");
	else
		close_lane(l, ENDED_SILENT);
}

static void flood_on(struct lane *l)
{
	static const uint8_t junk[FLOOD_SIZE];
	if (send(l->watch.fd, junk, sizeof junk, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
		close_lane(l, l->code);          /* cut off */
		return;
	}
	act_in(l, 20, flood_on);
}

static void receive(struct lane *l)
{
	size_t room = l->in_cap - l->in_n;
	ssize_t n = recv(l->watch.fd, l->in + l->in_n, room < l->script.read_piece ? room : l->script.read_piece, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {                            /* ECONNRESET: it closed before it had read everything */
		on_end(l);
		return;
	}
	l->in_n += (size_t)n;
	take_frames(l);
}

/* how long a deaf one does not read: longer than the prover goes on trying */
static int64_t deaf_ms(const struct lane *l) { return l->script.deaf ? l->host->stage_ms + 500 : 0; }

/* --- what goes --------------------------------------------------------------------------------------------------- */

static void half_close(struct lane *l)
{
	l->half_closed = true;
	shutdown(l->watch.fd, SHUT_WR);
	l->on_act = NULL;
	set_events(l);
}

static void go_on(struct lane *l)
{
	l->on_act = NULL;
	set_events(l);
}

static void after_sending(struct lane *l)
{
	l->all_sent = true;
	set_events(l);
	struct verdict v = judge(l);
	if (v.owed && !l->answered)              /* there is nothing left to wait for */
		timer_arm(l->host->loop, &l->deadline, l->host->patience_ms + deaf_ms(l));
	if (l->script.end == END_CLOSE)
		act_in(l, l->script.end_ms, leave_now);
	else if (l->script.end == END_HALF_CLOSE)
		act_in(l, l->script.end_ms, half_close);
	else if (l->script.end == END_CLOSE_ON_EVENT && l->events > 0)
		act_in(l, l->script.end_ms, leave_now);
}

static void send_some(struct lane *l)
{
	struct script *s = &l->script;
	size_t until = l->pause < s->pauses ? s->pause[l->pause].at : s->n;
	size_t n = until - l->sent < s->piece ? until - l->sent : s->piece;
	if (n > 0) {
		ssize_t sent = send(l->watch.fd, s->bytes + l->sent, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EINTR) {
			l->write_broken = true;          /* it has answered and closed */
			set_events(l);
			return;
		}
		l->sent += sent > 0 ? (size_t)sent : 0;
	}
	if (l->sent < until)
		return;
	if (l->pause < s->pauses) {
		act_in(l, s->pause[l->pause++].ms, go_on);
		set_events(l);
		return;
	}
	after_sending(l);
}

static void on_event(struct watch *w, uint32_t events)
{
	struct lane *l = CONTAINER_OF(w, struct lane, watch);
	if (!l->may_read && l->answered) {               /* lingering: EPOLLHUP is all there is */
		close_lane(l, l->code);
		return;
	}
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && !l->all_sent && !l->write_broken && l->on_act == NULL)
		send_some(l);
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && l->may_read)
		receive(l);
}

/* --- beginning --------------------------------------------------------------------------------------------------- */

static int connect_one(const struct lane *l)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&l->host->address, sizeof l->host->address) == 0)
		return fd;
	close_fd(&fd);
	return -1;
}

static void on_reading(struct timer *t)
{
	struct lane *l = CONTAINER_OF(t, struct lane, reading);
	l->may_read = true;
	set_events(l);
}

static void begin(struct lane *l)
{
	int fd = connect_one(l);
	if (fd < 0) {                            /* its backlog is full */
		act_in(l, RETRY_MS, begin);
		return;
	}
	l->sent = l->pause = l->events = 0;
	l->all_sent = l->write_broken = l->half_closed = l->answered = l->right = false;
	l->in_n = 0;
	l->on_act = NULL;
	while (l->extra_n < l->script.extra && (l->extra[l->extra_n] = connect_one(l)) >= 0)
		if (l->extra_n++ % 2 == 0 && send(l->extra[l->extra_n - 1], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			errno = 0;
	l->began_ms = clock_monotonic_ms();
	l->watch.on_event = on_event;
	int64_t read_ms = l->script.read_ms + deaf_ms(l);
	l->may_read = read_ms == 0;
	if (loop_add(l->host->loop, &l->watch, fd, EPOLLOUT) < 0)
		abort();
	set_events(l);
	if (!l->may_read)
		timer_arm(l->host->loop, &l->reading, read_ms);
	/* request, body and reply each have the stage's time */
	timer_arm(l->host->loop, &l->deadline, 3 * l->host->stage_ms + l->host->patience_ms);
}

const char *lane_ended_name(unsigned e)
{
	return e == ENDED_LEFT ? "left" : e == ENDED_SILENT ? "closed-unanswered" : outcome_name((enum outcome)e);
}

void lane_init(struct lane *l, struct lane_host *host)
{
	*l = (struct lane){ .host = host, .watch = { .fd = -1 }, .deadline = { .on_expiry = on_deadline },
	                    .act = { .on_expiry = on_act }, .reading = { .on_expiry = on_reading },
	                    .in = malloc(IN_START), .in_cap = IN_START };
}

void lane_play(struct lane *l, unsigned delay_ms)
{
	l->began_ms = clock_monotonic_ms();
	act_in(l, delay_ms, begin);
}

void lane_free(struct lane *l)
{
	free(l->in);
	l->in = NULL;
}
