/* Lines are taken from a ring into the batch, which is theirs until its last byte is written, across connections. When a
 * connection breaks, whole lines of the batch count as sent; the rest is found again in the ring, which is rewound, or,
 * when the ring has lost it since, stays in the batch and goes first. */
#include "enclave/init/events.h"

#include "base/clock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const stream_name[STREAM_COUNT] = { "event", "log" };

void events_init(struct events *e)
{
	ring_init(&e->ring[STREAM_EVENT], e->event_memory, sizeof e->event_memory);
	ring_init(&e->ring[STREAM_LOG], e->log_memory, sizeof e->log_memory);
	e->watch.fd = -1;
}

bool events_idle(const struct events *e)
{
	return e->batch_n == e->batch_at && ring_empty(&e->ring[STREAM_EVENT]) && ring_empty(&e->ring[STREAM_LOG]);
}

/* --- the connection --------------------------------------------------------------------------- */
/* What of the batch was handed over whole counts as sent; the rest begins with a line's first byte. */
static void settle_batch(struct events *e)
{
	size_t begin = 0;
	for (const uint8_t *end; (end = memchr(e->batch + begin, '\n', e->batch_at - begin)) != NULL;) {
		begin = (size_t)(end - e->batch) + 1;
		if (e->batch_is_gap)
			continue;
		if (e->batch_first >= e->sent_below[e->batch_stream]) {
			e->sent[e->batch_stream]++;
			e->sent_below[e->batch_stream] = e->batch_first + 1;
		}
		e->batch_first++;
	}
	e->batch_n -= begin;
	memmove(e->batch, e->batch + begin, e->batch_n);
	e->batch_at = 0;
}

static void hang_up(struct events *e)
{
	int fd = e->watch.fd;
	if (e->state == EVENTS_AWAY)
		return;
	loop_del(e->loop, &e->watch);
	close(fd);
	if (e->state == EVENTS_UP) {
		settle_batch(e);
		for (unsigned s = 0; s < STREAM_COUNT; s++)
			ring_rewind(&e->ring[s]);
		/* what the ring still has comes from there, in order */
		if (!e->batch_is_gap && e->ring[e->batch_stream].first <= e->batch_first) {
			uint64_t below = e->sent_below[e->batch_stream];
			ring_untake(&e->ring[e->batch_stream], below > e->batch_first ? below : e->batch_first);
			e->batch_n = 0;
		}
	}
	e->state = EVENTS_AWAY;
	timer_arm(e->loop, &e->retry, e->retry_ms);
	e->retry_ms = e->retry_ms * 2 < INIT_RECONNECT_MAX_MS ? e->retry_ms * 2 : INIT_RECONNECT_MAX_MS;
}

/* --- what goes out ---------------------------------------------------------------------------- */
/* "dropped": so many lines before the one that follows. Not in a ring, so it cannot be dropped itself. */
static void put_gap(struct events *e, struct writer *w, uint64_t gap)
{
	const struct ring *r = &e->ring[e->batch_stream];
	const struct control_field f[] = {
		control_str("stream", stream_name[e->batch_stream]), control_number("count", (int64_t)gap),
		control_number("total", (int64_t)r->dropped), CONTROL_END
	};
	control_put(w, CONTROL_DROPPED, r->cursor - gap, clock_monotonic_ms(), f);
}

/* Lines of one stream, events first; or the line about a gap before them. */
static void fill_batch(struct events *e)
{
	e->batch_stream = ring_empty(&e->ring[STREAM_EVENT]) ? STREAM_LOG : STREAM_EVENT;
	struct ring *r = &e->ring[e->batch_stream];
	struct writer w = writer_of(e->batch, sizeof e->batch);
	uint64_t gap = ring_gap(r);
	e->batch_is_gap = gap > 0;
	e->batch_first = r->cursor;
	if (gap > 0)
		put_gap(e, &w, gap);
	else
		for (size_t n; (n = ring_take(r, w.p + w.at, w.cap - w.at)) > 0; )
			w.at += n;
	e->batch_n = w.at;
	e->batch_at = 0;
}

static void pump(struct events *e)
{
	if (e->state != EVENTS_UP)
		return;
	/* a turn's worth and no more: a fast reader must not keep init from its other work */
	for (int turns = 0; turns < 4; turns++) {
		if (e->batch_at == e->batch_n) {
			settle_batch(e);
			fill_batch(e);
		}
		if (e->batch_n == 0)
			break;
		ssize_t n = send(e->watch.fd, e->batch + e->batch_at, e->batch_n - e->batch_at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			hang_up(e);
			return;
		}
		if (n < 0)
			break;
		e->batch_at += (size_t)n;
		e->retry_ms = INIT_RECONNECT_MS;
	}
	if (e->batch_at == e->batch_n)
		settle_batch(e);
	/* nothing is read, so only the end of the connection is waited for */
	loop_set(e->loop, &e->watch, EPOLLRDHUP | (events_idle(e) ? 0 : (uint32_t)EPOLLOUT));
}

static void on_event(struct watch *w, uint32_t events)
{
	struct events *e = CONTAINER_OF(w, struct events, watch);
	int error = 0;
	socklen_t n = sizeof error;
	if (e->state == EVENTS_CONNECTING) {
		if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0 || (events & EPOLLHUP)) {
			hang_up(e);
			return;
		}
		e->state = EVENTS_UP;
	} else if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
		hang_up(e);
		return;
	}
	pump(e);
}

static void connect_now(struct events *e)
{
	struct err err;
	int fd;
	if (e->dial(&fd, &err) == 0) {
		e->state = EVENTS_CONNECTING;
		if (loop_add(e->loop, &e->watch, fd, EPOLLOUT | EPOLLRDHUP) == 0)
			return;
		close(fd);
		e->state = EVENTS_AWAY;
	}
	timer_arm(e->loop, &e->retry, e->retry_ms);
	e->retry_ms = e->retry_ms * 2 < INIT_RECONNECT_MAX_MS ? e->retry_ms * 2 : INIT_RECONNECT_MAX_MS;
}

static void on_retry(struct timer *t)
{
	connect_now(CONTAINER_OF(t, struct events, retry));
}

void events_connect(struct events *e, struct loop *loop)
{
	e->loop = loop;
	e->watch.on_event = on_event;
	e->retry.on_expiry = on_retry;
	e->retry_ms = INIT_RECONNECT_MS;
	connect_now(e);
}

/* --- what comes in ---------------------------------------------------------------------------- */
static void put(struct events *e, unsigned stream, enum control_kind kind, const struct control_field *fields)
{
	uint8_t line[CONTROL_LINE_MAX];
	struct writer w = writer_of(line, sizeof line);
	control_put(&w, kind, e->ring[stream].next, clock_monotonic_ms(), fields);
	if (w.full) {                            /* too many escapes: without its texts it always fits */
		const struct control_field f[] = { control_flag("unprintable", true), CONTROL_END };
		w = writer_of(line, sizeof line);
		control_put(&w, kind, e->ring[stream].next, clock_monotonic_ms(), f);
	}
	ring_put(&e->ring[stream], writer_bytes(&w));
	if (e->state == EVENTS_UP && !(e->watch.events & EPOLLOUT))
		loop_set(e->loop, &e->watch, EPOLLRDHUP | EPOLLOUT);
}

void events_tell(struct events *e, enum control_kind kind, const struct control_field *fields)
{
	put(e, STREAM_EVENT, kind, fields);
}

void events_log(struct events *e, const char *service, struct bytes line, bool cut)
{
	const struct control_field f[] = {
		control_str("service", service), control_text("text", line),
		cut ? control_flag("cut", true) : (struct control_field)CONTROL_END, CONTROL_END
	};
	put(e, STREAM_LOG, CONTROL_LOG, f);
}

void events_last_words(const struct events *e, struct bytes line)
{
	if (e->state == EVENTS_UP && send(e->watch.fd, line.p, line.n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;                          /* nobody is left to tell */
}
