/* The body parser against itself (one piece, single bytes) and against jansson with a whole-text
 * base64 decoder: both must accept the same bodies and yield the same payload. */
#include "format/prove_body.h"

#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t depth_of(json_t *j)
{
	size_t deepest = 0, at;
	const char *key;
	json_t *child;
	json_object_foreach(j, key, child) {
		size_t d = depth_of(child);
		deepest = d > deepest ? d : deepest;
	}
	json_array_foreach(j, at, child) {
		size_t d = depth_of(child);
		deepest = d > deepest ? d : deepest;
	}
	return deepest + (json_is_object(j) || json_is_array(j));
}

/* What another implementation says. False: it has no opinion (a repeated name, or a number or name
 * that it cannot hold, which is no matter of grammar). It also takes a zero byte after a number for
 * the end of the text, so a zero byte is judged here: no JSON text has one. */
static bool other_opinion(const uint8_t *text, size_t n, bool *ret_ok, uint8_t *payload, size_t cap, size_t *ret_n)
{
	json_error_t e;
	*ret_ok = false;
	if (n > 0 && memchr(text, 0, n) != NULL)
		return true;
	json_t *j = json_loadb((const char *)text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);
	if (j == NULL) {
		enum json_error_code code = json_error_code(&e);
		return code != json_error_numeric_overflow && code != json_error_duplicate_key &&
			code != json_error_null_byte_in_key;
	}
	json_t *d = json_object_get(j, "data");
	if (json_is_string(d) && depth_of(j) <= PROVE_BODY_DEPTH_MAX)
		*ret_ok = base64_decode(bytes_of(json_string_value(d), json_string_length(d)), payload, cap, ret_n);
	json_decref(j);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct prove_body whole, single;
	uint8_t *out = malloc(size / 4 * 3 + 3), *by_one = malloc(size / 4 * 3 + 6), *other = malloc(size + 3);
	if (out == NULL || by_one == NULL || other == NULL)
		abort();
	size_t n, m = 0, other_n = 0;
	prove_body_init(&whole);
	prove_body_feed(&whole, bytes_of(data, size), out, &n);
	prove_body_init(&single);
	for (size_t i = 0; i < size; i++) {
		size_t got;
		prove_body_feed(&single, bytes_of(data + i, 1), by_one + m, &got);
		m += got;
	}
	enum prove_body_result r = prove_body_finish(&whole);
	if (prove_body_finish(&single) != r || m != n || memcmp(out, by_one, n) != 0)
		abort();
	bool ok;
	if (other_opinion(data, size, &ok, other, size + 3, &other_n)) {
		if (ok != (r == PROVE_BODY_OK))
			abort();
		if (ok && (other_n != n || memcmp(out, other, n) != 0))
			abort();
	}
	free(out);
	free(by_one);
	free(other);
	return 0;
}
