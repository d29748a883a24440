#include "host/feed.h"

void feed_put(struct feed *f, struct bytes b)
{
	if (b.n > FEED_SIZE) {
		f->end += b.n - FEED_SIZE;
		b = bytes_slice(b, b.n - FEED_SIZE, FEED_SIZE);
	}
	size_t at = (size_t)(f->end % FEED_SIZE), first = FEED_SIZE - at < b.n ? FEED_SIZE - at : b.n;
	if (b.n == 0)
		return;
	memcpy(f->ring + at, b.p, first);
	memcpy(f->ring, b.p + first, b.n - first);
	f->end += b.n;
}

struct bytes feed_get(const struct feed *f, uint64_t *at)
{
	uint64_t begin = feed_begin(f);
	if (*at < begin && f->lines) {
		while (begin < f->end && f->ring[begin % FEED_SIZE] != '\n')
			begin++;
		begin += *at == 0 && begin < f->end;
	}
	if (*at < begin)
		*at = begin;
	size_t from = (size_t)(*at % FEED_SIZE);
	uint64_t left = f->end - *at;
	return bytes_of(f->ring + from, left < FEED_SIZE - from ? (size_t)left : FEED_SIZE - from);
}
