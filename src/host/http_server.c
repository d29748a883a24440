/* One thread, no allocation for a connection beyond itself while it is idle. Input is read into one buffer of the
 * server's; only what a request cannot take at once is copied into a buffer of the connection, and the sum of those
 * is bounded. What is waited for is told to epoll only when it changes from what was told before, so a request
 * that is answered at once costs one recv and one sendmsg.
 *
 * Connections are watched for edges, which spares the kernel a second look at each that had its turn. What an edge
 * told and was not used up is asked for again (see rearm), and so nothing waits for an edge that has been: a read that
 * came back short has taken all there was.
 *
 * Clients are distrusted: every stage has a deadline, which a sweep once a second enforces. When connections run
 * out, the one that has waited longest to send a request makes room. A client that shuts down its sending side
 * while an answer is awaited counts as gone: one that has vanished looks the same.
 *
 * The last answer on a connection is followed by a shutdown and then by reading into nothing for a while: closing
 * with unread input would reset the connection and take the answer away before the client has read it. */
#include "host/http_server.h"

#include "base/clock.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	SWEEP_MS = 1000,
	ACCEPTS_PER_WAKE_UP = 64, READS_PER_WAKE_UP = 2, EXCHANGES_PER_TURN = 32,
	EVICT_AFTER_MS = 1000,
	HELD_BODY_MAX = 64 << 10,        /* rest of a body that is read before an early answer */
	BUF_START = 1 << 10,
	HEAD_EXTRA_MAX = 256             /* status line, Date, Content-Length, Connection */
};

static void run(struct http_conn *c);

/* --- lists and deadlines ---------------------------------------------------------------------------------- */

static void list(struct http_conn *c, bool as_head)
{
	struct http_server *s = c->server;
	c->listed_head = as_head;
	if (as_head)
		TAILQ_INSERT_TAIL(&s->heads, c, link);
	else
		TAILQ_INSERT_TAIL(&s->others, c, link);
}

static void unlist(struct http_conn *c)
{
	struct http_server *s = c->server;
	if (c->listed_head)
		TAILQ_REMOVE(&s->heads, c, link);
	else
		TAILQ_REMOVE(&s->others, c, link);
}

static void enter(struct http_conn *c, enum http_stage stage)
{
	const struct http_limits *l = &c->server->limits;
	const int64_t ms[] = {
		[HTTP_HEAD] = l->head_ms, [HTTP_BODY] = l->body_ms, [HTTP_REPLY] = l->reply_ms, [HTTP_LINGER] = l->linger_ms,
	};
	c->stage = stage;
	c->moved_ms = c->server->now_ms;
	c->deadline_ms = stage == HTTP_WAIT ? INT64_MAX : c->moved_ms + ms[stage];       /* WAIT is the handler's time */
	if (stage == HTTP_HEAD || c->listed_head) {
		unlist(c);
		list(c, stage == HTTP_HEAD);
	}
}

/* For calls that come from elsewhere than the server's own events. */
static void note_time(struct http_conn *c)
{
	if (!c->running)
		c->server->now_ms = clock_monotonic_ms();
}

static void schedule(struct http_conn *c)
{
	if (c->queued || c->running)
		return;
	c->queued = true;
	TAILQ_INSERT_TAIL(&c->server->runnable, c, run_link);
	timer_arm(c->server->loop, &c->server->soon, 0);
}

static void accept_again(struct http_server *s)
{
	if (s->listener.fd < 0 || s->accepts)
		return;
	s->accepts = true;
	loop_set(s->loop, &s->listener, EPOLLIN);
}

static void destroy(struct http_conn *c)
{
	struct http_server *s = c->server;
	int fd = c->watch.fd;
	if (c->in_exchange) {
		c->in_exchange = false;
		s->handler->on_end(c, true);
	}
	if (c->queued)
		TAILQ_REMOVE(&s->runnable, c, run_link);
	unlist(c);
	loop_del(s->loop, &c->watch);
	close(fd);
	s->input_bytes -= c->buf_cap;
	s->count--;
	free(c->buf);
	free(c->out);
	free(c);
	accept_again(s);
}

/* --- input -------------------------------------------------------------------------------------------------- */

static void consume(struct http_conn *c, size_t n)
{
	c->input = bytes_of(c->input.p + n, c->input.n - n);
}

static bool resize(struct http_conn *c, size_t cap)
{
	struct http_server *s = c->server;
	if (cap > c->buf_cap && s->input_bytes + (cap - c->buf_cap) > s->limits.input_bytes_max)
		return false;
	uint8_t *p = realloc(c->buf, cap);
	if (p == NULL)
		return false;
	s->input_bytes = s->input_bytes - c->buf_cap + cap;
	c->buf = p;
	c->buf_cap = cap;
	return true;
}

/* What is left of the input moves to the start of the connection's own buffer, or that is released. False: no room. */
static bool keep_input(struct http_conn *c)
{
	struct http_server *s = c->server;
	if (c->input.n == 0) {
		s->input_bytes -= c->buf_cap;
		free(c->buf);
		c->buf = NULL;
		c->buf_cap = 0;
		return true;
	}
	if (c->buf_cap < c->input.n && !resize(c, c->input.n < BUF_START ? BUF_START : c->input.n))
		return false;
	memmove(c->buf, c->input.p, c->input.n);
	c->input.p = c->buf;
	return true;
}

/* Reads once, behind what is there. False: nothing came, or the connection is broken or at its end. */
static bool fill(struct http_conn *c, bool *ret_full)
{
	uint8_t *to = c->server->scratch;
	size_t room = sizeof c->server->scratch;
	if (c->input.n > 0) {
		size_t cap = c->buf_cap * 2 < HTTP_INPUT_MAX ? c->buf_cap * 2 : (size_t)HTTP_INPUT_MAX;
		if (c->input.n == c->buf_cap && (cap == c->buf_cap || !resize(c, cap))) {
			c->broken = true;
			return false;
		}
		to = c->buf + c->input.n;
		room = c->buf_cap - c->input.n;
	}
	ssize_t n = recv(c->watch.fd, to, room, MSG_DONTWAIT);
	if (n < 0 ? errno == EAGAIN : (size_t)n < room)
		c->told &= ~(uint32_t)EPOLLIN;
	if (n <= 0) {
		if (n == 0)
			c->left = true;
		c->broken = n == 0 || (errno != EAGAIN && errno != EINTR);
		return false;
	}
	*ret_full = (size_t)n == room;
	c->input = bytes_of(c->input.n > 0 ? c->buf : to, c->input.n + (size_t)n);
	c->moved_ms = c->server->now_ms;
	return true;
}

static bool wants_input(const struct http_conn *c)
{
	return c->stage == HTTP_HEAD || c->stage == HTTP_LINGER || (c->stage == HTTP_BODY && !c->paused);
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

/* "Not Found" for 404. */
static const char *http_reason(unsigned status)
{
	static const struct { unsigned status; const char *text; } reasons[] = {
		{ 200, "OK" }, { 202, "Accepted" }, { 204, "No Content" }, { 400, "Bad Request" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 410, "Gone" },
		{ 413, "Content Too Large" }, { 414, "URI Too Long" }, { 422, "Unprocessable Content" }, { 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" }, { 502, "Bad Gateway" },
		{ 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
	};
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "";
}

static const char *date_now(struct http_server *s)
{
	time_t now = time(NULL);
	struct tm tm;
	if (now != s->date_s) {
		s->date_s = now;
		strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	}
	return s->date;
}

static bool body_read(const struct http_conn *c)
{
	return c->data_n == 0 && (c->is_chunked ? http1_chunked_done(&c->chunked) : c->body_left == 0);
}

void http_answer(struct http_conn *c, const struct http_answer *a)
{
	assert(c->in_exchange && !c->answered);
	note_time(c);
	c->answered = true;
	c->paused = false;
	c->close = c->close || a->close || c->server->draining;
	bool rest_is_short = !c->is_chunked && c->body_left + c->data_n <= HELD_BODY_MAX && !c->continue_due && !c->close;
	bool whole = body_read(c);
	if (!whole && !rest_is_short)
		c->close = true;
	size_t cap = a->fields.n + HEAD_EXTRA_MAX;
	struct writer w = writer_of(malloc(cap), cap);
	if (w.p == NULL) {
		c->broken = true;
		schedule(c);
		return;
	}
	put_str(&w, "HTTP/1.1 ");
	put_decimal(&w, a->status);
	put_u8(&w, ' ');
	put_str(&w, http_reason(a->status));
	put_str(&w, "\r\nDate: ");
	put_str(&w, date_now(c->server));
	put_str(&w, "\r\n");
	put_bytes(&w, a->fields);
	if (a->status != 204) {
		put_str(&w, "Content-Length: ");
		put_decimal(&w, a->body.n);
		put_str(&w, "\r\n");
	}
	put_str(&w, c->close ? "Connection: close\r\n\r\n" : c->old ? "Connection: keep-alive\r\n\r\n" : "\r\n");
	assert(!w.full);
	c->out = w.p;
	c->out_n = w.at;
	c->out_at = 0;
	c->out_body = c->head_only ? BYTES_NONE : a->body;
	if (whole || !rest_is_short)
		enter(c, HTTP_REPLY);
	schedule(c);
}

void http_resume(struct http_conn *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	note_time(c);
	c->moved_ms = c->server->now_ms;
	schedule(c);
}

/* False: not all of it went. */
static bool send_reply(struct http_conn *c)
{
	while (c->out_at < c->out_n + c->out_body.n) {
		size_t head = c->out_at < c->out_n ? c->out_n - c->out_at : 0, body = c->out_at - (c->out_n - head);
		body = head > 0 ? 0 : body;
		struct iovec v[2] = {
			{ c->out + c->out_at - (head > 0 ? 0 : c->out_at), head },
			{ (uint8_t *)(uintptr_t)c->out_body.p + body, c->out_body.n - body },
		};
		const struct msghdr m = { .msg_iov = head > 0 ? v : v + 1, .msg_iovlen = head > 0 ? 2 : 1 };
		ssize_t n = sendmsg(c->watch.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			c->broken = errno != EAGAIN;
			return false;
		}
		c->out_at += (size_t)n;
		c->moved_ms = c->server->now_ms;
	}
	free(c->out);
	c->out = NULL;
	c->out_body = BYTES_NONE;
	c->in_exchange = false;
	c->server->handler->on_end(c, false);
	if (c->close || c->left || c->server->draining) {
		shutdown(c->watch.fd, SHUT_WR);
		enter(c, HTTP_LINGER);
	} else {
		enter(c, HTTP_HEAD);
	}
	return true;
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

static void begin(struct http_conn *c, const struct http1_head *h, enum http1_result why)
{
	bool ok = why == HTTP1_OK;
	c->in_exchange = true;
	c->answered = c->paused = false;
	c->close = !ok || h->close;
	c->old = h->minor == 0;
	c->head_only = bytes_equal(h->method, BYTES_LIT("HEAD"));
	c->is_chunked = ok && h->length == HTTP1_CHUNKED;
	c->body_left = ok && !c->is_chunked ? h->length : 0;
	c->continue_due = ok && h->expect_continue && h->length != 0;
	c->data_n = 0;
	http1_chunked_init(&c->chunked);
	enter(c, ok && h->length != 0 ? HTTP_BODY : HTTP_WAIT);
	c->server->handler->on_request(c, h, why);
	if (c->stage == HTTP_BODY && c->continue_due && !c->answered) {
		static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
		c->continue_due = false;
		if (c->input.n == 0 && send(c->watch.fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)(sizeof text - 1))
			c->broken = true;
	}
}

/* False: more input is needed. */
static bool take_head(struct http_conn *c)
{
	struct http_server *s = c->server;
	while (c->scanned == 0 && c->input.n >= 2 && c->input.p[0] == '\r' && c->input.p[1] == '\n')
		consume(c, 2);           /* an empty line before a request (RFC 9112 section 2.2) */
	size_t n = http1_head_size(c->input, &c->scanned);
	if (n == 0 && c->input.n < HTTP_INPUT_MAX)
		return false;
	c->scanned = 0;
	enum http1_result why = n == 0 ? HTTP1_TOO_LONG : http1_head_parse(bytes_of(c->input.p, n), &s->head);
	if (n == 0)
		s->head = (struct http1_head){ .close = true };
	consume(c, n);
	begin(c, &s->head, why);
	return true;
}

static void finish_body(struct http_conn *c)
{
	if (c->answered) {
		enter(c, HTTP_REPLY);
		return;
	}
	enter(c, HTTP_WAIT);
	c->server->handler->on_body_end(c);
}

static void fail_body(struct http_conn *c, enum http1_result why)
{
	if (c->answered) {
		c->broken = true;        /* the answer was to come after the rest, which does not come */
		return;
	}
	c->close = true;
	c->server->handler->on_body_failed(c, why);
	assert(c->answered);
}

/* False: more input is needed, or the handler takes no more now. */
static bool take_body(struct http_conn *c)
{
	if (c->data_n > 0) {
		size_t took = c->answered ? c->data_n : c->server->handler->on_body(c, bytes_of(c->input.p, c->data_n));
		consume(c, took);
		c->data_n -= took;
		if (c->stage != HTTP_BODY || c->answered)
			return true;
		c->paused = c->data_n > 0;
		return !c->paused;
	}
	if (body_read(c)) {
		finish_body(c);
		return true;
	}
	if (c->input.n == 0)
		return false;
	if (!c->is_chunked) {
		c->data_n = c->body_left < c->input.n ? (size_t)c->body_left : c->input.n;
		c->body_left -= c->data_n;
		return true;
	}
	struct bytes data;
	size_t used;
	if (http1_chunked_next(&c->chunked, c->input, &data, &used) != HTTP1_OK) {
		fail_body(c, HTTP1_BAD_CHUNK);
		return true;
	}
	consume(c, used - data.n);
	c->data_n = data.n;
	return true;
}

/* Tells epoll what is waited for now. Input that is not wanted is waited for until it comes, once. */
static void rearm(struct http_conn *c)
{
	uint32_t events = EPOLLET | (c->watch.events & EPOLLIN);
	if (wants_input(c))
		events |= EPOLLIN;
	if (!c->left)
		events |= EPOLLRDHUP;
	if (c->stage == HTTP_REPLY)
		events |= EPOLLOUT;
	if ((c->told & events) != 0)
		loop_again(c->server->loop, &c->watch, events);
	else
		loop_set(c->server->loop, &c->watch, events);
	c->told = 0;
}

/* Goes on as far as that is possible without the world; may destroy c. */
static void run(struct http_conn *c)
{
	unsigned exchanges = 0;
	bool going = true, again = false;
	c->running = true;
	while (going && !c->broken) {
		switch (c->stage) {
		case HTTP_HEAD:
			again = exchanges == EXCHANGES_PER_TURN;
			going = !again && take_head(c);
			break;
		case HTTP_BODY:
			going = take_body(c);
			break;
		case HTTP_WAIT:
			going = false;
			break;
		case HTTP_REPLY:
			going = send_reply(c);
			exchanges++;
			break;
		case HTTP_LINGER:
			consume(c, c->input.n);
			going = false;
			break;
		}
	}
	c->running = false;
	if (c->broken || !keep_input(c)) {
		destroy(c);
		return;
	}
	rearm(c);
	if (again)
		schedule(c);
}

static void on_soon(struct timer *t)
{
	struct http_server *s = CONTAINER_OF(t, struct http_server, soon);
	struct http_conn *c, *last = TAILQ_LAST(&s->runnable, http_conns);
	bool more = last != NULL;
	s->now_ms = clock_monotonic_ms();
	while (more && (c = TAILQ_FIRST(&s->runnable)) != NULL) {
		more = c != last;        /* those that come meanwhile have their turn after the descriptors' */
		TAILQ_REMOVE(&s->runnable, c, run_link);
		c->queued = false;
		run(c);
	}
	if (!TAILQ_EMPTY(&s->runnable))
		timer_arm(s->loop, &s->soon, 0);
}

static void on_conn(struct watch *w, uint32_t events)
{
	struct http_conn *c = CONTAINER_OF(w, struct http_conn, watch);
	c->server->now_ms = clock_monotonic_ms();
	if (events & (EPOLLERR | EPOLLHUP)) {
		destroy(c);
		return;
	}
	c->told = events & (EPOLLIN | EPOLLRDHUP);
	if ((events & EPOLLIN) && wants_input(c)) {
		bool full = true;
		for (int i = 0; i < READS_PER_WAKE_UP && full; i++) {
			bool came = fill(c, &full);
			bool last = !came || !full || i + 1 == READS_PER_WAKE_UP || c->stage != HTTP_BODY;
			if (!came && !c->broken) {
				rearm(c);
				return;
			}
			if (last) {
				run(c);
				return;
			}
			/* a long body: what came goes to the handler, and there is more */
			c->running = true;
			while (!c->broken && c->stage == HTTP_BODY && take_body(c))
				;
			c->running = false;
			if (c->broken || c->stage != HTTP_BODY || c->paused || c->input.n > 0) {
				run(c);
				return;
			}
		}
		return;
	}
	if ((events & EPOLLRDHUP) && c->stage != HTTP_REPLY) {
		destroy(c);
		return;
	}
	if (events & EPOLLRDHUP)
		c->left = true;
	if (events & EPOLLIN)
		loop_set(c->server->loop, w, w->events & ~(uint32_t)EPOLLIN);
	if (events & EPOLLOUT)
		run(c);
	else
		rearm(c);
}

/* --- connections ------------------------------------------------------------------------------------------------------- */

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
	return a->ss_family == AF_INET6 && memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
	                                          &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, 16) == 0;
}

static bool address_full(const struct http_server *s, const struct sockaddr_storage *peer)
{
	unsigned n = 0;
	const struct http_conn *c;
	if (s->limits.per_address_max == 0)
		return false;
	TAILQ_FOREACH(c, &s->heads, link)
		n += same_address(&c->peer, peer);
	TAILQ_FOREACH(c, &s->others, link)
		n += same_address(&c->peer, peer);
	return n >= s->limits.per_address_max;
}

static void add_conn(struct http_server *s, int fd, const struct sockaddr_storage *peer)
{
	struct http_conn *c = address_full(s, peer) ? NULL : calloc(1, sizeof *c);
	if (c == NULL) {
		close(fd);
		return;
	}
	c->server = s;
	c->peer = *peer;
	c->watch = (struct watch){ .fd = -1, .on_event = on_conn };
	if (loop_add(s->loop, &c->watch, fd, EPOLLIN | EPOLLRDHUP | EPOLLET) < 0) {
		close(fd);
		free(c);
		return;
	}
	s->count++;
	list(c, true);
	enter(c, HTTP_HEAD);
}

/* True when the one that waits longest to send a request has made room. */
static bool make_room(struct http_server *s)
{
	struct http_conn *c = TAILQ_FIRST(&s->heads);
	if (c == NULL || c->queued || c->deadline_ms - s->limits.head_ms > s->now_ms - EVICT_AFTER_MS)
		return false;
	destroy(c);
	return true;
}

static void on_listener(struct watch *w, uint32_t events)
{
	struct http_server *s = CONTAINER_OF(w, struct http_server, listener);
	(void)events;
	s->now_ms = clock_monotonic_ms();
	bool full = s->count >= s->limits.connections_max;
	for (int i = 0; i < (full ? 1 : ACCEPTS_PER_WAKE_UP); i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t n = sizeof peer;
		bool room = s->count < s->limits.connections_max || (full && make_room(s));
		int fd = room ? accept4(w->fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
		if (room && fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
			return;
		if (fd < 0) {            /* until a connection ends, or the next sweep */
			s->accepts = false;
			loop_set(s->loop, w, 0);
			return;
		}
		if (s->handler->admit != NULL && !s->handler->admit(s, fd))
			close(fd);
		else
			add_conn(s, fd, &peer);
	}
}

static void overstayed(struct http_conn *c)
{
	static const struct http1_head nothing = { .close = true };
	if (c->stage == HTTP_HEAD && c->input.n > 0) {
		begin(c, &nothing, HTTP1_SLOW);
		schedule(c);
	} else if (c->stage == HTTP_BODY && !c->answered) {
		fail_body(c, HTTP1_SLOW);
	} else {
		destroy(c);
	}
}

static void sweep_list(struct http_conns *l, int64_t now)
{
	struct http_conn *c, *next;
	for (c = TAILQ_FIRST(l); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		bool clients_turn = c->stage != HTTP_WAIT && !c->paused;
		if (clients_turn && !c->queued && (c->deadline_ms <= now || now - c->moved_ms > c->server->limits.idle_ms))
			overstayed(c);
	}
}

static void on_sweep(struct timer *t)
{
	struct http_server *s = CONTAINER_OF(t, struct http_server, sweep);
	int64_t now = s->now_ms = clock_monotonic_ms();
	sweep_list(&s->others, now);
	sweep_list(&s->heads, now);
	accept_again(s);
	timer_arm(s->loop, t, SWEEP_MS);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------ */

/* A listener on a loopback address has this machine's peers only, a proxy most likely. Between them is nothing to be
 * probed or paced, which congestion controls for long ways (BBR) do with timers for every answer. */
static void spare_the_timers(int listen_fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof a;
	if (getsockname(listen_fd, (struct sockaddr *)&a, &n) != 0)
		return;
	bool local = (a.ss_family == AF_INET && ntohl(((const struct sockaddr_in *)(const void *)&a)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) ||
	             (a.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)&a)->sin6_addr));
	if (local)
		setsockopt(listen_fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

int http_server_open(struct http_server *s, int listen_fd)
{
	int on = 1, idle_s = 30, interval_s = 10, count = 3;
	TAILQ_INIT(&s->heads);
	TAILQ_INIT(&s->others);
	TAILQ_INIT(&s->runnable);
	s->listener = (struct watch){ .fd = -1, .on_event = on_listener };
	s->sweep.on_expiry = on_sweep;
	s->soon.on_expiry = on_soon;
	/* accepted sockets inherit these; on a unix socket they fail, and nothing is lost */
	setsockopt(listen_fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(listen_fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
	setsockopt(listen_fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
	setsockopt(listen_fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
	setsockopt(listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	spare_the_timers(listen_fd);
	int ret = loop_add(s->loop, &s->listener, listen_fd, EPOLLIN);
	s->accepts = ret == 0;
	if (ret == 0)
		timer_arm(s->loop, &s->sweep, SWEEP_MS);
	return ret;
}

static void stop_listening(struct http_server *s)
{
	int fd = s->listener.fd;
	loop_del(s->loop, &s->listener);
	if (fd >= 0)
		close(fd);
}

void http_server_drain(struct http_server *s)
{
	struct http_conn *c, *next;
	if (s->handler == NULL)
		return;
	s->draining = true;
	stop_listening(s);
	for (c = TAILQ_FIRST(&s->heads); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->input.n == 0)
			destroy(c);
	}
}

void http_server_close(struct http_server *s)
{
	struct http_conn *c;
	if (s->handler == NULL || s->sweep.on_expiry == NULL)
		return;
	stop_listening(s);
	while ((c = TAILQ_FIRST(&s->heads)) != NULL || (c = TAILQ_FIRST(&s->others)) != NULL)
		destroy(c);
	timer_disarm(&s->sweep);
	timer_disarm(&s->soon);
}
