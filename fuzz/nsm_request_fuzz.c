/* A request as the simulator gets it: whatever parses must come out of the writer again the same, and
 * the module must answer everything with a response that parses. Attestation is left to the parser:
 * a signature for each input would make this a thousand times slower and reach no further code here. */
#include "format/nsm.h"
#include "sim/software_nsm.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

static bool same(const struct nsm_request *a, const struct nsm_request *b)
{
	return a->kind == b->kind && a->index == b->index && a->range == b->range && bytes_equal(a->data, b->data) &&
	       bytes_equal(a->user_data, b->user_data) && bytes_equal(a->nonce, b->nonce) &&
	       bytes_equal(a->public_key, b->public_key) && (a->user_data.p == NULL) == (b->user_data.p == NULL) &&
	       (a->nonce.p == NULL) == (b->nonce.p == NULL) && (a->public_key.p == NULL) == (b->public_key.p == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buf[NSM_REQUEST_MAX + 64], answer[NSM_RESPONSE_MAX];
	static struct software_nsm nsm;
	static struct test_ca ca = { .module_id = "sim-fuzz" };
	static const struct software_nsm_boot boot;
	struct nsm_request q, again;
	bool parsed = nsm_request_parse(bytes_of(data, size), &q) == NSM_OK;
	if (parsed) {
		/* the writer's own form is the shortest, but an absent null becomes a written one */
		struct writer w = writer_of(buf, sizeof buf);
		nsm_request_put(&w, &q);
		REQUIRE(!w.full);
		if (w.at <= NSM_REQUEST_MAX)
			REQUIRE(nsm_request_parse(writer_bytes(&w), &again) == NSM_OK && same(&q, &again));
		if (q.kind == NSM_ATTESTATION)
			return 0;
	}
	software_nsm_init(&nsm, &boot, &ca);
	struct writer w = writer_of(answer, sizeof answer);
	software_nsm_handle(&nsm, bytes_of(data, size), 1, &w);
	struct nsm_response p;
	REQUIRE(nsm_response_parse(writer_bytes(&w), &p) == NSM_OK);
	REQUIRE(p.kind == NSM_ERROR || (parsed && p.kind == q.kind));
	REQUIRE((nsm.locked & 0xffff) == 0xffff);
	return 0;
}
