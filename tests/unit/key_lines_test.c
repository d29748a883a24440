#include "format/key_lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Each line that says something, as "kind name|value ", and the error that ends it. */
static void read_all(const char *text, size_t line_max, char *buf, size_t cap)
{
	struct key_lines k = { .rest = bytes_str(text), .file = "f", .section_form = "[section]", .line_max = line_max };
	struct bytes name, value;
	struct err err;
	int kind;
	size_t at = 0;
	buf[0] = '\0';
	while ((kind = key_lines_next(&k, &name, &value, &err)) > KEY_LINE_END)
		at += (size_t)snprintf(buf + at, cap - at, "%u%c %.*s|%.*s; ", k.line, kind == KEY_LINE_SECTION ? 's' : 'p', (int)name.n,
		                       (const char *)name.p, (int)value.n, (const char *)value.p);
	snprintf(buf + at, cap - at, "%s", kind < 0 ? err.text : "end");
}

static void lines_are_read(void **state)
{
	(void)state;
	static const struct { const char *text, *want; } rows[] = {
		{ "", "end" },
		{ "\n \n\t\n# a = b\n  # [x]", "end" },
		{ "a=b", "1p a|b; end" },
		{ " a\t = b c \n\n[s]\nd = e = f\n", "1p a|b c; 3s s|; 4p d|e = f; end" },
		{ "=\na=\n=b\n", "1p |; 2p a|; 3p |b; end" },
		{ "[]\n[ s t ]\n[[]]", "1s |; 2s  s t |; 3s []|; end" },
		{ "a = # no comment", "1p a|# no comment; end" },
		{ "[", "f:1: a section ends with \"]\" and the line with it" },
		{ "a=b\n[s]x", "1p a|b; f:2: a section ends with \"]\" and the line with it" },
		{ "key", "f:1: \"key\": key = value, [section] or # comment is allowed" },
		{ "a=b\r\n", "f:1: byte 0x0d; printable ASCII is allowed, and lines end with a newline alone" },
		{ "a=\xc3\xa4", "f:1: byte 0xc3; printable ASCII is allowed, and lines end with a newline alone" },
		{ "# \xc3\xa4 in a comment\na=\x7f", "f:2: byte 0x7f; printable ASCII is allowed, and lines end with a newline alone" },
		{ "a = 1234567890123456\na = 12345678901234567", "1p a|1234567890123456; f:2: the line has 21 bytes; 20 are allowed" },
		{ "#                      ", "f:1: the line has 23 bytes; 20 are allowed" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char got[512];
		read_all(rows[i].text, strncmp(rows[i].text, "a = 1", 5) == 0 || strlen(rows[i].text) == 23 ? 20 : 100, got, sizeof got);
		assert_string_equal(got, rows[i].want);
	}
}

static void a_zero_byte_is_no_end(void **state)
{
	(void)state;
	struct key_lines k = { .rest = bytes_of("a=\0b", 4), .file = "f", .section_form = "[section]", .line_max = 100 };
	struct bytes name, value;
	struct err err;
	assert_true(key_lines_next(&k, &name, &value, &err) < 0);
	assert_string_equal(err.text, "f:1: byte 0x00; printable ASCII is allowed, and lines end with a newline alone");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_read),
		cmocka_unit_test(a_zero_byte_is_no_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
