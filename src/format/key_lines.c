#include "format/key_lines.h"

#include "base/text.h"

#include <string.h>

enum { SHOWN_MAX = 96 };

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

static struct bytes trim(struct bytes b)
{
	while (b.n > 0 && is_blank(b.p[0]))
		b = bytes_of(b.p + 1, b.n - 1);
	while (b.n > 0 && is_blank(b.p[b.n - 1]))
		b.n--;
	return b;
}

/* False at the end of the text. */
static bool take_line(struct key_lines *k, struct bytes *ret)
{
	if (k->rest.n == 0)
		return false;
	const uint8_t *newline = memchr(k->rest.p, '\n', k->rest.n);
	size_t n = newline == NULL ? k->rest.n : (size_t)(newline - k->rest.p), with = n + (newline != NULL);
	*ret = bytes_of(k->rest.p, n);
	k->rest = bytes_of(k->rest.p + with, k->rest.n - with);
	k->line++;
	return true;
}

static int check_bytes(const struct key_lines *k, struct bytes line, struct err *err)
{
	for (size_t i = 0; i < line.n; i++)
		if ((line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] > 0x7e)
			return fail(err, 0, "%s:%u: byte 0x%02x; printable ASCII is allowed, and lines end with a newline alone",
			            k->file, k->line, line.p[i]);
	return 0;
}

int key_lines_next(struct key_lines *k, struct bytes *ret_name, struct bytes *ret_value, struct err *err)
{
	struct bytes line;
	char shown[SHOWN_MAX];
	do {
		if (!take_line(k, &line))
			return KEY_LINE_END;
		if (line.n > k->line_max)
			return fail(err, 0, "%s:%u: the line has %zu bytes; %zu are allowed", k->file, k->line, line.n, k->line_max);
		line = trim(line);
	} while (line.n == 0 || line.p[0] == '#');

	int bad = check_bytes(k, line, err);
	if (bad < 0)
		return bad;
	if (line.p[0] == '[') {
		if (line.n < 2 || line.p[line.n - 1] != ']')
			return fail(err, 0, "%s:%u: a section ends with \"]\" and the line with it", k->file, k->line);
		*ret_name = bytes_slice(line, 1, line.n - 2);
		*ret_value = BYTES_NONE;
		return KEY_LINE_SECTION;
	}
	const uint8_t *equals = memchr(line.p, '=', line.n);
	if (equals == NULL)
		return fail(err, 0, "%s:%u: \"%s\": key = value, %s or # comment is allowed", k->file, k->line,
		            text_escape(line, shown, sizeof shown), k->section_form);
	size_t at = (size_t)(equals - line.p);
	*ret_name = trim(bytes_slice(line, 0, at));
	*ret_value = trim(bytes_slice(line, at + 1, line.n - at - 1));
	return KEY_LINE_PAIR;
}
