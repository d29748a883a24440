#include "format/launch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const struct launch_message samples[] = {
	{ .kind = LAUNCH_OPEN, .slot = 0, .payload_bytes = 0x0102030405060708 },
	{ .kind = LAUNCH_START, .slot = 15, .memory_bytes = UINT64_MAX, .deadline_ms = 0xfffefdfc },
	{ .kind = LAUNCH_CANCEL, .slot = 3 },
	{ .kind = LAUNCH_CLOSE, .slot = 4 },
	{ .kind = LAUNCH_OPENED, .slot = 5 },
	{ .kind = LAUNCH_CLOSED, .slot = 6 },
	{ .kind = LAUNCH_READY, .text = { (const uint8_t *)"guards", 6 } },
	{ .kind = LAUNCH_FAILED, .slot = 7, .how = OUTCOME_BUSY, .text = BYTES_LIT("jobs = 1 run already") },
	{ .kind = LAUNCH_FAILED, .slot = 7, .how = OUTCOME_INTERNAL },
	{ .kind = LAUNCH_ENDED, .slot = 8, .how = OUTCOME_OUT_OF_MEMORY, .signal = 9, .exit_code = 1, .limit_bytes = 1 << 30,
	  .peak_bytes = (uint64_t)3 << 40, .wall_ms = 15012, .cpu_ms = 29000, .text = BYTES_LIT("killed") },
	{ .kind = LAUNCH_ENDED, .slot = 9, .how = OUTCOME_OK },
};

static struct bytes put(const struct launch_message *m, uint8_t buf[LAUNCH_MESSAGE_MAX])
{
	struct writer w = writer_of(buf, LAUNCH_MESSAGE_MAX);
	launch_put(&w, m);
	assert_false(w.full);
	return writer_bytes(&w);
}

static void every_kind_comes_back_as_it_was(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		uint8_t buf[LAUNCH_MESSAGE_MAX];
		const struct launch_message *a = &samples[i];
		struct launch_message b;
		assert_true(launch_parse(put(a, buf), &b));
		assert_int_equal(a->kind, b.kind);
		assert_int_equal(a->slot, b.slot);
		assert_true(a->payload_bytes == b.payload_bytes && a->memory_bytes == b.memory_bytes);
		assert_int_equal(a->deadline_ms, b.deadline_ms);
		assert_int_equal(a->how, b.how);
		assert_true(a->signal == b.signal && a->exit_code == b.exit_code);
		assert_true(a->limit_bytes == b.limit_bytes && a->peak_bytes == b.peak_bytes);
		assert_true(a->wall_ms == b.wall_ms && a->cpu_ms == b.cpu_ms);
		assert_true(bytes_equal(a->text, b.text));
	}
}

static void the_bytes_are_fixed(void **state)
{
	(void)state;
	uint8_t buf[LAUNCH_MESSAGE_MAX];
	const uint8_t open[] = { 1, 0, 1, 2, 3, 4, 5, 6, 7, 8 };
	const uint8_t failed[] = { 6, 7, 12, 'n', 'o' };
	assert_true(bytes_equal(put(&samples[0], buf), BYTES_ARRAY(open)));
	struct launch_message m = { .kind = LAUNCH_FAILED, .slot = 7, .how = OUTCOME_BUSY, .text = BYTES_LIT("no") };
	assert_true(bytes_equal(put(&m, buf), BYTES_ARRAY(failed)));
}

static void no_prefix_is_a_message(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		uint8_t buf[LAUNCH_MESSAGE_MAX];
		struct launch_message m, untouched = { .kind = LAUNCH_CLOSED, .slot = 1 };
		struct bytes whole = put(&samples[i], buf);
		size_t fixed = whole.n - samples[i].text.n;      /* text is whatever is left */
		for (size_t n = 0; n < fixed; n++) {
			m = untouched;
			assert_false(launch_parse(bytes_of(buf, n), &m));
			assert_memory_equal(&m, &untouched, sizeof m);
		}
	}
}

static void what_is_left_over_is_text_or_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		uint8_t buf[LAUNCH_MESSAGE_MAX];
		struct launch_message m;
		struct bytes whole = put(&samples[i], buf);
		bool has_text = samples[i].kind == LAUNCH_FAILED || samples[i].kind == LAUNCH_ENDED || samples[i].kind == LAUNCH_READY;
		buf[whole.n] = 'x';
		assert_int_equal(launch_parse(bytes_of(buf, whole.n + 1), &m), has_text);
	}
}

static void bounds_are_kept(void **state)
{
	(void)state;
	uint8_t buf[LAUNCH_MESSAGE_MAX];
	struct launch_message m;
	static const uint8_t bad[][3] = {
		{ 0, 0, 0 }, { LAUNCH_READY + 1, 0, 0 }, { 255, 0, 0 },      /* kinds */
		{ LAUNCH_FAILED, 0, OUTCOME_OK },                            /* a failure that is none */
		{ LAUNCH_FAILED, 0, OUTCOME_COUNT }, { LAUNCH_FAILED, 0, 255 },
		{ LAUNCH_FAILED, LAUNCH_SLOTS_MAX, OUTCOME_BUSY }, { LAUNCH_FAILED, 255, OUTCOME_BUSY },
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(launch_parse(BYTES_ARRAY(bad[i]), &m));

	/* text: as long as allowed, and one longer */
	memset(buf, 'x', sizeof buf);
	buf[0] = LAUNCH_FAILED, buf[1] = 0, buf[2] = OUTCOME_BUSY;
	assert_true(launch_parse(bytes_of(buf, 3 + LAUNCH_TEXT_MAX), &m));
	assert_int_equal(m.text.n, LAUNCH_TEXT_MAX);
	assert_false(launch_parse(bytes_of(buf, 4 + LAUNCH_TEXT_MAX), &m));

	/* a longer one is cut when written, so the longest message fits its buffer */
	static const uint8_t lot[LAUNCH_MESSAGE_MAX] = { 0 };
	m = (struct launch_message){ .kind = LAUNCH_ENDED, .how = OUTCOME_OK };
	m.text = BYTES_ARRAY(lot);
	struct bytes packet = put(&m, buf);
	assert_true(launch_parse(packet, &m));
	assert_int_equal(m.text.n, LAUNCH_TEXT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_comes_back_as_it_was),
		cmocka_unit_test(the_bytes_are_fixed),
		cmocka_unit_test(no_prefix_is_a_message),
		cmocka_unit_test(what_is_left_over_is_text_or_wrong),
		cmocka_unit_test(bounds_are_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
