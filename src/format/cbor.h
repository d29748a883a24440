/* Strict CBOR (RFC 8949), the subset that NSM, COSE and our own frames use: unsigned and
 * negative integers, byte and text strings, arrays, maps, null and booleans.
 *
 * Refused while reading, everywhere: indefinite lengths, non-shortest heads, tags, floats,
 * other simple values, text that is not UTF-8, nesting deeper than CBOR_DEPTH_MAX. Duplicate
 * map keys are for the caller to refuse: it alone knows its keys.
 *
 * Both sides are sticky like struct reader: read a structure, then ask r->bad once. */
#ifndef FORMAT_CBOR_H
#define FORMAT_CBOR_H

#include "base/bytes.h"

enum { CBOR_DEPTH_MAX = 8 };

enum cbor_type {
	CBOR_UINT = 0, CBOR_NEGATIVE = 1, CBOR_BYTES = 2, CBOR_TEXT = 3,
	CBOR_ARRAY = 4, CBOR_MAP = 5, CBOR_BOOL = 7, CBOR_NULL = 8, CBOR_INVALID = 9
};

/* The type of the next item without consuming it; CBOR_INVALID at the end or when it is one
 * that this reader refuses. */
enum cbor_type cbor_peek(const struct reader *r);

/* Each consumes one item (a map or array: its head only) and sets r->bad when it is another type. */
uint64_t cbor_get_uint(struct reader *r);
int64_t cbor_get_int(struct reader *r);                    /* CBOR_UINT or CBOR_NEGATIVE that fits */
bool cbor_get_bool(struct reader *r);
void cbor_get_null(struct reader *r);
struct bytes cbor_get_bytes(struct reader *r);             /* borrowed */
struct bytes cbor_get_text(struct reader *r);              /* borrowed, UTF-8 */
/* Number of items (array) or pairs (map). Sets bad when the input cannot hold that many, so
 * the count may be trusted as a loop bound. */
size_t cbor_get_array(struct reader *r);
size_t cbor_get_map(struct reader *r);
/* A byte string or null; *ret_present says which. */
struct bytes cbor_get_bytes_or_null(struct reader *r, bool *ret_present);
/* Steps over one whole item of any accepted type. */
void cbor_skip(struct reader *r);
/* Why the item ahead of r (all of it, however deep) is refused; for exact error codes. CBOR_FINE
 * says only that cbor_skip() would take it, not that it is what the caller wants there. */
enum cbor_fault {
	CBOR_FINE,
	CBOR_TRUNCATED,                  /* the input ends inside it, or a count is larger than what is left */
	CBOR_INDEFINITE,                 /* an indefinite length, or a break */
	CBOR_NOT_SHORTEST,
	CBOR_TAGGED,
	CBOR_OTHER_SIMPLE,               /* a float, undefined, an unassigned simple value */
	CBOR_RESERVED,                   /* additional information 28-30 */
	CBOR_NOT_UTF8,
	CBOR_TOO_DEEP
};
enum cbor_fault cbor_fault(const struct reader *r);
/* The encoded bytes of the next item, consumed. */
struct bytes cbor_get_raw(struct reader *r);

void cbor_put_uint(struct writer *w, uint64_t v);
void cbor_put_int(struct writer *w, int64_t v);
void cbor_put_bool(struct writer *w, bool v);
void cbor_put_null(struct writer *w);
void cbor_put_bytes(struct writer *w, struct bytes b);
void cbor_put_text(struct writer *w, struct bytes b);
void cbor_put_str(struct writer *w, const char *s);
void cbor_put_array(struct writer *w, size_t items);
void cbor_put_map(struct writer *w, size_t pairs);

#endif
