/* The head of an item is read in one place, get_head(), which is where every refusal of the
 * header comes from. Counts are bounded by what is left of the input: an item is at least one
 * byte, so a count larger than that is a lie. */
#include "format/cbor.h"

#include "base/text.h"

enum { MAJOR_TAG = 6, MAJOR_SIMPLE = 7, SIMPLE_FALSE = 20, SIMPLE_TRUE = 21, SIMPLE_NULL = 22 };

struct head { uint8_t major; uint64_t value; enum cbor_fault fault; };

static enum cbor_fault simple_fault(uint64_t info)
{
	if (info >= SIMPLE_FALSE && info <= SIMPLE_NULL)
		return CBOR_FINE;
	return info == 31 ? CBOR_INDEFINITE : info >= 28 ? CBOR_RESERVED : CBOR_OTHER_SIMPLE;
}

static struct head get_head(struct reader *r)
{
	uint8_t first = get_u8(r);
	struct head h = { first >> 5, first & 31, CBOR_FINE };
	uint64_t smallest = 0;
	if (h.major == MAJOR_SIMPLE) {
		h.fault = simple_fault(h.value);
	} else {
		switch (h.value) {
		case 24: h.value = get_u8(r); smallest = 24; break;
		case 25: h.value = get_be16(r); smallest = 0x100; break;
		case 26: h.value = get_be32(r); smallest = 0x10000; break;
		case 27: h.value = get_be64(r); smallest = 0x100000000; break;
		case 28: case 29: case 30: h.fault = CBOR_RESERVED; break;
		case 31: h.fault = CBOR_INDEFINITE; break;
		default: break;
		}
		if (h.value < smallest)
			h.fault = CBOR_NOT_SHORTEST;
		if (h.major == MAJOR_TAG)
			h.fault = CBOR_TAGGED;
	}
	if (r->bad)
		h.fault = CBOR_TRUNCATED;
	r->bad = h.fault != CBOR_FINE;
	return h;
}

static uint64_t get_major(struct reader *r, enum cbor_type major)
{
	struct head h = get_head(r);
	if (r->bad || h.major != (uint8_t)major) {
		r->bad = true;
		return 0;
	}
	return h.value;
}

enum cbor_type cbor_peek(const struct reader *r)
{
	struct reader copy = *r;
	struct head h = get_head(&copy);
	if (copy.bad)
		return CBOR_INVALID;
	if (h.major != MAJOR_SIMPLE)
		return (enum cbor_type)h.major;
	return h.value == SIMPLE_NULL ? CBOR_NULL : CBOR_BOOL;
}

uint64_t cbor_get_uint(struct reader *r) { return get_major(r, CBOR_UINT); }

int64_t cbor_get_int(struct reader *r)
{
	struct head h = get_head(r);
	if (r->bad || h.major > CBOR_NEGATIVE || h.value > INT64_MAX) {
		r->bad = true;
		return 0;
	}
	return h.major == CBOR_UINT ? (int64_t)h.value : -1 - (int64_t)h.value;
}

static uint64_t get_simple(struct reader *r, uint64_t low, uint64_t high)
{
	struct head h = get_head(r);
	if (r->bad || h.major != MAJOR_SIMPLE || h.value < low || h.value > high) {
		r->bad = true;
		return low;
	}
	return h.value;
}

bool cbor_get_bool(struct reader *r) { return get_simple(r, SIMPLE_FALSE, SIMPLE_TRUE) == SIMPLE_TRUE; }
void cbor_get_null(struct reader *r) { (void)get_simple(r, SIMPLE_NULL, SIMPLE_NULL); }

static struct bytes get_string(struct reader *r, enum cbor_type major)
{
	uint64_t n = get_major(r, major);
	if (n > reader_left(r)) {
		r->bad = true;
		return BYTES_NONE;
	}
	return get_bytes(r, (size_t)n);
}

struct bytes cbor_get_bytes(struct reader *r) { return get_string(r, CBOR_BYTES); }

struct bytes cbor_get_text(struct reader *r)
{
	struct bytes b = get_string(r, CBOR_TEXT);
	if (!utf8_valid(b)) {
		r->bad = true;
		return BYTES_NONE;
	}
	return b;
}

static size_t get_count(struct reader *r, enum cbor_type major, size_t least_bytes)
{
	uint64_t n = get_major(r, major);
	if (n > reader_left(r) / least_bytes) {
		r->bad = true;
		return 0;
	}
	return (size_t)n;
}

size_t cbor_get_array(struct reader *r) { return get_count(r, CBOR_ARRAY, 1); }
size_t cbor_get_map(struct reader *r) { return get_count(r, CBOR_MAP, 2); }

struct bytes cbor_get_bytes_or_null(struct reader *r, bool *ret_present)
{
	*ret_present = cbor_peek(r) == CBOR_BYTES;
	if (*ret_present)
		return cbor_get_bytes(r);
	cbor_get_null(r);
	return BYTES_NONE;
}

static void skip(struct reader *r, unsigned depth)
{
	size_t n = 0;
	switch (cbor_peek(r)) {
	case CBOR_UINT: case CBOR_NEGATIVE: case CBOR_BOOL: case CBOR_NULL: (void)get_head(r); return;
	case CBOR_BYTES: (void)cbor_get_bytes(r); return;
	case CBOR_TEXT: (void)cbor_get_text(r); return;
	case CBOR_ARRAY: n = cbor_get_array(r); break;
	case CBOR_MAP: n = cbor_get_map(r) * 2; break;
	case CBOR_INVALID: r->bad = true; return;
	}
	if (depth == CBOR_DEPTH_MAX)
		r->bad = true;
	while (n-- > 0 && !r->bad)
		skip(r, depth + 1);
}

void cbor_skip(struct reader *r) { skip(r, 0); }

static enum cbor_fault item_fault(struct reader *r, unsigned depth)
{
	struct head h = get_head(r);
	if (h.fault != CBOR_FINE)
		return h.fault;
	if (h.major == CBOR_BYTES || h.major == CBOR_TEXT) {
		if (h.value > reader_left(r))
			return CBOR_TRUNCATED;
		struct bytes b = get_bytes(r, (size_t)h.value);
		return h.major == CBOR_TEXT && !utf8_valid(b) ? CBOR_NOT_UTF8 : CBOR_FINE;
	}
	if (h.major != CBOR_ARRAY && h.major != CBOR_MAP)
		return CBOR_FINE;
	uint64_t per_entry = h.major == CBOR_MAP ? 2 : 1;
	if (h.value > reader_left(r) / per_entry)
		return CBOR_TRUNCATED;
	if (depth == CBOR_DEPTH_MAX)
		return CBOR_TOO_DEEP;
	enum cbor_fault fault = CBOR_FINE;
	for (uint64_t n = h.value * per_entry; n > 0 && fault == CBOR_FINE; n--)
		fault = item_fault(r, depth + 1);
	return fault;
}

enum cbor_fault cbor_fault(const struct reader *r)
{
	struct reader copy = *r;
	return item_fault(&copy, 0);
}

struct bytes cbor_get_raw(struct reader *r)
{
	size_t from = r->at;
	cbor_skip(r);
	return r->bad ? BYTES_NONE : bytes_of(r->in.p + from, r->at - from);
}

static void put_head(struct writer *w, unsigned major, uint64_t v)
{
	uint8_t m = (uint8_t)(major << 5);
	if (v < 24)
		put_u8(w, (uint8_t)(m | v));
	else if (v <= UINT8_MAX)
		put_u8(w, m | 24), put_u8(w, (uint8_t)v);
	else if (v <= UINT16_MAX)
		put_u8(w, m | 25), put_be16(w, (uint16_t)v);
	else if (v <= UINT32_MAX)
		put_u8(w, m | 26), put_be32(w, (uint32_t)v);
	else
		put_u8(w, m | 27), put_be64(w, v);
}

void cbor_put_uint(struct writer *w, uint64_t v) { put_head(w, CBOR_UINT, v); }
void cbor_put_int(struct writer *w, int64_t v)
{
	put_head(w, v < 0 ? CBOR_NEGATIVE : CBOR_UINT, v < 0 ? (uint64_t)(-1 - v) : (uint64_t)v);
}
void cbor_put_bool(struct writer *w, bool v) { put_head(w, MAJOR_SIMPLE, v ? SIMPLE_TRUE : SIMPLE_FALSE); }
void cbor_put_null(struct writer *w) { put_head(w, MAJOR_SIMPLE, SIMPLE_NULL); }
void cbor_put_bytes(struct writer *w, struct bytes b) { put_head(w, CBOR_BYTES, b.n); put_bytes(w, b); }
void cbor_put_text(struct writer *w, struct bytes b) { put_head(w, CBOR_TEXT, b.n); put_bytes(w, b); }
void cbor_put_str(struct writer *w, const char *s) { cbor_put_text(w, bytes_str(s)); }
void cbor_put_array(struct writer *w, size_t items) { put_head(w, CBOR_ARRAY, items); }
void cbor_put_map(struct writer *w, size_t pairs) { put_head(w, CBOR_MAP, pairs); }
