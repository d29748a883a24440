/* The attestation document for requests without a nonce. Making one costs the enclave a call to its
 * security module, and nothing in such a document belongs to the client that asks; so everybody who asks
 * while an exchange is under way waits for that one, and its answer is kept for a moment as the finished
 * bytes of a body. Its age counts from the start of the exchange: no document is ever older than the
 * option says when it is handed out, save by the time its own exchange took.
 *
 * A document names the keys of one enclave. When that enclave refuses a key, or is away, what is kept
 * may be of the one before, and is dropped: "fetch a new attestation" must give a new one.
 *
 * A request with a nonce never comes here, and clients are still told not to store any answer. */
#include "base/clock.h"
#include "host/gateway_server.h"

static void drop_kept(struct attestation_cache *a)
{
	answer_text_drop(a->kept);
	a->kept = NULL;
}

/* Takes the first of the waiting requests out of the line. */
static struct request *next_waiting(struct attestation_cache *a)
{
	struct request *r = TAILQ_FIRST(&a->waiting);
	if (r != NULL) {
		TAILQ_REMOVE(&a->waiting, r, query_link);
		r->cache_waits = false;
	}
	return r;
}

static void on_end(struct frame_client *c, const struct frame_client_result *result)
{
	struct gateway *g = CONTAINER_OF(c, struct gateway, attestation.upstream);
	struct attestation_cache *a = &g->attestation;
	struct answer_text *text = query_attestation_text(result);
	struct request *r;
	if (text != NULL && !a->outdated && clock_monotonic_ms() < a->fresh_until_ms) {
		drop_kept(a);
		a->kept = answer_text_share(text);
	}
	while ((r = next_waiting(a)) != NULL) {
		if (text != NULL)
			query_answer_shared(r, text);
		else
			request_fail_upstream(r, result);
	}
	answer_text_drop(text);
}

static bool start_exchange(struct gateway *g)
{
	struct attestation_cache *a = &g->attestation;
	const struct frame_request q = { .op = OP_ATTEST };
	struct err err;
	a->outdated = false;
	a->fresh_until_ms = clock_monotonic_ms() + (int64_t)g->o->attestation_cache_ms;
	a->upstream.on_end = on_end;
	return frame_client_open(&a->upstream, &g->loop, &g->enclave, &q, GATEWAY_QUERY_MS, &err) == 0;
}

void attestation_init(struct gateway *g) { TAILQ_INIT(&g->attestation.waiting); }

void attestation_ask(struct request *r)
{
	struct attestation_cache *a = &r->g->attestation;
	if (a->kept != NULL && r->started_ms < a->fresh_until_ms) {
		r->g->cache_hits++;
		query_answer_shared(r, a->kept);
		return;
	}
	drop_kept(a);
	if (!frame_client_is_open(&a->upstream) && !start_exchange(r->g)) {
		request_fail(r, 0, OUTCOME_UNAVAILABLE, NULL);
		return;
	}
	r->state = REQ_WAITING;
	r->cache_waits = true;
	TAILQ_INSERT_TAIL(&a->waiting, r, query_link);
}

void attestation_forget(struct request *r)
{
	struct attestation_cache *a = &r->g->attestation;
	if (!r->cache_waits)
		return;
	TAILQ_REMOVE(&a->waiting, r, query_link);
	r->cache_waits = false;
	if (TAILQ_EMPTY(&a->waiting))
		frame_client_close(&a->upstream);
}

void attestation_drop(struct gateway *g)
{
	drop_kept(&g->attestation);
	g->attestation.outdated = true;
}

void attestation_close(struct gateway *g)
{
	frame_client_close(&g->attestation.upstream);
	drop_kept(&g->attestation);
}
