/* A JSON checker that keeps one number. All of the text has to be well-formed: an "epoch" found in
 * something that other readers would read differently is worth nothing. */
#include "attest/epoch.h"

#include "base/text.h"

static uint8_t peek(struct reader *r)
{
	static const char space[] = " \t\n\r";
	while (reader_left(r) > 0 && memchr(space, r->in.p[r->at], 4) != NULL)
		r->at++;
	return reader_left(r) > 0 ? r->in.p[r->at] : 0;
}

static void expect(struct reader *r, uint8_t c)
{
	if (peek(r) != c || get_u8(r) != c)
		r->bad = true;
}

/* The text between the quotes, escapes as they are. */
static struct bytes get_string(struct reader *r)
{
	expect(r, '"');
	size_t from = r->at;
	for (;;) {
		uint8_t c = get_u8(r);
		if (r->bad || c < 0x20)
			break;
		if (c == '"')
			return bytes_of(r->in.p + from, r->at - 1 - from);
		if (c != '\\')
			continue;
		uint8_t escape = get_u8(r), code_unit[2];
		if (escape == 'u' ? !hex_decode(get_bytes(r, 4), code_unit, 2)
		                  : escape == 0 || strchr("\"\\/bfnrt", escape) == NULL)
			break;
	}
	r->bad = true;
	return BYTES_NONE;
}

static size_t skip_digits(struct reader *r)
{
	size_t n = 0;
	while (reader_left(r) > 0 && r->in.p[r->at] >= '0' && r->in.p[r->at] <= '9')
		r->at++, n++;
	return n;
}

static bool skip_one(struct reader *r, const char *of)
{
	if (reader_left(r) == 0 || r->in.p[r->at] == 0 || strchr(of, r->in.p[r->at]) == NULL)
		return false;
	r->at++;
	return true;
}

static void skip_number(struct reader *r)
{
	(void)skip_one(r, "-");
	if (!skip_one(r, "0") && skip_digits(r) == 0)
		r->bad = true;
	if (skip_one(r, ".") && skip_digits(r) == 0)
		r->bad = true;
	if (skip_one(r, "eE")) {
		(void)skip_one(r, "+-");
		if (skip_digits(r) == 0)
			r->bad = true;
	}
}

static void skip_word(struct reader *r, const char *word)
{
	if (!bytes_equal(get_bytes(r, strlen(word)), bytes_str(word)))
		r->bad = true;
}

static void skip_value(struct reader *r, unsigned depth)
{
	uint8_t open = peek(r);
	switch (open) {
	case '"': (void)get_string(r); return;
	case 't': skip_word(r, "true"); return;
	case 'f': skip_word(r, "false"); return;
	case 'n': skip_word(r, "null"); return;
	case '{': case '[': break;
	default: skip_number(r); return;
	}
	if (depth == EPOCH_JSON_DEPTH_MAX) {
		r->bad = true;
		return;
	}
	uint8_t close = open == '{' ? '}' : ']';
	(void)get_u8(r);
	for (bool first = true; !r->bad && (!first || peek(r) != close); first = false) {
		if (open == '{') {
			(void)get_string(r);
			expect(r, ':');
		}
		skip_value(r, depth + 1);
		if (peek(r) == close)
			break;
		expect(r, ',');
	}
	expect(r, close);
}

bool epoch_find(struct bytes json, uint64_t *ret_epoch)
{
	struct reader r = reader_of(json);
	uint64_t epoch = 0;
	unsigned found = 0;
	if (!utf8_valid(json))
		return false;
	expect(&r, '{');
	for (bool first = true; !r.bad && (!first || peek(&r) != '}'); first = false) {
		struct bytes name = get_string(&r);
		if (name.n > 0 && memchr(name.p, '\\', name.n) != NULL)
			return false;
		expect(&r, ':');
		(void)peek(&r);
		size_t from = r.at;
		skip_value(&r, 1);
		if (bytes_equal(name, BYTES_LIT("epoch"))) {
			found++;
			if (r.bad || !text_to_u64(bytes_slice(json, from, r.at - from), UINT64_C(1) << 53, &epoch))
				return false;
		}
		if (peek(&r) == '}')
			break;
		expect(&r, ',');
	}
	expect(&r, '}');
	(void)peek(&r);
	if (!reader_done(&r) || found != 1)
		return false;
	*ret_epoch = epoch;
	return true;
}
