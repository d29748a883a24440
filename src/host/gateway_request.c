/* The life of requests: the HTTP server's calls on one side, what answers them on the other. A request is made
 * when its head has come, whatever the head is worth, and is over when its answer was sent or its client left;
 * leaving cancels whatever was under way for it alone. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <stdio.h>
#include <stdlib.h>

static void forget_work(struct request *r)
{
	prove_forget(r);
	job_forget(r);
	query_forget(r);
	attestation_forget(r);
	frame_client_close(&r->upstream);
}

/* --- answering --------------------------------------------------------------------------------------- */

void request_answer(struct request *r)
{
	if (r->state == REQ_ANSWERED)
		return;
	forget_work(r);
	r->state = REQ_ANSWERED;
	r->answer.problem = r->accepts_problem && r->answer.status >= 400;
	answer_send(&r->answer, r->conn, r->id);
}

void request_fail(struct request *r, unsigned status, enum outcome code, const char *text)
{
	answer_error(&r->answer, status, code, text, r->id, NULL);
	request_answer(r);
}

void request_fail_with(struct request *r, const struct failure *f)
{
	const struct answer_details d = { bytes_of(f->detail, f->detail_n), f->limit_bytes, f->peak_bytes, f->signal };
	answer_error(&r->answer, f->status, f->code, f->text, r->id, &d);
	request_answer(r);
}

void failure_of(struct gateway *g, const struct frame_client_result *result, struct failure *ret)
{
	*ret = (struct failure){ .code = OUTCOME_INTERNAL };
	/* an enclave that is away, or knows no such key, may be another one than that whose document is kept */
	if (result->how == FRAME_CLIENT_UNREACHABLE || result->how == FRAME_CLIENT_CLOSED ||
	    (result->how == FRAME_CLIENT_ERROR && result->error.code == OUTCOME_UNKNOWN_KEY))
		attestation_drop(g);
	switch (result->how) {
	case FRAME_CLIENT_ERROR: {
		const struct frame_error *e = &result->error;
		*ret = (struct failure){ .code = e->code, .detail_n = e->message.n, .limit_bytes = e->limit_bytes,
			.peak_bytes = e->peak_bytes, .signal = e->signal };
		if (e->message.n > 0)
			memcpy(ret->detail, e->message.p, e->message.n);
		return;
	}
	case FRAME_CLIENT_TIMED_OUT:
		ret->code = OUTCOME_TIMED_OUT;
		break;
	case FRAME_CLIENT_UNREACHABLE:
		ret->code = OUTCOME_UNAVAILABLE;
		break;
	case FRAME_CLIENT_CLOSED:
		ret->code = OUTCOME_UNAVAILABLE;
		ret->text = "The enclave went away before it answered, try again later";
		break;
	case FRAME_CLIENT_REPLY:                 /* one that lacks what the question asks for */
	case FRAME_CLIENT_PROTOCOL:
		ret->status = 502;
		ret->text = "The enclave gave no valid answer";
		break;
	case FRAME_CLIENT_SYSTEM:
		break;
	}
	char shown[256];
	if (result->how != FRAME_CLIENT_REPLY)
		log_warn("%s", text_escape(bytes_str(result->why.text), shown, sizeof shown));
}

void request_fail_upstream(struct request *r, const struct frame_client_result *result)
{
	struct failure f;
	failure_of(r->g, result, &f);
	request_fail_with(r, &f);
}

void requests_cancel(struct gateway *g)
{
	struct request *r;
	LIST_FOREACH(r, &g->requests, link)
		request_fail(r, 0, OUTCOME_UNAVAILABLE, "The gateway is stopping, try again later");
}

/* --- the server's calls -------------------------------------------------------------------------------- */

/* Without memory for a request there is an answer without one. */
static void answer_nobody(struct http_conn *c)
{
	const struct http_answer a = { .status = 503, .close = true };
	c->user = NULL;
	http_answer(c, &a);
}

static void on_request(struct http_conn *c, const struct http1_head *h, enum http1_result why)
{
	struct front *f = c->server->owner;
	struct request *r = f->g->spare != NULL ? f->g->spare : malloc(sizeof *r);
	f->g->spare = NULL;
	if (r == NULL) {
		answer_nobody(c);
		return;
	}
	c->user = r;
	*r = (struct request){ .g = f->g, .front = f, .conn = c, .from = address_of_peer(&c->peer), .method = "other",
		.started_ms = c->server->now_ms };
	LIST_INSERT_HEAD(&f->g->requests, r, link);
	request_begin(r, h, why);
}

static size_t on_body(struct http_conn *c, struct bytes data)
{
	struct request *r = c->user;
	size_t used = r->route == ROUTE_VERSIONS ? upload_feed(r, data) : prove_feed(r, data);
	r->text_n += used;
	return used;
}

static void on_body_end(struct http_conn *c)
{
	struct request *r = c->user;
	if (r->route == ROUTE_VERSIONS)
		upload_end(r);
	else
		prove_end(r);
}

static bool admit(struct http_server *s, int fd)
{
	const struct front *f = s->owner;
	return f->kind != FRONT_OPERATOR || operator_admits(f->g, fd);
}

static void on_body_failed(struct http_conn *c, enum http1_result why)
{
	if (why == HTTP1_SLOW)
		request_fail(c->user, 408, OUTCOME_TIMED_OUT, "The request body did not arrive in time");
	else
		request_fail(c->user, 0, OUTCOME_BAD_REQUEST, "Malformed request: its chunks are none");
}

static void on_end(struct http_conn *c, bool gone)
{
	struct request *r = c->user;
	if (r == NULL)
		return;
	struct gateway *g = r->g;
	r->gone = gone;
	r->ended_ms = c->server->now_ms;
	if (r->state != REQ_ANSWERED)
		forget_work(r);
	metrics_count(r);
	if (!g->o->quiet)
		log_access(r);
	answer_release(&r->answer);
	LIST_REMOVE(r, link);
	if (g->spare == NULL)
		g->spare = r;
	else
		free(r);
}

const struct http_handler gateway_handler = { .admit = admit, .on_request = on_request, .on_body = on_body, .on_body_end = on_body_end,
	.on_body_failed = on_body_failed, .on_end = on_end };
