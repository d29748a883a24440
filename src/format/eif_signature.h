/* The signature section of an image: CBOR, a list of signed registers, of which the hypervisor reads the first.
 *
 *     [ { "signing_certificate": PEM text of a certificate,
 *         "signature": COSE_Sign1 (ES384, untagged) over the map
 *                      { "register_index": 0, "register_value": PCR0 } } ]
 *
 * Certificate, signature and register value are byte strings by nature, but the stock tools write them as arrays
 * of integers (84 19 01 …) and read nothing else; and they compare the signed map byte for byte. So that is what is
 * written here; both forms are read. Exactly one entry is accepted: a second one would be signed by nobody asked.
 *
 * One enum names every way in which a signed image can be refused; what takes keys and certificates to find out
 * is found out by image/sign.h. */
#ifndef FORMAT_EIF_SIGNATURE_H
#define FORMAT_EIF_SIGNATURE_H

#include "base/bytes.h"
#include "format/eif.h"

enum { EIF_REGISTER_SIZE = 48, EIF_SIGNED_MAX = 192 };  /* SHA-384; the largest signed map */

enum eif_signature_result {
	EIF_SIGNATURE_OK,
	EIF_SIGNATURE_NOT_CBOR,                  /* or CBOR of a kind that has no place here */
	EIF_SIGNATURE_NOT_LIST,
	EIF_SIGNATURE_EMPTY,
	EIF_SIGNATURE_SECOND,                    /* more than one entry */
	EIF_SIGNATURE_NOT_MAP,
	EIF_SIGNATURE_UNKNOWN_KEY,
	EIF_SIGNATURE_DUPLICATE_KEY,
	EIF_SIGNATURE_MISSING_KEY,
	EIF_SIGNATURE_BAD_BYTES,                 /* neither bytes nor an array of integers below 256 */
	EIF_SIGNATURE_TRAILING_BYTES,
	EIF_SIGNATURE_BAD_COSE,                  /* not a COSE_Sign1, or one with more than it needs */
	EIF_SIGNATURE_BAD_ALGORITHM,             /* not ES384 */
	EIF_SIGNATURE_BAD_PAYLOAD,               /* not the map of index and value */
	EIF_SIGNATURE_WRONG_REGISTER,            /* signs another register than 0 */
	EIF_SIGNATURE_BAD_VALUE,                 /* the value does not have 48 bytes */
	EIF_SIGNATURE_WRONG_VALUE,               /* signs another image's PCR0 */
	EIF_SIGNATURE_NOT_PEM,                   /* not one certificate in PEM */
	EIF_SIGNATURE_BAD_CERTIFICATE,           /* malformed */
	EIF_SIGNATURE_NOT_P384,                  /* its key is of another kind */
	EIF_SIGNATURE_EXPIRED,
	EIF_SIGNATURE_NOT_YET_VALID,
	EIF_SIGNATURE_KEY_MISMATCH,              /* the private key is not the certificate's */
	EIF_SIGNATURE_FORGED,                    /* the signature is not by the certificate's key over these bytes */
	EIF_SIGNATURE_RESULT_COUNT
};

/* "signature-not-cbor" …; stable, one for each result. */
const char *eif_signature_name(enum eif_signature_result r);
/* What is wrong and what to do. */
const char *eif_signature_message(enum eif_signature_result r);

struct eif_signature {                           /* borrowed from the section or from the scratch space */
	struct bytes certificate_pem;
	struct bytes cose;
};

/* Parses all of section. scratch: room for section.n bytes, where arrays of integers become bytes. *ret is written on
 * EIF_SIGNATURE_OK only. */
enum eif_signature_result eif_signature_parse(struct bytes section, uint8_t *scratch, struct eif_signature *ret);
void eif_signature_put(struct writer *w, const struct eif_signature *s);

/* The signed map. index is not judged here. */
enum eif_signature_result eif_signed_parse(struct bytes payload, uint64_t *ret_index, uint8_t ret_value[EIF_REGISTER_SIZE]);
/* For register 0; takes at most EIF_SIGNED_MAX bytes. */
void eif_signed_put(struct writer *w, const uint8_t pcr0[EIF_REGISTER_SIZE]);

#endif
