#include "base/cleanup.h"
#include "format/prove_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <jansson.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

struct outcome_of { enum prove_body_result result; uint8_t bytes[256]; size_t n; };

/* Feeds text in pieces of step bytes, each from an exact copy so that the sanitizer sees overruns. */
static struct outcome_of read_in_steps(struct bytes text, size_t step)
{
	struct outcome_of o = { .n = 0 };
	struct prove_body b;
	prove_body_init(&b);
	for (size_t at = 0; at < text.n; at += step) {
		size_t n = text.n - at < step ? text.n - at : step, got;
		uint8_t *piece = malloc(n), *out = malloc(n / 4 * 3 + 3);
		assert_true(piece != NULL && out != NULL);
		memcpy(piece, text.p + at, n);
		prove_body_feed(&b, bytes_of(piece, n), out, &got);
		assert_true(got <= n / 4 * 3 + 3 && got <= sizeof o.bytes - o.n);
		memcpy(o.bytes + o.n, out, got);
		o.n += got;
		free(piece);
		free(out);
	}
	o.result = prove_body_finish(&b);
	return o;
}

#define OK PROVE_BODY_OK
#define DEEP16 "[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]"
static const struct { const char *text; enum prove_body_result want; const char *payload; } rows[] = {
	{ "{\"data\":\"aGVsbG8=\"}", OK, "hello" },
	{ " \t\r\n{ \"data\" : \"aGVsbG8=\" } \n", OK, "hello" },
	{ "{\"data\":\"\"}", OK, "" },
	{ "{\"data\":\"Pz8/\"}", OK, "???" },
	{ "{\"data\":\"Pz8\\/\"}", OK, "???" },
	{ "{\"data\":\"\\u0050z8\\u002F\"}", OK, "???" },
	{ "{\"d\\u0061ta\":\"aGk=\"}", OK, "hi" },
	{ "{\"a\":1,\"data\":\"aGk=\",\"b\":[true,false,null,{\"data\":2}],\"c\":{\"data\":{}}}", OK, "hi" },
	{ "{\"n\":[0,-0,1.5,-1.5e+10,2E-3,10,0e0,0.0],\"data\":\"aGk=\"}", OK, "hi" },
	{ "{\"s\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\",\"data\":\"aGk=\"}", OK, "hi" },
	{ "{\"\xc3\xa9\":\"\xe2\x82\xac\xf0\x9f\x98\x80\x7f\",\"data\":\"aGk=\"}", OK, "hi" },
	{ "{\"dat\":0,\"dataa\":1,\"Data\":2,\"\":3,\"data\\u0000\":4,\"data\":\"aGk=\"}", OK, "hi" },
	{ "{\"a\":" DEEP16 ",\"data\":\"aGk=\"}", OK, "hi" },
	{ "{\"a\":[" DEEP16 "],\"data\":\"aGk=\"}", PROVE_BODY_TOO_DEEP, "" },

	{ "", PROVE_BODY_TRUNCATED, "" },
	{ "  ", PROVE_BODY_TRUNCATED, "" },
	{ "{", PROVE_BODY_TRUNCATED, "" },
	{ "{\"data\":\"aGVs", PROVE_BODY_TRUNCATED, "hel" },
	{ "{\"data\":\"aGk=\"", PROVE_BODY_TRUNCATED, "hi" },
	{ "{\"data\":\"aGk=\"}}", PROVE_BODY_TRAILING, "hi" },
	{ "{\"data\":\"aGk=\"}x", PROVE_BODY_TRAILING, "hi" },
	{ "{\"data\":\"aGk=\"},{\"data\":\"aGk=\"}", PROVE_BODY_TRAILING, "hi" },

	{ "[]", PROVE_BODY_NOT_OBJECT, "" },
	{ "\"data\"", PROVE_BODY_NOT_OBJECT, "" },
	{ "1", PROVE_BODY_NOT_OBJECT, "" },
	{ "null", PROVE_BODY_NOT_OBJECT, "" },
	{ "{}", PROVE_BODY_DATA_MISSING, "" },
	{ "{\"dat\":\"aGk=\"}", PROVE_BODY_DATA_MISSING, "" },
	{ "{\"x\":{\"data\":\"aGk=\"}}", PROVE_BODY_DATA_MISSING, "" },
	{ "{\"x\":\"data\"}", PROVE_BODY_DATA_MISSING, "" },
	{ "{\"data\":1}", PROVE_BODY_DATA_TYPE, "" },
	{ "{\"data\":null}", PROVE_BODY_DATA_TYPE, "" },
	{ "{\"data\":[\"aGk=\"]}", PROVE_BODY_DATA_TYPE, "" },
	{ "{\"data\":{\"data\":\"aGk=\"}}", PROVE_BODY_DATA_TYPE, "" },
	{ "{\"data\":true}", PROVE_BODY_DATA_TYPE, "" },
	{ "{\"data\":\"aGk=\",\"data\":\"aGk=\"}", PROVE_BODY_DATA_TWICE, "hi" },
	{ "{\"data\":\"aGk=\",\"\\u0064ata\":1}", PROVE_BODY_DATA_TWICE, "hi" },

	{ "{\"data\":\"aGk\"}", PROVE_BODY_BAD_BASE64, "" },
	{ "{\"data\":\"aG k=\"}", PROVE_BODY_BAD_BASE64, "" },
	{ "{\"data\":\"aGk=aGk=\"}", PROVE_BODY_BAD_BASE64, "hi" },
	{ "{\"data\":\"aGl=\"}", PROVE_BODY_BAD_BASE64, "" },
	{ "{\"data\":\"=\"}", PROVE_BODY_BAD_BASE64, "" },
	{ "{\"data\":\"a_-k\"}", PROVE_BODY_BAD_BASE64, "" },
	{ "{\"data\":\"aG\\nk=\"}", PROVE_BODY_BAD_BASE64, "" },
	{ "{\"data\":\"aG\\u0000k=\"}", PROVE_BODY_BAD_BASE64, "" },
	{ "{\"data\":\"\xc3\xa9\"}", PROVE_BODY_BAD_BASE64, "" },
	{ "{\"data\":\"\\ud83d\\ude00\"}", PROVE_BODY_BAD_BASE64, "" },

	{ "\xef\xbb\xbf{\"data\":\"aGk=\"}", PROVE_BODY_BAD_JSON, "" },
	{ "x", PROVE_BODY_BAD_JSON, "" },
	{ "{x", PROVE_BODY_BAD_JSON, "" },
	{ "{'data':'aGk='}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"data\":aGk=}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"data\":}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"data\" \"aGk=\"}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"data\":\"aGk=\",}", PROVE_BODY_BAD_JSON, "hi" },
	{ "{,\"data\":\"aGk=\"}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"data\":\"aGk=\" \"a\":1}", PROVE_BODY_BAD_JSON, "hi" },
	{ "{\"data\":\"aGk=\"]", PROVE_BODY_BAD_JSON, "hi" },
	{ "{\"a\":[1}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":[1,]}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":[,1]}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":01}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":+1}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":.5}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":5.}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":-}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":-01}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":1e}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":1e+}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":1.e1}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":1 2}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":tru}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":truth}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":True}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":NaN}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":\"\\x41\"}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":\"\\u12g4\"}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":\"tab\there\"}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\nb\":1}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":1/**/}", PROVE_BODY_BAD_JSON, "" },
	{ "{null:1}", PROVE_BODY_BAD_JSON, "" },
	{ "{\"a\":1}\x01", PROVE_BODY_TRAILING, "" },

	{ "{\"a\":\"\\ud83d\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\\ud83dx\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\\ud83d\\n\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\\ud83d\\u0041\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\\ud83d\\ud83d\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\\ude00\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\x80\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\xc0\xaf\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\xc1\xbf\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\xe0\x9f\xbf\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\xed\xa0\x80\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\xf0\x8f\xbf\xbf\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\xf4\x90\x80\x80\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\xf5\x80\x80\x80\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\":\"\xc3\"}", PROVE_BODY_BAD_UNICODE, "" },
	{ "{\"a\xff\":1}", PROVE_BODY_BAD_UNICODE, "" },
};

static void every_row_in_every_step(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bytes text = bytes_str(rows[i].text);
		for (size_t step = 1; step <= text.n + 1; step++) {
			struct outcome_of o = read_in_steps(text, step);
			if (o.result != rows[i].want)
				fail_msg("row %zu (%s), step %zu: %s", i, rows[i].text, step, prove_body_result_name(o.result));
			if (!bytes_equal(bytes_of(o.bytes, o.n), bytes_str(rows[i].payload)))
				fail_msg("row %zu (%s), step %zu: %zu bytes of payload", i, rows[i].text, step, o.n);
		}
	}
}

/* An independent JSON parser agrees on which rows are JSON. */
static void jansson_agrees_on_the_grammar(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		json_error_t e;
		json_t *j = json_loads(rows[i].text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
		if (j == NULL && json_error_code(&e) == json_error_null_byte_in_key)
			continue;       /* grammar that it cannot hold */
		enum prove_body_result r = rows[i].want;
		bool grammar = r != PROVE_BODY_BAD_JSON && r != PROVE_BODY_BAD_UNICODE && r != PROVE_BODY_TRUNCATED &&
			r != PROVE_BODY_TRAILING;
		if ((j != NULL) != grammar)
			fail_msg("row %zu (%s)", i, rows[i].text);
		json_decref(j);
	}
}

static void zero_bytes_are_not_json(void **state)
{
	(void)state;
	assert_int_equal(read_in_steps(bytes_of("{\0}", 3), 1).result, PROVE_BODY_BAD_JSON);
	assert_int_equal(read_in_steps(bytes_of("{\"a\0\":1}", 8), 3).result, PROVE_BODY_BAD_JSON);
	assert_int_equal(read_in_steps(bytes_of("{}\0", 3), 2).result, PROVE_BODY_TRAILING);
}

static void an_error_stays(void **state)
{
	(void)state;
	struct prove_body b;
	uint8_t out[64];
	size_t n;
	prove_body_init(&b);
	assert_int_equal(prove_body_feed(&b, BYTES_LIT("{\"data\":5"), out, &n), PROVE_BODY_DATA_TYPE);
	assert_int_equal(prove_body_feed(&b, BYTES_LIT("{\"data\":\"aGk=\"}"), out, &n), PROVE_BODY_DATA_TYPE);
	assert_int_equal(n, 0);
	assert_int_equal(prove_body_finish(&b), PROVE_BODY_DATA_TYPE);
}

static void shape_errors_are_the_three(void **state)
{
	(void)state;
	for (int r = PROVE_BODY_OK; r <= PROVE_BODY_BAD_BASE64; r++) {
		bool want = r == PROVE_BODY_NOT_OBJECT || r == PROVE_BODY_DATA_MISSING || r == PROVE_BODY_DATA_TYPE;
		assert_int_equal(prove_body_is_shape_error((enum prove_body_result)r), want);
		assert_string_not_equal(prove_body_result_name((enum prove_body_result)r), "unknown");
	}
}

/* A megabyte through pieces of odd sizes comes out as it went in. */
static void long_payloads_come_through(void **state)
{
	(void)state;
	size_t size = 1 << 20, text_size = base64_size(size) + 32;
	CLEANUP(free_ptr) uint8_t *payload = malloc(size);
	CLEANUP(free_ptr) uint8_t *text = malloc(text_size);
	CLEANUP(free_ptr) uint8_t *out = malloc(size + 64);
	assert_true(payload != NULL && text != NULL && out != NULL);
	for (size_t i = 0; i < size; i++)
		payload[i] = (uint8_t)(i * 2654435761u >> 13);
	struct writer w = writer_of(text, text_size);
	put_str(&w, "{\"data\":\"");
	put_base64(&w, bytes_of(payload, size));
	put_str(&w, "\"}");
	struct bytes whole = writer_bytes(&w);
	struct prove_body b;
	prove_body_init(&b);
	size_t n = 0;
	for (size_t at = 0, step = 1; at < whole.n; at += step, step = step % 8191 + 7) {
		size_t got, left = whole.n - at;
		assert_int_equal(prove_body_feed(&b, bytes_of(whole.p + at, left < step ? left : step), out + n, &got), OK);
		n += got;
	}
	assert_int_equal(prove_body_finish(&b), OK);
	assert_int_equal(n, size);
	assert_memory_equal(out, payload, size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_in_every_step),
		cmocka_unit_test(jansson_agrees_on_the_grammar),
		cmocka_unit_test(zero_bytes_are_not_json),
		cmocka_unit_test(an_error_stays),
		cmocka_unit_test(shape_errors_are_the_three),
		cmocka_unit_test(long_payloads_come_through),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
