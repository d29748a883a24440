#include "format/cose_sign1.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

#define SIGNATURE_HEX \
	"000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f" \
	"000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f"
#define GOOD "8444a1013822a0426869" "5860" SIGNATURE_HEX

/* Parses an exact heap copy, so that the sanitizer sees a read past the end. */
static enum cose_result parse_bytes(struct bytes in, struct cose_sign1 *ret)
{
	static uint8_t *copy;                    /* *ret borrows it until the next call */
	free(copy);
	copy = malloc(in.n == 0 ? 1 : in.n);
	assert_non_null(copy);
	if (in.n > 0)
		memcpy(copy, in.p, in.n);
	return cose_sign1_parse(bytes_of(copy, in.n), ret);
}

static enum cose_result parse(const char *hex, struct cose_sign1 *ret)
{
	uint8_t buf[512];
	assert_true(strlen(hex) / 2 <= sizeof buf && hex_decode(bytes_str(hex), buf, strlen(hex) / 2));
	return parse_bytes(bytes_of(buf, strlen(hex) / 2), ret);
}

static void reads_the_one_shape(void **state)
{
	(void)state;
	struct cose_sign1 c;
	assert_int_equal(parse(GOOD, &c), COSE_OK);
	assert_true(bytes_equal(c.protected_header, BYTES_LIT("\xa1\x01\x38\x22")));
	assert_true(bytes_equal(c.protected_header, cose_sign1_es384_header()));
	assert_true(bytes_equal(c.payload, BYTES_LIT("hi")));
	assert_int_equal(c.signature.n, 96);
	assert_int_equal(c.signature.p[95], 15);
}

static void refuses_each_for_its_reason(void **state)
{
	(void)state;
	static const struct { const char *hex; enum cose_result why; } rows[] = {
		{ "", COSE_TRUNCATED },
		{ "84", COSE_TRUNCATED },
		{ "8444a101", COSE_TRUNCATED },
		{ "9f44a1013822a0426869" "5860" SIGNATURE_HEX "ff", COSE_INDEFINITE_LENGTH },
		{ "980444a1013822a0426869" "5860" SIGNATURE_HEX, COSE_NOT_SHORTEST },
		{ "d2" GOOD, COSE_TAGGED },
		{ "9c", COSE_MALFORMED },
		{ "f5", COSE_NOT_ARRAY },
		{ "a0", COSE_NOT_ARRAY },
		{ "83a0a0a0", COSE_BAD_LENGTH },
		{ "80", COSE_BAD_LENGTH },
		{ GOOD "00", COSE_TRAILING_BYTES },
		{ "84a1013822a0426869" "5860" SIGNATURE_HEX, COSE_BAD_PROTECTED },
		{ "8443a10138a0426869" "5860" SIGNATURE_HEX, COSE_BAD_PROTECTED },
		{ "8440a0426869" "5860" SIGNATURE_HEX, COSE_NO_ALGORITHM },
		{ "8443a10126a0426869" "5860" SIGNATURE_HEX, COSE_BAD_ALGORITHM },
		{ "8446a20138220280a0426869" "5860" SIGNATURE_HEX, COSE_CRITICAL_HEADER },
		{ "8446a20138220400a0426869" "5860" SIGNATURE_HEX, COSE_UNKNOWN_HEADER },
		{ "8444a1013822a10400426869" "5860" SIGNATURE_HEX, COSE_UNPROTECTED_HEADER },
		{ "8444a1013822a0f6" "5860" SIGNATURE_HEX, COSE_BAD_PAYLOAD },
		{ "8444a1013822a040" "5860" SIGNATURE_HEX, COSE_BAD_PAYLOAD },
		{ "8444a1013822a042686940", COSE_BAD_SIGNATURE_SIZE },
		{ "8444a1013822a0426869f6", COSE_BAD_SIGNATURE_SIZE },
	};
	bool seen[COSE_RESULT_COUNT] = { true };
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct cose_sign1 c = { .payload = BYTES_LIT("untouched") };
		enum cose_result e = parse(rows[i].hex, &c);
		if (e != rows[i].why)
			fail_msg("%s: %d, wanted %d", rows[i].hex, e, rows[i].why);
		assert_int_equal(c.payload.n, 9);
		seen[e] = true;
	}
	for (size_t i = 0; i < COSE_RESULT_COUNT; i++)
		assert_true(seen[i]);
}

static void every_cut_is_truncated(void **state)
{
	(void)state;
	uint8_t good[256];
	size_t n = strlen(GOOD) / 2;
	struct cose_sign1 c;
	assert_true(hex_decode(BYTES_LIT(GOOD), good, n));
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(parse_bytes(bytes_of(good, cut), &c), COSE_TRUNCATED);
}

/* Nothing that parses may say anything else than what was read: written again, it is the same bytes. */
static void what_parses_is_written_back_the_same(void **state)
{
	(void)state;
	uint8_t good[256], again[256 + COSE_SIGN1_OVERHEAD];
	size_t n = strlen(GOOD) / 2, taken = 0;
	assert_true(hex_decode(BYTES_LIT(GOOD), good, n));
	for (size_t at = 0; at < n; at++)
		for (unsigned v = 0; v < 256; v++) {
			uint8_t was = good[at];
			struct cose_sign1 c;
			good[at] = (uint8_t)v;
			if (v != was && cose_sign1_parse(bytes_of(good, n), &c) == COSE_OK) {
				struct writer w = writer_of(again, sizeof again);
				cose_sign1_put(&w, c.payload, c.signature.p);
				assert_true(bytes_equal(writer_bytes(&w), bytes_of(good, n)));
				taken++;
			}
			good[at] = was;
		}
	assert_int_equal(taken, 255 * (2 + 96));         /* another payload, another signature, nothing else */
}

static void writes_what_is_signed(void **state)
{
	(void)state;
	uint8_t buf[128];
	char hex[257];
	struct writer w = writer_of(buf, sizeof buf);
	cose_sign1_tbs_put(&w, cose_sign1_es384_header(), BYTES_LIT("hi"));
	assert_string_equal(hex_encode(writer_bytes(&w), hex), "846a5369676e61747572653144a101382240426869");
	assert_true(w.at - 2 <= COSE_SIGN1_TBS_OVERHEAD);

	static uint8_t payload[70000], big[70000 + COSE_SIGN1_OVERHEAD];
	w = writer_of(big, sizeof payload + COSE_SIGN1_TBS_OVERHEAD);
	cose_sign1_tbs_put(&w, cose_sign1_es384_header(), BYTES_ARRAY(payload));
	assert_false(w.full);
	w = writer_of(big, sizeof big);
	cose_sign1_put(&w, BYTES_ARRAY(payload), payload);
	assert_false(w.full);
	w = writer_of(big, 100);
	cose_sign1_put(&w, BYTES_LIT("hi"), payload);
	assert_true(w.full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_one_shape),
		cmocka_unit_test(refuses_each_for_its_reason),
		cmocka_unit_test(every_cut_is_truncated),
		cmocka_unit_test(what_parses_is_written_back_the_same),
		cmocka_unit_test(writes_what_is_signed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
