#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct bytes exact(struct bytes b)
{
	uint8_t *copy = malloc(b.n == 0 ? 1 : b.n);
	assert_non_null(copy);
	if (b.n > 0)
		memcpy(copy, b.p, b.n);
	return bytes_of(copy, b.n);
}
static void release(struct bytes b) { free((void *)(uintptr_t)b.p); }

static void hex_both_ways(void **state)
{
	(void)state;
	uint8_t all[256], back[256];
	char text[513];
	for (size_t i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	hex_encode(BYTES_ARRAY(all), text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(text, "000102", 6);
	assert_memory_equal(text + 506, "fdfeff", 7);
	assert_true(hex_decode(bytes_str(text), back, 256));
	assert_memory_equal(all, back, 256);
	assert_true(hex_decode(BYTES_LIT("FfaB"), back, 2));
	assert_memory_equal(back, "\xff\xab", 2);
	assert_true(hex_decode(BYTES_NONE, back, 0));
	assert_string_equal(hex_encode(BYTES_NONE, text), "");
}

static void hex_refuses(void **state)
{
	(void)state;
	static const struct { const char *text; size_t n; } rows[] = {
		{ "0", 0 }, { "0", 1 }, { "00", 0 }, { "00", 2 }, { "000", 1 }, { "0g", 1 }, { "g0", 1 }, { " 0", 1 }, { "0x", 1 },
		{ "+1", 1 }, { "0/", 1 }, { "0:", 1 }, { "0@", 1 }, { "0`", 1 }, { "0G", 1 }, { "\xb0\xb0", 1 }, { "", 1 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t out[2] = { 0x55, 0x55 };
		assert_false(hex_decode(bytes_str(rows[i].text), out, rows[i].n));
		assert_memory_equal(out, "\x55\x55", 2);         /* written only on success */
	}
}

/* RFC 4648 section 10. */
static const struct { const char *plain, *text; } base64_rows[] = {
	{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
	{ "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" }, { "\xff\xef\xbe", "/+++" }, { "\xfb\xff", "+/8=" },
};

static void base64_both_ways(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(base64_rows); i++) {
		struct bytes plain = bytes_str(base64_rows[i].plain), text = exact(bytes_str(base64_rows[i].text));
		uint8_t out[16];
		size_t n = 99;
		struct writer w = writer_of(out, sizeof out);
		put_base64(&w, plain);
		assert_true(bytes_equal(writer_bytes(&w), text));
		assert_int_equal(base64_size(plain.n), text.n);
		assert_true(base64_decode(text, out, plain.n, &n));      /* exactly as much room as needed */
		assert_true(bytes_equal(bytes_of(out, n), plain));
		if (plain.n > 0)
			assert_false(base64_decode(text, out, plain.n - 1, &n));
		release(text);
	}
}

static void base64_refuses(void **state)
{
	(void)state;
	static const char *const rows[] = {
		"Z", "Zg", "Zg=", "Zg===", "Zg==Z", "Zg==Zg==", "=", "==", "====", "=Zg=", "Z===", "Zg=v", "Zg=vZm9v", "Zh==", "Zm9=",
		"Zm9vYm=", "Zm9v ", " Zm9v", "Zm\n9v", "Zm9v\n", "Zm9-", "Zm9_", "Zm9v=", "Zm9vZ===", "Zm9v====", "Z\xc3\xa9v", "Zm9\x80",
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bytes text = exact(bytes_str(rows[i]));
		uint8_t out[32];
		size_t n = 77;
		if (base64_decode(text, out, sizeof out, &n) || n != 77)
			fail_msg("taken: %s", rows[i]);
		struct base64 d = { 0 };
		(void)base64_feed(&d, text, out);
		if (base64_done(&d))
			fail_msg("taken in one piece: %s", rows[i]);
		release(text);
	}
	uint8_t zero[4] = { 'Z', 'm', '9', 0 }, out[4];
	size_t n;
	assert_false(base64_decode(BYTES_ARRAY(zero), out, sizeof out, &n));
}

/* Any cut of a text into two and three pieces gives the same bytes and verdict. */
static void base64_in_pieces(void **state)
{
	(void)state;
	static const char *const rows[] = { "Zm9vYmFyZm9vYmFyZm9v", "Zm9vYmFyZg==", "Zm9vYmE=", "Zm9vYm!=", "Zm9v=mE=", "Zg==Zg==", "Zm9vY" };
	for (size_t row = 0; row < COUNT(rows); row++) {
		struct bytes text = bytes_str(rows[row]);
		uint8_t whole[32], pieces[32];
		struct base64 once = { 0 };
		size_t n = base64_feed(&once, text, whole);
		for (size_t a = 0; a <= text.n; a++)
			for (size_t b = a; b <= text.n; b++) {
				struct base64 d = { 0 };
				size_t m = base64_feed(&d, bytes_of(text.p, a), pieces);
				m += base64_feed(&d, bytes_of(text.p + a, b - a), pieces + m);
				m += base64_feed(&d, bytes_of(text.p + b, text.n - b), pieces + m);
				assert_int_equal(base64_done(&d), base64_done(&once));
				assert_int_equal(d.bad, once.bad);
				if (!d.bad) {
					assert_int_equal(m, n);
					assert_memory_equal(whole, pieces, n);
				}
			}
	}
}

static void base64_random(void **state)
{
	(void)state;
	uint8_t plain[300], out[300], text[404];
	uint32_t seed = 1;
	for (size_t n = 0; n <= 300; n++) {
		for (size_t i = 0; i < n; i++)
			plain[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
		struct writer w = writer_of(text, sizeof text);
		put_base64(&w, bytes_of(plain, n));
		size_t m;
		assert_true(base64_decode(writer_bytes(&w), out, n, &m));
		assert_true(bytes_equal(bytes_of(plain, n), bytes_of(out, m)));
	}
}

static void escape_leaves_nothing_for_a_terminal(void **state)
{
	(void)state;
	static const struct { const char *in, *out; size_t cap; } rows[] = {
		{ "plain text", "plain text", 64 }, { "a\nb", "a\\x0ab", 64 }, { "\x1b[2J", "\\x1b[2J", 64 }, { "\\", "\\x5c", 64 },
		{ "\"", "\"", 64 }, { "\x7f", "\\x7f", 64 }, { "\xc3\xa9", "\\xc3\\xa9", 64 }, { "\xc2\x9b", "\\xc2\\x9b", 64 }, { "", "", 64 },
		{ "abcdef", "abcdef", 7 }, { "abcdefgh", "abc...", 7 }, { "abcdef", "...", 4 }, { "abcdef", "", 3 }, { "abcdef", "", 1 },
		{ "\n", "\\x0a", 5 }, { "\n", "...", 4 }, { "a\n", "a\\x0a", 6 }, { "a\n", "a...", 5 }, { "\n\n", "\\x0a\\x0a", 9 }, { "\n\n", "\\x0a...", 8 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *buf = malloc(rows[i].cap);
		assert_non_null(buf);
		const char *got = text_escape(bytes_str(rows[i].in), buf, rows[i].cap);
		assert_string_equal(got, rows[i].out);
		free(buf);
	}
	for (size_t cap = 1; cap < 40; cap++)
		for (size_t n = 0; n < 12; n++) {
			char *buf = malloc(cap);
			uint8_t in[12];
			assert_non_null(buf);
			for (size_t i = 0; i < n; i++)
				in[i] = i % 3 == 0 ? '\n' : 'x';
			size_t full = n + 3 * ((n + 2) / 3);
			text_escape(bytes_of(in, n), buf, cap);
			size_t got = strlen(buf);
			assert_true(got < cap);
			if (full < cap)
				assert_int_equal(got, full);
			else if (cap >= 4)
				assert_string_equal(buf + got - 3, "...");
			else
				assert_int_equal(got, 0);
			free(buf);
		}
}

static void json_strings(void **state)
{
	(void)state;
	static const struct { const char *in, *out; } rows[] = {
		{ "", "\"\"" }, { "a\"b\\c", "\"a\\\"b\\\\c\"" }, { "\n\t\x1f", "\"\\u000a\\u0009\\u001f\"" }, { "\x7f", "\"\\u007f\"" },
		{ "\xc3\xa9", "\"\xc3\xa9\"" }, { "\xf0\x9f\xa6\x96", "\"\xf0\x9f\xa6\x96\"" }, { "\xff", "\"\\ufffd\"" },
		{ "a\xc3", "\"a\\ufffd\"" }, { "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" }, { "</script>", "\"</script>\"" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t out[64];
		struct bytes in = exact(bytes_str(rows[i].in));
		struct writer w = writer_of(out, sizeof out);
		put_json_string(&w, in);
		if (!bytes_equal(writer_bytes(&w), bytes_str(rows[i].out)))
			fail_msg("%s: got %.*s", rows[i].out, (int)w.at, (const char *)out);
		release(in);
	}
	uint8_t small[3];
	struct writer w = writer_of(small, sizeof small);
	put_json_string(&w, BYTES_LIT("ab"));
	assert_true(w.full);
}

static void utf8(void **state)
{
	(void)state;
	static const struct { const char *text; size_t length; } rows[] = {
		{ "a", 1 }, { "\x7f", 1 }, { "\xc2\x80", 2 }, { "\xdf\xbf", 2 }, { "\xe0\xa0\x80", 3 }, { "\xed\x9f\xbf", 3 }, { "\xee\x80\x80", 3 },
		{ "\xef\xbf\xbf", 3 }, { "\xf0\x90\x80\x80", 4 }, { "\xf4\x8f\xbf\xbf", 4 },
		{ "\x80", 0 }, { "\xbf", 0 }, { "\xc0\x80", 0 }, { "\xc1\xbf", 0 }, { "\xc2", 0 }, { "\xc2\x41", 0 }, { "\xe0\x9f\xbf", 0 },
		{ "\xe1\x80", 0 }, { "\xe1\x80\x41", 0 }, { "\xed\xa0\x80", 0 }, { "\xed\xbf\xbf", 0 }, { "\xf0\x8f\xbf\xbf", 0 },
		{ "\xf4\x90\x80\x80", 0 }, { "\xf5\x80\x80\x80", 0 }, { "\xf8\x88\x80\x80\x80", 0 }, { "\xfe", 0 }, { "\xff", 0 }, { "\xf0\x90\x80", 0 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bytes b = exact(bytes_str(rows[i].text));
		assert_int_equal(utf8_sequence(b), rows[i].length);
		assert_int_equal(utf8_valid(b), rows[i].length > 0);
		release(b);
	}
	assert_true(utf8_valid(BYTES_NONE));
	assert_true(utf8_valid(BYTES_LIT("a\0b")));
	assert_false(utf8_valid(BYTES_LIT("ok\xc3")));

	/* every code point, encoded, is taken; surrogates are not */
	for (uint32_t c = 0; c <= 0x10ffff; c++) {
		uint8_t b[4];
		size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
		uint32_t rest = c;
		for (size_t i = n - 1; i > 0; i--, rest >>= 6)
			b[i] = (uint8_t)(0x80 | (rest & 0x3f));
		b[0] = (uint8_t)(lead[n] | rest);
		bool surrogate = c >= 0xd800 && c <= 0xdfff;
		if (utf8_valid(bytes_of(b, n)) == surrogate)
			fail_msg("U+%04X", c);
	}
}

static void decimal(void **state)
{
	(void)state;
	static const struct { const char *text; uint64_t max, v; bool ok; } rows[] = {
		{ "0", 0, 0, true }, { "7", 7, 7, true }, { "8", 7, 0, false }, { "18446744073709551615", UINT64_MAX, UINT64_MAX, true },
		{ "18446744073709551616", UINT64_MAX, 0, false }, { "18446744073709551610", UINT64_MAX, 18446744073709551610u, true },
		{ "99999999999999999999", UINT64_MAX, 0, false }, { "184467440737095516150", UINT64_MAX, 0, false },
		{ "", 9, 0, false }, { "00", 9, 0, false }, { "01", 9, 0, false }, { "+1", 9, 0, false }, { "-1", 9, 0, false }, { "-0", 9, 0, false },
		{ " 1", 9, 0, false }, { "1 ", 9, 0, false }, { "1.0", 9, 0, false }, { "0x1", 9, 0, false }, { "1e0", 9, 0, false }, { "\xb1", 9, 0, false },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t v = 4711;
		bool ok = text_to_u64(bytes_str(rows[i].text), rows[i].max, &v);
		if (ok != rows[i].ok)
			fail_msg("\"%s\"", rows[i].text);
		assert_true(v == (ok ? rows[i].v : 4711));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex_both_ways),
		cmocka_unit_test(hex_refuses),
		cmocka_unit_test(base64_both_ways),
		cmocka_unit_test(base64_refuses),
		cmocka_unit_test(base64_in_pieces),
		cmocka_unit_test(base64_random),
		cmocka_unit_test(escape_leaves_nothing_for_a_terminal),
		cmocka_unit_test(json_strings),
		cmocka_unit_test(utf8),
		cmocka_unit_test(decimal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
