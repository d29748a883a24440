/* COSE_Sign1: there is one way to write what the parser takes. */
#include "format/cose_sign1.h"

#include <stdlib.h>

#define CHECK(x) do { if (!(x)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cose_sign1 c = { .payload = BYTES_NONE };
	enum cose_result e = cose_sign1_parse(bytes_of(data, size), &c);
	CHECK(e < COSE_RESULT_COUNT);
	if (e != COSE_OK) {
		CHECK(c.payload.p == NULL);
		return 0;
	}
	size_t cap = c.payload.n + COSE_SIGN1_OVERHEAD;
	uint8_t *buf = malloc(cap);
	CHECK(buf != NULL);
	struct writer w = writer_of(buf, cap);
	cose_sign1_put(&w, c.payload, c.signature.p);
	CHECK(bytes_equal(writer_bytes(&w), bytes_of(data, size)));
	w = writer_of(buf, cap);
	cose_sign1_tbs_put(&w, c.protected_header, c.payload);
	CHECK(!w.full);
	free(buf);
	return 0;
}
