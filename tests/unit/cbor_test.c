#include "format/cbor.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* An exact heap copy of the bytes that hex names, so that the sanitizer sees a read past the end. */
struct input { uint8_t *p; struct reader r; };

static struct input input_of(const char *hex)
{
	struct input in = { malloc(strlen(hex) / 2 + (*hex == '\0')), { BYTES_NONE, 0, false } };
	assert_non_null(in.p);
	assert_true(hex_decode(bytes_str(hex), in.p, strlen(hex) / 2));
	in.r = reader_of(bytes_of(in.p, strlen(hex) / 2));
	return in;
}

/* RFC 8949 appendix A, what of it this reader takes. */
static void reads_the_examples_of_the_standard(void **state)
{
	(void)state;
	static const struct { const char *hex; uint64_t v; } uints[] = {
		{ "00", 0 }, { "01", 1 }, { "0a", 10 }, { "17", 23 }, { "1818", 24 }, { "1819", 25 }, { "1864", 100 },
		{ "18ff", 255 }, { "190100", 256 }, { "1903e8", 1000 }, { "19ffff", 65535 }, { "1a00010000", 65536 },
		{ "1a000f4240", 1000000 }, { "1affffffff", UINT32_MAX }, { "1b0000000100000000", UINT64_C(1) << 32 },
		{ "1b000000e8d4a51000", 1000000000000 }, { "1bffffffffffffffff", UINT64_MAX },
	};
	for (size_t i = 0; i < COUNT(uints); i++) {
		struct input in = input_of(uints[i].hex);
		assert_int_equal(cbor_peek(&in.r), CBOR_UINT);
		assert_int_equal(cbor_fault(&in.r), CBOR_FINE);
		assert_true(cbor_get_uint(&in.r) == uints[i].v);
		assert_true(reader_done(&in.r));
		uint8_t out[9];
		struct writer w = writer_of(out, sizeof out);
		cbor_put_uint(&w, uints[i].v);
		assert_true(bytes_equal(writer_bytes(&w), in.r.in));
		free(in.p);
	}
	static const struct { const char *hex; int64_t v; } ints[] = {
		{ "00", 0 }, { "20", -1 }, { "29", -10 }, { "3822", -35 }, { "3863", -100 }, { "3903e7", -1000 },
		{ "1b7fffffffffffffff", INT64_MAX }, { "3b7fffffffffffffff", INT64_MIN },
	};
	for (size_t i = 0; i < COUNT(ints); i++) {
		struct input in = input_of(ints[i].hex);
		assert_true(cbor_get_int(&in.r) == ints[i].v);
		assert_true(reader_done(&in.r));
		uint8_t out[9];
		struct writer w = writer_of(out, sizeof out);
		cbor_put_int(&w, ints[i].v);
		assert_true(bytes_equal(writer_bytes(&w), in.r.in));
		free(in.p);
	}
}

static void integers_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	static const char *const rows[] = { "1b8000000000000000", "3b8000000000000000", "3bffffffffffffffff" };
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct input in = input_of(rows[i]);
		assert_int_equal(cbor_fault(&in.r), CBOR_FINE);
		assert_true(cbor_get_int(&in.r) == 0);
		assert_true(in.r.bad);
		free(in.p);
	}
}

/* Each refused item: by name, by peek where it shows in the head, and by skip. */
static void every_fault_has_its_name(void **state)
{
	(void)state;
	static const struct { const char *hex; enum cbor_fault fault; } rows[] = {
		{ "", CBOR_TRUNCATED }, { "18", CBOR_TRUNCATED }, { "19ff", CBOR_TRUNCATED }, { "1b00000001", CBOR_TRUNCATED },
		{ "41", CBOR_TRUNCATED }, { "4261", CBOR_TRUNCATED }, { "5affffffff00", CBOR_TRUNCATED },
		{ "5bffffffffffffffff00", CBOR_TRUNCATED }, { "7bffffffffffffffff61", CBOR_TRUNCATED },
		{ "81", CBOR_TRUNCATED }, { "8201", CBOR_TRUNCATED }, { "9bffffffffffffffff00", CBOR_TRUNCATED },
		{ "a101", CBOR_TRUNCATED }, { "a1", CBOR_TRUNCATED }, { "bb8000000000000000", CBOR_TRUNCATED },
		{ "bbffffffffffffffff0000", CBOR_TRUNCATED }, { "a2010203", CBOR_TRUNCATED },
		{ "5f4161ff", CBOR_INDEFINITE }, { "7f6161ff", CBOR_INDEFINITE }, { "9fff", CBOR_INDEFINITE },
		{ "bfff", CBOR_INDEFINITE }, { "ff", CBOR_INDEFINITE }, { "81ff", CBOR_INDEFINITE }, { "1f", CBOR_INDEFINITE },
		{ "1800", CBOR_NOT_SHORTEST }, { "1817", CBOR_NOT_SHORTEST }, { "1900ff", CBOR_NOT_SHORTEST },
		{ "1a0000ffff", CBOR_NOT_SHORTEST }, { "1b00000000ffffffff", CBOR_NOT_SHORTEST }, { "3817", CBOR_NOT_SHORTEST },
		{ "580161", CBOR_NOT_SHORTEST }, { "780161", CBOR_NOT_SHORTEST }, { "980100", CBOR_NOT_SHORTEST },
		{ "b8010000", CBOR_NOT_SHORTEST }, { "811800", CBOR_NOT_SHORTEST },
		{ "c100", CBOR_TAGGED }, { "d28440a04040", CBOR_TAGGED }, { "d81800", CBOR_TAGGED }, { "81c100", CBOR_TAGGED },
		{ "f90000", CBOR_OTHER_SIMPLE }, { "fa00000000", CBOR_OTHER_SIMPLE }, { "fb0000000000000000", CBOR_OTHER_SIMPLE },
		{ "f97e00", CBOR_OTHER_SIMPLE }, { "f7", CBOR_OTHER_SIMPLE }, { "e0", CBOR_OTHER_SIMPLE }, { "f3", CBOR_OTHER_SIMPLE },
		{ "f818", CBOR_OTHER_SIMPLE }, { "f8ff", CBOR_OTHER_SIMPLE }, { "a1f700", CBOR_OTHER_SIMPLE },
		{ "1c", CBOR_RESERVED }, { "3d", CBOR_RESERVED }, { "5e", CBOR_RESERVED }, { "fc", CBOR_RESERVED }, { "fe", CBOR_RESERVED },
		{ "6180", CBOR_NOT_UTF8 }, { "62c080", CBOR_NOT_UTF8 }, { "63eda080", CBOR_NOT_UTF8 }, { "64f4908080", CBOR_NOT_UTF8 },
		{ "a161ff00", CBOR_NOT_UTF8 },
		{ "818181818181818180", CBOR_TOO_DEEP }, { "8181818181818181818100", CBOR_TOO_DEEP },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct input in = input_of(rows[i].hex);
		if (cbor_fault(&in.r) != rows[i].fault)
			fail_msg("%s: fault %d, wanted %d", rows[i].hex, cbor_fault(&in.r), rows[i].fault);
		assert_false(in.r.bad);                  /* looking does not change the reader */
		cbor_skip(&in.r);
		assert_true(in.r.bad);
		free(in.p);
	}
}

static void fault_and_skip_agree_on_everything_short(void **state)
{
	(void)state;
	/* all three-byte inputs: what one takes the other does */
	for (uint32_t v = 0; v < UINT32_C(1) << 24; v += 1) {
		uint8_t b[3] = { (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };
		struct reader r = reader_of(BYTES_ARRAY(b));
		enum cbor_fault fault = cbor_fault(&r);
		enum cbor_type type = cbor_peek(&r);
		cbor_skip(&r);
		if ((fault == CBOR_FINE) != !r.bad || (type == CBOR_INVALID && fault == CBOR_FINE))
			fail_msg("%06x: fault %d, type %d, bad %d", v, fault, type, r.bad);
	}
}

static void getters_refuse_other_types_and_stay_bad(void **state)
{
	(void)state;
	static const char *const items[] = { "05", "24", "4161", "6161", "8101", "a10102", "f5", "f6" };
	static const enum cbor_type types[] = { CBOR_UINT, CBOR_NEGATIVE, CBOR_BYTES, CBOR_TEXT, CBOR_ARRAY, CBOR_MAP, CBOR_BOOL, CBOR_NULL };
	for (size_t i = 0; i < COUNT(items); i++)
		for (size_t getter = 0; getter < COUNT(types); getter++) {
			struct input in = input_of(items[i]);
			assert_int_equal(cbor_peek(&in.r), types[i]);
			bool takes = types[i] == types[getter];
			switch (types[getter]) {
			case CBOR_UINT: (void)cbor_get_uint(&in.r); break;
			case CBOR_NEGATIVE: (void)cbor_get_int(&in.r); takes |= types[i] == CBOR_UINT; break;
			case CBOR_BYTES: (void)cbor_get_bytes(&in.r); break;
			case CBOR_TEXT: (void)cbor_get_text(&in.r); break;
			case CBOR_ARRAY: (void)cbor_get_array(&in.r); break;
			case CBOR_MAP: (void)cbor_get_map(&in.r); break;
			case CBOR_BOOL: (void)cbor_get_bool(&in.r); break;
			default: cbor_get_null(&in.r); break;
			}
			assert_int_equal(in.r.bad, !takes);
			if (in.r.bad) {
				assert_true(cbor_get_uint(&in.r) == 0);
				assert_int_equal(cbor_get_bytes(&in.r).n, 0);
				assert_int_equal(cbor_get_map(&in.r), 0);
				assert_int_equal(cbor_peek(&in.r), CBOR_INVALID);
				assert_int_equal(cbor_fault(&in.r), CBOR_TRUNCATED);
				assert_true(in.r.bad);
			}
			free(in.p);
		}
}

static void counts_are_bounded_by_what_is_left(void **state)
{
	(void)state;
	static const struct { const char *hex; bool map, bad; size_t n; } rows[] = {
		{ "80", false, false, 0 }, { "8100", false, false, 1 }, { "83000000", false, false, 3 }, { "830000", false, true, 0 },
		{ "a0", true, false, 0 }, { "a10000", true, false, 1 }, { "a100", true, true, 0 }, { "a2000000", true, true, 0 },
		{ "9affffffff00", false, true, 0 }, { "bbffffffffffffffff0000", true, true, 0 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct input in = input_of(rows[i].hex);
		size_t n = rows[i].map ? cbor_get_map(&in.r) : cbor_get_array(&in.r);
		assert_int_equal(in.r.bad, rows[i].bad);
		assert_int_equal(n, rows[i].n);
		free(in.p);
	}
}

static void bytes_or_null(void **state)
{
	(void)state;
	static const struct { const char *hex; bool present, bad; size_t n; } rows[] = {
		{ "f6", false, false, 0 }, { "40", true, false, 0 }, { "426162", true, false, 2 }, { "6161", false, true, 0 },
		{ "f5", false, true, 0 }, { "f7", false, true, 0 }, { "00", false, true, 0 }, { "", false, true, 0 }, { "4261", true, true, 0 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct input in = input_of(rows[i].hex);
		bool present = !rows[i].present;
		struct bytes b = cbor_get_bytes_or_null(&in.r, &present);
		assert_int_equal(present, rows[i].present);
		assert_int_equal(in.r.bad, rows[i].bad);
		assert_int_equal(b.n, rows[i].n);
		free(in.p);
	}
}

static void raw_is_the_item_and_nothing_more(void **state)
{
	(void)state;
	struct input in = input_of("a26161820102616240f6");
	struct bytes raw = cbor_get_raw(&in.r);
	assert_int_equal(raw.n, 9);
	assert_ptr_equal(raw.p, in.p);
	cbor_get_null(&in.r);
	assert_true(reader_done(&in.r));
	assert_int_equal(cbor_get_raw(&in.r).n, 0);
	assert_true(in.r.bad);
	free(in.p);
}

static void depth_is_limited_for_arrays_and_maps(void **state)
{
	(void)state;
	uint8_t nested[2 * (CBOR_DEPTH_MAX + 2)];
	for (unsigned map = 0; map < 2; map++)
		for (size_t depth = 1; depth <= CBOR_DEPTH_MAX + 1; depth++) {
			struct writer w = writer_of(nested, sizeof nested);
			for (size_t i = 0; i < depth; i++) {
				if (map)
					cbor_put_map(&w, 1), cbor_put_uint(&w, 0);
				else
					cbor_put_array(&w, 1);
			}
			cbor_put_null(&w);
			struct reader r = reader_of(writer_bytes(&w));
			assert_int_equal(cbor_fault(&r), depth > CBOR_DEPTH_MAX ? CBOR_TOO_DEEP : CBOR_FINE);
			cbor_skip(&r);
			assert_int_equal(r.bad, depth > CBOR_DEPTH_MAX);
		}
}

static void writer_is_sticky(void **state)
{
	(void)state;
	uint8_t out[4];
	for (size_t cap = 0; cap <= 4; cap++) {
		struct writer w = writer_of(out, cap);
		cbor_put_bytes(&w, BYTES_LIT("abc"));
		assert_int_equal(w.full, cap < 4);
		assert_int_equal(writer_bytes(&w).n, cap < 4 ? 0 : 4);
		bool was_full = w.full;
		cbor_put_null(&w);
		assert_true(w.full || (!was_full && cap > 4));
	}
	struct writer w = writer_of(out, sizeof out);
	cbor_put_bool(&w, true);
	cbor_put_bool(&w, false);
	cbor_put_null(&w);
	cbor_put_str(&w, "");
	assert_true(bytes_equal(writer_bytes(&w), BYTES_LIT("\xf5\xf4\xf6\x60")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_examples_of_the_standard),
		cmocka_unit_test(integers_that_do_not_fit_are_refused),
		cmocka_unit_test(every_fault_has_its_name),
		cmocka_unit_test(fault_and_skip_agree_on_everything_short),
		cmocka_unit_test(getters_refuse_other_types_and_stay_bad),
		cmocka_unit_test(counts_are_bounded_by_what_is_left),
		cmocka_unit_test(bytes_or_null),
		cmocka_unit_test(raw_is_the_item_and_nothing_more),
		cmocka_unit_test(depth_is_limited_for_arrays_and_maps),
		cmocka_unit_test(writer_is_sticky),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
