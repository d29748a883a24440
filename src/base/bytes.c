/* See bytes.h. Every comparison is written as `n > left`, so no sum can wrap. */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

/* An empty string may have no address, and adding even 0 to NULL is undefined. */
static const uint8_t *offset(const uint8_t *p, size_t n) { return n == 0 ? p : p + n; }

struct bytes bytes_slice(struct bytes b, size_t at, size_t n)
{
	if (at > b.n || n > b.n - at)
		return BYTES_NONE;
	return bytes_of(offset(b.p, at), n);
}

struct bytes get_bytes(struct reader *r, size_t n)
{
	if (r->bad || n > r->in.n - r->at) {
		r->bad = true;
		return BYTES_NONE;
	}
	struct bytes b = bytes_of(offset(r->in.p, r->at), n);
	r->at += n;
	return b;
}

static uint64_t get_be(struct reader *r, size_t size)
{
	struct bytes b = get_bytes(r, size);
	uint64_t v = 0;
	for (size_t i = 0; i < b.n; i++)
		v = v << 8 | b.p[i];
	return v;
}

uint8_t get_u8(struct reader *r) { return (uint8_t)get_be(r, 1); }
uint16_t get_be16(struct reader *r) { return (uint16_t)get_be(r, 2); }
uint32_t get_be32(struct reader *r) { return (uint32_t)get_be(r, 4); }
uint64_t get_be64(struct reader *r) { return get_be(r, 8); }

static void put_be(struct writer *w, uint64_t v, size_t size)
{
	uint8_t b[8];
	for (size_t i = 0; i < size; i++)
		b[i] = (uint8_t)(v >> (8 * (size - 1 - i)));
	put_bytes(w, bytes_of(b, size));
}

void put_be16(struct writer *w, uint16_t v) { put_be(w, v, 2); }
void put_be32(struct writer *w, uint32_t v) { put_be(w, v, 4); }
void put_be64(struct writer *w, uint64_t v) { put_be(w, v, 8); }

void put_fmt(struct writer *w, const char *fmt, ...)
{
	if (w->full)
		return;
	/* vsnprintf wants room for a terminating zero: the last byte of the buffer serves
	 * only when the text leaves one over, so an exact fit counts as full. */
	size_t left = w->cap - w->at;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf((char *)w->p + w->at, left, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= left)
		w->full = true;
	else
		w->at += (size_t)n;
}

bool bytes_to_cstr(struct bytes b, char *buf, size_t cap)
{
	if (b.n >= cap || (b.n > 0 && memchr(b.p, 0, b.n) != NULL))
		return false;
	if (b.n > 0)
		memcpy(buf, b.p, b.n);
	buf[b.n] = '\0';
	return true;
}
