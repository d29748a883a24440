/* The body of POST /prove: a JSON object (RFC 8259) whose member "data" is the base64 text of one
 * encrypted message. Read as it arrives, in pieces of any size; the decoded bytes come out as they
 * come in and nothing is kept, so the state has a fixed size whatever a client sends.
 *
 *     { "data": "wV0GIQ…", "anything": [else, "is", {"checked": "and skipped"}] }
 *
 * Strict: UTF-8 without a byte order mark, no lone surrogates, nesting of at most
 * PROVE_BODY_DEPTH_MAX, one "data" only (however it is spelled with escapes), base64 as base/text.h
 * has it, nothing but white space after the object. */
#ifndef FORMAT_PROVE_BODY_H
#define FORMAT_PROVE_BODY_H

#include "base/text.h"

enum { PROVE_BODY_DEPTH_MAX = 16 };

enum prove_body_result {
	PROVE_BODY_OK,               /* feed: well-formed so far; finish: a whole body */
	PROVE_BODY_BAD_JSON,         /* breaks the grammar */
	PROVE_BODY_BAD_UNICODE,      /* not UTF-8, or half a surrogate pair */
	PROVE_BODY_TOO_DEEP,
	PROVE_BODY_TRUNCATED,        /* ends inside the object (finish only) */
	PROVE_BODY_TRAILING,         /* something after the object */
	PROVE_BODY_NOT_OBJECT,       /* another JSON type */
	PROVE_BODY_DATA_MISSING,     /* (finish only) */
	PROVE_BODY_DATA_TYPE,        /* data is not a string */
	PROVE_BODY_DATA_TWICE,
	PROVE_BODY_BAD_BASE64
};
const char *prove_body_result_name(enum prove_body_result r);
/* True for the results that mean "JSON, but not { data: string }". */
bool prove_body_is_shape_error(enum prove_body_result r);

struct prove_body {
	uint8_t state;               /* what the next byte may be; see prove_body.c */
	uint8_t depth;
	uint32_t is_object;          /* bit d: the container at depth d is an object */
	bool in_key, in_data;        /* the string being read is a member name; is the payload */
	bool data_next, data_seen;   /* the value to come is the payload's; it has begun */
	uint8_t key_matched;         /* characters of "data" that the name has matched so far */
	uint8_t utf8_left, utf8_low, utf8_high;  /* continuation bytes due, and the next one's range */
	uint8_t digits;              /* of a \u escape, or place in a literal */
	uint16_t unit, surrogate;    /* UTF-16 unit being read; high half waiting for its low one */
	const char *literal;
	struct base64 base64;
	enum prove_body_result result;           /* sticky */
};

void prove_body_init(struct prove_body *b);
/* Reads text and writes the payload bytes it yields to out (room for text.n / 4 * 3 + 3);
 * *ret_n says how many, also when the result is an error. */
enum prove_body_result prove_body_feed(struct prove_body *b, struct bytes text, uint8_t *out, size_t *ret_n);
/* The verdict at the end of the body. */
enum prove_body_result prove_body_finish(const struct prove_body *b);

#endif
