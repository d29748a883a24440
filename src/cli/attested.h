/* What a client knows about an enclave behind a URL after it has verified its attestation document: the
 * key to encrypt to, the versions it may run. Everything here comes from the document, or hashes to what
 * is in it; what the host says beside it is ignored. */
#ifndef CLI_ATTESTED_H
#define CLI_ATTESTED_H

#include "attest/teerex_attest.h"
#include "base/fail.h"
#include "crypto/crypto.h"
#include "format/frame.h"
#include "host/http_client.h"
#include "openpgp/key.h"

enum {
	ATTESTED_NONCE_SIZE = 32,                /* what we send when the user names none */
	ATTEST_CONNECT_MS = 10 * 1000, ATTEST_TOTAL_MS = 30 * 1000
};

/* Fetches the document with this nonce (empty: none). 0: *ret_n bytes in out. Its mode "standard", which
 * means no attestation, is an error. */
int attestation_fetch(const struct http_base *base, struct bytes nonce, uint8_t out[TEEREX_DOCUMENT_MAX],
                      size_t *ret_n, struct err *err);

struct attested_version { char name[FRAME_VERSION_MAX + 1]; uint8_t sha256[SHA256_SIZE]; };

struct attested {
	struct teerex_result result;             /* verified; code says why not */
	struct pgp_recipient key;
	struct attested_version version[FRAME_VERSIONS_MAX];
	size_t version_count;
};

/* Fetches a document with the policy's nonce, verifies it, reads its key and versions. When the document
 * has only the digest of a long list, the list is fetched and checked against it. -EACCES: refused, with
 * ret->result.code set; other -errno: no document, or one that says nothing we understand. */
int attested_open(const struct http_base *base, const struct teerex_policy *policy, struct attested *ret,
                  struct err *err);

/* The version of that name, or with NULL the only one. NULL and a sentence that names those there are. */
const struct attested_version *attested_find(const struct attested *a, const char *name, struct err *err);

/* Prints on standard error what must never go unsaid: SIMULATED, DEBUG. */
void attested_warn(const char *command, const struct teerex_result *r);

#endif
