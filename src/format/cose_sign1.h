/* COSE_Sign1 (RFC 9052 section 4.2) as the Nitro Security Module writes it: untagged, ES384 only.
 *
 *     84                      array of 4
 *        44 a1 01 38 22       protected header: bytes of the map { 1 (alg): -35 (ES384) }
 *        a0                   unprotected header: the empty map
 *        5x …                 payload: bytes, attached
 *        58 60 r[48] s[48]    signature
 *
 * The signature covers the Sig_structure [ "Signature1", protected, h'' (no external data), payload ].
 * Anything else that RFC 9052 would allow is refused: parsing tells apart why. The signature itself is
 * for the caller to check (cose_sign1_tbs_put, p384_verify). */
#ifndef FORMAT_COSE_SIGN1_H
#define FORMAT_COSE_SIGN1_H

#include "base/bytes.h"

enum {
	COSE_SIGN1_SIGNATURE_SIZE = 96,
	COSE_SIGN1_OVERHEAD = 112,               /* cose_sign1_put adds at most this much to a payload */
	COSE_SIGN1_TBS_OVERHEAD = 32             /* cose_sign1_tbs_put likewise */
};

struct cose_sign1 {                              /* borrowed from the input */
	struct bytes protected_header;           /* the bytes inside the byte string */
	struct bytes payload;
	struct bytes signature;                  /* r || s */
};

enum cose_result {
	COSE_OK,
	COSE_TRUNCATED,
	COSE_INDEFINITE_LENGTH,
	COSE_NOT_SHORTEST,                       /* a length or integer in a longer form than needed */
	COSE_TAGGED,
	COSE_MALFORMED,                          /* not CBOR, or CBOR of a kind that has no place here */
	COSE_NOT_ARRAY,
	COSE_BAD_LENGTH,                         /* not four elements */
	COSE_TRAILING_BYTES,
	COSE_BAD_PROTECTED,                      /* not bytes of one map with integer or text keys, each once */
	COSE_NO_ALGORITHM,
	COSE_BAD_ALGORITHM,                      /* not the integer -35 */
	COSE_CRITICAL_HEADER,                    /* "crit" (label 2): we know no extension */
	COSE_UNKNOWN_HEADER,                     /* a protected parameter besides alg */
	COSE_UNPROTECTED_HEADER,                 /* not the empty map */
	COSE_BAD_PAYLOAD,                        /* not bytes (null = detached), or none at all */
	COSE_BAD_SIGNATURE_SIZE,                 /* not a string of 96 bytes; DER, for one */
	COSE_RESULT_COUNT
};

/* Parses all of in. *ret is written only on COSE_OK. */
enum cose_result cose_sign1_parse(struct bytes in, struct cose_sign1 *ret);

/* The ES384 protected header that cose_sign1_put writes: a1 01 38 22. */
struct bytes cose_sign1_es384_header(void);
/* What is signed. */
void cose_sign1_tbs_put(struct writer *w, struct bytes protected_header, struct bytes payload);
/* The whole message. */
void cose_sign1_put(struct writer *w, struct bytes payload,
                    const uint8_t signature[COSE_SIGN1_SIGNATURE_SIZE]);

#endif
