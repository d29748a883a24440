#include "image/sign.h"

#include "base/text.h"
#include "crypto/x509_issue.h"
#include "format/cbor.h"
#include "format/cose_sign1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { NOT_BEFORE = 1700000000, NOT_AFTER = 1800000000 };

static struct p384 *key, *other_key;
static struct sign_certificate certificate;
static uint8_t pcr0[PCR_SIZE];

static size_t make_pem(struct p384 *k, char *text, size_t cap)
{
	uint8_t der[X509_ISSUED_MAX], pem[2048];
	struct writer d = writer_of(der, sizeof der), p = writer_of(pem, sizeof pem);
	const struct x509_template t = { .common_name = "signer", .not_before_s = NOT_BEFORE, .not_after_s = NOT_AFTER,
	                                 .path_len = X509_NO_PATH_LEN, .serial = BYTES_LIT("\x01") };
	assert_true(x509_make_root(k, &t, &d));
	x509_put_pem(&p, writer_bytes(&d));
	assert_true(bytes_to_cstr(writer_bytes(&p), text, cap));
	return p.at;
}

static int setup(void **state)
{
	char pem[2048];
	(void)state;
	key = p384_generate();
	other_key = p384_generate();
	assert_non_null(key);
	assert_non_null(other_key);
	memset(pcr0, 0xa5, sizeof pcr0);
	size_t n = make_pem(key, pem, sizeof pem);
	assert_int_equal(sign_certificate_load(bytes_of(pem, n), &certificate), EIF_SIGNATURE_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	p384_free(key);
	p384_free(other_key);
	return 0;
}

static void certificates(void **state)
{
	(void)state;
	static struct sign_certificate c;
	char pem[2048], text[8192];
	make_pem(key, pem, sizeof pem);
	/* text around the block is skipped and not kept */
	int n = snprintf(text, sizeof text, "subject=x\n%s\nmore\n", pem);
	assert_int_equal(sign_certificate_load(bytes_of(text, (size_t)n), &c), EIF_SIGNATURE_OK);
	assert_true(bytes_equal(bytes_of(c.pem, c.pem_n), bytes_str(pem)));
	n = snprintf(text, sizeof text, "%s%s", pem, pem);
	assert_int_equal(sign_certificate_load(bytes_of(text, (size_t)n), &c), EIF_SIGNATURE_NOT_PEM);
	assert_int_equal(sign_certificate_load(BYTES_LIT("hello"), &c), EIF_SIGNATURE_NOT_PEM);
	assert_int_equal(sign_certificate_load(BYTES_NONE, &c), EIF_SIGNATURE_NOT_PEM);
	assert_int_equal(sign_certificate_load(bytes_of(certificate.der, certificate.der_n), &c), EIF_SIGNATURE_NOT_PEM);
	/* PEM of something else */
	assert_int_equal(sign_certificate_load(BYTES_LIT("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), &c),
	                 EIF_SIGNATURE_BAD_CERTIFICATE);

	assert_int_equal(sign_certificate_check(&certificate, NOT_BEFORE), EIF_SIGNATURE_OK);
	assert_int_equal(sign_certificate_check(&certificate, NOT_AFTER), EIF_SIGNATURE_OK);
	assert_int_equal(sign_certificate_check(&certificate, NOT_BEFORE - 1), EIF_SIGNATURE_NOT_YET_VALID);
	assert_int_equal(sign_certificate_check(&certificate, NOT_AFTER + 1), EIF_SIGNATURE_EXPIRED);
}

static struct bytes section_of(uint8_t buf[EIF_SIGNATURE_MAX])
{
	uint8_t signature[P384_SIGNATURE_SIZE];
	struct writer w = writer_of(buf, EIF_SIGNATURE_MAX);
	assert_int_equal(sign_with_key(&certificate, key, pcr0, signature), EIF_SIGNATURE_OK);
	assert_int_equal(sign_put_section(&w, &certificate, pcr0, signature), EIF_SIGNATURE_OK);
	return writer_bytes(&w);
}

static enum eif_signature_result check(struct bytes section)
{
	static struct sign_certificate c;
	bool has;
	uint8_t *copy = malloc(section.n == 0 ? 1 : section.n);
	assert_non_null(copy);
	if (section.n > 0)
		memcpy(copy, section.p, section.n);
	enum eif_signature_result r = sign_check(bytes_of(copy, section.n), pcr0, &c, &has);
	if (r == EIF_SIGNATURE_OK) {
		assert_true(has);
		assert_true(bytes_equal(bytes_of(c.der, c.der_n), bytes_of(certificate.der, certificate.der_n)));
	}
	free(copy);
	return r;
}

static void signed_by_key(void **state)
{
	(void)state;
	uint8_t buf[EIF_SIGNATURE_MAX], signature[P384_SIGNATURE_SIZE];
	struct bytes section = section_of(buf);
	assert_int_equal(check(section), EIF_SIGNATURE_OK);
	assert_int_equal(sign_with_key(&certificate, other_key, pcr0, signature), EIF_SIGNATURE_KEY_MISMATCH);
	pcr0[47] ^= 1;
	assert_int_equal(check(section), EIF_SIGNATURE_WRONG_VALUE);
	pcr0[47] ^= 1;
}

/* The request is the Sig_structure: these bytes, signed by anyone's ECDSA, are what gets accepted. */
static void signed_elsewhere(void **state)
{
	(void)state;
	uint8_t request_buf[SIGN_REQUEST_MAX], buf[EIF_SIGNATURE_MAX], raw[P384_SIGNATURE_SIZE], read[P384_SIGNATURE_SIZE];
	struct bytes request = sign_request(pcr0, request_buf);
	static const char head[] = "\x84\x6aSignature1\x44\xa1\x01\x38\x22\x40\x58";
	assert_true(request.n > sizeof head && memcmp(request.p, head, sizeof head - 1) == 0);
	assert_true(p384_sign(key, request, raw));
	assert_true(sign_read_signature(BYTES_ARRAY(raw), read));
	struct writer w = writer_of(buf, sizeof buf);
	assert_int_equal(sign_put_section(&w, &certificate, pcr0, read), EIF_SIGNATURE_OK);

	assert_true(p384_sign(other_key, request, raw));
	w = writer_of(buf, sizeof buf);
	assert_int_equal(sign_put_section(&w, &certificate, pcr0, raw), EIF_SIGNATURE_FORGED);
	memset(raw, 0, sizeof raw);
	w = writer_of(buf, sizeof buf);
	assert_int_equal(sign_put_section(&w, &certificate, pcr0, raw), EIF_SIGNATURE_FORGED);
}

static void signatures_in_many_forms(void **state)
{
	(void)state;
	uint8_t raw[96], der[128], got[96];
	for (size_t i = 0; i < sizeof raw; i++)
		raw[i] = (uint8_t)(0x80 + i);            /* both halves need a sign byte in DER … */
	raw[48] = 0;                                     /* … the second is one byte shorter */
	raw[49] = 5;
	struct writer d = writer_of(der, sizeof der);
	put_bytes(&d, BYTES_LIT("\x30\x64\x02\x31\x00"));
	put_bytes(&d, bytes_of(raw, 48));
	put_bytes(&d, BYTES_LIT("\x02\x2f"));
	put_bytes(&d, bytes_of(raw + 49, 47));
	const struct bytes forms[] = { BYTES_ARRAY(raw), writer_bytes(&d) };
	for (size_t i = 0; i < 2; i++) {
		char hex[300];
		uint8_t text[400];
		memset(got, 0, sizeof got);
		assert_true(sign_read_signature(forms[i], got));
		assert_memory_equal(got, raw, sizeof raw);
		struct writer w = writer_of(text, sizeof text);
		put_str(&w, hex_encode(forms[i], hex));
		put_u8(&w, '\n');
		memset(got, 0, sizeof got);
		assert_true(sign_read_signature(writer_bytes(&w), got));
		assert_memory_equal(got, raw, sizeof raw);
		w = writer_of(text, sizeof text);
		put_base64(&w, bytes_of(forms[i].p, forms[i].n));
		put_str(&w, "\r\n");
		memmove(text + 65, text + 64, w.at - 64);
		text[64] = '\n';
		memset(got, 0, sizeof got);
		assert_true(sign_read_signature(bytes_of(text, w.at + 1), got));
		assert_memory_equal(got, raw, sizeof raw);
	}
	uint8_t junk[600] = { 0 };
	for (size_t n = 0; n < sizeof junk; n++)
		assert_int_equal(sign_read_signature(bytes_of(junk, n), got), n == 96);
	der[1]++;
	assert_false(sign_read_signature(writer_bytes(&d), got));
	der[1]--;
	der[4] = 1;                                      /* 49 bytes of number */
	assert_false(sign_read_signature(writer_bytes(&d), got));
	der[4] = 0x80;                                   /* negative */
	assert_false(sign_read_signature(writer_bytes(&d), got));
}

/* --- sections of other makers, and of nobody's -------------------------------------------------- */

static void put_octets(struct writer *w, struct bytes b, bool as_array)
{
	if (!as_array) {
		cbor_put_bytes(w, b);
		return;
	}
	cbor_put_array(w, b.n);
	for (size_t i = 0; i < b.n; i++)
		cbor_put_uint(w, b.p[i]);
}

struct recipe {
	bool array_outside, array_inside, value_first, signature_first;
	uint64_t index;
	size_t value_size;
	const char *extra;                       /* more bytes at the end of the signed map */
	struct p384 *signer;
};
#define HONEST { true, true, false, false, 0, PCR_SIZE, NULL, key }

static struct bytes make_section(uint8_t *buf, const struct recipe *r)
{
	uint8_t map[256], tbs[300], cose[400], signature[96], value[64] = { 0 };
	struct writer m = writer_of(map, sizeof map), t = writer_of(tbs, sizeof tbs), c = writer_of(cose, sizeof cose);
	memcpy(value, pcr0, PCR_SIZE);
	cbor_put_map(&m, r->extra != NULL ? 3 : 2);
	for (int i = 0; i < 2; i++) {
		if ((i == 0) == r->value_first) {
			cbor_put_str(&m, "register_value");
			put_octets(&m, bytes_of(value, r->value_size), r->array_inside);
		} else {
			cbor_put_str(&m, "register_index");
			cbor_put_uint(&m, r->index);
		}
	}
	if (r->extra != NULL)
		put_str(&m, r->extra);
	cose_sign1_tbs_put(&t, cose_sign1_es384_header(), writer_bytes(&m));
	assert_true(p384_sign(r->signer, writer_bytes(&t), signature));
	cose_sign1_put(&c, writer_bytes(&m), signature);
	struct writer w = writer_of(buf, EIF_SIGNATURE_MAX);
	cbor_put_array(&w, 1);
	cbor_put_map(&w, 2);
	for (int i = 0; i < 2; i++) {
		bool signature_now = (i == 0) == r->signature_first;
		cbor_put_str(&w, signature_now ? "signature" : "signing_certificate");
		put_octets(&w, signature_now ? writer_bytes(&c) : bytes_of(certificate.pem, certificate.pem_n), r->array_outside);
	}
	return writer_bytes(&w);
}

static void both_encodings_are_read(void **state)
{
	(void)state;
	uint8_t buf[EIF_SIGNATURE_MAX];
	for (unsigned bits = 0; bits < 16; bits++) {
		const struct recipe r = { bits & 1, bits & 2, bits & 4, bits & 8, 0, PCR_SIZE, NULL, key };
		assert_int_equal(check(make_section(buf, &r)), EIF_SIGNATURE_OK);
	}
}

static void wrong_contents(void **state)
{
	(void)state;
	uint8_t buf[EIF_SIGNATURE_MAX];
	struct recipe r = HONEST;
	r.index = 1;
	assert_int_equal(check(make_section(buf, &r)), EIF_SIGNATURE_WRONG_REGISTER);
	r = (struct recipe)HONEST;
	r.value_size = 47;
	assert_int_equal(check(make_section(buf, &r)), EIF_SIGNATURE_BAD_VALUE);
	r.value_size = 49;
	assert_int_equal(check(make_section(buf, &r)), EIF_SIGNATURE_BAD_VALUE);
	r = (struct recipe)HONEST;
	r.extra = "\x61x\x01";
	assert_int_equal(check(make_section(buf, &r)), EIF_SIGNATURE_BAD_PAYLOAD);
	r = (struct recipe)HONEST;
	r.signer = other_key;
	assert_int_equal(check(make_section(buf, &r)), EIF_SIGNATURE_FORGED);
}

static void malformed_sections(void **state)
{
	(void)state;
#define CERT "\x73signing_certificate"
#define SIG "\x69signature"
	static const struct { struct bytes in; enum eif_signature_result why; } rows[] = {
		{ BYTES_LIT(""), EIF_SIGNATURE_NOT_CBOR },
		{ BYTES_LIT("\x9f\xff"), EIF_SIGNATURE_NOT_CBOR },
		{ BYTES_LIT("\xd2\x80"), EIF_SIGNATURE_NOT_CBOR },
		{ BYTES_LIT("\x98\x00"), EIF_SIGNATURE_NOT_CBOR },
		{ BYTES_LIT("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), EIF_SIGNATURE_NOT_CBOR },
		{ BYTES_LIT("\xa0"), EIF_SIGNATURE_NOT_LIST },
		{ BYTES_LIT("\x40"), EIF_SIGNATURE_NOT_LIST },
		{ BYTES_LIT("\x80"), EIF_SIGNATURE_EMPTY },
		{ BYTES_LIT("\x82\xa0\xa0"), EIF_SIGNATURE_SECOND },
		{ BYTES_LIT("\x81\x80"), EIF_SIGNATURE_NOT_MAP },
		{ BYTES_LIT("\x81\xa0"), EIF_SIGNATURE_MISSING_KEY },
		{ BYTES_LIT("\x81\xa1" CERT "\x80"), EIF_SIGNATURE_MISSING_KEY },
		{ BYTES_LIT("\x81\xa1" SIG "\x40"), EIF_SIGNATURE_MISSING_KEY },
		{ BYTES_LIT("\x81\xa2" CERT "\x40" CERT "\x40"), EIF_SIGNATURE_DUPLICATE_KEY },
		{ BYTES_LIT("\x81\xa3" CERT "\x40" SIG "\x40" "\x61x\x01"), EIF_SIGNATURE_UNKNOWN_KEY },
		{ BYTES_LIT("\x81\xa2\x01\x40\x02\x40"), EIF_SIGNATURE_UNKNOWN_KEY },
		{ BYTES_LIT("\x81\xa2" CERT "\x60" SIG "\x40"), EIF_SIGNATURE_BAD_BYTES },
		{ BYTES_LIT("\x81\xa2" CERT "\x81\x19\x01\x00" SIG "\x40"), EIF_SIGNATURE_BAD_BYTES },
		{ BYTES_LIT("\x81\xa2" CERT "\x81\x20" SIG "\x40"), EIF_SIGNATURE_BAD_BYTES },
		{ BYTES_LIT("\x81\xa2" CERT "\x81\x80" SIG "\x40"), EIF_SIGNATURE_BAD_BYTES },
		{ BYTES_LIT("\x81\xa2" CERT "\x40" SIG "\x40\x00"), EIF_SIGNATURE_TRAILING_BYTES },
		{ BYTES_LIT("\x81\xa2" CERT "\x40" SIG "\x40"), EIF_SIGNATURE_NOT_PEM },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		enum eif_signature_result r = check(rows[i].in);
		if (r != rows[i].why)
			fail_msg("row %zu: %s instead of %s", i, eif_signature_name(r), eif_signature_name(rows[i].why));
	}
}

static void every_truncation_and_bit_flip(void **state)
{
	(void)state;
	uint8_t buf[EIF_SIGNATURE_MAX];
	struct bytes section = section_of(buf);
	for (size_t n = 0; n < section.n; n++)
		assert_int_equal(check(bytes_of(section.p, n)), EIF_SIGNATURE_NOT_CBOR);
	unsigned same = 0;
	for (size_t bit = 0; bit < 8 * section.n; bit += 3) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		static struct sign_certificate c;
		bool has = false;
		/* a changed certificate that keeps its key still verifies: what it measures to (PCR8) changed then */
		if (sign_check(section, pcr0, &c, &has) == EIF_SIGNATURE_OK)
			same += c.der_n == certificate.der_n && memcmp(c.der, certificate.der, c.der_n) == 0;
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* line ends of the PEM may change to other white space, nothing else */
	assert_true(same <= 30);
}

static void names(void **state)
{
	(void)state;
	for (int a = 0; a < EIF_SIGNATURE_RESULT_COUNT; a++) {
		assert_true(strlen(eif_signature_message((enum eif_signature_result)a)) > 15);
		for (int b = 0; b < a; b++)
			assert_string_not_equal(eif_signature_name((enum eif_signature_result)a), eif_signature_name((enum eif_signature_result)b));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certificates),
		cmocka_unit_test(signed_by_key),
		cmocka_unit_test(signed_elsewhere),
		cmocka_unit_test(signatures_in_many_forms),
		cmocka_unit_test(both_encodings_are_read),
		cmocka_unit_test(wrong_contents),
		cmocka_unit_test(malformed_sections),
		cmocka_unit_test(every_truncation_and_bit_flip),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
