/* Attestation documents for the current key and version list. A document without a nonce is kept for a
 * few seconds, so a flood of requests costs the NSM nothing; one with a nonce is made for its caller. */
#ifndef ENCLAVE_PROVER_ATTESTOR_H
#define ENCLAVE_PROVER_ATTESTOR_H

#include "base/fail.h"
#include "enclave/prover/keyring.h"
#include "enclave/prover/versions.h"
#include "linux/nsm_dev.h"

enum { USER_DATA_MAX = 512 };                    /* what the NSM is documented to take */

struct attestor {
	struct nsm *nsm;                         /* borrowed; one descriptor for life */
	int64_t cache_ms;
	uint8_t cached[FRAME_DOCUMENT_MAX];
	size_t cached_n;                         /* 0: nothing cached */
	int64_t cached_until_ms;
	uint64_t cached_keys, cached_versions;   /* generations the cached document speaks of */
	uint8_t fresh[FRAME_DOCUMENT_MAX];
	uint64_t nsm_calls;
};

void attestor_init(struct attestor *a, struct nsm *nsm, int64_t cache_ms);
/* *ret_document is borrowed until the next call. nonce may be empty. -errno when the NSM fails. */
int attestor_document(struct attestor *a, const struct keyring *keys, const struct versions *versions,
                      struct bytes nonce, struct bytes *ret_document, struct err *err);

#endif
