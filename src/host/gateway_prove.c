/* POST /prove: the body's text goes through the JSON reader straight into the frame that is filled for
 * the enclave, so a body of any size costs one frame of memory. When that frame is on its way and the
 * enclave does not take it, the client is not read either. Nothing here is secret: the payload is
 * ciphertext, and the answer is signed by the enclave for whoever cares to check. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <stdlib.h>

enum { PROOF_HEAD = 4, FIELD_SIZE = 32, BODY_SLACK_S = 10 };

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

/* --- the way back --------------------------------------------------------------------------------------- */

static bool proof_complete(const struct frame_reply *p)
{
	struct reader r = reader_of(p->proof);
	uint64_t fields = get_be32(&r);
	return !r.bad && fields > 0 && reader_left(&r) == fields * FIELD_SIZE && p->bb_sha256.n > 0 && p->signature.n > 0;
}

static void answer_proof(struct request *r, const struct frame_reply *p)
{
	size_t cap = base64_size(p->proof.n) + base64_size(p->signature.n) + 256;
	char hex[2 * 32 + 1];
	struct writer w = writer_of(malloc(cap), cap);
	if (w.p == NULL) {
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		return;
	}
	put_str(&w, "{\"proof\":\"");
	put_base64(&w, p->proof);
	put_fmt(&w, "\",\"bbSha256\":\"%s\",\"signature\":\"", hex_encode(p->bb_sha256, hex));
	put_base64(&w, p->signature);
	put_fmt(&w, "\",\"peakBytes\":%llu}", (unsigned long long)rounded_bytes(p->peak_bytes));
	answer_json(&r->answer, (char *)w.p, w.at);
	r->answer.no_store = true;
	r->answer.timed = true;
	r->answer.prove_ms = rounded_ms(p->prove_ms);
	r->answer.decrypt_ms = rounded_ms(p->decrypt_ms);
	request_answer(r);
}

static void on_end(struct frame_client *c, const struct frame_client_result *result)
{
	struct request *r = CONTAINER_OF(c, struct request, upstream);
	if (result->how == FRAME_CLIENT_REPLY && proof_complete(&result->reply))
		answer_proof(r, &result->reply);
	else
		request_fail_upstream(r, result);
}

/* --- the way there --------------------------------------------------------------------------------------- */

static void on_room(struct frame_client *c)
{
	http_resume(CONTAINER_OF(c, struct request, upstream)->conn);
}

void prove_start(struct request *r)
{
	const struct gateway_options *o = r->g->o;
	bool chunked = r->content_length == UINT64_MAX;
	if (!chunked && r->content_length > body_max(r)) {
		refuse_size(r);
		return;
	}
	if (r->content_length == 0) {
		refuse_body(r, PROVE_BODY_TRUNCATED);
		return;
	}
	if (r->g->proves >= o->proves_max) {
		request_fail(r, 0, OUTCOME_BUSY, NULL);
		return;
	}
	if (!within_rate(r))
		return;
	/* an upper bound: what the body would decode to if all of it were payload */
	uint64_t size = (chunked ? body_max(r) : r->content_length) / 4 * 3 + 3;
	const struct frame_request q = { .op = OP_PROVE, .version = bytes_str(r->version), .size = size,
		.id = bytes_str(r->id) };
	struct err err;
	prove_body_init(&r->body);
	r->upstream.on_room = on_room;
	r->upstream.on_end = on_end;
	r->proving = true;
	r->g->proves++;
	if (frame_client_open(&r->upstream, &r->g->loop, &r->g->enclave, &q, ((int64_t)o->body_s + BODY_SLACK_S) * 1000,
	                      &err) < 0) {
		request_fail(r, 0, OUTCOME_UNAVAILABLE, NULL);
		return;
	}
	r->state = REQ_READING;
}

size_t prove_feed(struct request *r, struct bytes text)
{
	if (text.n > body_max(r) - r->text_n) {
		refuse_size(r);
		return text.n;
	}
	for (size_t at = 0; at < text.n;) {
		uint8_t *to;
		size_t room = frame_client_room(&r->upstream, &to), got;
		if (room == 0)
			return at;
		/* as much text as cannot decode to more than the room */
		size_t n = (room - 3) / 3 * 4;
		n = n < text.n - at ? n : text.n - at;
		enum prove_body_result why = prove_body_feed(&r->body, bytes_of(text.p + at, n), to, &got);
		if (why != PROVE_BODY_OK) {
			refuse_body(r, why);
			return text.n;
		}
		frame_client_commit(&r->upstream, got);
		at += n;
	}
	return text.n;
}

void prove_end(struct request *r)
{
	enum prove_body_result why = prove_body_finish(&r->body);
	if (why != PROVE_BODY_OK) {
		refuse_body(r, why);
		return;
	}
	frame_client_end(&r->upstream);
	frame_client_deadline(&r->upstream, (int64_t)r->g->o->prove_s * 1000);
	r->state = REQ_WAITING;
}

void prove_forget(struct request *r)
{
	if (r->proving)
		r->g->proves--;
	r->proving = false;
}
