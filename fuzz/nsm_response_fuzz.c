/* A response as the prover gets it: what parses keeps its promises and comes out of the writer again
 * the same. */
#include "format/nsm.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buf[NSM_RESPONSE_MAX];
	struct nsm_response p, again;
	if (nsm_response_parse(bytes_of(data, size), &p) != NSM_OK)
		return 0;
	switch (p.kind) {
	case NSM_ERROR: REQUIRE(p.error > NSM_NO_ERROR && p.error < NSM_ERROR_END); break;
	case NSM_DESCRIBE_PCR: case NSM_EXTEND_PCR: REQUIRE(p.data.n == NSM_PCR_SIZE); break;
	case NSM_ATTESTATION: REQUIRE(p.document.n > 0 && p.document.n < size); break;
	case NSM_GET_RANDOM: REQUIRE(p.random.n > 0 && p.random.n < size); break;
	case NSM_DESCRIBE_NSM: REQUIRE(p.module_id.n > 0 && p.module_id.n <= NSM_MODULE_ID_MAX &&
	                               p.digest < NSM_DIGEST_COUNT); break;
	case NSM_LOCK_PCR: case NSM_LOCK_PCRS: break;
	case NSM_KIND_COUNT: abort();
	}
	struct writer w = writer_of(buf, sizeof buf);
	nsm_response_put(&w, &p);
	REQUIRE(!w.full && w.at <= size);
	REQUIRE(nsm_response_parse(writer_bytes(&w), &again) == NSM_OK);
	REQUIRE(again.kind == p.kind && again.error == p.error && again.lock == p.lock && bytes_equal(again.data, p.data) &&
	        bytes_equal(again.document, p.document) && bytes_equal(again.random, p.random) &&
	        bytes_equal(again.module_id, p.module_id) && again.version_major == p.version_major &&
	        again.version_minor == p.version_minor && again.version_patch == p.version_patch &&
	        again.max_pcrs == p.max_pcrs && again.locked_pcrs == p.locked_pcrs && again.digest == p.digest);
	return 0;
}
