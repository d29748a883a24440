#include "format/attest_doc.h"

#include "base/cleanup.h"
#include "format/cbor.h"
#include "format/cose_sign1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const uint8_t zeros[1100];
static uint8_t ones[ATTEST_DOC_PCR_SIZE] = { 1 };

static struct attest_doc sample(void)
{
	struct attest_doc d = {
		.module_id = BYTES_LIT("i-0-enc0"), .timestamp_ms = 1725719859545, .pcr_mask = 1u << 0 | 1u << 31,
		.certificate = BYTES_LIT("leaf"), .cabundle = { BYTES_LIT("root"), BYTES_LIT("mid") }, .cabundle_count = 2,
		.has_public_key = true, .public_key = BYTES_LIT("key"), .has_nonce = true, .nonce = bytes_of(zeros, 0),
	};
	d.pcr[0] = BYTES_ARRAY(ones);
	d.pcr[31] = bytes_of(zeros, ATTEST_DOC_PCR_SIZE);
	return d;
}

static struct bytes written(const struct attest_doc *d)
{
	static uint8_t buf[8192];
	struct writer w = writer_of(buf, sizeof buf);
	attest_doc_put(&w, d);
	assert_false(w.full);
	return writer_bytes(&w);
}

static void what_is_written_is_read_back(void **state)
{
	(void)state;
	struct attest_doc in = sample(), out;
	assert_int_equal(attest_doc_parse(written(&in), &out), DOC_OK);
	assert_true(bytes_equal(out.module_id, in.module_id));
	assert_true(out.timestamp_ms == in.timestamp_ms);
	assert_int_equal(out.pcr_mask, in.pcr_mask);
	for (size_t i = 0; i < ATTEST_DOC_PCRS; i++)
		assert_true(bytes_equal(out.pcr[i], in.pcr[i]));
	assert_true(bytes_equal(out.certificate, in.certificate));
	assert_int_equal(out.cabundle_count, 2);
	assert_true(bytes_equal(out.cabundle[0], in.cabundle[0]) && bytes_equal(out.cabundle[1], in.cabundle[1]));
	assert_true(out.has_public_key && bytes_equal(out.public_key, in.public_key));
	assert_false(out.has_user_data);
	assert_true(out.has_nonce);                      /* empty is not absent */
	assert_int_equal(out.nonce.n, 0);
}

static void limits_are_where_they_are_said_to_be(void **state)
{
	(void)state;
	static uint8_t text[ATTEST_DOC_MODULE_ID_MAX + 1];
	memset(text, 'i', sizeof text);
	struct attest_doc out;
	struct attest_doc d = sample();
	d.module_id = bytes_of(text, ATTEST_DOC_MODULE_ID_MAX);
	d.has_user_data = true;
	d.user_data = d.nonce = d.public_key = bytes_of(zeros, ATTEST_DOC_FIELD_MAX);
	d.cabundle_count = ATTEST_DOC_CABUNDLE_MAX;
	for (size_t i = 0; i < ATTEST_DOC_CABUNDLE_MAX; i++)
		d.cabundle[i] = BYTES_LIT("x");
	d.timestamp_ms = UINT64_C(1) << 53;
	d.pcr_mask = UINT32_MAX;
	for (size_t i = 0; i < ATTEST_DOC_PCRS; i++)
		d.pcr[i] = BYTES_ARRAY(ones);
	assert_int_equal(attest_doc_parse(written(&d), &out), DOC_OK);

#define REFUSED(change, why) do { \
		struct attest_doc bad = d; \
		bad.change; \
		assert_int_equal(attest_doc_parse(written(&bad), &out), why); \
	} while (0)
	REFUSED(module_id = BYTES_ARRAY(text), DOC_BAD_MODULE_ID);
	REFUSED(module_id = bytes_of(text, 0), DOC_BAD_MODULE_ID);
	REFUSED(module_id = BYTES_LIT("a\nb"), DOC_BAD_MODULE_ID);
	REFUSED(module_id = BYTES_LIT("\x7f"), DOC_BAD_MODULE_ID);
	REFUSED(public_key.n++, DOC_BAD_PUBLIC_KEY);
	REFUSED(public_key.n = 0, DOC_BAD_PUBLIC_KEY);
	REFUSED(user_data.n++, DOC_BAD_USER_DATA);
	REFUSED(nonce.n++, DOC_BAD_NONCE);
	REFUSED(timestamp_ms++, DOC_BAD_TIMESTAMP);
	REFUSED(timestamp_ms = 0, DOC_BAD_TIMESTAMP);
	REFUSED(pcr_mask = 0, DOC_NO_PCRS);
	REFUSED(pcr[31] = bytes_of(zeros, 47), DOC_BAD_PCR_SIZE);
	REFUSED(pcr[0] = bytes_of(zeros, 49), DOC_BAD_PCR_SIZE);
	REFUSED(certificate.n = 0, DOC_BAD_CERTIFICATE);
	REFUSED(cabundle[7].n = 0, DOC_BAD_CABUNDLE);
	REFUSED(cabundle_count = 0, DOC_EMPTY_CABUNDLE);
#undef REFUSED
}

/* Truncated anywhere: an error, and never one that says the reader found something else there. */
static void every_cut_is_truncated(void **state)
{
	(void)state;
	struct attest_doc d = sample(), out;
	struct bytes whole = written(&d);
	for (size_t n = 0; n < whole.n; n++) {
		CLEANUP(free_ptr) uint8_t *exact = malloc(n == 0 ? 1 : n);
		assert_non_null(exact);
		memcpy(exact, whole.p, n);
		assert_int_equal(attest_doc_parse(bytes_of(exact, n), &out), DOC_TRUNCATED);
	}
}

/* Any single byte changed: refused, or a document that says something else and is written back as changed. */
static void no_change_goes_unnoticed(void **state)
{
	(void)state;
	static uint8_t buf[8192];
	struct attest_doc d = sample(), out;
	struct bytes whole = written(&d);
	memcpy(buf, whole.p, whole.n);
	for (size_t at = 0; at < whole.n; at++)
		for (unsigned v = 0; v < 256; v++) {
			uint8_t was = buf[at];
			buf[at] = (uint8_t)v;
			/* two keys exchanged or PCRs reordered would still be the same statement, but one byte cannot do that */
			if (attest_doc_parse(bytes_of(buf, whole.n), &out) == DOC_OK && out.pcr_mask >> 31 && out.pcr_mask & 1)
				assert_true(bytes_equal(written(&out), bytes_of(buf, whole.n)));
			buf[at] = was;
		}
}

static struct bytes read_file(const char *path)
{
	static uint8_t buf[16384];
	FILE *f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("cannot open %s (tests run in the top directory)", path);
	size_t n = fread(buf, 1, sizeof buf, f);
	fclose(f);
	return bytes_of(buf, n);
}

static void real_documents_are_read_and_written_byte_for_byte(void **state)
{
	(void)state;
	static const char *const paths[] = { "tests/vectors/attestation/production.bin", "tests/vectors/attestation/debug.bin" };
	for (size_t i = 0; i < COUNT(paths); i++) {
		struct bytes file = read_file(paths[i]);
		static uint8_t buf[16384];
		struct writer w = writer_of(buf, sizeof buf);
		struct cose_sign1 c;
		struct attest_doc d;
		assert_int_equal(cose_sign1_parse(file, &c), COSE_OK);
		assert_int_equal(attest_doc_parse(c.payload, &d), DOC_OK);
		assert_int_equal(d.pcr_mask, 0xffff);
		assert_int_equal(d.cabundle_count, 4);
		assert_int_equal(d.public_key.n, 1024);
		assert_int_equal(d.user_data.n, 1024);
		assert_int_equal(d.nonce.n, 1024);
		assert_true(bytes_equal(written(&d), c.payload));
		cose_sign1_put(&w, c.payload, c.signature.p);
		assert_true(bytes_equal(writer_bytes(&w), file));
	}
}

static void deep_and_wide_input_is_refused_quickly(void **state)
{
	(void)state;
	static uint8_t buf[1 << 20];
	struct attest_doc out;
	struct writer w = writer_of(buf, sizeof buf);
	cbor_put_map(&w, 1);
	cbor_put_str(&w, "cabundle");
	memset(buf + w.at, 0x81, sizeof buf - w.at);
	assert_int_equal(attest_doc_parse(BYTES_ARRAY(buf), &out), DOC_MALFORMED);
	w = writer_of(buf, sizeof buf);
	cbor_put_map(&w, 1);
	cbor_put_str(&w, "cabundle");
	cbor_put_array(&w, sizeof buf - 32);
	memset(buf + w.at, 0x40, sizeof buf - w.at);
	assert_int_equal(attest_doc_parse(BYTES_ARRAY(buf), &out), DOC_LONG_CABUNDLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(limits_are_where_they_are_said_to_be),
		cmocka_unit_test(every_cut_is_truncated),
		cmocka_unit_test(no_change_goes_unnoticed),
		cmocka_unit_test(real_documents_are_read_and_written_byte_for_byte),
		cmocka_unit_test(deep_and_wide_input_is_refused_quickly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
