/* Making X.509 certificates of the one kind that Nitro documents use: version 3, P-384 keys,
 * ecdsa-with-SHA384. For the software NSM's test root and for tests; a verifier never links it. */
#ifndef CRYPTO_X509_ISSUE_H
#define CRYPTO_X509_ISSUE_H

#include "base/bytes.h"
#include "crypto/crypto.h"
#include "crypto/x509.h"

enum { X509_ISSUED_MAX = 1024, X509_CN_MAX = 200 };

struct x509_template {
	const char *common_name;                 /* the whole subject; 1-X509_CN_MAX bytes of UTF-8 */
	int64_t not_before_s, not_after_s;       /* since 1970, both inclusive; years 1970-9999 */
	bool ca;                                 /* basic constraints, always present and critical */
	int path_len;                            /* 0-127 or X509_NO_PATH_LEN; of a CA only */
	unsigned key_usage;                      /* x509_key_usage bits, critical; 0: no such extension */
	struct bytes serial;                     /* 1-20 bytes, big-endian, not zero */
};

/* A self-signed certificate of key, DER, appended to der. False: template out of its limits, no room,
 * or libcrypto failed; der then holds nothing new. */
bool x509_make_root(const struct p384 *key, const struct x509_template *t, struct writer *der);

/* A certificate of the public half of subject, signed by issuer_key in the name of the subject of
 * issuer (DER, which must parse; that issuer_key belongs to it is the caller's word). */
bool x509_issue(const struct p384 *issuer_key, struct bytes issuer, const struct p384 *subject,
                const struct x509_template *t, struct writer *der);

/* The certificate as PEM text ("-----BEGIN CERTIFICATE-----"), appended to pem. */
void x509_put_pem(struct writer *pem, struct bytes der);

#endif
