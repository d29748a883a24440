/* Attestation payloads: what parses keeps its promises, and is the same after being written and read again. */
#include "format/attest_doc.h"

#include <stdlib.h>

#define CHECK(x) do { if (!(x)) abort(); } while (0)

static void check_promises(const struct attest_doc *d)
{
	CHECK(d->module_id.n > 0 && d->module_id.n <= ATTEST_DOC_MODULE_ID_MAX);
	CHECK(d->timestamp_ms > 0 && d->timestamp_ms <= UINT64_C(1) << 53);
	CHECK(d->pcr_mask != 0);
	for (size_t i = 0; i < ATTEST_DOC_PCRS; i++)
		CHECK(d->pcr[i].n == (d->pcr_mask >> i & 1 ? ATTEST_DOC_PCR_SIZE : 0));
	CHECK(d->certificate.n > 0 && d->certificate.n <= ATTEST_DOC_CERTIFICATE_MAX);
	CHECK(d->cabundle_count > 0 && d->cabundle_count <= ATTEST_DOC_CABUNDLE_MAX);
	for (size_t i = 0; i < d->cabundle_count; i++)
		CHECK(d->cabundle[i].n > 0 && d->cabundle[i].n <= ATTEST_DOC_CERTIFICATE_MAX);
	CHECK(d->public_key.n <= ATTEST_DOC_FIELD_MAX && d->user_data.n <= ATTEST_DOC_FIELD_MAX && d->nonce.n <= ATTEST_DOC_FIELD_MAX);
	CHECK((d->has_public_key || d->public_key.n == 0) && (d->has_user_data || d->user_data.n == 0) && (d->has_nonce || d->nonce.n == 0));
}

static void check_equal(const struct attest_doc *a, const struct attest_doc *b)
{
	CHECK(bytes_equal(a->module_id, b->module_id) && a->timestamp_ms == b->timestamp_ms && a->pcr_mask == b->pcr_mask);
	for (size_t i = 0; i < ATTEST_DOC_PCRS; i++)
		CHECK(bytes_equal(a->pcr[i], b->pcr[i]));
	CHECK(bytes_equal(a->certificate, b->certificate) && a->cabundle_count == b->cabundle_count);
	for (size_t i = 0; i < a->cabundle_count; i++)
		CHECK(bytes_equal(a->cabundle[i], b->cabundle[i]));
	CHECK(a->has_public_key == b->has_public_key && bytes_equal(a->public_key, b->public_key));
	CHECK(a->has_user_data == b->has_user_data && bytes_equal(a->user_data, b->user_data));
	CHECK(a->has_nonce == b->has_nonce && bytes_equal(a->nonce, b->nonce));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buf[64 << 10];
	struct attest_doc d = { 0 }, again;
	enum doc_result e = attest_doc_parse(bytes_of(data, size), &d);
	CHECK(e < DOC_RESULT_COUNT);
	if (e != DOC_OK) {
		CHECK(d.module_id.p == NULL);
		return 0;
	}
	check_promises(&d);
	struct writer w = writer_of(buf, sizeof buf);
	attest_doc_put(&w, &d);
	CHECK(!w.full && attest_doc_parse(writer_bytes(&w), &again) == DOC_OK);
	check_equal(&d, &again);
	return 0;
}
