#include "format/http1.h"

#include "base/text.h"

const char *http1_result_name(enum http1_result r)
{
	static const char *const names[] = {
		[HTTP1_OK] = "ok", [HTTP1_BAD_LINE] = "bad request line", [HTTP1_BAD_VERSION] = "bad version",
		[HTTP1_BAD_FIELD] = "bad field", [HTTP1_BAD_LENGTH] = "bad length", [HTTP1_TOO_LONG] = "too long",
		[HTTP1_BAD_CHUNK] = "bad chunk", [HTTP1_SLOW] = "slow",
	};
	return names[r];
}

/* --- characters ------------------------------------------------------------------------------------------- */

enum { TOKEN = 1, VALUE = 2, BOTH = TOKEN | VALUE };
/* tchar of RFC 9110 section 5.6.2; what may be in a field value: VCHAR, obs-text, SP, HTAB. */
static const uint8_t class_of[256] = {
	['\t'] = VALUE, [' '] = VALUE,
	['!'] = BOTH, ['"'] = VALUE, ['#'] = BOTH, ['$'] = BOTH, ['%'] = BOTH, ['&'] = BOTH, ['\''] = BOTH, ['('] = VALUE,
	[')'] = VALUE, ['*'] = BOTH, ['+'] = BOTH, [','] = VALUE, ['-'] = BOTH, ['.'] = BOTH, ['/'] = VALUE, ['0' ... '9'] = BOTH,
	[':' ... '@'] = VALUE, ['A' ... 'Z'] = BOTH, ['[' ... ']'] = VALUE, ['^'] = BOTH, ['_'] = BOTH, ['`'] = BOTH,
	['a' ... 'z'] = BOTH, ['{'] = VALUE, ['|'] = BOTH, ['}'] = VALUE, ['~'] = BOTH, [0x80 ... 0xff] = VALUE,
};

static bool is_token(uint8_t c) { return (class_of[c] & TOKEN) != 0; }
static bool in_value(uint8_t c) { return (class_of[c] & VALUE) != 0; }
static bool is_space(uint8_t c) { return c == ' ' || c == '\t'; }

static struct bytes trimmed(struct bytes b)
{
	while (b.n > 0 && is_space(b.p[0]))
		b = bytes_of(b.p + 1, b.n - 1);
	while (b.n > 0 && is_space(b.p[b.n - 1]))
		b.n--;
	return b;
}

bool http1_list_has(struct bytes value, const char *token)
{
	while (value.n > 0) {
		const uint8_t *comma = memchr(value.p, ',', value.n);
		size_t n = comma == NULL ? value.n : (size_t)(comma - value.p);
		if (http1_equal(trimmed(bytes_of(value.p, n)), token))
			return true;
		value = comma == NULL ? BYTES_NONE : bytes_of(comma + 1, value.n - n - 1);
	}
	return false;
}

/* --- heads --------------------------------------------------------------------------------------------------- */

size_t http1_head_size(struct bytes in, size_t *scanned)
{
	const uint8_t *lf, *end = in.p + in.n;
	for (const uint8_t *from = in.p + *scanned; in.n > 0 && (lf = memchr(from, '\n', (size_t)(end - from))) != NULL; from = lf + 1) {
		size_t at = (size_t)(lf - in.p);
		bool bare = at == 0 || lf[-1] != '\r';
		if (bare || (at >= 3 && memcmp(lf - 3, "\r\n\r", 3) == 0))
			return at + 1;
	}
	*scanned = in.n;
	return 0;
}

/* The next line without its CRLF. False: what ends it is not a CRLF. */
static bool take_line(struct bytes *rest, struct bytes *ret)
{
	const uint8_t *lf = memchr(rest->p, '\n', rest->n);
	size_t n = lf == NULL ? 0 : (size_t)(lf - rest->p);
	if (n == 0 || lf[-1] != '\r')
		return false;
	*ret = bytes_of(rest->p, n - 1);
	*rest = bytes_of(lf + 1, rest->n - n - 1);
	return true;
}

static enum http1_result parse_line(struct bytes line, struct http1_head *h)
{
	size_t m = 0, t;
	while (m < line.n && is_token(line.p[m]))
		m++;
	if (m == 0 || m > HTTP1_METHOD_MAX || m == line.n || line.p[m] != ' ')
		return HTTP1_BAD_LINE;
	for (t = m + 1; t < line.n && line.p[t] > ' ' && line.p[t] < 0x7f; t++)
		;
	struct bytes version = bytes_slice(line, t + 1, line.n - t - 1);
	if (t == m + 1 || t >= line.n || line.p[t] != ' ' || version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0 ||
	    version.p[5] < '0' || version.p[5] > '9' || version.p[6] != '.' || version.p[7] < '0' || version.p[7] > '9')
		return HTTP1_BAD_LINE;
	h->method = bytes_of(line.p, m);
	h->target = bytes_of(line.p + m + 1, t - m - 1);
	if (version.p[5] != '1')
		return HTTP1_BAD_VERSION;
	h->minor = (uint8_t)(version.p[7] - '0');
	return HTTP1_OK;
}

static bool parse_field(struct bytes line, struct http1_field *f)
{
	size_t n = 0;
	while (n < line.n && is_token(line.p[n]))
		n++;
	if (n == 0 || n == line.n || line.p[n] != ':')
		return false;
	f->name = bytes_of(line.p, n);
	f->value = trimmed(bytes_of(line.p + n + 1, line.n - n - 1));
	for (size_t i = 0; i < f->value.n; i++)
		if (!in_value(f->value.p[i]))
			return false;
	return true;
}

struct seen { unsigned lengths, encodings, hosts; bool bad_length, bad_encoding, close, keep_alive; };

/* What the protocol itself wants to know of a field. */
static void note_field(const struct http1_field *f, struct http1_head *h, struct seen *s)
{
	if (http1_equal(f->name, "Content-Length")) {
		s->lengths++;
		s->bad_length = s->bad_length || !text_to_u64(f->value, HTTP1_CHUNKED - 1, &h->length);
	} else if (http1_equal(f->name, "Transfer-Encoding")) {
		s->encodings++;
		s->bad_encoding = s->bad_encoding || !http1_equal(f->value, "chunked");
	} else if (http1_equal(f->name, "Connection")) {
		s->close = s->close || http1_list_has(f->value, "close");
		s->keep_alive = s->keep_alive || http1_list_has(f->value, "keep-alive");
	} else if (http1_equal(f->name, "Expect")) {
		h->expect_continue = http1_equal(f->value, "100-continue");
	} else if (http1_equal(f->name, "Host")) {
		s->hosts++;
	}
}

enum http1_result http1_head_parse(struct bytes head, struct http1_head *ret)
{
	struct bytes rest = head, line;
	struct seen s = { 0 };
	bool bad_field = false;
	ret->method = ret->target = BYTES_NONE;
	ret->minor = 0;
	ret->close = true;
	ret->expect_continue = false;
	ret->length = 0;
	ret->field_n = 0;
	if (head.n > HTTP1_HEAD_MAX)
		return HTTP1_TOO_LONG;
	if (!take_line(&rest, &line))
		return HTTP1_BAD_LINE;
	enum http1_result r = parse_line(line, ret);
	if (r != HTTP1_OK)
		return r;
	for (;;) {
		if (!take_line(&rest, &line))
			return HTTP1_BAD_FIELD;
		if (line.n == 0)
			break;
		if (ret->field_n == HTTP1_FIELDS_MAX)
			return HTTP1_TOO_LONG;
		struct http1_field *f = &ret->field[ret->field_n];
		if (!parse_field(line, f)) {
			bad_field = true;        /* the others are still worth knowing: a request id is among them */
			continue;
		}
		ret->field_n++;
		note_field(f, ret, &s);
	}
	bool old = ret->minor == 0;
	if (bad_field || s.hosts > 1 || (s.hosts == 0 && !old) || rest.n != 0)
		return HTTP1_BAD_FIELD;
	if (s.bad_length || s.bad_encoding || s.lengths + s.encodings > 1 || (s.encodings > 0 && old))
		return HTTP1_BAD_LENGTH;
	if (s.encodings > 0)
		ret->length = HTTP1_CHUNKED;
	ret->expect_continue = ret->expect_continue && !old;
	ret->close = s.close || (old && !s.keep_alive);
	return HTTP1_OK;
}

/* --- chunks ---------------------------------------------------------------------------------------------------- */

/* What comes next. SIZE may be a first or a further digit; EXTENSION and TRAILER skip to a line's end. */
enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF, LAST_LF, DONE };
enum { DIGITS_MAX = 15 };

static int hex_of(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One byte of framing. False: it does not belong there. */
static bool step(struct http1_chunked *c, uint8_t b)
{
	switch (c->state) {
	case SIZE: {
		int v = hex_of(b);
		if (v >= 0) {
			c->left = c->left << 4 | (uint64_t)v;
			return ++c->digits <= DIGITS_MAX;
		}
		c->state = b == ';' ? EXTENSION : SIZE_LF;
		return c->digits > 0 && (b == '\r' || b == ';');
	}
	case EXTENSION:
		if (b == '\r')
			c->state = SIZE_LF;
		return b == '\r' || (in_value(b) && ++c->extras <= HTTP1_CHUNK_EXTRAS_MAX);
	case SIZE_LF:
		c->digits = 0;
		c->state = c->left > 0 ? DATA : TRAILER_START;
		return b == '\n';
	case DATA_CR:
		c->state = DATA_LF;
		return b == '\r';
	case DATA_LF:
		c->state = SIZE;
		return b == '\n';
	case TRAILER_START:
		c->state = b == '\r' ? LAST_LF : TRAILER;
		return b == '\r' || (is_token(b) && ++c->extras <= HTTP1_CHUNK_EXTRAS_MAX);
	case TRAILER:
		if (b == '\r')
			c->state = TRAILER_LF;
		return b == '\r' || (in_value(b) && ++c->extras <= HTTP1_CHUNK_EXTRAS_MAX);
	case TRAILER_LF:
		c->state = TRAILER_START;
		return b == '\n';
	default:                         /* LAST_LF */
		c->state = DONE;
		return b == '\n';
	}
}

enum http1_result http1_chunked_next(struct http1_chunked *c, struct bytes in, struct bytes *ret_data, size_t *ret_used)
{
	size_t at = 0;
	*ret_data = BYTES_NONE;
	while (at < in.n && c->state != DATA && c->state != DONE)
		if (!step(c, in.p[at++]))
			return HTTP1_BAD_CHUNK;
	if (c->state == DATA && at < in.n) {
		size_t n = c->left < in.n - at ? (size_t)c->left : in.n - at;
		*ret_data = bytes_of(in.p + at, n);
		c->left -= n;
		at += n;
		if (c->left == 0)
			c->state = DATA_CR;
	}
	*ret_used = at;
	return HTTP1_OK;
}

bool http1_chunked_done(const struct http1_chunked *c) { return c->state == DONE; }
