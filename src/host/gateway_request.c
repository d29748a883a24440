/* The life of a connection and of the requests on it, between libmicrohttpd's callbacks and the loop.
 *
 * libmicrohttpd takes a response only before a body or after all of it. An answer that is known in the
 * middle (the enclave is busy, the JSON is broken at byte one of sixty million) would have to wait for a
 * client that may be slow or hostile, so then the response is written to the socket here, our side of
 * the connection is shut down, and libmicrohttpd goes on reading into nothing for a few seconds: closing
 * at once would reset the connection and take the answer away before the client has read it.
 *
 * A watch of our own on every connection notices a client that leaves, and cancels its work:
 * libmicrohttpd does not look at a suspended connection at all, and where the end of a stream comes
 * together with its last bytes it overlooks it (a short read makes it wait for an edge that was there
 * already), so it is woken. A client that shuts down its sending side counts as gone: one that has
 * vanished looks the same.
 *
 * Clients are distrusted: every stage of a connection has a deadline, which a sweep once a second
 * enforces. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <microhttpd.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { MEMORY_PER_CONNECTION = 32 << 10 };       /* headers, and the piece of a body being read */

static void enter_stage(struct client *c, enum client_stage stage)
{
	const struct gateway_options *o = c->g->o;
	const int64_t ms[] = {
		[STAGE_HEADERS] = (int64_t)o->header_s * 1000, [STAGE_BODY] = (int64_t)o->body_s * 1000,
		[STAGE_WAIT] = GATEWAY_QUERY_MS,         /* in line; an exchange has a deadline of its own */
		[STAGE_REPLY] = GATEWAY_REPLY_S * 1000, [STAGE_LINGER] = GATEWAY_LINGER_S * 1000,
	};
	c->stage = stage;
	c->deadline_ms = clock_monotonic_ms() + ms[stage];
}

static void forget_work(struct request *r)
{
	prove_forget(r);
	query_forget(r);
	attestation_forget(r);
	frame_client_close(&r->upstream);
}

/* libmicrohttpd takes note of a resumed connection, or of room for another one, only when it runs, and
 * without threads nothing makes it. */
static void run_again(struct http *h)
{
	h->run_again = true;
	timer_arm(&h->g->loop, &h->timer, 0);
}

/* --- suspending ------------------------------------------------------------------------------------ */

void request_suspend(struct request *r)
{
	if (r->suspended)
		return;
	r->suspended = true;
	MHD_suspend_connection(r->connection);
}

void request_resume(struct request *r)
{
	if (!r->suspended)
		return;
	r->suspended = false;
	MHD_resume_connection(r->connection);
	run_again(r->client->http);
}

/* --- answering --------------------------------------------------------------------------------------- */

static void choose_type(struct request *r)
{
	r->answer.problem = r->accepts_problem && r->answer.status >= MHD_HTTP_BAD_REQUEST;
}

static void refuse_now(struct request *r)
{
	choose_type(r);
	answer_send_raw(&r->answer, r->client->fd, r->id);
	shutdown(r->client->fd, SHUT_WR);
	r->state = REQ_REFUSED;
	enter_stage(r->client, STAGE_LINGER);
}

void request_answer(struct request *r)
{
	if (r->state == REQ_ANSWERED || r->state == REQ_REFUSED)
		return;
	forget_work(r);
	if (r->g->draining)
		r->answer.close = true;
	bool first_call = r->state == REQ_NEW;
	bool rest_is_short = r->content_length != UINT64_MAX && r->content_length - r->text_n <= GATEWAY_HELD_MAX;
	/* a client that waits for our "100 Continue" gets the answer in its place */
	r->answer_first = r->answer_first || (first_call && r->expect && !r->body_done);
	if (r->body_done || r->answer_first || rest_is_short)
		r->state = REQ_ANSWERED;
	else
		refuse_now(r);
	request_resume(r);
}

void request_fail(struct request *r, unsigned status, enum outcome code, const char *text)
{
	answer_error(&r->answer, status, code, text, r->id, NULL);
	request_answer(r);
}

void request_fail_upstream(struct request *r, const struct frame_client_result *result)
{
	/* an enclave that is away, or knows no such key, may be another one than that whose document is kept */
	if (result->how == FRAME_CLIENT_UNREACHABLE || result->how == FRAME_CLIENT_CLOSED ||
	    (result->how == FRAME_CLIENT_ERROR && result->error.code == OUTCOME_UNKNOWN_KEY))
		attestation_drop(r->g);
	switch (result->how) {
	case FRAME_CLIENT_ERROR: {
		const struct frame_error *e = &result->error;
		struct answer_details d = { e->message, e->limit_bytes, e->peak_bytes, e->signal };
		answer_error(&r->answer, 0, e->code, NULL, r->id, &d);
		request_answer(r);
		return;
	}
	case FRAME_CLIENT_TIMED_OUT:
		request_fail(r, 0, OUTCOME_TIMED_OUT, NULL);
		break;
	case FRAME_CLIENT_UNREACHABLE:
		request_fail(r, 0, OUTCOME_UNAVAILABLE, NULL);
		break;
	case FRAME_CLIENT_CLOSED:
		request_fail(r, 0, OUTCOME_UNAVAILABLE, "The enclave went away before it answered, try again later");
		break;
	case FRAME_CLIENT_REPLY:                 /* one that lacks what the question asks for */
	case FRAME_CLIENT_PROTOCOL:
		request_fail(r, MHD_HTTP_BAD_GATEWAY, OUTCOME_INTERNAL, "The enclave gave no valid answer");
		break;
	case FRAME_CLIENT_SYSTEM:
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		break;
	}
	char shown[256];
	if (result->how != FRAME_CLIENT_REPLY)
		log_warn("%s", text_escape(bytes_str(result->why.text), shown, sizeof shown));
}

static enum MHD_Result queue_answer(struct request *r)
{
	enter_stage(r->client, STAGE_REPLY);
	choose_type(r);
	return answer_queue(&r->answer, r->connection, r->id) ? MHD_YES : MHD_NO;
}

/* --- libmicrohttpd's callbacks --------------------------------------------------------------------------- */

/* A piece of a body, or with n 0 its end. */
static size_t take_body(struct request *r, const char *data, size_t n)
{
	if (n == 0) {
		r->body_done = true;
		if (r->state == REQ_READING)
			prove_end(r);
		return 0;
	}
	size_t used = r->state == REQ_READING ? prove_feed(r, bytes_of(data, n)) : n;
	r->text_n += used;
	return used;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *io_n, void **context)
{
	struct request *r = *context;
	(void)arg;
	(void)url;
	if (r == NULL || r->client->left || (r->state == REQ_REFUSED && *io_n == 0))
		return MHD_NO;
	if (r->state == REQ_NEW) {
		r->connection = connection;
		enter_stage(r->client, STAGE_BODY);
		request_begin(r, method, version);
		/* a response queued in this first call ends the connection; so all others wait for the last */
		return r->state == REQ_ANSWERED && r->answer_first ? queue_answer(r) : MHD_YES;
	}
	size_t used = take_body(r, data, *io_n);
	*io_n -= used;
	if (r->state == REQ_ANSWERED && r->body_done && used == 0)
		return queue_answer(r);
	if (r->state == REQ_WAITING && r->body_done) {
		enter_stage(r->client, STAGE_WAIT);
		request_suspend(r);
	}
	return MHD_YES;
}

/* A request line has come: makes the request. */
static void *on_target(void *arg, const char *target, struct MHD_Connection *connection)
{
	struct gateway *g = ((struct http *)arg)->g;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct client *c = info == NULL ? NULL : info->socket_context;
	struct request *r = c == NULL || c->request != NULL ? NULL : calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	*r = (struct request){ .g = g, .client = c, .from = c->peer, .connection = connection, .method = "other",
		.started_ms = clock_monotonic_ms() };
	r->target_too_long = target != NULL && strlen(target) > GATEWAY_TARGET_MAX;
	snprintf(r->target, sizeof r->target, "%s", target == NULL ? "" : target);
	c->request = r;
	return r;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
	struct request *r = *context;
	(void)arg;
	(void)connection;
	if (r == NULL)
		return;
	*context = NULL;
	r->gone = why != MHD_REQUEST_TERMINATED_COMPLETED_OK && r->state != REQ_REFUSED;
	forget_work(r);
	metrics_count(r);
	if (!r->g->o->quiet)
		log_access(r);
	answer_release(&r->answer);
	r->client->request = NULL;
	enter_stage(r->client, STAGE_HEADERS);
	if (r->g->draining)
		shutdown(r->client->fd, SHUT_RD);
	free(r);
}

static void on_leaving(struct watch *w, uint32_t events)
{
	struct client *c = CONTAINER_OF(w, struct client, leaving);
	(void)events;
	if (c->left)
		return;
	c->left = true;
	if (c->request != NULL && c->request->suspended) {
		forget_work(c->request);         /* which cancels the job */
		request_resume(c->request);      /* to its end: on_request refuses it */
	} else {
		shutdown(c->fd, SHUT_RD);        /* an edge that libmicrohttpd will see */
	}
}

static void name_peer(struct client *c)
{
	struct sockaddr_storage addr;
	socklen_t n = sizeof addr;
	if (getpeername(c->fd, (struct sockaddr *)&addr, &n) == 0)
		c->peer = address_of_peer(&addr);
}

static void set_keepalive(int fd)
{
	int on = 1, idle_s = 30, interval_s = 10, count = 3;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
	struct http *h = arg;
	struct gateway *g = h->g;
	struct client *c = *context;
	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (c == NULL)
			return;
		loop_del(&g->loop, &c->leaving);
		LIST_REMOVE(c, link);
		g->client_count--;
		run_again(h);
		free(c);
		return;
	}
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	c = info == NULL ? NULL : calloc(1, sizeof *c);
	if (c == NULL)
		return;          /* its requests are refused in on_request */
	c->g = g;
	c->http = h;
	c->fd = info->connect_fd;
	name_peer(c);
	set_keepalive(c->fd);
	c->leaving.on_event = on_leaving;
	if (loop_add(&g->loop, &c->leaving, c->fd, EPOLLRDHUP | EPOLLET) < 0)
		c->leaving.fd = -1;              /* the deadlines remain */
	enter_stage(c, STAGE_HEADERS);
	LIST_INSERT_HEAD(&g->clients, c, link);
	g->client_count++;
	*context = c;
}

struct MHD_Daemon *request_serve(struct http *h, int listen_fd)
{
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h,
		MHD_OPTION_LISTEN_SOCKET, listen_fd,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
		MHD_OPTION_URI_LOG_CALLBACK, on_target, h,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_PER_CONNECTION,
		MHD_OPTION_CONNECTION_LIMIT, h->connections_max,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, h->per_address_max,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)GATEWAY_IDLE_S,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
		MHD_OPTION_END);
}

/* --- deadlines and the end ---------------------------------------------------------------------------------- */

static void overstayed(struct client *c)
{
	struct request *r = c->request;
	if (r != NULL && r->query_queued) {
		request_fail(r, 0, OUTCOME_BUSY, "Too many requests, try again later");
		return;
	}
	if (r != NULL && (r->suspended || c->stage == STAGE_WAIT))
		return;                          /* the enclave's time, which its exchange limits */
	if (r != NULL && c->stage == STAGE_BODY) {
		if (r->state == REQ_READING)
			answer_error(&r->answer, MHD_HTTP_REQUEST_TIMEOUT, OUTCOME_TIMED_OUT,
			             "The request body did not arrive in time", r->id, NULL);
		forget_work(r);
		refuse_now(r);
		return;
	}
	shutdown(c->fd, SHUT_RDWR);              /* libmicrohttpd sees it and lets go of the connection */
}

void clients_sweep(struct gateway *g)
{
	int64_t now = clock_monotonic_ms();
	struct client *c;
	LIST_FOREACH(c, &g->clients, link)
		if (c->deadline_ms <= now)
			overstayed(c);
}

void clients_close_idle(struct gateway *g)
{
	struct client *c;
	LIST_FOREACH(c, &g->clients, link)
		if (c->request == NULL)
			shutdown(c->fd, SHUT_RDWR);
}

void clients_cancel(struct gateway *g)
{
	struct client *c;
	LIST_FOREACH(c, &g->clients, link) {
		struct request *r = c->request;
		if (r == NULL)
			continue;
		if (r->state == REQ_READING || r->state == REQ_WAITING)
			request_fail(r, 0, OUTCOME_UNAVAILABLE, "The gateway is stopping, try again later");
		request_resume(r);
	}
}
