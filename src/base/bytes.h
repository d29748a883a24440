/* Borrowed byte strings, and readers and writers that cannot run over.
 *
 * A reader is sticky: after the first read that does not fit every further read
 * returns zero or an empty string and `bad` stays set, so a parser reads a whole
 * structure and asks once, at the end. A writer is sticky in the same way (`full`).
 * Sizes are in bytes; multi-byte integers are big-endian, as on every wire here. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes { const uint8_t *p; size_t n; };            /* borrowed, passed by value */
struct reader { struct bytes in; size_t at; bool bad; };
struct writer { uint8_t *p; size_t cap; size_t at; bool full; };

#define BYTES_NONE ((struct bytes){ NULL, 0 })
#define BYTES_LIT(s) ((struct bytes){ (const uint8_t *)(s), sizeof(s) - 1 })
#define BYTES_ARRAY(a) ((struct bytes){ (const uint8_t *)(a), sizeof(a) })

static inline struct bytes bytes_of(const void *p, size_t n) { return (struct bytes){ p, n }; }
static inline struct bytes bytes_str(const char *s) { return (struct bytes){ (const uint8_t *)s, strlen(s) }; }

/* Equality for public data; not constant time (crypto.h has that one). */
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* [at, at+n) of b, or an empty string when that is not inside b. */
struct bytes bytes_slice(struct bytes b, size_t at, size_t n);

static inline struct reader reader_of(struct bytes in) { return (struct reader){ in, 0, false }; }
static inline size_t reader_left(const struct reader *r) { return r->bad ? 0 : r->in.n - r->at; }
/* True when nothing went wrong and nothing is left over. */
static inline bool reader_done(const struct reader *r) { return !r->bad && r->at == r->in.n; }

uint8_t get_u8(struct reader *r);
uint16_t get_be16(struct reader *r);
uint32_t get_be32(struct reader *r);
uint64_t get_be64(struct reader *r);
struct bytes get_bytes(struct reader *r, size_t n);      /* borrowed from the input */

static inline struct writer writer_of(void *p, size_t cap) { return (struct writer){ p, cap, 0, false }; }
/* What has been written; empty once the writer is full. */
static inline struct bytes writer_bytes(const struct writer *w)
{
	return w->full ? BYTES_NONE : (struct bytes){ w->p, w->at };
}

/* These three are inline because most of what is put is a literal, whose length the compiler then knows. */
static inline void put_bytes(struct writer *w, struct bytes b)
{
	if (w->full || b.n > w->cap - w->at) {
		w->full = true;
		return;
	}
	if (b.n > 0)
		memcpy(w->p + w->at, b.p, b.n);
	w->at += b.n;
}

static inline void put_u8(struct writer *w, uint8_t v) { put_bytes(w, bytes_of(&v, 1)); }
/* Without its terminating zero. */
static inline void put_str(struct writer *w, const char *s) { put_bytes(w, bytes_str(s)); }
void put_be16(struct writer *w, uint16_t v);
void put_be32(struct writer *w, uint32_t v);
void put_be64(struct writer *w, uint64_t v);
/* printf into the writer; what does not fit whole makes it full. */
void put_fmt(struct writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Copies b into a zero-terminated buffer. False (buffer untouched) when it does not fit
 * or holds a zero byte, so a C string never hides the tail of what a peer sent. */
bool bytes_to_cstr(struct bytes b, char *buf, size_t cap);

#endif
