#include "image_helpers.h"

#include "format/tar.h"

static void resum(uint8_t *block)
{
	unsigned sum = 0;
	memset(block + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += block[i];
	snprintf((char *)block + 148, 8, "%06o", sum);
}

static void make(uint8_t *block, char kind, const char *name)
{
	struct fake_tar t;
	fake_tar_open(&t);
	fake_tar_add(&t, kind, name, BYTES_LIT("data"), "target", 0104755);
	memcpy(block, t.p, 512);
	free(t.p);
}

static void test_header(void **state)
{
	uint8_t block[512] = { 0 };
	struct tar_header h;
	(void)state;
	assert_int_equal(tar_header_parse(block, &h), TAR_OK);
	assert_int_equal(h.kind, TAR_END);
	make(block, '0', "a/b");
	assert_int_equal(tar_header_parse(block, &h), TAR_OK);
	assert_int_equal(h.kind, TAR_FILE);
	assert_int_equal(h.mode, 04755);
	assert_int_equal(h.size, 4);
	assert_int_equal(h.mtime, 1700000000);
	assert_memory_equal(h.name, "a/b", h.name_n);
	assert_memory_equal(h.link, "target", h.link_n);
	/* kinds without data have none, whatever they say */
	make(block, '1', "a");
	assert_int_equal(tar_header_parse(block, &h), TAR_OK);
	assert_int_equal(h.size, 0);
	make(block, '\0', "d");
	assert_int_equal(tar_header_parse(block, &h), TAR_OK);
	assert_int_equal(h.kind, TAR_FILE);
}

static void test_every_bit_counts(void **state)
{
	uint8_t block[512], before[512];
	struct tar_header h;
	(void)state;
	make(block, '0', "name");
	memcpy(before, block, 512);
	for (size_t i = 0; i < 512 * 8; i++) {
		block[i / 8] ^= (uint8_t)(1 << i % 8);
		enum tar_result r = tar_header_parse(block, &h);
		/* but for the padding of the checksum itself */
		if (i / 8 < 148 || i / 8 >= 156)
			assert_int_equal(r, TAR_BAD_CHECKSUM);
		memcpy(block, before, 512);
	}
}

static void test_prefix(void **state)
{
	uint8_t block[512];
	struct tar_header h;
	(void)state;
	make(block, '0', "name");
	memset(block, 'n', 100);
	memset(block + 345, 'p', 155);
	resum(block);
	assert_int_equal(tar_header_parse(block, &h), TAR_OK);
	assert_int_equal(h.name_n, 256);
	assert_int_equal(h.name[155], '/');
	/* GNU's magic: what is there is no prefix */
	memcpy(block + 257, "ustar  \0", 8);
	resum(block);
	assert_int_equal(tar_header_parse(block, &h), TAR_OK);
	assert_int_equal(h.name_n, 100);
}

static enum tar_result with_field(size_t at, const void *value, size_t n, struct tar_header *h)
{
	uint8_t block[512];
	make(block, '0', "x");
	memcpy(block + at, value, n);
	resum(block);
	return tar_header_parse(block, h);
}

static void test_numbers(void **state)
{
	struct tar_header h;
	(void)state;
	enum { UID = 108, SIZE = 124, MTIME = 136 };
	assert_int_equal(with_field(UID, "   17 \0\0", 8, &h), TAR_OK);
	assert_int_equal(h.uid, 017);
	assert_int_equal(with_field(UID, "\0\0\0\0\0\0\0\0", 8, &h), TAR_OK);
	assert_int_equal(h.uid, 0);
	assert_int_equal(with_field(UID, "77777777", 8, &h), TAR_OK);
	assert_int_equal(h.uid, 077777777);
	assert_int_equal(with_field(UID, "17\0junk\0", 8, &h), TAR_OK);
	assert_int_equal(h.uid, 017);
	assert_int_equal(with_field(UID, "\x80\0\0\0\xff\xff\xff\xff", 8, &h), TAR_OK);
	assert_int_equal(h.uid, UINT32_MAX);
	assert_int_equal(with_field(UID, "\x80\0\0\1\0\0\0\0", 8, &h), TAR_BAD_NUMBER);
	assert_int_equal(with_field(UID, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, &h), TAR_BAD_NUMBER);
	assert_int_equal(with_field(UID, "8", 1, &h), TAR_BAD_NUMBER);
	assert_int_equal(with_field(UID, "1 1", 3, &h), TAR_BAD_NUMBER);
	assert_int_equal(with_field(UID, "-1\0", 3, &h), TAR_BAD_NUMBER);
	assert_int_equal(with_field(SIZE, "777777777777", 12, &h), TAR_OK);
	assert_int_equal(h.size, 0777777777777);
	assert_int_equal(with_field(SIZE, "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12, &h), TAR_OK);
	assert_int_equal(h.size, INT64_MAX);
	assert_int_equal(with_field(SIZE, "\x80\0\0\0\x80\0\0\0\0\0\0\0", 12, &h), TAR_BAD_NUMBER);
	assert_int_equal(with_field(SIZE, "\x80\0\0\1\0\0\0\0\0\0\0\0", 12, &h), TAR_BAD_NUMBER);
	assert_int_equal(with_field(SIZE, "\xc0\0\0\0\0\0\0\0\0\0\0\0", 12, &h), TAR_BAD_NUMBER);
	assert_int_equal(with_field(MTIME, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12, &h), TAR_OK);
	assert_int_equal(h.mtime, -2);
}

static void test_kinds(void **state)
{
	static const char kinds[] = "01234567LKxXgV";
	struct tar_header h;
	(void)state;
	for (int c = 1; c < 256; c++) {
		enum tar_result r = with_field(156, &(char){ (char)c }, 1, &h);
		assert_int_equal(r, c == 'S' ? TAR_SPARSE_FILE : strchr(kinds, c) != NULL ? TAR_OK : TAR_UNKNOWN_KIND);
	}
}

static void test_pax_records(void **state)
{
	static const struct { const char *text; size_t n; enum tar_result r; const char *key, *value; } cases[] = {
		{ "10 path=a\n", 10, TAR_OK, "path", "a" },
		{ "7 a=\0\n", 7, TAR_BAD_PAX, "", "" },
		{ "6 a=b\n", 6, TAR_OK, "a", "b" },
		{ "5 a=\n", 5, TAR_OK, "a", "" },
		{ "8 a==b=\n", 8, TAR_OK, "a", "=b=" },
		{ "7 a=b\n", 6, TAR_BAD_PAX, "", "" },           /* longer than there is */
		{ "5 a=b\n", 6, TAR_BAD_PAX, "", "" },           /* shorter */
		{ "06 a=b\n", 7, TAR_BAD_PAX, "", "" },
		{ "4 =\n", 4, TAR_BAD_PAX, "", "" },
		{ "5 ab\n", 5, TAR_BAD_PAX, "", "" },
		{ "0 a=b\n", 6, TAR_BAD_PAX, "", "" },
		{ "2 \n", 3, TAR_BAD_PAX, "", "" },
		{ "-6 a=b\n", 7, TAR_BAD_PAX, "", "" },
		{ "18446744073709551622 a=b\n", 25, TAR_BAD_PAX, "", "" },
		{ " 6 a=b\n", 7, TAR_BAD_PAX, "", "" },
		{ "x", 1, TAR_BAD_PAX, "", "" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct reader r = reader_of(bytes_of(cases[i].text, cases[i].n));
		struct tar_pax p;
		enum tar_result got = tar_pax_next(&r, &p);
		if (got != cases[i].r)
			fail_msg("%s: %s", cases[i].text, tar_result_name(got));
		if (got != TAR_OK)
			continue;
		assert_true(bytes_equal(p.key, bytes_str(cases[i].key)) && bytes_equal(p.value, bytes_str(cases[i].value)));
		assert_true(reader_done(&r));
	}
}

static void test_seconds(void **state)
{
	static const struct { const char *text; bool ok; int64_t v; } cases[] = {
		{ "0", true, 0 }, { "17", true, 17 }, { "17.999", true, 17 }, { "-1", true, -1 }, { "-1.0", true, -1 }, { "-1.5", true, -2 },
		{ "-0.1", true, -1 }, { "9223372036854775806", true, INT64_MAX - 1 }, { "9223372036854775807", false, 0 },
		{ "", false, 0 }, { "-", false, 0 }, { ".5", false, 0 }, { "1.", true, 1 }, { "1.x", false, 0 }, { "1e3", false, 0 }, { "--1", false, 0 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int64_t v = 0;
		bool ok = tar_pax_seconds(bytes_str(cases[i].text), &v);
		if (ok != cases[i].ok || v != cases[i].v)
			fail_msg("%s: %d, %lld", cases[i].text, ok, (long long)v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_pax_records),
		cmocka_unit_test(test_seconds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
