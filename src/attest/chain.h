/* The certificate chain of a document: from the trusted root to the key that signed. */
#ifndef ATTEST_CHAIN_H
#define ATTEST_CHAIN_H

#include "attest/teerex_attest.h"
#include "crypto/x509.h"

enum { CHAIN_MAX = 9 };                          /* the longest cabundle, and the leaf */

struct chain {
	struct bytes root;                       /* DER of the certificate that is trusted, byte for byte */
	struct bytes cert[CHAIN_MAX];            /* DER, root first, leaf last */
	size_t count;                            /* 2 … CHAIN_MAX */
	int64_t now_s;                           /* since 1970 */
	struct teerex_cache *cache;              /* or NULL */
};

struct chain_fault {
	size_t at;                               /* index of the certificate in question */
	int64_t date_s;                          /* CHAIN_EXPIRED, CHAIN_NOT_YET_VALID: the date missed */
};

/* TEEREX_OK and the leaf (borrowed from the chain), or why not and where. */
enum teerex_code chain_verify(const struct chain *c, struct x509 *ret_leaf, struct chain_fault *ret_fault);

/* Whether der can serve as a root at all: parses, names itself as issuer, is a CA that may sign. */
bool chain_root_usable(struct bytes der);

#endif
