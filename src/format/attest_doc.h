/* The payload of a Nitro attestation document: one CBOR map.
 *
 *     "module_id"    text, 1-128 bytes *)         "certificate"  bytes, DER of the signing certificate
 *     "digest"       "SHA384"                     "cabundle"     [bytes, …] root first, leaf's issuer last
 *     "timestamp"    uint, ms since 1970          "public_key"   bytes (1-1024) or null
 *     "pcrs"         { 0-31: 48 bytes, … }        "user_data"    bytes (<= 1024) or null
 *                                                 "nonce"        bytes (<= 1024) or null
 *
 * *) without control characters. The last three may be absent, which means null. Keys may come in any order, each once; an unknown
 * key is refused: a verifier must not vouch for a statement that it does not understand. Parsing
 * decides nothing about trust; all of it is the signer's claim until the signature is checked. */
#ifndef FORMAT_ATTEST_DOC_H
#define FORMAT_ATTEST_DOC_H

#include "base/bytes.h"

enum {
	ATTEST_DOC_PCRS = 32,
	ATTEST_DOC_PCR_SIZE = 48,
	ATTEST_DOC_FIELD_MAX = 1024,             /* public_key, user_data, nonce */
	ATTEST_DOC_EMIT_MAX = 512,               /* what our own NSM accepts for user_data and nonce */
	ATTEST_DOC_MODULE_ID_MAX = 128,
	ATTEST_DOC_CERTIFICATE_MAX = 2048,
	ATTEST_DOC_CABUNDLE_MAX = 8,
};

struct attest_doc {                              /* all strings borrowed from the payload */
	struct bytes module_id;                  /* UTF-8 */
	uint64_t timestamp_ms;                   /* since 1970 */
	uint32_t pcr_mask;                       /* bit n: PCR n is listed; never 0 */
	struct bytes pcr[ATTEST_DOC_PCRS];       /* 48 bytes each where the bit is set, else empty */
	struct bytes certificate;                /* DER */
	struct bytes cabundle[ATTEST_DOC_CABUNDLE_MAX];  /* DER, root first */
	size_t cabundle_count;                   /* 1 … ATTEST_DOC_CABUNDLE_MAX */
	bool has_public_key, has_user_data, has_nonce;   /* false: null or absent */
	struct bytes public_key, user_data, nonce;       /* has_user_data and n == 0: an empty string */
};

enum doc_result {
	DOC_OK,
	DOC_TRUNCATED,
	DOC_INDEFINITE_LENGTH,
	DOC_NOT_SHORTEST,
	DOC_TAGGED,
	DOC_MALFORMED,                           /* not CBOR, or of a kind that has no place here */
	DOC_NOT_UTF8,
	DOC_NOT_MAP,                             /* the payload, or a key that is not text */
	DOC_TRAILING_BYTES,
	DOC_DUPLICATE_KEY,
	DOC_UNKNOWN_KEY,
	DOC_MISSING_KEY,
	DOC_BAD_MODULE_ID,
	DOC_BAD_DIGEST,
	DOC_BAD_TIMESTAMP,                       /* not an unsigned integer (a float, negative), 0, or over 2^53 */
	DOC_BAD_PCRS,                            /* not a map from unsigned integers to bytes */
	DOC_NO_PCRS,                             /* an empty map */
	DOC_BAD_PCR_INDEX,                       /* above 31 */
	DOC_BAD_PCR_SIZE,                        /* not 48 bytes */
	DOC_DUPLICATE_PCR,
	DOC_BAD_CERTIFICATE,                     /* not bytes, empty or over the maximum */
	DOC_BAD_CABUNDLE,                        /* not an array of such */
	DOC_EMPTY_CABUNDLE,
	DOC_LONG_CABUNDLE,                       /* more certificates than the maximum */
	DOC_BAD_PUBLIC_KEY,                      /* not bytes or null, empty, or over the maximum */
	DOC_BAD_USER_DATA,
	DOC_BAD_NONCE,
	DOC_RESULT_COUNT
};

/* Parses all of payload. *ret is written only on DOC_OK. */
enum doc_result attest_doc_parse(struct bytes payload, struct attest_doc *ret);

/* Writes d as the hardware does: keys in its order, null for what is absent. The caller keeps the
 * limits above. */
void attest_doc_put(struct writer *w, const struct attest_doc *d);

#endif
