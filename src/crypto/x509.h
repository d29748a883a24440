/* X.509 certificates (RFC 5280) of the kind that signs Nitro attestation documents: version 3, P-384
 * keys with uncompressed points, ecdsa-with-SHA384, exact DER. Everything else is refused while
 * parsing, by name. What a chain of them means is not decided here (attest/chain.h). */
#ifndef CRYPTO_X509_H
#define CRYPTO_X509_H

#include "base/bytes.h"
#include "crypto/crypto.h"

enum x509_result {
	X509_OK,
	X509_NOT_DER,                            /* PEM, BER lengths, truncated */
	X509_TRAILING_BYTES,
	X509_MALFORMED,                          /* DER, but not laid out as a certificate */
	X509_BAD_VERSION,                        /* not version 3 */
	X509_BAD_SERIAL,                         /* not a positive integer of at most 20 bytes */
	X509_BAD_ALGORITHM,                      /* signed with anything but ecdsa-with-SHA384 */
	X509_BAD_KEY,                            /* not a P-384 key with an uncompressed point */
	X509_BAD_TIME,                           /* a date in a form that RFC 5280 rules out */
	X509_BAD_SIGNATURE_FORM,                 /* not DER of two positive integers of 384 bits */
	X509_BAD_EXTENSION,                      /* malformed, twice, or too many */
	X509_CRITICAL_EXTENSION,                 /* critical and not understood here */
	X509_RESULT_COUNT
};

enum x509_key_usage {                            /* bits of key_usage */
	X509_DIGITAL_SIGNATURE = 1 << 0,
	X509_CONTENT_COMMITMENT = 1 << 1,
	X509_KEY_CERT_SIGN = 1 << 5,
	X509_CRL_SIGN = 1 << 6
};
enum { X509_NO_PATH_LEN = -1, X509_POINT_SIZE = 97, X509_EXTENSIONS_MAX = 16 };

struct x509 {                                    /* all strings borrowed from the DER */
	struct bytes tbs;                        /* what is signed, with its header */
	struct bytes issuer, subject;            /* DER of the names; equal names are equal bytes here */
	struct bytes serial;                     /* big-endian, as encoded */
	int64_t not_before_s, not_after_s;       /* since 1970, both inclusive */
	struct bytes point;                      /* 04 || x || y */
	uint8_t signature[P384_SIGNATURE_SIZE];  /* r || s */
	bool ca;                                 /* basic constraints */
	int path_len;                            /* X509_NO_PATH_LEN: no limit */
	bool has_key_usage;
	unsigned key_usage;                      /* enum x509_key_usage bits; bit n as in RFC 5280 4.2.1.3 */
};

/* Parses all of der. *ret is written only on X509_OK. */
enum x509_result x509_parse(struct bytes der, struct x509 *ret);
/* The signature of c by the key with this uncompressed point. Names and dates are not looked at. */
bool x509_signed_by(const struct x509 *c, struct bytes issuer_point);

/* A UTCTime or GeneralizedTime as RFC 5280 writes them, in seconds since 1970. False when it is neither. */
bool x509_get_time(struct reader *r, int64_t *ret_s);

/* The DER inside the one "CERTIFICATE" block of a PEM text (RFC 7468; text before and after is
 * skipped). False when there is none, more than one, it is malformed or larger than cap. */
bool x509_from_pem(struct bytes pem, uint8_t *der, size_t cap, size_t *ret_n);

#endif
