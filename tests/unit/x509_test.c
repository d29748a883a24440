#include "crypto/x509_issue.h"

#include "base/text.h"
#include "crypto/der.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct p384 *root_key, *leaf_key;
static uint8_t root_buf[X509_ISSUED_MAX], leaf_buf[X509_ISSUED_MAX];
static struct bytes root_der, leaf_der;

static const struct x509_template root_template = {
	.common_name = "Test root", .not_before_s = 1577836800, .not_after_s = 2556143999, .ca = true, .path_len = 3,
	.key_usage = X509_KEY_CERT_SIGN | X509_CRL_SIGN, .serial = { (const uint8_t *)"\x80\x01", 2 },
};
static const struct x509_template leaf_template = {
	.common_name = "leaf \xc3\xa9", .not_before_s = 0, .not_after_s = 2556144000, .path_len = X509_NO_PATH_LEN,
	.key_usage = X509_DIGITAL_SIGNATURE, .serial = { (const uint8_t *)"\x00\x00\x07", 3 },
};

static int set_up(void **state)
{
	(void)state;
	struct writer root = writer_of(root_buf, sizeof root_buf), leaf = writer_of(leaf_buf, sizeof leaf_buf);
	root_key = p384_generate();
	leaf_key = p384_generate();
	assert_true(x509_make_root(root_key, &root_template, &root));
	root_der = writer_bytes(&root);
	assert_true(x509_issue(root_key, root_der, leaf_key, &leaf_template, &leaf));
	leaf_der = writer_bytes(&leaf);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	p384_free(root_key);
	p384_free(leaf_key);
	return 0;
}

static void what_is_issued_is_read_back(void **state)
{
	(void)state;
	struct x509 root, leaf;
	uint8_t point[97];
	assert_int_equal(x509_parse(root_der, &root), X509_OK);
	assert_int_equal(x509_parse(leaf_der, &leaf), X509_OK);
	assert_true(root.ca);
	assert_int_equal(root.path_len, 3);
	assert_int_equal(root.key_usage, X509_KEY_CERT_SIGN | X509_CRL_SIGN);
	assert_true(root.has_key_usage);
	assert_true(bytes_equal(root.issuer, root.subject));
	assert_true(bytes_equal(root.serial, BYTES_LIT("\x00\x80\x01")));
	assert_true(root.not_before_s == root_template.not_before_s);
	assert_true(root.not_after_s == root_template.not_after_s);      /* the last second of 2050 */
	assert_true(p384_point(root_key, point) && bytes_equal(root.point, BYTES_ARRAY(point)));

	assert_false(leaf.ca);
	assert_int_equal(leaf.path_len, X509_NO_PATH_LEN);
	assert_int_equal(leaf.key_usage, X509_DIGITAL_SIGNATURE);
	assert_true(bytes_equal(leaf.issuer, root.subject));
	assert_true(bytes_equal(leaf.serial, BYTES_LIT("\x07")));
	assert_true(leaf.not_before_s == 0);
	assert_true(leaf.not_after_s == leaf_template.not_after_s);
}

static void signatures_are_by_the_issuer_and_nobody_else(void **state)
{
	(void)state;
	struct x509 root, leaf;
	assert_int_equal(x509_parse(root_der, &root), X509_OK);
	assert_int_equal(x509_parse(leaf_der, &leaf), X509_OK);
	assert_true(x509_signed_by(&root, root.point));
	assert_true(x509_signed_by(&leaf, root.point));
	assert_false(x509_signed_by(&leaf, leaf.point));
	assert_false(x509_signed_by(&root, leaf.point));
	assert_false(x509_signed_by(&leaf, BYTES_NONE));
	uint8_t off[97] = { 4, 1 };
	assert_false(x509_signed_by(&leaf, BYTES_ARRAY(off)));
}

static void templates_out_of_their_limits_are_refused(void **state)
{
	(void)state;
	static char long_cn[X509_CN_MAX + 2];
	memset(long_cn, 'x', X509_CN_MAX + 1);
#define REFUSED(change) do { \
		struct x509_template t = leaf_template; \
		t.change; \
		uint8_t buf[X509_ISSUED_MAX]; \
		struct writer w = writer_of(buf, sizeof buf); \
		put_u8(&w, 7); \
		assert_false(x509_issue(root_key, root_der, leaf_key, &t, &w)); \
		assert_int_equal(w.at, 1); \
	} while (0)
	REFUSED(common_name = "");
	REFUSED(common_name = NULL);
	REFUSED(common_name = long_cn);
	REFUSED(common_name = "\xff");
	REFUSED(not_before_s = -1);
	REFUSED(not_before_s = leaf_template.not_after_s + 1);
	REFUSED(not_after_s = INT64_C(253402300800));
	REFUSED(path_len = 0);                           /* not a CA */
	REFUSED(path_len = -2);
	REFUSED(serial = BYTES_NONE);
	REFUSED(serial = BYTES_LIT("\0\0"));
	REFUSED(serial = BYTES_LIT("123456789012345678901"));
	REFUSED(serial = BYTES_LIT("\xff" "1234567890123456789"));
	REFUSED(key_usage = 1 << 8);
#undef REFUSED
	uint8_t small[64];
	struct writer w = writer_of(small, sizeof small);
	assert_false(x509_issue(root_key, root_der, leaf_key, &leaf_template, &w));
	assert_int_equal(w.at, 0);
	w = writer_of(root_buf + 0, 0);
	assert_false(x509_issue(root_key, BYTES_LIT("no certificate"), leaf_key, &leaf_template, &w));

	struct x509_template largest = leaf_template;
	uint8_t buf[X509_ISSUED_MAX];
	largest.common_name = long_cn + 1;
	w = writer_of(buf, sizeof buf);
	assert_true(x509_issue(root_key, root_der, leaf_key, &largest, &w));
}

static void every_cut_and_every_byte_changed(void **state)
{
	(void)state;
	struct x509 c, root;
	uint8_t *copy = malloc(leaf_der.n);
	assert_non_null(copy);
	assert_int_equal(x509_parse(root_der, &root), X509_OK);
	for (size_t n = 0; n < leaf_der.n; n++) {
		uint8_t *exact = malloc(n == 0 ? 1 : n);
		assert_non_null(exact);
		memcpy(exact, leaf_der.p, n);
		assert_int_equal(x509_parse(bytes_of(exact, n), &c), X509_NOT_DER);
		free(exact);
	}
	memcpy(copy, leaf_der.p, leaf_der.n);
	for (size_t at = 0; at < leaf_der.n; at++)
		for (unsigned v = 0; v < 256; v++) {
			copy[at] = (uint8_t)v;
			/* every one is parsed for the sanitizer's sake; one in some is worth the elliptic curve */
			if (x509_parse(bytes_of(copy, leaf_der.n), &c) == X509_OK && v != leaf_der.p[at] &&
			    v == (leaf_der.p[at] ^ 1u))
				assert_false(x509_signed_by(&c, root.point));
			copy[at] = leaf_der.p[at];
		}
	free(copy);
}

static void pem(void **state)
{
	(void)state;
	uint8_t text[2048], der[X509_ISSUED_MAX];
	size_t n = 77;
	struct writer w = writer_of(text, sizeof text);
	put_str(&w, "subject=CN = Test root\n");
	x509_put_pem(&w, root_der);
	assert_true(x509_from_pem(writer_bytes(&w), der, root_der.n, &n));
	assert_true(bytes_equal(bytes_of(der, n), root_der));
	assert_false(x509_from_pem(writer_bytes(&w), der, root_der.n - 1, &n));
	x509_put_pem(&w, leaf_der);
	assert_false(x509_from_pem(writer_bytes(&w), der, sizeof der, &n));      /* which of the two? */

	static const struct { const char *text; bool ok; } rows[] = {
		{ "", false }, { "-----BEGIN CERTIFICATE-----", false }, { "-----END CERTIFICATE-----", false },
		{ "-----BEGIN CERTIFICATE----------END CERTIFICATE-----", false },
		{ "-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----", true },
		{ "-----BEGIN CERTIFICATE-----\r\nAA\r\n AA\t\r\n-----END CERTIFICATE-----", true },
		{ "-----BEGIN CERTIFICATE-----AAA-----END CERTIFICATE-----", false },
		{ "-----BEGIN CERTIFICATE-----AAAA=-----END CERTIFICATE-----", false },
		{ "-----BEGIN CERTIFICATE-----AA==AAAA-----END CERTIFICATE-----", false },
		{ "-----BEGIN CERTIFICATE-----AA!A-----END CERTIFICATE-----", false },
		{ "-----END CERTIFICATE----------BEGIN CERTIFICATE-----AAAA", false },
		{ "-----BEGIN PUBLIC KEY-----AAAA-----END PUBLIC KEY-----", false },
		{ "-----BEGIN CERTIFICATE-----AAAA-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----", false },
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		if (x509_from_pem(bytes_str(rows[i].text), der, sizeof der, &n) != rows[i].ok)
			fail_msg("%s", rows[i].text);
}

static void der_headers(void **state)
{
	(void)state;
	static const struct { const char *hex; bool ok; } rows[] = {
		{ "", true }, { "0500", true }, { "3000", true }, { "30023000", true }, { "0101ff", true }, { "010100", true },
		{ "020100", true }, { "02020080", true }, { "0202ff7f", true },
		{ "05", false }, { "0501", false }, { "30", false }, { "3080", false }, { "30800000", false }, { "308100", false },
		{ "30817f", false }, { "3082007f", false }, { "308200", false }, { "3083010000", false }, { "3084ffffffff", false },
		{ "0000", false }, { "1f00", false }, { "3f0100", false }, { "010101", false }, { "0100", false }, { "01020000", false },
		{ "0200", false }, { "02020001", false }, { "0202ff80", false }, { "3001", false }, { "300105", false }, { "30020501", false },
		{ "31800000", false }, { "a0030101", false },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t n = strlen(rows[i].hex) / 2;
		uint8_t *b = malloc(n == 0 ? 1 : n);
		assert_non_null(b);
		assert_true(hex_decode(bytes_str(rows[i].hex), b, n));
		if (der_well_formed(bytes_of(b, n)) != rows[i].ok)
			fail_msg("%s", rows[i].hex);
		free(b);
	}
	uint8_t deep[2 * (DER_DEPTH_MAX + 2)];
	for (size_t depth = 1; depth <= DER_DEPTH_MAX + 2; depth++) {
		for (size_t i = 0; i < depth; i++) {
			deep[2 * i] = DER_SEQUENCE;
			deep[2 * i + 1] = (uint8_t)(2 * (depth - 1 - i));
		}
		assert_int_equal(der_well_formed(bytes_of(deep, 2 * depth)), depth <= DER_DEPTH_MAX);
	}
}

static void der_lengths_are_written_shortest(void **state)
{
	(void)state;
	static uint8_t buf[70000], zeros[66000];
	static const size_t sizes[] = { 0, 1, 127, 128, 255, 256, 65535 };
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct writer w = writer_of(buf, sizeof buf);
		size_t outer = der_open(&w, DER_SEQUENCE);
		der_put(&w, DER_OCTET_STRING, bytes_of(zeros, sizes[i] > 65000 ? 65000 : sizes[i]));
		der_close(&w, outer);
		assert_true(der_well_formed(writer_bytes(&w)));
		struct reader r = reader_of(writer_bytes(&w));
		struct reader inner = reader_of(der_get(&r, DER_SEQUENCE));
		assert_int_equal(der_get(&inner, DER_OCTET_STRING).n, sizes[i] > 65000 ? 65000 : sizes[i]);
		assert_true(reader_done(&r) && reader_done(&inner));
	}
	struct writer w = writer_of(buf, sizeof buf);
	der_put(&w, DER_OCTET_STRING, BYTES_ARRAY(zeros));
	assert_true(w.full);
	w = writer_of(buf, 2 + 128);                     /* the length byte that does not fit any more */
	der_put(&w, DER_OCTET_STRING, bytes_of(zeros, 128));
	assert_true(w.full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_issued_is_read_back),
		cmocka_unit_test(signatures_are_by_the_issuer_and_nobody_else),
		cmocka_unit_test(templates_out_of_their_limits_are_refused),
		cmocka_unit_test(every_cut_and_every_byte_changed),
		cmocka_unit_test(pem),
		cmocka_unit_test(der_headers),
		cmocka_unit_test(der_lengths_are_written_shortest),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
