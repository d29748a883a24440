/* One connection is one small state machine (enum conn_state). Bytes are read into one shared buffer and
 * consumed at once: the REQUEST into conn->in, DATA straight into the job or the upload, so a connection
 * never holds more than a frame header and a map. A client that is answered before it has sent everything
 * is drained until it closes or the deadline passes, because closing at once would destroy the answer. */
#include "enclave/prover/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "linux/vsock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static void conn_close(struct conn *c)
{
	struct service *s = c->service;
	if (c->reply != NULL)
		job_reply_sent(c->reply);
	c->reply = NULL;
	if (c->job != NULL)
		job_abandon(c->job);
	if (c->uploading)
		upload_abort(s->versions);
	timer_disarm(&c->deadline);
	loop_del(s->loop, &c->watch);
	close(c->fd);
	c->state = CONN_FREE;
	s->conn_count--;
}

static void set_stage(struct conn *c, enum conn_state state, uint32_t events, uint32_t seconds)
{
	c->state = state;
	loop_set(c->service->loop, &c->watch, events);
	timer_arm(c->service->loop, &c->deadline, (int64_t)seconds * 1000);
}

/* --- sending --------------------------------------------------------------------------------------- */

static void sent(struct conn *c)
{
	if (c->reply != NULL)
		job_reply_sent(c->reply);
	c->reply = NULL;
	if (c->body_ended) {
		conn_close(c);
		return;
	}
	shutdown(c->fd, SHUT_WR);
	set_stage(c, CONN_DRAINING, EPOLLIN | EPOLLRDHUP, c->service->cfg->reply_s);
}

static ssize_t send_some(struct conn *c)
{
	if (c->header_at < sizeof c->header)
		return send(c->fd, c->header + c->header_at, sizeof c->header - c->header_at,
		            MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);
	return send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_writable(struct conn *c)
{
	while (c->header_at < sizeof c->header || c->out_at < c->out_n) {
		ssize_t n = send_some(c);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			conn_close(c);
			return;
		}
		if (c->header_at < sizeof c->header)
			c->header_at += (size_t)n;
		else
			c->out_at += (size_t)n;
	}
	sent(c);
}

/* The final frame. payload must live until it is sent. */
static void answer(struct conn *c, enum frame_kind kind, struct bytes payload)
{
	frame_header(kind, payload.n, c->header);
	c->header_at = 0;
	c->out = payload.p;
	c->out_n = payload.n;
	c->out_at = 0;
	set_stage(c, CONN_SENDING, EPOLLOUT, c->service->cfg->reply_s);
	on_writable(c);
}

static void count(struct conn *c, enum outcome code)
{
	if (c->op < OP_COUNT)
		c->service->stats.requests[c->op][code]++;
	else
		c->service->stats.malformed++;
}

static void answer_error(struct conn *c, const struct frame_error *e)
{
	count(c, e->code);
	if (c->job != NULL)
		job_abandon(c->job);
	c->job = NULL;
	if (c->uploading)
		upload_abort(c->service->versions);
	c->uploading = false;
	struct writer w = writer_of(c->small, sizeof c->small);
	frame_error_put(&w, e);
	answer(c, FRAME_ERROR, writer_bytes(&w));
}

static void refuse(struct conn *c, enum outcome code, const char *text)
{
	answer_error(c, &(struct frame_error){ .code = code, .message = bytes_str(text) });
}

static void refuse_for(struct conn *c, enum outcome code, const struct refusal *r)
{
	answer_error(c, &(struct frame_error){
		.code = code, .message = bytes_str(r->why.text), .limit_bytes = r->limit_bytes, .peak_bytes = r->peak_bytes });
}

static void answer_reply(struct conn *c, const struct frame_reply *reply)
{
	struct writer w = writer_of(c->small, sizeof c->small);
	frame_reply_put(&w, reply);
	if (w.full) {
		refuse(c, OUTCOME_INTERNAL, "the reply does not fit into its buffer");
		return;
	}
	count(c, OUTCOME_OK);
	answer(c, FRAME_REPLY, writer_bytes(&w));
}

/* --- a job's callbacks ------------------------------------------------------------------------------- */

static struct conn *conn_of(struct job_client *client) { return CONTAINER_OF(client, struct conn, client); }

static void await_body(struct conn *c);

static void on_ready(struct job_client *client) { await_body(conn_of(client)); }

/* Progress is a courtesy: an event that does not fit into the socket now is not sent. A part of one must
 * not be either, so events go only where the whole frame fits, which a stream socket that has just taken
 * all we gave it promises for this size. */
static void on_stage(struct job_client *client, const char *stage, uint64_t position)
{
	struct conn *c = conn_of(client);
	uint8_t buf[FRAME_HEADER_SIZE + 128];
	struct writer w = writer_of(buf + FRAME_HEADER_SIZE, sizeof buf - FRAME_HEADER_SIZE);
	struct frame_event e = { bytes_str(stage), position };
	frame_event_put(&w, &e);
	frame_header(FRAME_EVENT, w.at, buf);
	ssize_t n = send(c->fd, buf, FRAME_HEADER_SIZE + w.at, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0 && (size_t)n < FRAME_HEADER_SIZE + w.at)
		shutdown(c->fd, SHUT_RDWR);              /* the stream is broken for good: let the peer see it */
}

static void on_done(struct job_client *client, enum outcome code, struct job_reply *reply, const struct frame_error *e)
{
	struct conn *c = conn_of(client);
	c->job = NULL;                                   /* it closes by itself */
	if (code != OUTCOME_OK) {
		answer_error(c, e);
		return;
	}
	count(c, OUTCOME_OK);
	c->reply = reply;
	answer(c, FRAME_REPLY, bytes_of(reply->bytes, reply->n));
}

static void on_reply_lost(struct job_client *client) { conn_close(conn_of(client)); }

/* --- requests ----------------------------------------------------------------------------------------- */

static void do_attest(struct conn *c, const struct frame_request *q)
{
	struct service *s = c->service;
	struct frame_reply reply = { .key = bytes_str(s->keys->current->armored) };
	struct err err;
	if (attestor_document(s->attestor, s->keys, s->versions, q->nonce, &reply.document, &err) < 0) {
		log_error("attest: %s", err.text);
		refuse(c, OUTCOME_UNAVAILABLE, "the security module did not give a document; try again");
		return;
	}
	answer_reply(c, &reply);
}

static void do_public_key(struct conn *c, const struct frame_request *q)
{
	(void)q;
	struct frame_reply reply = { .key = bytes_str(c->service->keys->current->armored) };
	answer_reply(c, &reply);
}

static void do_versions(struct conn *c, const struct frame_request *q)
{
	(void)q;
	struct frame_reply reply = { 0 };
	versions_list(c->service->versions, &reply);
	answer_reply(c, &reply);
}

static void do_health(struct conn *c, const struct frame_request *q)
{
	(void)q;
	struct service *s = c->service;
	struct frame_reply reply = { .uptime_ms = (uint64_t)(clock_monotonic_ms() - s->stats.started_ms),
	                             .guards = bytes_str(s->guards) };
	versions_list(s->versions, &reply);
	jobs_count(s->jobs, &reply.jobs_running, &reply.jobs_queued);
	answer_reply(c, &reply);
}

static void do_metrics(struct conn *c, const struct frame_request *q)
{
	(void)q;
	struct service *s = c->service;
	struct frame_reply list = { 0 };
	struct stats_gauges g = { .connections = s->conn_count, .nsm_calls = s->attestor->nsm_calls,
	                          .log_dropped = log_dropped() };
	versions_list(s->versions, &list);
	g.versions = list.version_count;
	jobs_count(s->jobs, &g.jobs_running, &g.jobs_queued);
	static uint8_t text[SMALL_REPLY_MAX - 64];
	struct writer w = writer_of(text, sizeof text);
	stats_put(&s->stats, &g, &w);
	struct frame_reply reply = { .metrics = writer_bytes(&w) };
	answer_reply(c, &reply);
}

static void do_upload(struct conn *c, const struct frame_request *q)
{
	struct err why;
	enum outcome o = upload_begin(c->service->versions, q->version, q->sha256, q->size, &why);
	if (o != OUTCOME_OK) {
		refuse(c, o, why.text);
		return;
	}
	c->uploading = true;
	await_body(c);
}

static void do_prove(struct conn *c, const struct frame_request *q)
{
	struct refusal r = { .limit_bytes = 0 };
	struct version_binary *b = version_get(c->service->versions, q->version, &r.why);
	enum outcome o = OUTCOME_UNKNOWN_VERSION;
	/* events of OPENED may come only after this returns, so the state is set first */
	set_stage(c, CONN_OPENING, EPOLLRDHUP, c->service->cfg->request_s);
	if (b != NULL)
		o = job_open(c->service->jobs, &c->client, b, q->size, &c->job, &r);
	if (o != OUTCOME_OK)
		refuse_for(c, o, &r);
}

static void (*const operation[OP_COUNT])(struct conn *c, const struct frame_request *q) = {
	[OP_ATTEST] = do_attest,   [OP_PUBLIC_KEY] = do_public_key, [OP_VERSIONS] = do_versions, [OP_UPLOAD] = do_upload,
	[OP_PROVE] = do_prove,     [OP_HEALTH] = do_health,         [OP_METRICS] = do_metrics,
};

/* --- reading ------------------------------------------------------------------------------------------- */

/* A slot is not for waiting: a peer has to deliver body_stall_kib in every body_stall_s, and all in body_s. */
static void await_body(struct conn *c)
{
	const struct config *cfg = c->service->cfg;
	c->body_seen = 0;
	c->body_end_ms = clock_monotonic_ms() + (int64_t)cfg->body_s * 1000;
	set_stage(c, CONN_BODY, EPOLLIN | EPOLLRDHUP, cfg->body_stall_s < cfg->body_s ? cfg->body_stall_s : cfg->body_s);
}

static void look_at_body(struct conn *c)
{
	const struct config *cfg = c->service->cfg;
	const int64_t left_ms = c->body_end_ms - clock_monotonic_ms(), window_ms = (int64_t)cfg->body_stall_s * 1000;
	if (left_ms <= 0)
		refuse(c, OUTCOME_TIMED_OUT, "the request did not arrive in time");
	else if (c->body_seen == 0 || c->body_seen < (uint64_t)cfg->body_stall_kib << 10)
		refuse(c, OUTCOME_TIMED_OUT, "the request stalled");
	else
		timer_arm(c->service->loop, &c->deadline, left_ms < window_ms ? left_ms : window_ms);
	c->body_seen = 0;
}

static void end_of_body(struct conn *c)
{
	struct service *s = c->service;
	struct refusal r = { .limit_bytes = 0 };
	struct err why;
	enum outcome o;
	c->body_ended = true;
	if (c->job != NULL) {
		/* before the job is queued: it may start, and even end, inside the call */
		set_stage(c, CONN_WAITING, EPOLLIN | EPOLLRDHUP, s->cfg->reply_s);
		timer_disarm(&c->deadline);              /* queue and job have deadlines of their own */
		o = job_queue(c->job, &r);
		if (o != OUTCOME_OK)
			refuse_for(c, o, &r);
		return;
	}
	c->uploading = false;
	o = upload_commit(s->versions, &why);
	if (o != OUTCOME_OK) {
		refuse(c, o, why.text);
		return;
	}
	struct frame_reply reply = { 0 };
	versions_list(s->versions, &reply);
	answer_reply(c, &reply);
}

static void body_data(struct conn *c, struct bytes data)
{
	struct refusal r = { .limit_bytes = 0 };
	enum outcome o = c->job != NULL ? job_feed(c->job, data, &r) : upload_data(c->service->versions, data, &r.why);
	if (o == OUTCOME_OK)
		return;
	c->uploading = false;                            /* upload_data has ended it */
	refuse_for(c, o, &r);
}

/* A whole frame other than DATA is in c->in. */
static void on_frame(struct conn *c, const struct frame *f)
{
	struct frame_request q;
	if (c->state == CONN_BODY && f->kind == FRAME_END) {
		end_of_body(c);
		return;
	}
	if (c->state != CONN_REQUEST || f->kind != FRAME_REQUEST || !frame_request_parse(f->payload, &q)) {
		refuse(c, OUTCOME_BAD_REQUEST, c->state == CONN_REQUEST ? "expected a well-formed REQUEST" : "expected DATA or END");
		return;
	}
	c->op = q.op;
	c->body_ended = q.op != OP_PROVE && q.op != OP_UPLOAD;
	operation[q.op](c, &q);
}

/* Moves bytes from *in to the frame under way until its header, or the whole frame, is there. */
static void gather(struct conn *c, struct bytes *in, size_t until)
{
	size_t n = until - c->in_n < in->n ? until - c->in_n : in->n;
	memcpy(c->in + c->in_n, in->p, n);
	c->in_n += n;
	*in = bytes_of(in->p + n, in->n - n);
}

static void consume_frame(struct conn *c, struct bytes *in)
{
	struct frame f;
	size_t whole = 0;
	gather(c, in, c->in_n < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE : c->in_n);
	if (c->in_n < FRAME_HEADER_SIZE)
		return;
	enum frame_result r = frame_parse(bytes_of(c->in, c->in_n), &f, &whole);
	if (r == FRAME_MORE && c->in[4] == FRAME_DATA) {
		if (c->state != CONN_BODY) {
			refuse(c, OUTCOME_BAD_REQUEST, "expected a well-formed REQUEST");
			return;
		}
		c->data_left = whole - FRAME_HEADER_SIZE;
		c->in_n = 0;
		return;
	}
	if (r == FRAME_MORE && whole <= sizeof c->in) {
		gather(c, in, whole);
		r = frame_parse(bytes_of(c->in, c->in_n), &f, &whole);
		if (r == FRAME_MORE)
			return;
	}
	if (r != FRAME_OK) {
		refuse(c, OUTCOME_BAD_REQUEST, r == FRAME_MORE ? "the frame is too long" : frame_result_name(r));
		return;
	}
	c->in_n = 0;
	on_frame(c, &f);
}

static bool reads(const struct conn *c) { return c->state == CONN_REQUEST || c->state == CONN_BODY; }

static void consume(struct conn *c, struct bytes in)
{
	while (in.n > 0 && reads(c)) {
		if (c->data_left == 0) {
			consume_frame(c, &in);
			continue;
		}
		size_t n = c->data_left < in.n ? c->data_left : in.n;
		c->data_left -= n;
		body_data(c, bytes_of(in.p, n));
		in = bytes_of(in.p + n, in.n - n);
	}
	if (in.n > 0 && c->state == CONN_WAITING)
		refuse(c, OUTCOME_BAD_REQUEST, "data after END");
}

/* The REQUEST is read to its last byte and no further: what follows stays in the socket until there is a
 * place for it. */
static size_t read_size(const struct conn *c)
{
	struct reader r = reader_of(bytes_of(c->in, c->in_n));
	if (c->state != CONN_REQUEST)
		return READ_SIZE;
	if (c->in_n < FRAME_HEADER_SIZE)
		return FRAME_HEADER_SIZE - c->in_n;
	return FRAME_HEADER_SIZE + get_be32(&r) - c->in_n;       /* consume_frame() has checked it */
}

static void on_readable(struct conn *c)
{
	struct service *s = c->service;
	ssize_t n = recv(c->fd, s->read_buf, read_size(c), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (c->state == CONN_WAITING || c->state == CONN_BODY || c->state == CONN_OPENING)
			count(c, OUTCOME_CANCELLED);
		conn_close(c);
		return;
	}
	s->stats.bytes_in += (uint64_t)n;
	c->body_seen += (uint64_t)n;
	if (c->state == CONN_WAITING)
		refuse(c, OUTCOME_BAD_REQUEST, "data after END");
	else if (reads(c))
		consume(c, bytes_of(s->read_buf, (size_t)n));
	/* DRAINING: read and forgotten */
}

static void on_conn_event(struct watch *w, uint32_t events)
{
	struct conn *c = CONTAINER_OF(w, struct conn, watch);
	if (c->state == CONN_SENDING) {
		if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
			on_writable(c);
		return;
	}
	if (c->state == CONN_OPENING) {
		count(c, OUTCOME_CANCELLED);
		conn_close(c);                           /* EPOLLRDHUP, EPOLLHUP or EPOLLERR: the client left */
		return;
	}
	on_readable(c);
}

static void on_deadline(struct timer *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, deadline);
	if (c->state == CONN_REQUEST)
		refuse(c, OUTCOME_TIMED_OUT, "the request did not arrive in time");
	else if (c->state == CONN_BODY)
		look_at_body(c);
	else if (c->state == CONN_OPENING)
		refuse(c, OUTCOME_UNAVAILABLE, "the launcher did not prepare a slot in time");
	else
		conn_close(c);
}

/* --- accepting ------------------------------------------------------------------------------------------ */

static struct conn *conn_new(struct service *s)
{
	for (size_t i = 0; i < PROVER_CONNECTIONS; i++)
		if (s->conn[i].state == CONN_FREE)
			return &s->conn[i];
	return NULL;
}

/* All connections are taken: say so, if that can be said without waiting. */
static void turn_away(struct service *s, int fd)
{
	uint8_t buf[FRAME_HEADER_SIZE + 256];
	struct writer w = writer_of(buf + FRAME_HEADER_SIZE, sizeof buf - FRAME_HEADER_SIZE);
	struct frame_error e = { .code = OUTCOME_BUSY, .message = BYTES_LIT("all connections are taken; try again later") };
	frame_error_put(&w, &e);
	frame_header(FRAME_ERROR, w.at, buf);
	if (send(fd, buf, FRAME_HEADER_SIZE + w.at, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		errno = 0;
	close(fd);
	s->stats.refused_connections++;
}

static void on_accept(struct watch *w, uint32_t events)
{
	struct service *s = CONTAINER_OF(w, struct service, listener);
	(void)events;
	int fd = vsock_accept_parent(w->fd);
	if (fd < 0)
		return;
	struct conn *c = conn_new(s);
	if (c == NULL) {
		turn_away(s, fd);
		return;
	}
	c->service = s;
	c->fd = fd;
	c->op = OP_COUNT;
	c->job = NULL;
	c->reply = NULL;
	c->uploading = c->body_ended = false;
	c->in_n = c->data_left = 0;
	c->watch.on_event = on_conn_event;
	c->deadline.on_expiry = on_deadline;
	c->client = (struct job_client){ on_ready, on_stage, on_done, on_reply_lost };
	if (loop_add(s->loop, &c->watch, fd, EPOLLIN | EPOLLRDHUP) < 0) {
		close(fd);
		return;
	}
	s->conn_count++;
	set_stage(c, CONN_REQUEST, EPOLLIN | EPOLLRDHUP, s->cfg->request_s);
}

int service_start(struct service *s, int listen_fd, struct err *err)
{
	s->stats.started_ms = clock_monotonic_ms();
	s->listener.on_event = on_accept;
	int ret = loop_add(s->loop, &s->listener, listen_fd, EPOLLIN);
	return ret < 0 ? fail(err, -ret, "watch the service socket") : 0;
}

void service_stop_accepting(struct service *s)
{
	s->closing = true;
	loop_del(s->loop, &s->listener);
}
