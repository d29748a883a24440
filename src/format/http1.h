/* HTTP/1.1 messages as a server reads them (RFC 9112), and no more leniently than the RFC demands: what two
 * programs in a row could read differently is refused, because such a difference is how a request is smuggled
 * past a proxy.
 *
 *     request-line CRLF *( field-line CRLF ) CRLF      head; at most HTTP1_HEAD_MAX bytes
 *     method SP target SP "HTTP/1." digit
 *     token ":" OWS value OWS                          no folding, no space before the colon
 *
 * Lines end in CRLF, a bare CR or LF ends nothing and is refused. A body's length is one Content-Length of
 * digits, or one Transfer-Encoding that is exactly "chunked"; never both, never twice, never on HTTP/1.0. */
#ifndef FORMAT_HTTP1_H
#define FORMAT_HTTP1_H

#include "base/bytes.h"

#include <strings.h>

enum {
	HTTP1_HEAD_MAX = 32 << 10,
	HTTP1_FIELDS_MAX = 128,
	HTTP1_METHOD_MAX = 32,
	HTTP1_CHUNK_EXTRAS_MAX = 4096    /* bytes of chunk extensions and trailers in one body, which are skipped */
};
#define HTTP1_CHUNKED UINT64_MAX

enum http1_result {
	HTTP1_OK,
	HTTP1_BAD_LINE,              /* the request line is none */
	HTTP1_BAD_VERSION,           /* HTTP, but not 1.x */
	HTTP1_BAD_FIELD,             /* a field line breaks the grammar, or there is no one Host */
	HTTP1_BAD_LENGTH,            /* the body's length is ambiguous or malformed */
	HTTP1_TOO_LONG,              /* head larger than HTTP1_HEAD_MAX, or too many fields */
	HTTP1_BAD_CHUNK,             /* the chunked framing breaks the grammar */
	HTTP1_SLOW                   /* it did not come in time: never from this parser */
};
const char *http1_result_name(enum http1_result r);

struct http1_field { struct bytes name, value; };        /* borrowed from the head; value without outer space */

struct http1_head {
	struct bytes method, target;             /* borrowed; empty when the line is none */
	uint8_t minor;                           /* HTTP/1.minor */
	bool close;                              /* the connection ends after this exchange */
	bool expect_continue;
	uint64_t length;                         /* of the body; HTTP1_CHUNKED */
	size_t field_n;
	struct http1_field field[HTTP1_FIELDS_MAX];
};

/* Size of the head that in starts with, its empty line included; 0: not all there. A line that ends in a bare
 * LF ends the head too, for http1_head_parse to refuse. *scanned says how much of in was looked at before (0 at
 * first) and is advanced. */
size_t http1_head_size(struct bytes in, size_t *scanned);
/* head: exactly one, as http1_head_size measured it. On failure *ret has what was understood before. */
enum http1_result http1_head_parse(struct bytes head, struct http1_head *ret);

/* True when a field named so is in a comma-separated list value, in any case: "close" in Connection. */
bool http1_list_has(struct bytes value, const char *token);
/* Field names and tokens compare without case. Inline for literals, most of which differ in length. */
static inline bool http1_equal(struct bytes a, const char *b)
{
	return a.n == strlen(b) && strncasecmp((const char *)a.p, b, a.n) == 0;
}

/* A chunked body as it arrives. */
struct http1_chunked {
	uint8_t state;               /* see http1.c */
	uint8_t digits;
	uint16_t extras;
	uint64_t left;               /* of this chunk */
};
static inline void http1_chunked_init(struct http1_chunked *c) { *c = (struct http1_chunked){ 0 }; }
/* Reads up to the next piece of data: *ret_data (borrowed from in; empty when there is none yet) and
 * *ret_used, the bytes of in that are done with, the data among them. */
enum http1_result http1_chunked_next(struct http1_chunked *c, struct bytes in, struct bytes *ret_data, size_t *ret_used);
/* The whole body has been read. */
bool http1_chunked_done(const struct http1_chunked *c);

#endif
