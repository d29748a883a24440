/* The questions a client may ask the enclave without a payload. Each is one short exchange; a flood of
 * them waits in line here instead of taking the connections that the enclave has for proofs. A health
 * question is answered 200 in any case: it is the gateway that is asked how the enclave is. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <stdlib.h>

/* --- answers ------------------------------------------------------------------------------------------- */

enum { KEY_TEXT_MAX = 6 * FRAME_KEY_MAX + 64 };  /* a byte escapes to at most six */

/* Takes the text that w holds as the answer; an overflow is our bug. */
static void answer_with(struct request *r, struct writer *w)
{
	if (w->full) {
		free(w->p);
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		return;
	}
	answer_json(&r->answer, (char *)w->p, w->at);
	r->answer.no_store = true;
	request_answer(r);
}

static bool start_text(struct request *r, struct writer *w, size_t cap)
{
	*w = writer_of(malloc(cap), cap);
	if (w->p == NULL)
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
	return w->p != NULL;
}

static size_t attestation_size(const struct frame_reply *p) { return base64_size(p->document.n) + KEY_TEXT_MAX + 128; }

static void put_attestation(struct writer *w, const struct frame_reply *p)
{
	put_str(w, "{\"mode\":\"nitro\",\"attestationDocument\":\"");
	put_base64(w, p->document);
	put_str(w, "\",\"publicKey\":");
	put_json_string(w, p->key);
	put_u8(w, '}');
}

static void answer_attestation(struct request *r, const struct frame_reply *p)
{
	struct writer w;
	if (!start_text(r, &w, attestation_size(p)))
		return;
	put_attestation(&w, p);
	answer_with(r, &w);
}

void query_answer_shared(struct request *r, struct answer_text *t)
{
	answer_shared(&r->answer, t);
	r->answer.no_store = true;
	request_answer(r);
}

static void answer_key(struct request *r, const struct frame_reply *p)
{
	struct writer w;
	if (!start_text(r, &w, KEY_TEXT_MAX))
		return;
	put_str(&w, "{\"publicKey\":");
	put_json_string(&w, p->key);
	put_u8(&w, '}');
	answer_with(r, &w);
}

static void put_versions(struct writer *w, const struct frame_reply *p)
{
	put_str(w, "\"available_versions\":[");
	for (size_t i = 0; i < p->version_count; i++) {
		put_str(w, i == 0 ? "" : ",");
		put_json_string(w, p->version[i].name);
	}
	put_str(w, "],\"bb_hashes\":[");
	for (size_t i = 0; i < p->version_count; i++) {
		char hex[2 * 32 + 1];
		put_str(w, i == 0 ? "{\"version\":" : ",{\"version\":");
		put_json_string(w, p->version[i].name);
		put_fmt(w, ",\"sha256\":\"%s\"}", hex_encode(p->version[i].sha256, hex));
	}
	put_u8(w, ']');
}

void query_answer_versions(struct request *r, const struct frame_reply *p)
{
	struct writer w;
	if (!start_text(r, &w, 256 + FRAME_VERSIONS_MAX * (2 * 6 * FRAME_VERSION_MAX + 160)))
		return;
	put_u8(&w, '{');
	put_versions(&w, p);
	if (p->default_version.n > 0) {
		put_str(&w, ",\"default_version\":");
		put_json_string(&w, p->default_version);
	}
	put_u8(&w, '}');
	answer_with(r, &w);
}

/* p is NULL when the enclave gave no answer. Uptimes in whole seconds: nobody needs more from outside. */
static void answer_health(struct request *r, const struct frame_reply *p)
{
	static const struct frame_reply nothing;
	const struct frame_reply *q = p != NULL ? p : &nothing;
	struct writer w;
	if (!start_text(r, &w, 1024 + 6 * FRAME_MESSAGE_MAX + FRAME_VERSIONS_MAX * (2 * 6 * FRAME_VERSION_MAX + 160)))
		return;
	put_str(&w, "{\"status\":\"ok\",\"api_version\":1,");
	put_versions(&w, q);
	if (q->default_version.n > 0) {
		put_str(&w, ",\"default_version\":");
		put_json_string(&w, q->default_version);
	}
	put_fmt(&w, ",\"enclave\":\"%s\"", p != NULL ? "ok" : "unreachable");
	put_fmt(&w, ",\"runtime\":{\"gateway_version\":\"%s\",\"gateway_uptime_s\":%lld", TEEREX_VERSION,
	        (long long)(clock_monotonic_ms() - r->g->started_ms) / 1000);
	if (p != NULL)
		put_fmt(&w, ",\"enclave_uptime_s\":%llu,\"jobs_running\":%llu,\"jobs_queued\":%llu",
		        (unsigned long long)p->uptime_ms / 1000, (unsigned long long)p->jobs_running,
		        (unsigned long long)p->jobs_queued);
	if (q->guards.n > 0) {
		put_str(&w, ",\"job_guards\":");
		put_json_string(&w, q->guards);
	}
	put_str(&w, "}}");
	answer_with(r, &w);
}

/* --- exchanges ------------------------------------------------------------------------------------------- */

static bool has_document(const struct frame_reply *p) { return p->document.n > 0 && p->key.n > 0; }
static bool has_key(const struct frame_reply *p) { return p->key.n > 0; }
static bool always(const struct frame_reply *p) { return p != NULL; }

static const struct {
	enum frame_op op;
	bool (*complete)(const struct frame_reply *p);
	void (*answer)(struct request *r, const struct frame_reply *p);
} kinds[] = {
	[QUERY_ATTESTATION] = { OP_ATTEST, has_document, answer_attestation },
	[QUERY_KEY] = { OP_PUBLIC_KEY, has_key, answer_key },
	[QUERY_HEALTH] = { OP_HEALTH, always, answer_health },
	[QUERY_METRICS] = { OP_METRICS, always, metrics_answer },
	[QUERY_VERSIONS] = { OP_VERSIONS, always, query_answer_versions },
};

struct answer_text *query_attestation_text(const struct frame_client_result *result)
{
	const struct frame_reply *p = &result->reply;
	if (result->how != FRAME_CLIENT_REPLY || !has_document(p))
		return NULL;
	struct answer_text *t = answer_text_new(attestation_size(p));
	if (t == NULL)
		return NULL;
	struct writer w = writer_of(t->p, t->cap);
	put_attestation(&w, p);
	t->n = writer_bytes(&w).n;
	return t;
}

/* These two are about the enclave being away as much as about it being there. */
static bool answered_anyway(const struct request *r) { return r->query == QUERY_HEALTH || r->query == QUERY_METRICS; }

static void on_end(struct frame_client *c, const struct frame_client_result *result)
{
	struct request *r = CONTAINER_OF(c, struct request, upstream);
	if (result->how == FRAME_CLIENT_REPLY && kinds[r->query].complete(&result->reply))
		kinds[r->query].answer(r, &result->reply);
	else if (answered_anyway(r))
		kinds[r->query].answer(r, NULL);
	else
		request_fail_upstream(r, result);
}

static void open_exchange(struct request *r)
{
	struct frame_request q = { .op = kinds[r->query].op, .nonce = bytes_of(r->nonce, r->nonce_n),
		.id = bytes_str(r->id) };
	struct err err;
	r->query_running = true;
	r->g->queries++;
	r->upstream.on_end = on_end;
	if (frame_client_open(&r->upstream, &r->g->loop, &r->g->enclave, &q, GATEWAY_QUERY_MS, &err) == 0)
		return;
	if (answered_anyway(r))
		kinds[r->query].answer(r, NULL);
	else
		request_fail(r, 0, OUTCOME_UNAVAILABLE, NULL);
}

/* An exchange that cannot even start answers its request and frees its place at once; that must not
 * lead back in here for every request in line. */
static void run_waiting(struct gateway *g)
{
	if (g->running_waiting)
		return;
	g->running_waiting = true;
	while (g->queries < GATEWAY_QUERIES_MAX && !TAILQ_EMPTY(&g->waiting)) {
		struct request *r = TAILQ_FIRST(&g->waiting);
		TAILQ_REMOVE(&g->waiting, r, query_link);
		r->query_queued = false;
		open_exchange(r);
	}
	g->running_waiting = false;
}

void query_start(struct request *r, enum query_kind kind)
{
	r->query = kind;
	r->query_queued = true;
	r->state = REQ_WAITING;
	if (kind == QUERY_METRICS)               /* the operator wants to see the crowd, not to stand in it */
		TAILQ_INSERT_HEAD(&r->g->waiting, r, query_link);
	else
		TAILQ_INSERT_TAIL(&r->g->waiting, r, query_link);
	run_waiting(r->g);
}

void query_forget(struct request *r)
{
	if (r->query_queued)
		TAILQ_REMOVE(&r->g->waiting, r, query_link);
	if (r->query_running)
		r->g->queries--;
	r->query_queued = r->query_running = false;
	run_waiting(r->g);
}
