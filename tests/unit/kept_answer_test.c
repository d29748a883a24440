#include "format/kept_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint8_t ids[3 * KEPT_ID_SIZE];
static const struct kept_answer whole = { .until_ms = 1764300000000, .prove_ms = 1240, .decrypt_ms = 10, .sha256 = { 1, 2, 3 },
	.version = { (const uint8_t *)"5.0.0", 5 }, .ids = { ids, sizeof ids },
	.text = { (const uint8_t *)"{\"state\":\"done\",\"result\":{}}", 28 }, .result_at = 25, .result_n = 2 };

static size_t put(const struct kept_answer *a, uint8_t buf[1024])
{
	struct writer w = writer_of(buf, 1024);
	kept_answer_put(&w, a);
	assert_int_equal(w.at, kept_answer_size(a));
	return w.at;
}

static void what_is_put_is_read(void **state)
{
	(void)state;
	uint8_t buf[1024];
	struct kept_answer a;
	for (size_t i = 0; i < sizeof ids; i++)
		ids[i] = (uint8_t)i;
	assert_true(kept_answer_parse(bytes_of(buf, put(&whole, buf)), &a));
	assert_int_equal(a.until_ms, whole.until_ms);
	assert_int_equal(a.prove_ms, 1240);
	assert_int_equal(a.decrypt_ms, 10);
	assert_memory_equal(a.sha256, whole.sha256, sizeof a.sha256);
	assert_true(bytes_equal(a.version, whole.version) && bytes_equal(a.ids, whole.ids) && bytes_equal(a.text, whole.text));
	assert_int_equal(a.result_at, 25);
	assert_int_equal(a.result_n, 2);
	assert_int_equal(kept_answer_ids(&a), 3);
	struct kept_id id = kept_answer_id(&a, 2);
	assert_int_equal(id.tag[0], 72);
	assert_int_equal(id.random[0], 76);
	assert_int_equal(id.client[0], 92);
}

static void nothing_else_is_read(void **state)
{
	(void)state;
	uint8_t buf[1024], other[1025];
	struct kept_answer a;
	size_t n = put(&whole, buf);
	for (size_t i = 0; i < n; i++) {
		assert_false(kept_answer_parse(bytes_of(buf, i), &a));
		memcpy(other, buf, n);
		other[i] ^= 0x10;
		assert_false(kept_answer_parse(bytes_of(other, n), &a));
	}
	memcpy(other, buf, n);
	other[n] = 0;
	assert_false(kept_answer_parse(bytes_of(other, n + 1), &a));
}

/* With a right checksum, each on its own. */
static void what_makes_no_sense_is_refused(void **state)
{
	(void)state;
	uint8_t buf[1024];
	struct kept_answer a;
	struct kept_answer bad[] = { whole, whole, whole, whole };
	bad[0].ids.n = 0;
	bad[1].version = BYTES_LIT("../evil");
	bad[2].result_at = 27;
	bad[3].result_n = UINT32_MAX;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(kept_answer_parse(bytes_of(buf, put(&bad[i], buf)), &a));
	struct kept_answer plain = whole;
	plain.version = BYTES_NONE;
	assert_true(kept_answer_parse(bytes_of(buf, put(&plain, buf)), &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_is_read),
		cmocka_unit_test(nothing_else_is_read),
		cmocka_unit_test(what_makes_no_sense_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
