#include "enclave/prover/attestor.h"

#include "base/clock.h"

#include <errno.h>

void attestor_init(struct attestor *a, struct nsm *nsm, int64_t cache_ms)
{
	a->nsm = nsm;
	a->cache_ms = cache_ms;
	a->cached_n = 0;
	a->nsm_calls = 0;
}

int attestor_document(struct attestor *a, const struct keyring *keys, const struct versions *versions,
                      struct bytes nonce, struct bytes *ret_document, struct err *err)
{
	int64_t now = clock_monotonic_ms();
	if (nonce.n == 0 && a->cached_n > 0 && now < a->cached_until_ms &&
	    a->cached_keys == keys->generation && a->cached_versions == versions->generation) {
		*ret_document = bytes_of(a->cached, a->cached_n);
		return 0;
	}
	uint8_t user_data[USER_DATA_MAX];
	struct writer w = writer_of(user_data, sizeof user_data);
	versions_user_data(versions, sizeof user_data, &w);
	if (w.full)
		return fail(err, 0, "the version list does not fit into user_data");

	uint8_t *into = nonce.n == 0 ? a->cached : a->fresh;
	size_t n = 0;
	if (nonce.n == 0)
		a->cached_n = 0;
	a->nsm_calls++;
	int ret = nsm_attest(a->nsm, bytes_str(keys->current->armored), writer_bytes(&w), nonce, into,
	                     FRAME_DOCUMENT_MAX, &n, err);
	if (ret < 0)
		return ret;
	if (nonce.n == 0) {
		a->cached_n = n;
		a->cached_until_ms = now + a->cache_ms;
		a->cached_keys = keys->generation;
		a->cached_versions = versions->generation;
	}
	*ret_document = bytes_of(into, n);
	return 0;
}
