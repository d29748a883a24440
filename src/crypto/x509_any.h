/* X.509 certificates of any kind, as far as signing an image and describing it go: what the key is, how long it
 * holds, who issued it. Versions 1 to 3, any signature algorithm, any extensions (not looked at): images are signed
 * with whatever `openssl x509 -req` makes. Still exact DER. For attestation documents there is x509.h, which takes
 * their one kind of certificate and nothing else. */
#ifndef CRYPTO_X509_ANY_H
#define CRYPTO_X509_ANY_H

#include "base/bytes.h"
#include "crypto/x509.h"

struct x509_any {                                /* all strings borrowed from the DER */
	struct bytes issuer, subject;            /* contents of the names; see struct x509_name */
	struct bytes algorithm;                  /* of its own signature: contents of the OID */
	int64_t not_before_s, not_after_s;       /* since 1970, both inclusive */
	struct bytes point;                      /* 04 || x || y of a P-384 key; empty: another kind of key */
	struct bytes signature;                  /* as encoded */
};

/* Parses all of der: X509_OK, _NOT_DER, _TRAILING_BYTES, _MALFORMED or _BAD_TIME. *ret is written on X509_OK only. */
enum x509_result x509_any_parse(struct bytes der, struct x509_any *ret);

struct x509_attribute { struct bytes type, value; uint8_t value_tag; };  /* contents of the OID; of a string */
/* Walks through a name:  struct x509_name n = x509_name_of(c.issuer);  while (x509_name_next(&n, &a)) … */
struct x509_name { struct reader sets, pairs; bool bad; };
static inline struct x509_name x509_name_of(struct bytes name)
{
	return (struct x509_name){ reader_of(name), reader_of(BYTES_NONE), false };
}
/* False at the end, and with n->bad set when the name is malformed. */
bool x509_name_next(struct x509_name *n, struct x509_attribute *ret);
/* Its value as UTF-8, as far as it is text; "?" when it is not. */
void x509_put_value(struct writer *w, const struct x509_attribute *a);

/* "commonName", "ecdsa-with-SHA384" … as libcrypto calls them; dotted numbers for what is not known here. */
void x509_put_oid(struct writer *w, struct bytes oid);
/* "Jan  1 00:00:00 2026 GMT" */
void x509_put_date(struct writer *w, int64_t s);

#endif
