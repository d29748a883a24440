/* All lengths come through get_header(): the one place that refuses indefinite, overlong and too large
 * ones. Certificates come from strangers. */
#include "crypto/der.h"

static size_t get_header(struct reader *r, uint8_t *ret_tag)
{
	*ret_tag = get_u8(r);
	uint64_t n = get_u8(r);
	if (n == 0x81) {
		n = get_u8(r);
		r->bad |= n < 0x80;
	} else if (n == 0x82) {
		n = get_be16(r);
		r->bad |= n < 0x100;
	} else {
		/* 0x80 is an indefinite length; nothing we read is as long as 64 KiB */
		r->bad |= n >= 0x80;
	}
	r->bad |= *ret_tag == 0 || (*ret_tag & 0x1f) == 0x1f || n > reader_left(r);
	return r->bad ? 0 : (size_t)n;
}

static bool primitive_well_formed(uint8_t tag, struct bytes c)
{
	if (tag == DER_BOOLEAN)
		return c.n == 1 && (c.p[0] == 0 || c.p[0] == 0xff);
	if (tag == DER_INTEGER)
		return c.n > 0 && !(c.n > 1 && ((c.p[0] == 0 && c.p[1] < 0x80) || (c.p[0] == 0xff && c.p[1] >= 0x80)));
	return true;
}

static bool well_formed(struct bytes in, unsigned depth)
{
	struct reader r = reader_of(in);
	while (!r.bad && reader_left(&r) > 0) {
		uint8_t tag;
		size_t n = get_header(&r, &tag);
		struct bytes contents = get_bytes(&r, n);
		if (r.bad)
			return false;
		if (!(tag & 0x20)) {
			if (!primitive_well_formed(tag, contents))
				return false;
		} else if (depth == DER_DEPTH_MAX || !well_formed(contents, depth + 1)) {
			return false;
		}
	}
	return !r.bad;
}

bool der_well_formed(struct bytes in) { return well_formed(in, 0); }

uint8_t der_peek(const struct reader *r) { return reader_left(r) == 0 ? 0 : r->in.p[r->at]; }

struct bytes der_get(struct reader *r, uint8_t tag)
{
	uint8_t found;
	size_t n = get_header(r, &found);
	r->bad |= found != tag;
	return get_bytes(r, n);
}

struct bytes der_get_element(struct reader *r)
{
	size_t from = r->at;
	uint8_t tag;
	size_t n = get_header(r, &tag);
	(void)get_bytes(r, n);
	return r->bad ? BYTES_NONE : bytes_of(r->in.p + from, r->at - from);
}

/* One byte of length is put aside; der_close() makes room when the contents turn out to need more. */
size_t der_open(struct writer *w, uint8_t tag)
{
	put_u8(w, tag);
	put_u8(w, 0);
	return w->at;
}

void der_close(struct writer *w, size_t opened)
{
	if (w->full)
		return;
	size_t n = w->at - opened;
	size_t more = n < 0x80 ? 0 : n < 0x100 ? 1 : 2;
	if (n > UINT16_MAX || more > w->cap - w->at) {
		w->full = true;
		return;
	}
	memmove(w->p + opened + more, w->p + opened, n);
	w->at += more;
	if (more == 0) {
		w->p[opened - 1] = (uint8_t)n;
		return;
	}
	w->p[opened - 1] = (uint8_t)(0x80 | more);
	for (size_t i = 0; i < more; i++)
		w->p[opened + i] = (uint8_t)(n >> (8 * (more - 1 - i)));
}

void der_put(struct writer *w, uint8_t tag, struct bytes contents)
{
	size_t at = der_open(w, tag);
	put_bytes(w, contents);
	der_close(w, at);
}

void der_put_unsigned(struct writer *w, struct bytes b)
{
	while (b.n > 1 && b.p[0] == 0)
		b = bytes_of(b.p + 1, b.n - 1);
	size_t at = der_open(w, DER_INTEGER);
	if (b.n == 0 || b.p[0] >= 0x80)
		put_u8(w, 0);
	put_bytes(w, b);
	der_close(w, at);
}
