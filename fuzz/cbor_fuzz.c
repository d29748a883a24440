/* CBOR: what the reader takes is written back the same, byte for byte, and its three ways to look at an item
 * (peek, fault, skip) agree. */
#include "format/cbor.h"

#include <stdlib.h>

#define CHECK(x) do { if (!(x)) abort(); } while (0)

static void copy_item(struct reader *r, struct writer *w)
{
	size_t n;
	bool present;
	switch (cbor_peek(r)) {
	case CBOR_UINT: cbor_put_uint(w, cbor_get_uint(r)); break;
	case CBOR_NEGATIVE: {
		struct bytes raw = cbor_get_raw(r);
		struct reader again = reader_of(raw);
		int64_t v = cbor_get_int(&again);
		if (again.bad)
			put_bytes(w, raw);               /* below -2^63: no getter takes it */
		else
			cbor_put_int(w, v);
		break;
	}
	case CBOR_BYTES: cbor_put_bytes(w, cbor_get_bytes_or_null(r, &present)); CHECK(present || r->bad); break;
	case CBOR_TEXT: cbor_put_text(w, cbor_get_text(r)); break;
	case CBOR_ARRAY:
		cbor_put_array(w, n = cbor_get_array(r));
		while (n-- > 0 && !r->bad)
			copy_item(r, w);
		break;
	case CBOR_MAP:
		cbor_put_map(w, n = cbor_get_map(r));
		for (n *= 2; n-- > 0 && !r->bad;)
			copy_item(r, w);
		break;
	case CBOR_BOOL: cbor_put_bool(w, cbor_get_bool(r)); break;
	case CBOR_NULL: cbor_get_null(r); cbor_put_null(w); break;
	case CBOR_INVALID: r->bad = true; break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader skipped = reader_of(bytes_of(data, size)), copied = skipped;
	enum cbor_fault fault = cbor_fault(&skipped);
	CHECK(cbor_peek(&skipped) != CBOR_INVALID || fault != CBOR_FINE);
	cbor_skip(&skipped);
	CHECK(skipped.bad == (fault != CBOR_FINE));
	if (skipped.bad)
		return 0;
	uint8_t *buf = malloc(skipped.at);
	CHECK(buf != NULL);
	struct writer w = writer_of(buf, skipped.at);
	copy_item(&copied, &w);
	CHECK(!copied.bad && copied.at == skipped.at);
	CHECK(bytes_equal(writer_bytes(&w), bytes_of(data, skipped.at)));
	free(buf);
	return 0;
}
