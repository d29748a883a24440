/* DER (X.690), as much as certificates need. The reader takes definite, shortest lengths and one-byte
 * tags only; der_well_formed() asks that of a whole structure at once, so that what is later skipped
 * was at least DER.
 *
 * Both sides are sticky like struct reader and struct writer. */
#ifndef CRYPTO_DER_H
#define CRYPTO_DER_H

#include "base/bytes.h"

enum der_tag {
	DER_BOOLEAN = 0x01, DER_INTEGER = 0x02, DER_BIT_STRING = 0x03, DER_OCTET_STRING = 0x04,
	DER_OID = 0x06, DER_UTF8_STRING = 0x0c, DER_UTC_TIME = 0x17, DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30, DER_SET = 0x31,
	DER_CONTEXT_0 = 0xa0, DER_CONTEXT_3 = 0xa3       /* [0], [3], constructed */
};
enum { DER_DEPTH_MAX = 12 };

/* Every element of in, and every element inside constructed ones, has a one-byte tag and a definite,
 * shortest length that fits; booleans are 00 or ff, integers shortest. */
bool der_well_formed(struct bytes in);

/* The tag of the next element, 0 at the end. */
uint8_t der_peek(const struct reader *r);
/* The contents of the next element, which must have this tag; else r->bad. */
struct bytes der_get(struct reader *r, uint8_t tag);
/* The next element with its header, whatever its tag. */
struct bytes der_get_element(struct reader *r);

/* Writing: der_open() … der_close() around the contents; pass on what der_open() returned. */
size_t der_open(struct writer *w, uint8_t tag);
void der_close(struct writer *w, size_t opened);
void der_put(struct writer *w, uint8_t tag, struct bytes contents);
/* A non-negative INTEGER from big-endian bytes of any length. */
void der_put_unsigned(struct writer *w, struct bytes big_endian);

#endif
