/* A record is its length in two bytes and then itself, both wrapping around the end of the memory. */
#include "base/ring.h"

enum { HEAD = 2 };

static void copy_in(struct ring *r, const uint8_t *p, size_t n)
{
	size_t first = r->cap - r->head < n ? r->cap - r->head : n;
	memcpy(r->p + r->head, p, first);
	memcpy(r->p, p + first, n - first);
	r->head = (r->head + n) % r->cap;
	r->used += n;
}

static void copy_out(const struct ring *r, size_t at, uint8_t *p, size_t n)
{
	size_t first = r->cap - at < n ? r->cap - at : n;
	memcpy(p, r->p + at, first);
	memcpy(p + first, r->p, n - first);
}

static size_t record_size(const struct ring *r, size_t at)
{
	uint8_t head[HEAD];
	copy_out(r, at, head, HEAD);
	return (size_t)head[0] << 8 | head[1];
}

static void drop_oldest(struct ring *r)
{
	size_t n = HEAD + record_size(r, r->tail);
	if (r->first >= r->taken)
		r->dropped++;
	r->tail = (r->tail + n) % r->cap;
	r->used -= n;
	if (r->cursor == r->first) {
		r->cursor++;
		r->cursor_at = r->tail;
	}
	r->first++;
}

bool ring_put(struct ring *r, struct bytes record)
{
	if (record.n > UINT16_MAX || HEAD + record.n > r->cap || record.n == 0)
		return false;
	while (r->cap - r->used < HEAD + record.n)
		drop_oldest(r);
	if (r->cursor == r->next)
		r->cursor_at = r->head;
	const uint8_t head[HEAD] = { (uint8_t)(record.n >> 8), (uint8_t)record.n };
	copy_in(r, head, HEAD);
	copy_in(r, record.p, record.n);
	r->next++;
	return true;
}

uint64_t ring_gap(struct ring *r)
{
	uint64_t gap = r->cursor > r->taken ? r->cursor - r->taken : 0;
	r->taken += gap;
	return gap;
}

size_t ring_take(struct ring *r, uint8_t *out, size_t cap)
{
	if (ring_empty(r))
		return 0;
	size_t n = record_size(r, r->cursor_at);
	if (n > cap)
		return 0;
	copy_out(r, (r->cursor_at + HEAD) % r->cap, out, n);
	r->cursor_at = (r->cursor_at + HEAD + n) % r->cap;
	r->cursor++;
	if (r->cursor > r->taken)
		r->taken = r->cursor;
	return n;
}
