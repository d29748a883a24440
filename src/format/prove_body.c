/* One small function per state takes one byte and says which state is next; a bit stack of 16
 * containers replaces recursion. Runs of plain characters inside strings, which is where a body
 * spends its length, go around the state machine: payload text straight to the base64 decoder,
 * skipped text over in one scan. The client is hostile; the decoder behind this is only ever
 * given bytes that were inside the one "data" string. */
#include "format/prove_body.h"

enum state {
	START, VALUE, ARRAY_FIRST, OBJECT_FIRST, KEY, COLON, AFTER, END,
	STRING, ESCAPE, HEX, LOW_BACKSLASH, LOW_U, LITERAL,
	NUM_MINUS, NUM_ZERO, NUM_INT, NUM_DOT, NUM_FRACTION, NUM_E, NUM_SIGN, NUM_EXPONENT,
	STATE_COUNT
};

enum { NO_MATCH = 0xff };
static const char payload_key[] = "data";

const char *prove_body_result_name(enum prove_body_result r)
{
	switch (r) {
	case PROVE_BODY_OK: return "ok";
	case PROVE_BODY_BAD_JSON: return "not JSON";
	case PROVE_BODY_BAD_UNICODE: return "not UTF-8 text";
	case PROVE_BODY_TOO_DEEP: return "nested too deep";
	case PROVE_BODY_TRUNCATED: return "ends too early";
	case PROVE_BODY_TRAILING: return "bytes after the JSON object";
	case PROVE_BODY_NOT_OBJECT: return "not a JSON object";
	case PROVE_BODY_DATA_MISSING: return "no member data";
	case PROVE_BODY_DATA_TYPE: return "data is not a string";
	case PROVE_BODY_DATA_TWICE: return "data appears twice";
	case PROVE_BODY_BAD_BASE64: return "data is not base64";
	}
	return "unknown";
}

bool prove_body_is_shape_error(enum prove_body_result r)
{
	return r == PROVE_BODY_NOT_OBJECT || r == PROVE_BODY_DATA_MISSING || r == PROVE_BODY_DATA_TYPE;
}

void prove_body_init(struct prove_body *b) { *b = (struct prove_body){ .state = START }; }

static void refuse(struct prove_body *b, enum prove_body_result why) { b->result = why; }

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* --- containers ------------------------------------------------------------------------------ */

static void open_container(struct prove_body *b, bool object)
{
	if (b->depth == PROVE_BODY_DEPTH_MAX) {
		refuse(b, PROVE_BODY_TOO_DEEP);
		return;
	}
	uint32_t bit = 1u << b->depth++;
	b->is_object = object ? b->is_object | bit : b->is_object & ~bit;
	b->state = object ? OBJECT_FIRST : ARRAY_FIRST;
}

static bool inside_object(const struct prove_body *b) { return b->is_object & 1u << (b->depth - 1); }

static void close_container(struct prove_body *b, bool object)
{
	if (inside_object(b) != object) {
		refuse(b, PROVE_BODY_BAD_JSON);
		return;
	}
	b->state = --b->depth == 0 ? END : AFTER;
}

static void start(struct prove_body *b, uint8_t c)
{
	if (is_space(c))
		return;
	if (c == '{')
		open_container(b, true);
	else if (c == '[' || c == '"' || c == '-' || c == 't' || c == 'f' || c == 'n' || is_digit(c))
		refuse(b, PROVE_BODY_NOT_OBJECT);
	else
		refuse(b, PROVE_BODY_BAD_JSON);
}

static void begin_string(struct prove_body *b, bool key)
{
	b->in_key = key;
	b->key_matched = 0;
	b->state = STRING;
}

static void begin_literal(struct prove_body *b, const char *literal)
{
	b->literal = literal;
	b->digits = 1;
	b->state = LITERAL;
}

static void value(struct prove_body *b, uint8_t c)
{
	if (is_space(c))
		return;
	if (b->data_next && c != '"') {
		bool json = c == '{' || c == '[' || c == '-' || c == 't' || c == 'f' || c == 'n' || is_digit(c);
		refuse(b, json ? PROVE_BODY_DATA_TYPE : PROVE_BODY_BAD_JSON);
		return;
	}
	switch (c) {
	case '{': open_container(b, true); break;
	case '[': open_container(b, false); break;
	case '"':
		b->in_data = b->data_next;
		b->data_next = false;
		begin_string(b, false);
		break;
	case 't': begin_literal(b, "true"); break;
	case 'f': begin_literal(b, "false"); break;
	case 'n': begin_literal(b, "null"); break;
	case '-': b->state = NUM_MINUS; break;
	case '0': b->state = NUM_ZERO; break;
	default:
		if (is_digit(c))
			b->state = NUM_INT;
		else
			refuse(b, PROVE_BODY_BAD_JSON);
	}
}

static void array_first(struct prove_body *b, uint8_t c)
{
	if (c == ']')
		close_container(b, false);
	else if (!is_space(c))
		b->state = VALUE, value(b, c);
}

static void key(struct prove_body *b, uint8_t c)
{
	if (c == '"')
		begin_string(b, true);
	else if (!is_space(c))
		refuse(b, PROVE_BODY_BAD_JSON);
}

static void object_first(struct prove_body *b, uint8_t c)
{
	if (c == '}')
		close_container(b, true);
	else
		key(b, c);
}

static void colon(struct prove_body *b, uint8_t c)
{
	if (c == ':')
		b->state = VALUE;
	else if (!is_space(c))
		refuse(b, PROVE_BODY_BAD_JSON);
}

static void after(struct prove_body *b, uint8_t c)
{
	if (c == ',')
		b->state = inside_object(b) ? KEY : VALUE;
	else if (c == '}' || c == ']')
		close_container(b, c == '}');
	else if (!is_space(c))
		refuse(b, PROVE_BODY_BAD_JSON);
}

static void end(struct prove_body *b, uint8_t c)
{
	if (!is_space(c))
		refuse(b, PROVE_BODY_TRAILING);
}

/* --- strings --------------------------------------------------------------------------------- */

/* A character of a member name, against "data". Only ASCII can match. */
static void match_key(struct prove_body *b, uint32_t c)
{
	bool same = b->key_matched < sizeof payload_key - 1 && c == (uint8_t)payload_key[b->key_matched];
	b->key_matched = same ? (uint8_t)(b->key_matched + 1) : NO_MATCH;
}

static void end_key(struct prove_body *b)
{
	b->state = COLON;
	if (b->depth != 1 || b->key_matched != sizeof payload_key - 1)
		return;
	if (b->data_seen)
		refuse(b, PROVE_BODY_DATA_TWICE);
	b->data_seen = b->data_next = true;
}

static void end_string(struct prove_body *b)
{
	if (b->in_key) {
		end_key(b);
		return;
	}
	if (b->in_data && !base64_done(&b->base64))
		refuse(b, PROVE_BODY_BAD_BASE64);
	b->in_data = false;
	b->state = AFTER;
}

/* First byte of a UTF-8 sequence: how many follow, and the range of the next one, which is what
 * keeps out overlong forms, surrogates and everything above U+10FFFF. */
static void utf8_begin(struct prove_body *b, uint8_t c)
{
	b->utf8_low = 0x80;
	b->utf8_high = 0xbf;
	if (c >= 0xc2 && c <= 0xdf) {
		b->utf8_left = 1;
	} else if ((c & 0xf0) == 0xe0) {
		b->utf8_left = 2;
		b->utf8_low = c == 0xe0 ? 0xa0 : 0x80;
		b->utf8_high = c == 0xed ? 0x9f : 0xbf;
	} else if (c >= 0xf0 && c <= 0xf4) {
		b->utf8_left = 3;
		b->utf8_low = c == 0xf0 ? 0x90 : 0x80;
		b->utf8_high = c == 0xf4 ? 0x8f : 0xbf;
	} else {
		refuse(b, PROVE_BODY_BAD_UNICODE);
	}
}

static void string(struct prove_body *b, uint8_t c)
{
	if (b->utf8_left > 0) {
		if (c < b->utf8_low || c > b->utf8_high)
			refuse(b, PROVE_BODY_BAD_UNICODE);
		b->utf8_left--;
		b->utf8_low = 0x80;
		b->utf8_high = 0xbf;
	} else if (c == '"') {
		end_string(b);
	} else if (c == '\\') {
		b->state = ESCAPE;
	} else if (c < 0x20) {
		refuse(b, PROVE_BODY_BAD_JSON);
	} else {
		if (c >= 0x80)
			utf8_begin(b, c);
		if (b->in_key)
			match_key(b, c);
	}
}

/* A character that was written as an escape; returns the payload bytes it completed. */
static size_t escaped(struct prove_body *b, uint32_t c, uint8_t *out)
{
	b->state = STRING;
	if (b->in_key)
		match_key(b, c);
	if (!b->in_data)
		return 0;
	uint8_t ascii = c < 0x80 ? (uint8_t)c : 0;
	size_t n = base64_feed(&b->base64, bytes_of(&ascii, 1), out);
	if (b->base64.bad)
		refuse(b, PROVE_BODY_BAD_BASE64);
	return n;
}

static size_t escape(struct prove_body *b, uint8_t c, uint8_t *out)
{
	switch (c) {
	case '"': case '\\': case '/': return escaped(b, c, out);
	case 'b': return escaped(b, '\b', out);
	case 'f': return escaped(b, '\f', out);
	case 'n': return escaped(b, '\n', out);
	case 'r': return escaped(b, '\r', out);
	case 't': return escaped(b, '\t', out);
	case 'u':
		b->unit = 0;
		b->digits = 0;
		b->state = HEX;
		return 0;
	default:
		refuse(b, PROVE_BODY_BAD_JSON);
		return 0;
	}
}

/* A whole UTF-16 unit was read: a character, or half of one. */
static size_t end_unit(struct prove_body *b, uint8_t *out)
{
	bool high = b->unit >= 0xd800 && b->unit <= 0xdbff, low = b->unit >= 0xdc00 && b->unit <= 0xdfff;
	if (low != (b->surrogate != 0)) {
		refuse(b, PROVE_BODY_BAD_UNICODE);
		return 0;
	}
	if (high) {
		b->surrogate = b->unit;
		b->state = LOW_BACKSLASH;
		return 0;
	}
	b->surrogate = 0;
	return escaped(b, low ? 0x10000 : b->unit, out);      /* beyond ASCII one is like another here */
}

static size_t hex(struct prove_body *b, uint8_t c, uint8_t *out)
{
	unsigned v = is_digit(c) ? c - (unsigned)'0' : c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10 :
		c >= 'A' && c <= 'F' ? c - (unsigned)'A' + 10 : 16;
	if (v == 16) {
		refuse(b, PROVE_BODY_BAD_JSON);
		return 0;
	}
	b->unit = (uint16_t)((unsigned)b->unit << 4 | v);
	return ++b->digits == 4 ? end_unit(b, out) : 0;
}

static void low_backslash(struct prove_body *b, uint8_t c)
{
	if (c == '\\')
		b->state = LOW_U;
	else
		refuse(b, PROVE_BODY_BAD_UNICODE);
}

static void low_u(struct prove_body *b, uint8_t c)
{
	if (c != 'u') {
		refuse(b, PROVE_BODY_BAD_UNICODE);
		return;
	}
	b->unit = 0;
	b->digits = 0;
	b->state = HEX;
}

/* --- numbers and literals ---------------------------------------------------------------------- */

static void literal(struct prove_body *b, uint8_t c)
{
	if (c != (uint8_t)b->literal[b->digits])
		refuse(b, PROVE_BODY_BAD_JSON);
	else if (b->literal[++b->digits] == '\0')
		b->state = AFTER;
}

/* The next state of a number that is in state s, or STATE_COUNT when c cannot follow there. A
 * number has no end mark of its own: where it may stop, anything else belongs to what is around. */
static enum state number_next(enum state s, uint8_t c)
{
	bool e = c == 'e' || c == 'E';
	switch (s) {
	case NUM_MINUS: return c == '0' ? NUM_ZERO : is_digit(c) ? NUM_INT : STATE_COUNT;
	case NUM_ZERO: return c == '.' ? NUM_DOT : e ? NUM_E : AFTER;
	case NUM_INT: return is_digit(c) ? NUM_INT : c == '.' ? NUM_DOT : e ? NUM_E : AFTER;
	case NUM_DOT: return is_digit(c) ? NUM_FRACTION : STATE_COUNT;
	case NUM_FRACTION: return is_digit(c) ? NUM_FRACTION : e ? NUM_E : AFTER;
	case NUM_E: return c == '+' || c == '-' ? NUM_SIGN : is_digit(c) ? NUM_EXPONENT : STATE_COUNT;
	case NUM_SIGN: return is_digit(c) ? NUM_EXPONENT : STATE_COUNT;
	case NUM_EXPONENT: return is_digit(c) ? NUM_EXPONENT : AFTER;
	default: return STATE_COUNT;
	}
}

static void number(struct prove_body *b, uint8_t c)
{
	enum state next = number_next((enum state)b->state, c);
	if (next == STATE_COUNT) {
		refuse(b, PROVE_BODY_BAD_JSON);
		return;
	}
	b->state = (uint8_t)next;
	if (next == AFTER)
		after(b, c);
}

/* --- feeding ----------------------------------------------------------------------------------- */

static void (*const on_byte[STATE_COUNT])(struct prove_body *b, uint8_t c) = {
	[START] = start, [VALUE] = value, [ARRAY_FIRST] = array_first, [OBJECT_FIRST] = object_first,
	[KEY] = key, [COLON] = colon, [AFTER] = after, [END] = end, [STRING] = string,
	[LOW_BACKSLASH] = low_backslash, [LOW_U] = low_u, [LITERAL] = literal,
	[NUM_MINUS] = number, [NUM_ZERO] = number, [NUM_INT] = number, [NUM_DOT] = number,
	[NUM_FRACTION] = number, [NUM_E] = number, [NUM_SIGN] = number, [NUM_EXPONENT] = number,
};

/* Length of the start of b that holds neither a quote nor a backslash. */
static size_t plain_run(struct bytes b)
{
	const uint8_t *quote = memchr(b.p, '"', b.n);
	size_t n = quote == NULL ? b.n : (size_t)(quote - b.p);
	const uint8_t *backslash = memchr(b.p, '\\', n);
	return backslash == NULL ? n : (size_t)(backslash - b.p);
}

/* Takes what the payload string has in one run; returns how much text that was. */
static size_t feed_payload(struct prove_body *b, struct bytes text, uint8_t *out, size_t *io_n)
{
	size_t run = plain_run(text);
	*io_n += base64_feed(&b->base64, bytes_of(text.p, run), out + *io_n);
	if (b->base64.bad)
		refuse(b, PROVE_BODY_BAD_BASE64);
	return run;
}

/* Printable ASCII of a string that is of no interest. */
static size_t skip_plain(struct bytes text)
{
	size_t n = 0;
	while (n < text.n && text.p[n] >= 0x20 && text.p[n] < 0x80 && text.p[n] != '"' && text.p[n] != '\\')
		n++;
	return n;
}

enum prove_body_result prove_body_feed(struct prove_body *b, struct bytes text, uint8_t *out, size_t *ret_n)
{
	size_t n = 0;
	for (size_t i = 0; i < text.n && b->result == PROVE_BODY_OK;) {
		struct bytes rest = bytes_of(text.p + i, text.n - i);
		if (b->state == STRING && b->in_data)
			i += feed_payload(b, rest, out, &n);
		else if (b->state == STRING && !b->in_key && b->utf8_left == 0)
			i += skip_plain(rest);
		if (i == text.n || b->result != PROVE_BODY_OK)
			break;
		uint8_t c = text.p[i++];
		if (b->state == ESCAPE)
			n += escape(b, c, out + n);
		else if (b->state == HEX)
			n += hex(b, c, out + n);
		else
			on_byte[b->state](b, c);
	}
	*ret_n = n;
	return b->result;
}

enum prove_body_result prove_body_finish(const struct prove_body *b)
{
	if (b->result != PROVE_BODY_OK)
		return b->result;
	if (b->state != END)
		return PROVE_BODY_TRUNCATED;
	return b->data_seen ? PROVE_BODY_OK : PROVE_BODY_DATA_MISSING;
}
