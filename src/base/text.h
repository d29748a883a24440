/* Text forms of bytes: hex, base64 (RFC 4648 §4), and escapes for what a peer said. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/bytes.h"

/* Lower-case hex of b into buf, zero-terminated. buf needs 2*b.n + 1 bytes; returns buf. */
char *hex_encode(struct bytes b, char *buf);
/* Strict: an even number of hex digits, either case, exactly 2*n of them. */
bool hex_decode(struct bytes text, uint8_t *out, size_t n);

/* Length of the base64 text of n bytes (with padding, without a zero). */
static inline size_t base64_size(size_t n) { return (n / 3 + (n % 3 != 0)) * 4; }
void put_base64(struct writer *w, struct bytes b);

/* Streaming strict decoder: no white space, padding required and only at the end,
 * unused bits zero. Feed it any pieces; `bad` is sticky. */
struct base64 { uint32_t bits; uint8_t have; uint8_t pad; bool bad; };
/* Decodes text into out (room for text.n / 4 * 3 + 3 bytes); returns the bytes written. */
size_t base64_feed(struct base64 *d, struct bytes text, uint8_t *out);
/* True when the text ended where base64 may end. */
static inline bool base64_done(const struct base64 *d) { return !d->bad && d->have == 0; }
/* Whole text at once. False when malformed or larger than cap. */
bool base64_decode(struct bytes text, uint8_t *out, size_t cap, size_t *ret_n);

/* Printable ASCII of b for logs and terminals: everything else, and '\\', becomes \xNN; cut with "..."
 * when it does not fit. Always terminated; returns buf. */
char *text_escape(struct bytes b, char *buf, size_t cap);
/* A JSON string with its quotes: control characters, '"' and '\\' escaped, bytes that are
 * not UTF-8 replaced by U+FFFD. */
void put_json_string(struct writer *w, struct bytes b);
/* v in decimal. */
void put_decimal(struct writer *w, uint64_t v);
/* True when b is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool utf8_valid(struct bytes b);
/* Length (1-4) of the well-formed UTF-8 sequence at the start of b; 0 when there is none. */
size_t utf8_sequence(struct bytes b);

/* Decimal without sign, leading zeros or space; at most max. */
bool text_to_u64(struct bytes text, uint64_t max, uint64_t *ret_v);

#endif
