/* One table maps outcomes to HTTP. The rule behind it: clients retry 5xx (and 429), so what would fail
 * again in the same way is a 4xx, however little the client is to blame. Text from the enclave only
 * appears inside JSON strings, escaped by put_json_string and cut. */
#include "host/gateway_answer.h"

#include "base/text.h"

#include "host/http_server.h"

#include <stdlib.h>

enum {
	FIELDS_MAX = 1536,
	RETRY_AFTER_S = 5
};

static const struct { unsigned status, retry_after_s; const char *text; } outcomes[OUTCOME_COUNT] = {
	[OUTCOME_OK] = { 200, 0, "OK" },
	[OUTCOME_BAD_INPUT] = { 400, 0, "Failed to decrypt request payload" },
	[OUTCOME_OUT_OF_MEMORY] = { 422, 0, "The proof needs more memory than a job may have" },
	[OUTCOME_TIMED_OUT] = { 504, 0, "The answer was not ready in time" },
	[OUTCOME_CANCELLED] = { 503, RETRY_AFTER_S, "The request was cancelled, try again" },
	[OUTCOME_CRASHED] = { 422, 0, "The prover program crashed on this input" },
	[OUTCOME_PROVER_ERROR] = { 422, 0, "The prover program made no proof of this input" },
	[OUTCOME_UNKNOWN_KEY] = { 400, 0, "The payload is encrypted to a key that is not loaded: "
	                                  "fetch a new attestation and encrypt again" },
	[OUTCOME_UNKNOWN_VERSION] = { 400, 0, "This prover version is not loaded: GET /health lists those that are" },
	[OUTCOME_VERSION_MISMATCH] = { 409, 0, "The payload is bound to another prover version" },
	[OUTCOME_BAD_REQUEST] = { 400, 0, "Malformed request" },
	[OUTCOME_TOO_LARGE] = { 413, 0, "Payload too large" },
	[OUTCOME_BUSY] = { 429, RETRY_AFTER_S, "Too many prove requests, try again later" },
	[OUTCOME_NOT_ALLOWED] = { 403, 0, "Not allowed" },
	[OUTCOME_DIGEST_MISMATCH] = { 422, 0, "The data is not what its digest says" },
	[OUTCOME_NO_SPACE] = { 503, RETRY_AFTER_S, "No room for this payload now, try again later" },
	[OUTCOME_UNAVAILABLE] = { 503, RETRY_AFTER_S, "The enclave is not available, try again later" },
	[OUTCOME_INTERNAL] = { 500, 0, "Internal server error" },
};

uint64_t rounded_ms(uint64_t ms) { return ms > UINT64_MAX - 9 ? ms : (ms + 9) / 10 * 10; }

uint64_t rounded_bytes(uint64_t bytes)
{
	const uint64_t mib = 1 << 20;
	return bytes > UINT64_MAX - mib ? bytes : (bytes + mib - 1) / mib * mib;
}

struct answer_text *answer_text_new(size_t cap)
{
	struct answer_text *t = malloc(sizeof *t + cap);
	if (t != NULL)
		*t = (struct answer_text){ .refs = 1, .cap = cap };
	return t;
}

struct answer_text *answer_text_share(struct answer_text *t)
{
	t->refs++;
	return t;
}

void answer_text_drop(struct answer_text *t)
{
	if (t != NULL && --t->refs == 0)
		free(t);
}

void answer_release(struct answer *a)
{
	free(a->body);
	answer_text_drop(a->shared);
	*a = (struct answer){ 0 };
}

static void put_number(struct writer *w, const char *name, uint64_t v)
{
	if (v > 0)
		put_fmt(w, ",\"%s\":%llu", name, (unsigned long long)v);
}

/* The type names the code; as no address of ours would outlive this program, it is none. Where nothing
 * more is known than the sentence for people, that is the detail. */
static void put_problem(struct writer *w, unsigned status, enum outcome code, const char *text, struct bytes detail)
{
	const char *title = outcomes[code].text;
	put_fmt(w, ",\"type\":\"urn:tee-rex:%s\",\"title\":", outcome_name(code));
	put_json_string(w, bytes_str(title));
	put_fmt(w, ",\"status\":%u,\"detail\":", status);
	if (detail.n == 0)
		detail = bytes_str(text != NULL ? text : title);
	put_json_string(w, bytes_of(detail.p, detail.n < FRAME_MESSAGE_MAX ? detail.n : FRAME_MESSAGE_MAX));
}

void answer_error_put(struct writer *w, unsigned status, enum outcome code, const char *text, const char *id,
                      const struct answer_details *d)
{
	static const struct answer_details none;
	d = d == NULL ? &none : d;
	put_str(w, "{\"error\":");
	put_json_string(w, bytes_str(text != NULL ? text : outcomes[code].text));
	put_str(w, ",\"requestId\":");
	put_json_string(w, bytes_str(id));
	put_fmt(w, ",\"code\":\"%s\"", outcome_name(code));
	put_problem(w, status != 0 ? status : outcomes[code].status, code, text, d->detail);
	put_number(w, "limit_bytes", d->limit_bytes);
	put_number(w, "peak_bytes", rounded_bytes(d->peak_bytes));
	put_number(w, "signal", d->signal);
	put_u8(w, '}');
}

void answer_error(struct answer *a, unsigned status, enum outcome code, const char *text, const char *id,
                  const struct answer_details *d)
{
	answer_release(a);
	a->status = status != 0 ? status : outcomes[code].status;
	a->code = code;
	a->retry_after_s = outcomes[code].retry_after_s;
	a->no_store = true;
	a->body = malloc(ANSWER_ERROR_MAX);
	if (a->body == NULL)
		return;          /* the status says the same in fewer words */
	struct writer w = writer_of(a->body, ANSWER_ERROR_MAX);
	answer_error_put(&w, status, code, text, id, d);
	a->body_n = writer_bytes(&w).n;
}

void answer_json(struct answer *a, char *body, size_t n)
{
	answer_release(a);
	*a = (struct answer){ .status = 200, .code = OUTCOME_OK, .body = body, .body_n = n };
}

void answer_shared(struct answer *a, struct answer_text *t) { answer_shared_part(a, t, 0, t->n); }

void answer_shared_part(struct answer *a, struct answer_text *t, size_t at, size_t n)
{
	answer_release(a);
	*a = (struct answer){ .status = 200, .code = OUTCOME_OK, .shared = answer_text_share(t), .shared_at = at, .body_n = n };
}

void answer_nothing(struct answer *a)
{
	answer_release(a);
	*a = (struct answer){ .status = 204, .code = OUTCOME_OK };
}

/* --- header fields ------------------------------------------------------------------------------- */

static void put_fields(struct writer *w, const struct answer *a, const char *id)
{
	if (a->type == NULL)
		put_str(w, "Access-Control-Allow-Origin: *\r\n");
	put_str(w, "Access-Control-Expose-Headers: X-Request-Id, X-Prove-Duration-Ms, X-Decrypt-Duration-Ms, Location, Retry-After\r\n"
	           "X-Request-Id: ");
	put_str(w, id);
	if (a->status == 204) {
		put_str(w, "\r\nAccess-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\n"
		           "Access-Control-Allow-Headers: Content-Type, X-Request-Id, X-Aztec-Version, Prefer\r\n"
		           "Access-Control-Max-Age: 86400\r\n");
	} else {
		put_str(w, "\r\nContent-Type: ");
		put_str(w, a->type != NULL ? a->type : a->problem ? "application/problem+json" : "application/json");
		put_str(w, "\r\nX-Content-Type-Options: nosniff\r\n");
	}
	if (a->no_store)
		put_str(w, "Cache-Control: no-store\r\n");
	if (a->allow != NULL)
		put_fmt(w, "Allow: %s\r\n", a->allow);
	if (a->location[0] != '\0')
		put_fmt(w, "Location: %s\r\n", a->location);
	if (a->async)
		put_str(w, "Preference-Applied: respond-async\r\n");
	if (a->retry_after_s > 0)
		put_fmt(w, "Retry-After: %u\r\n", a->retry_after_s);
	if (a->timed)
		put_fmt(w, "x-prove-duration-ms: %llu\r\nx-decrypt-duration-ms: %llu\r\n", (unsigned long long)a->prove_ms,
		        (unsigned long long)a->decrypt_ms);
}

void answer_send(const struct answer *a, struct http_conn *to, const char *id)
{
	uint8_t fields[FIELDS_MAX];
	struct writer w = writer_of(fields, sizeof fields);
	put_fields(&w, a, id);
	const struct http_answer out = { .status = a->status, .fields = writer_bytes(&w), .close = a->close,
		.body = bytes_of(a->shared != NULL ? (const void *)(a->shared->p + a->shared_at) : a->body, a->body_n) };
	http_answer(to, &out);
}
