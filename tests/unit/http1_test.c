/* Heads: one table of what is accepted and what is refused, each with its reason. Chunks likewise. */
#include "format/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define H "Host: x\r\n"
#define GET "GET / HTTP/1.1\r\n"

static const struct { const char *text; enum http1_result result; uint64_t length; bool close; } heads[] = {
	{ GET H "\r\n", HTTP1_OK, 0, false },
	{ "GET / HTTP/1.0\r\n\r\n", HTTP1_OK, 0, true },
	{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", HTTP1_OK, 0, false },
	{ "GET / HTTP/1.9\r\n" H "\r\n", HTTP1_OK, 0, false },
	{ GET H "Connection: a,\tclose ,b\r\n\r\n", HTTP1_OK, 0, true },
	{ GET H "Connection: closed\r\n\r\n", HTTP1_OK, 0, false },
	{ GET H "X: \t v\xe9 w \t\r\nY:\r\n\r\n", HTTP1_OK, 0, false },
	{ "POST /x?y HTTP/1.1\r\n" H "content-LENGTH:  12\t\r\n\r\n", HTTP1_OK, 12, false },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551614\r\n\r\n", HTTP1_OK, UINT64_MAX - 1, false },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n", HTTP1_OK, HTTP1_CHUNKED, false },
	/* the line */
	{ "\r\n\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET /\r\n\r\n", HTTP1_BAD_LINE, 0, true },
	{ " GET / HTTP/1.1\r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET  / HTTP/1.1\r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET / HTTP/1.1 \r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET\t/ HTTP/1.1\r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "G(T / HTTP/1.1\r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET /\x7f HTTP/1.1\r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET / http/1.1\r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET / HTTP/1.1\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET / HTTP/11\r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "METHODMETHODMETHODMETHODMETHODMETHOD / HTTP/1.1\r\n" H "\r\n", HTTP1_BAD_LINE, 0, true },
	{ "GET / HTTP/2.0\r\n" H "\r\n", HTTP1_BAD_VERSION, 0, true },
	{ "GET / HTTP/0.9\r\n" H "\r\n", HTTP1_BAD_VERSION, 0, true },
	/* fields */
	{ GET "\r\n", HTTP1_BAD_FIELD, 0, true },                               /* no Host */
	{ GET H H "\r\n", HTTP1_BAD_FIELD, 0, true },
	{ GET H "X : y\r\n\r\n", HTTP1_BAD_FIELD, 0, true },
	{ GET H " X: y\r\n\r\n", HTTP1_BAD_FIELD, 0, true },
	{ GET H "X: y\r\n z\r\n\r\n", HTTP1_BAD_FIELD, 0, true },               /* folded */
	{ GET H "X\r\n\r\n", HTTP1_BAD_FIELD, 0, true },
	{ GET H ": y\r\n\r\n", HTTP1_BAD_FIELD, 0, true },
	{ GET H "X: a\rb\r\n\r\n", HTTP1_BAD_FIELD, 0, true },
	{ GET H "X: a\x01\r\n\r\n", HTTP1_BAD_FIELD, 0, true },
	{ GET H "X: a\nY: b\r\n\r\n", HTTP1_BAD_FIELD, 0, true },
	{ GET H "\n", HTTP1_BAD_FIELD, 0, true },
	/* lengths */
	{ GET H "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Transfer-Encoding: gzip, chunked\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Transfer-Encoding: chunked, chunked\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Transfer-Encoding:\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Content-Length: 01\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Content-Length: +1\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Content-Length: 1,1\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Content-Length: 0x1\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Content-Length:\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
	{ GET H "Content-Length: 18446744073709551615\r\n\r\n", HTTP1_BAD_LENGTH, 0, true },
};

static void test_heads(void **state)
{
	static struct http1_head h;
	(void)state;
	for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
		enum http1_result r = http1_head_parse(bytes_str(heads[i].text), &h);
		if (r != heads[i].result)
			fail_msg("%s: %s, not %s", heads[i].text, http1_result_name(r), http1_result_name(heads[i].result));
		if (r == HTTP1_OK && (h.length != heads[i].length || h.close != heads[i].close))
			fail_msg("%s: length %llu, close %d", heads[i].text, (unsigned long long)h.length, h.close);
	}
}

static void test_what_a_head_holds(void **state)
{
	static struct http1_head h;
	(void)state;
	assert_int_equal(http1_head_parse(bytes_str("PUT /a?b HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nX-Y:  a b\t\r\n\r\n"), &h), HTTP1_OK);
	assert_true(bytes_equal(h.method, BYTES_LIT("PUT")) && bytes_equal(h.target, BYTES_LIT("/a?b")) && h.minor == 1);
	assert_true(h.expect_continue && h.field_n == 3 && http1_equal(h.field[2].name, "x-y"));
	assert_true(bytes_equal(h.field[2].value, BYTES_LIT("a b")));
	/* a malformed field does not hide the others: the answer to it may carry the request's id */
	assert_int_equal(http1_head_parse(bytes_str(GET "bad\r\nX-Request-Id: i\r\n\r\n"), &h), HTTP1_BAD_FIELD);
	assert_true(h.field_n == 1 && bytes_equal(h.field[0].value, BYTES_LIT("i")));
}

/* RFC 9110 sections 5.5 and 5.6.2, spelled out for each byte. */
static void test_every_byte_in_names_and_values(void **state)
{
	(void)state;
	struct http1_head h;
	for (int c = 0; c < 256; c++) {
		bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		bool token = letter || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
		bool value = c == '\t' || (c >= ' ' && c != 0x7f);
		char name[] = "GET / HTTP/1.1\r\nHost: x\r\na?a: b\r\n\r\n", text[] = "GET / HTTP/1.1\r\nHost: x\r\na: b?b\r\n\r\n";
		*strchr(name, '?') = *strchr(text, '?') = (char)c;
		enum http1_result r = http1_head_parse(bytes_of(name, sizeof name - 1), &h);
		if (c != ':' && (r == HTTP1_OK) != token)        /* which ends the name */
			fail_msg("byte %d in a name: %s", c, http1_result_name(r));
		r = http1_head_parse(bytes_of(text, sizeof text - 1), &h);
		if ((r == HTTP1_OK) != value)
			fail_msg("byte %d in a value: %s", c, http1_result_name(r));
	}
}

static void test_limits(void **state)
{
	static struct http1_head h;
	static char text[HTTP1_HEAD_MAX + 64];
	(void)state;
	strcpy(text, GET H);
	for (int i = 0; i < HTTP1_FIELDS_MAX - 1; i++)
		strcat(text, "A: b\r\n");
	char *end = text + strlen(text);
	strcpy(end, "\r\n");
	assert_int_equal(http1_head_parse(bytes_str(text), &h), HTTP1_OK);
	strcpy(end, "A: b\r\n\r\n");
	assert_int_equal(http1_head_parse(bytes_str(text), &h), HTTP1_TOO_LONG);
	memset(text, 'x', sizeof text);
	memcpy(text, GET "Host: ", sizeof GET + 5);
	memcpy(text + HTTP1_HEAD_MAX - 4, "\r\n\r\n", 4);
	assert_int_equal(http1_head_parse(bytes_of(text, HTTP1_HEAD_MAX), &h), HTTP1_OK);
	memset(text + HTTP1_HEAD_MAX - 4, 'x', 4);
	memcpy(text + HTTP1_HEAD_MAX - 3, "\r\n\r\n", 4);
	assert_int_equal(http1_head_parse(bytes_of(text, HTTP1_HEAD_MAX + 1), &h), HTTP1_TOO_LONG);
}

static void test_where_a_head_ends(void **state)
{
	static const char text[] = GET H "\r\nGET";
	(void)state;
	size_t scanned = 0, whole = sizeof GET H "\r\n" - 1;
	for (size_t n = 0; n < whole; n++)
		assert_int_equal(http1_head_size(bytes_of(text, n), &scanned), 0);
	assert_int_equal(http1_head_size(bytes_of(text, sizeof text - 1), &scanned), whole);
	scanned = 0;
	assert_int_equal(http1_head_size(BYTES_LIT("GET / HTTP/1.1\nHost"), &scanned), 15);      /* to be refused */
	scanned = 0;
	assert_int_equal(http1_head_size(BYTES_NONE, &scanned), 0);
}

static const struct { const char *text, *data; enum http1_result result; bool done; size_t used; } bodies[] = {
	{ "5\r\nhello\r\n0\r\n\r\nGET", "hello", HTTP1_OK, true, 15 },
	{ "1\r\na\r\n00002\r\nbc\r\n0\r\n\r\n", "abc", HTTP1_OK, true, 22 },
	{ "A;x=\"y\"\r\n0123456789\r\n0;z\r\nT: u\r\nV: w\r\n\r\n", "0123456789", HTTP1_OK, true, 40 },
	{ "0\r\n\r\n", "", HTTP1_OK, true, 5 },
	{ "5\r\nhel", "hel", HTTP1_OK, false, 6 },
	{ "fffffffffffffff\r\nx", "x", HTTP1_OK, false, 18 },
	{ "ffffffffffffffff\r\n", "", HTTP1_BAD_CHUNK, false, 0 },
	{ "5\r\nhelloX", "hello", HTTP1_BAD_CHUNK, false, 0 },
	{ "5\nhello", "", HTTP1_BAD_CHUNK, false, 0 },
	{ "5\r\nhello\n0", "hello", HTTP1_BAD_CHUNK, false, 0 },
	{ "\r\n", "", HTTP1_BAD_CHUNK, false, 0 },
	{ ";x\r\n", "", HTTP1_BAD_CHUNK, false, 0 },
	{ "5 \r\nhello", "", HTTP1_BAD_CHUNK, false, 0 },
	{ "+5\r\nhello", "", HTTP1_BAD_CHUNK, false, 0 },
	{ "0x5\r\nhello", "", HTTP1_BAD_CHUNK, false, 0 },
	{ "5;a\nb\r\nhello", "", HTTP1_BAD_CHUNK, false, 0 },
	{ "0\r\n folded\r\n\r\n", "", HTTP1_BAD_CHUNK, false, 0 },
	{ "0\r\nT: u\n\r\n", "", HTTP1_BAD_CHUNK, false, 0 },
};

static void test_chunks(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		struct bytes in = bytes_str(bodies[i].text), data;
		struct http1_chunked c;
		char got[64];
		size_t n = 0, at = 0, used = 0;
		enum http1_result r = HTTP1_OK;
		http1_chunked_init(&c);
		while (at < in.n && !http1_chunked_done(&c) && (r = http1_chunked_next(&c, bytes_of(in.p + at, in.n - at), &data, &used)) == HTTP1_OK) {
			memcpy(got + n, data.n > 0 ? (const char *)data.p : "", data.n);
			n += data.n;
			at += used;
		}
		if (r != bodies[i].result || http1_chunked_done(&c) != bodies[i].done || !bytes_equal(bytes_of(got, n), bytes_str(bodies[i].data)) ||
		    (r == HTTP1_OK && at != bodies[i].used))
			fail_msg("%s: %s, done %d, %zu bytes of data, used %zu", bodies[i].text, http1_result_name(r), http1_chunked_done(&c), n, at);
	}
}

static void test_chunk_extras_are_bounded(void **state)
{
	struct http1_chunked c;
	struct bytes data;
	size_t used, i;
	(void)state;
	http1_chunked_init(&c);
	for (i = 0; i < 100000; i++)
		if (http1_chunked_next(&c, BYTES_LIT("1;xxxxxxxxx\r\na\r\n"), &data, &used) != HTTP1_OK ||
		    http1_chunked_next(&c, BYTES_LIT("\r\n"), &data, &used) != HTTP1_OK)
			break;
	assert_true(i <= HTTP1_CHUNK_EXTRAS_MAX / 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads), cmocka_unit_test(test_what_a_head_holds), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_every_byte_in_names_and_values),
		cmocka_unit_test(test_where_a_head_ends), cmocka_unit_test(test_chunks), cmocka_unit_test(test_chunk_extras_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
