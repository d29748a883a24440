#include "base/text.h"

#include <stdio.h>

char *hex_encode(struct bytes b, char *buf)
{
	static const char digit[] = "0123456789abcdef";
	for (size_t i = 0; i < b.n; i++) {
		buf[2 * i] = digit[b.p[i] >> 4];
		buf[2 * i + 1] = digit[b.p[i] & 15];
	}
	buf[2 * b.n] = '\0';
	return buf;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(struct bytes text, uint8_t *out, size_t n)
{
	if (text.n % 2 != 0 || text.n / 2 != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (hex_value(text.p[2 * i]) < 0 || hex_value(text.p[2 * i + 1]) < 0)
			return false;
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(hex_value(text.p[2 * i]) << 4 | hex_value(text.p[2 * i + 1]));
	return true;
}

void put_base64(struct writer *w, struct bytes b)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < b.n; i += 3) {
		size_t n = b.n - i < 3 ? b.n - i : 3;
		uint32_t v = (uint32_t)b.p[i] << 16;
		if (n > 1)
			v |= (uint32_t)b.p[i + 1] << 8;
		if (n > 2)
			v |= b.p[i + 2];
		char four[4] = { digit[v >> 18], digit[v >> 12 & 63],
		                 n > 1 ? digit[v >> 6 & 63] : '=', n > 2 ? digit[v & 63] : '=' };
		put_bytes(w, bytes_of(four, 4));
	}
}

/* 0x40 | value for a digit, 0x80 for '=', 0 for anything else: one load a character. */
enum { DIGIT = 0x40, PAD = 0x80 };
static const uint8_t base64_value[256] = {
	['+'] = 0x7e, ['/'] = 0x7f, ['='] = PAD,
	['0'] = 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x7d,
	['A'] = 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c,
	['N'] = 0x4d, 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
	['a'] = 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66,
	['n'] = 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73,
};

/* One character of the slow path: quantum boundaries, padding, errors. */
static size_t base64_step(struct base64 *d, uint8_t c, uint8_t *out)
{
	uint8_t v = base64_value[c];
	bool ended = d->pad > 0 && d->have == 0;
	if (v == 0 || ended || (v == PAD ? d->have < 2 : d->pad > 0)) {
		d->bad = true;
		return 0;
	}
	d->bits = d->bits << 6 | (v & 63);
	d->have++;
	d->pad = (uint8_t)(d->pad + (v == PAD));
	if (d->have < 4)
		return 0;
	size_t n = 3u - d->pad;
	uint8_t three[3] = { (uint8_t)(d->bits >> 16), (uint8_t)(d->bits >> 8), (uint8_t)d->bits };
	for (size_t i = n; i < 3; i++)
		if (three[i] != 0)
			d->bad = true;
	if (d->bad)
		return 0;
	memcpy(out, three, n);
	d->have = 0;
	d->bits = 0;
	return n;
}

size_t base64_feed(struct base64 *d, struct bytes text, uint8_t *out)
{
	size_t n = 0;
	for (size_t i = 0; i < text.n && !d->bad;) {
		if (d->have == 0 && d->pad == 0) {
			for (; text.n - i >= 4; i += 4, n += 3) {
				uint8_t a = base64_value[text.p[i]], b = base64_value[text.p[i + 1]];
				uint8_t c = base64_value[text.p[i + 2]], e = base64_value[text.p[i + 3]];
				if (!(a & b & c & e & DIGIT))
					break;
				uint32_t v = (uint32_t)(a & 63) << 18 | (uint32_t)(b & 63) << 12 |
				             (uint32_t)(c & 63) << 6 | (e & 63);
				out[n] = (uint8_t)(v >> 16);
				out[n + 1] = (uint8_t)(v >> 8);
				out[n + 2] = (uint8_t)v;
			}
			if (i == text.n)
				break;
		}
		n += base64_step(d, text.p[i++], out + n);
	}
	return n;
}

bool base64_decode(struct bytes text, uint8_t *out, size_t cap, size_t *ret_n)
{
	if (text.n % 4 != 0)
		return false;
	size_t pad = text.n == 0 ? 0 : (size_t)(text.p[text.n - 1] == '=') + (text.p[text.n - 2] == '=');
	if (text.n / 4 * 3 - pad > cap)
		return false;
	struct base64 d = { 0 };
	/* all but the last quantum straight into place; that one through a spare, so that
	 * its padding needs no room in out */
	size_t head = text.n == 0 ? 0 : text.n - 4;
	size_t n = base64_feed(&d, bytes_of(text.p, head), out);
	uint8_t last[3];
	size_t m = base64_feed(&d, bytes_of(text.p + head, text.n - head), last);
	if (!base64_done(&d) || m > cap - n)
		return false;
	memcpy(out + n, last, m);
	*ret_n = n + m;
	return true;
}

static bool is_plain(uint8_t c) { return c >= 0x20 && c < 0x7f && c != '\\'; }

char *text_escape(struct bytes b, char *buf, size_t cap)
{
	size_t whole = 0, at = 0;
	for (size_t i = 0; i < b.n; i++)
		whole += is_plain(b.p[i]) ? 1 : 4;
	size_t room = cap == 0 ? 0 : cap - 1;
	bool cut = whole > room;
	if (cut)
		room = room < 3 ? 0 : room - 3;          /* for "..." */
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i];
		size_t need = is_plain(c) ? 1 : 4;
		if (need > room - at)
			break;
		if (need == 1)
			buf[at++] = (char)c;
		else
			at += (size_t)snprintf(buf + at, 5, "\\x%02x", c);
	}
	if (cut && cap >= 4) {
		memcpy(buf + at, "...", 3);
		at += 3;
	}
	if (cap > 0)
		buf[at] = '\0';
	return buf;
}

size_t utf8_sequence(struct bytes b)
{
	if (b.n == 0)
		return 0;
	uint8_t c = b.p[0];
	if (c < 0x80)
		return 1;
	size_t n = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
	if (n == 0 || n > b.n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((b.p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && b.p[1] < 0xa0) || (c == 0xed && b.p[1] > 0x9f) ||
	    (c == 0xf0 && b.p[1] < 0x90) || (c == 0xf4 && b.p[1] > 0x8f))
		return 0;
	return n;
}

bool utf8_valid(struct bytes b)
{
	for (size_t n; b.n > 0; b = bytes_of(b.p + n, b.n - n))
		if ((n = utf8_sequence(b)) == 0)
			return false;
	return true;
}

void put_decimal(struct writer *w, uint64_t v)
{
	uint8_t text[20], *p = text + sizeof text;
	if (v < 10) {                    /* most numbers are small */
		put_u8(w, (uint8_t)('0' + v));
		return;
	}
	do
		*--p = (uint8_t)('0' + v % 10);
	while ((v /= 10) > 0);
	put_bytes(w, bytes_of(p, (size_t)(text + sizeof text - p)));
}

/* What stands for itself inside a JSON string: ASCII but controls, the quote and the backslash. */
static const bool json_plain[256] = { [' ' ... '!'] = true, ['#' ... '['] = true, [']' ... '~'] = true };

void put_json_string(struct writer *w, struct bytes b)
{
	put_u8(w, '"');
	while (b.n > 0) {
		size_t plain = 0;
		while (plain < b.n && json_plain[b.p[plain]])
			plain++;
		put_bytes(w, bytes_of(b.p, plain));
		b = bytes_of(b.p + plain, b.n - plain);
		if (b.n == 0)
			break;
		size_t n = utf8_sequence(b);
		uint8_t c = b.p[0];
		if (n == 0)
			put_str(w, "\\ufffd");
		else if (c == '"' || c == '\\')
			put_u8(w, '\\'), put_u8(w, c);
		else if (c < 0x20 || c == 0x7f) {
			char esc[8];
			snprintf(esc, sizeof esc, "\\u%04x", c);
			put_str(w, esc);
		} else
			put_bytes(w, bytes_of(b.p, n));
		n = n == 0 ? 1 : n;
		b = bytes_of(b.p + n, b.n - n);
	}
	put_u8(w, '"');
}

bool text_to_u64(struct bytes text, uint64_t max, uint64_t *ret_v)
{
	uint64_t v = 0;
	if (text.n == 0 || (text.n > 1 && text.p[0] == '0'))
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		uint64_t digit = (uint64_t)(text.p[i] - '0');
		if (v > (UINT64_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	if (v > max)
		return false;
	*ret_v = v;
	return true;
}
