#include "format/crc32.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* The definition, one bit at a time. */
static uint32_t slow_crc(struct bytes in)
{
	uint32_t c = UINT32_MAX;
	for (size_t i = 0; i < in.n; i++) {
		c ^= in.p[i];
		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
	}
	return ~c;
}

static void fill(uint8_t *p, size_t n)
{
	uint32_t x = 1;
	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		p[i] = (uint8_t)(x >> 24);
	}
}

static void known_values(void **state)
{
	(void)state;
	assert_int_equal(crc32_update(0, BYTES_NONE), 0);
	assert_int_equal(crc32_update(0, BYTES_LIT("123456789")), 0xcbf43926);
	assert_int_equal(crc32_update(0, BYTES_LIT("a")), 0xe8b7be43);
	assert_int_equal(crc32_update(0, BYTES_LIT("The quick brown fox jumps over the lazy dog")), 0x414fa339);
}

static void every_length_and_alignment(void **state)
{
	(void)state;
	uint8_t buf[160];
	fill(buf, sizeof buf);
	for (size_t from = 0; from < 9; from++)
		for (size_t n = 0; from + n <= sizeof buf; n++)
			assert_int_equal(crc32_update(0, bytes_of(buf + from, n)), slow_crc(bytes_of(buf + from, n)));
}

static void pieces_continue(void **state)
{
	(void)state;
	uint8_t buf[100];
	fill(buf, sizeof buf);
	for (size_t cut = 0; cut <= sizeof buf; cut++) {
		uint32_t crc = crc32_update(0, bytes_of(buf, cut));
		assert_int_equal(crc32_update(crc, bytes_of(buf + cut, sizeof buf - cut)), slow_crc(BYTES_ARRAY(buf)));
	}
}

static void combining_is_appending(void **state)
{
	(void)state;
	uint8_t buf[300];
	fill(buf, sizeof buf);
	for (size_t cut = 0; cut <= sizeof buf; cut++) {
		uint32_t a = crc32_update(0, bytes_of(buf, cut));
		uint32_t b = crc32_update(0, bytes_of(buf + cut, sizeof buf - cut));
		assert_int_equal(crc32_combine(a, b, sizeof buf - cut), slow_crc(BYTES_ARRAY(buf)));
	}
}

/* Sizes no buffer has: appending 2^k bytes twice is appending 2^(k+1). */
static void combining_large_sizes(void **state)
{
	(void)state;
	const uint32_t a = 0xcbf43926;
	for (int k = 0; k < 62; k++) {
		uint64_t n = UINT64_C(1) << k;
		assert_int_equal(crc32_combine(crc32_combine(a, 0, n), 0, n), crc32_combine(a, 0, 2 * n));
	}
	/* zlib's crc32_combine(0xcbf43926, 0x414fa339, 5000000043) */
	assert_int_equal(crc32_combine(a, 0x414fa339, UINT64_C(5000000043)), 0x98bd52dc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(every_length_and_alignment),
		cmocka_unit_test(pieces_continue),
		cmocka_unit_test(combining_is_appending),
		cmocka_unit_test(combining_large_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
