#include "crypto/x509_any.h"

#include "base/text.h"
#include "crypto/der.h"
#include "crypto/x509_issue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static uint8_t der[X509_ISSUED_MAX];
static size_t der_n;

static int setup(void **state)
{
	(void)state;
	struct p384 *key = p384_generate();
	struct writer w = writer_of(der, sizeof der);
	const struct x509_template t = { .common_name = "signer", .not_before_s = 1000000000, .not_after_s = 2600000000,
	                                 .path_len = X509_NO_PATH_LEN, .serial = BYTES_LIT("\x01") };
	assert_non_null(key);
	assert_true(x509_make_root(key, &t, &w));
	p384_free(key);
	der_n = w.at;
	return 0;
}

static void fields(void **state)
{
	(void)state;
	struct x509_any c;
	struct x509 strict;
	assert_int_equal(x509_any_parse(bytes_of(der, der_n), &c), X509_OK);
	assert_int_equal(x509_parse(bytes_of(der, der_n), &strict), X509_OK);
	assert_int_equal(c.not_before_s, 1000000000);
	assert_int_equal(c.not_after_s, 2600000000);         /* a GeneralizedTime */
	assert_true(bytes_equal(c.point, strict.point));
	assert_true(bytes_equal(c.issuer, c.subject));
}

static void every_truncation_and_trailing_bytes(void **state)
{
	(void)state;
	struct x509_any c = { .not_before_s = 7 };
	for (size_t n = 0; n < der_n; n++) {
		uint8_t *copy = malloc(n == 0 ? 1 : n);
		assert_non_null(copy);
		memcpy(copy, der, n);
		assert_int_equal(x509_any_parse(bytes_of(copy, n), &c), X509_NOT_DER);
		free(copy);
	}
	der[der_n] = 0;
	assert_int_equal(x509_any_parse(bytes_of(der, der_n + 1), &c), X509_TRAILING_BYTES);
	assert_int_equal(c.not_before_s, 7);
}

static void assert_text(void (*put)(struct writer *, const void *), const void *what, const char *want)
{
	uint8_t buf[256];
	char text[256];
	struct writer w = writer_of(buf, sizeof buf);
	put(&w, what);
	assert_true(bytes_to_cstr(writer_bytes(&w), text, sizeof text));
	assert_string_equal(text, want);
}

static void put_oid(struct writer *w, const void *oid) { x509_put_oid(w, *(const struct bytes *)oid); }
static void put_value(struct writer *w, const void *a) { x509_put_value(w, a); }
static void put_date(struct writer *w, const void *s) { x509_put_date(w, *(const int64_t *)s); }

static void oids(void **state)
{
	(void)state;
	static const struct { struct bytes oid; const char *text; } rows[] = {
		{ BYTES_LIT("\x55\x04\x03"), "commonName" }, { BYTES_LIT("\x2a\x86\x48\xce\x3d\x04\x03\x03"), "ecdsa-with-SHA384" },
		{ BYTES_LIT("\x55\x04\x7f"), "2.5.4.127" }, { BYTES_LIT("\x00"), "0.0" }, { BYTES_LIT("\x27"), "0.39" },
		{ BYTES_LIT("\x28"), "1.0" }, { BYTES_LIT("\x4f"), "1.39" }, { BYTES_LIT("\x50"), "2.0" },
		{ BYTES_LIT("\x88\x37\x03"), "2.999.3" }, { BYTES_LIT("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x63"), "1.2.840.113549.1.1.99" },
		{ BYTES_LIT(""), "" }, { BYTES_LIT("\x80"), "" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_text(put_oid, &rows[i].oid, rows[i].text);
}

static void values(void **state)
{
	(void)state;
	static const struct { struct x509_attribute a; const char *text; } rows[] = {
		{ { .value = BYTES_LIT("Z\xc3\xbcrich"), .value_tag = 0x0c }, "Z\xc3\xbcrich" },
		{ { .value = BYTES_LIT("Z\xfcrich"), .value_tag = 0x0c }, "?" },
		{ { .value = BYTES_LIT("US"), .value_tag = 0x13 }, "US" },
		{ { .value = BYTES_LIT("Z\xfcrich"), .value_tag = 0x14 }, "Z\xc3\xbcrich" },
		{ { .value = BYTES_LIT("\0Z\0\xfc\x20\xac\xd8\x00"), .value_tag = 0x1e }, "Z\xc3\xbc\xe2\x82\xac\xef\xbf\xbd" },
		{ { .value = BYTES_LIT("\0Z\0"), .value_tag = 0x1e }, "?" },
		{ { .value = BYTES_LIT("\0\x01\xf6\x00\0\x11\0\0"), .value_tag = 0x1c }, "\xf0\x9f\x98\x80\xef\xbf\xbd" },
		{ { .value = BYTES_LIT("\x01"), .value_tag = 0x02 }, "?" },
		{ { .value = BYTES_LIT(""), .value_tag = 0x13 }, "" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_text(put_value, &rows[i].a, rows[i].text);
}

static void dates(void **state)
{
	(void)state;
	static const struct { int64_t s; const char *text; } rows[] = {
		{ 0, "Jan  1 00:00:00 1970 GMT" }, { 1767225599, "Dec 31 23:59:59 2025 GMT" }, { -1, "Dec 31 23:59:59 1969 GMT" },
		{ INT64_C(253402300799), "Dec 31 23:59:59 9999 GMT" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_text(put_date, &rows[i].s, rows[i].text);
}

/* Contents of a name: two sets, the second with two members. */
static void names(void **state)
{
	(void)state;
	struct x509_name n = x509_name_of(BYTES_LIT("\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02US"
	                                            "\x31\x14\x30\x08\x06\x03\x55\x04\x03\x0c\x01x\x30\x08\x06\x03\x55\x04\x0b\x0c\x01y"));
	struct x509_attribute a;
	assert_true(x509_name_next(&n, &a));
	assert_true(bytes_equal(a.value, BYTES_LIT("US")));
	assert_true(x509_name_next(&n, &a));
	assert_true(bytes_equal(a.value, BYTES_LIT("x")));
	assert_true(x509_name_next(&n, &a));
	assert_true(bytes_equal(a.value, BYTES_LIT("y")));
	assert_true(bytes_equal(a.type, BYTES_LIT("\x55\x04\x0b")));
	assert_false(x509_name_next(&n, &a));
	assert_false(n.bad);

	static const struct bytes bad[] = {
		BYTES_LIT("\x31\x00"), BYTES_LIT("\x30\x00"), BYTES_LIT("\x31\x02\x30\x00"), BYTES_LIT("\x31\x04\x30\x02\x06\x00"),
		BYTES_LIT("\x31\x05\x30\x03\x06\x01\x55"), BYTES_LIT("\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01"),
		BYTES_LIT("\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x01x\x05\x00"),
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		n = x509_name_of(bad[i]);
		assert_false(x509_name_next(&n, &a));
		assert_true(n.bad);
		assert_false(x509_name_next(&n, &a));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields),
		cmocka_unit_test(every_truncation_and_trailing_bytes),
		cmocka_unit_test(oids),
		cmocka_unit_test(values),
		cmocka_unit_test(dates),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
