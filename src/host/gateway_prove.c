/* POST /prove: the body's text goes through the JSON reader into a spool, from where the job takes it when its turn has
 * come. Nothing here is secret: the payload is ciphertext, and the answer is signed by the enclave for whoever cares
 * to check. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <errno.h>

enum { PIECE = 24 << 10 };               /* decoded at once */

static uint64_t body_max(const struct request *r) { return r->g->o->body_max_mib << 20; }

static void refuse_size(struct request *r)
{
	const struct answer_details d = { .limit_bytes = body_max(r) };
	answer_error(&r->answer, 0, OUTCOME_TOO_LARGE, NULL, r->id, &d);
	request_answer(r);
}

/* False when r's client has had its share; then r is answered. */
static bool within_rate(struct request *r)
{
	struct gateway *g = r->g;
	if (g->o->prove_rate == 0 || address_in(&r->from, &g->prove_rate_exempt))
		return true;
	int64_t wait_ms = rate_limit_take(&g->prove_rate, &r->from, clock_monotonic_ms());
	if (wait_ms == 0)
		return true;
	g->rate_limited++;
	answer_error(&r->answer, 0, OUTCOME_BUSY, NULL, r->id, NULL);
	r->answer.retry_after_s = (unsigned)((wait_ms + 999) / 1000);
	request_answer(r);
	return false;
}

static void refuse_body(struct request *r, enum prove_body_result why)
{
	const struct answer_details d = { .detail = bytes_str(prove_body_result_name(why)) };
	answer_error(&r->answer, 0, OUTCOME_BAD_REQUEST, prove_body_is_shape_error(why) ?
		"Invalid request body: expected { data: string }" : "Malformed request body", r->id, &d);
	request_answer(r);
}

/* --- the way there --------------------------------------------------------------------------------------- */

void prove_start(struct request *r)
{
	bool chunked = r->content_length == HTTP1_CHUNKED;
	if (!chunked && r->content_length > body_max(r)) {
		refuse_size(r);
		return;
	}
	if (r->content_length == 0) {
		refuse_body(r, PROVE_BODY_TRUNCATED);
		return;
	}
	if (r->g->draining) {
		request_fail(r, 0, OUTCOME_UNAVAILABLE, "The gateway is stopping, try again later");
		return;
	}
	if (!job_admits(r) || !subscribers_have_room(r, r->respond_async)) {
		request_fail(r, 0, OUTCOME_BUSY, NULL);
		return;
	}
	if (!within_rate(r))
		return;
	if (body_spool_open(&r->spool, &r->g->jobs.budget) < 0) {
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		return;
	}
	prove_body_init(&r->body);
	r->uploading = true;
	r->g->uploads++;
	r->state = REQ_READING;
}

size_t prove_feed(struct request *r, struct bytes text)
{
	uint8_t out[PIECE + 3];
	if (text.n > body_max(r) - r->text_n) {
		refuse_size(r);
		return text.n;
	}
	for (size_t at = 0, n; at < text.n; at += n) {
		size_t got;
		n = text.n - at < PIECE / 3 * 4 ? text.n - at : PIECE / 3 * 4;
		enum prove_body_result why = prove_body_feed(&r->body, bytes_of(text.p + at, n), out, &got);
		if (why != PROVE_BODY_OK) {
			refuse_body(r, why);
			return text.n;
		}
		int ret = body_spool_add(&r->spool, bytes_of(out, got));
		if (ret < 0) {
			request_fail(r, 0, ret == -ENOSPC ? OUTCOME_NO_SPACE : OUTCOME_INTERNAL, NULL);
			return text.n;
		}
	}
	return text.n;
}

void prove_end(struct request *r)
{
	enum prove_body_result why = prove_body_finish(&r->body);
	if (why != PROVE_BODY_OK)
		refuse_body(r, why);
	else
		job_submit(r);
}

void prove_forget_upload(struct request *r)
{
	if (r->uploading)
		r->g->uploads--;
	r->uploading = false;
}

void prove_forget(struct request *r)
{
	prove_forget_upload(r);
	body_spool_close(&r->spool);
}
