#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void equality_is_by_content(void **state)
{
	(void)state;
	assert_true(bytes_equal(BYTES_LIT("abc"), bytes_str("abc")));
	assert_false(bytes_equal(BYTES_LIT("abc"), BYTES_LIT("abd")));
	assert_false(bytes_equal(BYTES_LIT("abc"), BYTES_LIT("ab")));
	assert_true(bytes_equal(BYTES_NONE, BYTES_LIT("")));
	assert_true(bytes_equal(BYTES_LIT("a\0b"), bytes_of("a\0b", 3)));
	assert_false(bytes_equal(BYTES_LIT("a\0b"), BYTES_LIT("a\0c")));
}

static void slices_stay_inside(void **state)
{
	(void)state;
	const struct bytes b = BYTES_LIT("abcdef");
	static const struct { size_t at, n; const char *want; } rows[] = {
		{ 0, 6, "abcdef" }, { 0, 0, "" }, { 2, 3, "cde" }, { 6, 0, "" }, { 5, 1, "f" },
		{ 0, 7, NULL }, { 6, 1, NULL }, { 7, 0, NULL }, { 1, 6, NULL },
		{ 1, SIZE_MAX, NULL }, { SIZE_MAX, 1, NULL }, { SIZE_MAX, SIZE_MAX, NULL },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bytes s = bytes_slice(b, rows[i].at, rows[i].n);
		assert_true(bytes_equal(s, rows[i].want == NULL ? BYTES_NONE : bytes_str(rows[i].want)));
	}
	assert_int_equal(bytes_slice(BYTES_NONE, 0, 0).n, 0);
	assert_int_equal(bytes_slice(BYTES_NONE, 0, 1).n, 0);
}

static void integers_are_big_endian(void **state)
{
	(void)state;
	uint8_t room[15];
	struct writer w = writer_of(room, sizeof room);
	put_u8(&w, 0xfe);
	put_be16(&w, 0x0102);
	put_be32(&w, 0x83040506);
	put_be64(&w, 0x8708090a0b0c0d0e);
	assert_int_equal(w.at, sizeof room);
	assert_false(w.full);
	assert_memory_equal(room, "\xfe\x01\x02\x83\x04\x05\x06\x87\x08\x09\x0a\x0b\x0c\x0d\x0e", sizeof room);
	struct reader r = reader_of(writer_bytes(&w));
	assert_int_equal(get_u8(&r), 0xfe);
	assert_int_equal(get_be16(&r), 0x0102);
	assert_int_equal(get_be32(&r), 0x83040506);
	assert_true(get_be64(&r) == 0x8708090a0b0c0d0e);
	assert_true(reader_done(&r));
}

/* Each read one byte short, on the heap, where the sanitizer sees a read too far. */
static void reader_refuses_what_does_not_fit_and_stays_bad(void **state)
{
	(void)state;
	for (size_t have = 0; have < 9; have++)
		for (size_t want = 0; want < 10; want++) {
			uint8_t *p = malloc(have == 0 ? 1 : have);
			memset(p, 7, have);
			struct reader r = reader_of(bytes_of(p, have));
			struct bytes got = get_bytes(&r, want);
			assert_int_equal(r.bad, want > have);
			assert_int_equal(got.n, want > have ? 0 : want);
			if (r.bad) {
				assert_int_equal(reader_left(&r), 0);
				assert_int_equal(get_u8(&r), 0);         /* though there may be bytes */
				assert_int_equal(get_bytes(&r, 0).n, 0);
				assert_false(reader_done(&r));
			}
			free(p);
		}
	struct reader r = reader_of(BYTES_LIT("\1\2\3"));
	assert_int_equal(get_be32(&r), 0);
	assert_true(r.bad);
	r = reader_of(BYTES_LIT("\1\2\3"));
	get_u8(&r);
	assert_int_equal(get_bytes(&r, SIZE_MAX).n, 0);          /* at + n wraps */
	assert_true(r.bad);
	r = reader_of(BYTES_NONE);
	assert_true(reader_done(&r));
	assert_int_equal(get_bytes(&r, 0).n, 0);
	assert_true(reader_done(&r));
}

static void writer_refuses_what_does_not_fit_and_stays_full(void **state)
{
	(void)state;
	for (size_t cap = 0; cap < 9; cap++)
		for (size_t n = 0; n < 10; n++) {
			uint8_t data[10] = { 0 }, *p = malloc(cap == 0 ? 1 : cap);
			struct writer w = writer_of(p, cap);
			put_bytes(&w, bytes_of(data, n));
			assert_int_equal(w.full, n > cap);
			put_u8(&w, 1);
			assert_int_equal(w.full, n + 1 > cap);
			assert_int_equal(writer_bytes(&w).n, w.full ? 0 : n + 1);
			free(p);
		}
	uint8_t room[4];
	struct writer w = writer_of(room, sizeof room);
	put_u8(&w, 1);
	put_bytes(&w, bytes_of(room, SIZE_MAX));
	assert_true(w.full);
	put_bytes(&w, BYTES_NONE);
	assert_true(w.full);
}

static void formatted_text_fits_whole_or_not_at_all(void **state)
{
	(void)state;
	char room[8];
	struct writer w = writer_of(room, sizeof room);
	put_str(&w, "ab");
	put_fmt(&w, "%d-%s", 12, "x");
	assert_true(bytes_equal(writer_bytes(&w), BYTES_LIT("ab12-x")));
	put_fmt(&w, "%s", "yz");
	assert_true(w.full);                                     /* no room for printf's zero */
	w = writer_of(room, sizeof room);
	put_fmt(&w, "%s", "1234567");
	assert_true(bytes_equal(writer_bytes(&w), BYTES_LIT("1234567")));
	w = writer_of(room, 0);
	put_fmt(&w, "%s", "");
	assert_true(w.full);
	put_fmt(&w, "x");
	assert_int_equal(writer_bytes(&w).n, 0);
}

static void c_strings_hide_nothing(void **state)
{
	(void)state;
	char buf[4] = "old";
	assert_true(bytes_to_cstr(BYTES_LIT("abc"), buf, sizeof buf));
	assert_string_equal(buf, "abc");
	assert_true(bytes_to_cstr(BYTES_NONE, buf, sizeof buf));
	assert_string_equal(buf, "");
	memcpy(buf, "old", 4);
	assert_false(bytes_to_cstr(BYTES_LIT("abcd"), buf, sizeof buf));
	assert_false(bytes_to_cstr(BYTES_LIT("a\0b"), buf, sizeof buf));
	assert_false(bytes_to_cstr(BYTES_LIT("\0"), buf, sizeof buf));
	assert_false(bytes_to_cstr(BYTES_NONE, buf, 0));
	assert_string_equal(buf, "old");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equality_is_by_content),
		cmocka_unit_test(slices_stay_inside),
		cmocka_unit_test(integers_are_big_endian),
		cmocka_unit_test(reader_refuses_what_does_not_fit_and_stays_bad),
		cmocka_unit_test(writer_refuses_what_does_not_fit_and_stays_full),
		cmocka_unit_test(formatted_text_fits_whole_or_not_at_all),
		cmocka_unit_test(c_strings_hide_nothing),
	};
	return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
