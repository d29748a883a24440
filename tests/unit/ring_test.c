/* The ring never refuses and never miscounts: produced = taken + dropped + waiting, whatever is put, taken and rewound. */
#include "base/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint8_t memory[100], out[200];
static struct ring r;

static void put(const char *s) { assert_true(ring_put(&r, bytes_str(s))); }
static void take(const char *want)
{
	size_t n = ring_take(&r, out, sizeof out);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(out, want, n);
}

static void records_come_out_in_order(void **state)
{
	(void)state;
	ring_init(&r, memory, sizeof memory);
	assert_true(ring_empty(&r));
	assert_int_equal(ring_take(&r, out, sizeof out), 0);
	put("one");
	put("two");
	take("one");
	put("three");
	take("two");
	take("three");
	assert_true(ring_empty(&r));
	/* they are still there */
	ring_rewind(&r);
	take("one");
	put("four");
	take("two");
	take("three");
	take("four");
	assert_int_equal(ring_gap(&r), 0);
	assert_int_equal(r.dropped, 0);
}

static void the_oldest_go_and_are_counted(void **state)
{
	(void)state;
	static const char ten[] = "0123456789";          /* 12 bytes each: eight fit */
	ring_init(&r, memory, sizeof memory);
	for (int i = 0; i < 20; i++)
		put(ten);
	assert_int_equal(r.dropped, 12);
	assert_int_equal(r.first, 12);
	assert_int_equal(ring_gap(&r), 12);
	assert_int_equal(ring_gap(&r), 0);
	take(ten);
	/* those that were taken are not dropped when they go */
	for (int i = 0; i < 3; i++)
		put(ten);
	assert_int_equal(r.dropped, 14);
	assert_int_equal(ring_gap(&r), 2);
}

static void what_cannot_fit_is_refused(void **state)
{
	(void)state;
	static uint8_t large[70000];
	static uint8_t room[100000];
	ring_init(&r, memory, sizeof memory);
	put("here");
	assert_false(ring_put(&r, bytes_of(large, 99)));
	assert_false(ring_put(&r, BYTES_NONE));
	take("here");
	assert_true(ring_put(&r, bytes_of(large, 98)));
	assert_int_equal(ring_take(&r, out, 97), 0);             /* no room for it out there */
	assert_int_equal(ring_take(&r, out, 98), 98);
	ring_init(&r, room, sizeof room);
	assert_false(ring_put(&r, bytes_of(large, 65536)));
	assert_true(ring_put(&r, bytes_of(large, 65535)));
}

/* Against a model: numbers in the records, any order of operations. */
static void nothing_is_miscounted(void **state)
{
	(void)state;
	uint64_t produced = 0, taken_once = 0, told_gap = 0, highest = 0;
	char text[64];
	srand(7);
	ring_init(&r, memory, sizeof memory);
	for (int step = 0; step < 200000; step++) {
		int what = rand() % 16;
		if (what < 8) {
			int n = snprintf(text, sizeof text, "%llu:%.*s", (unsigned long long)produced, rand() % 30, "..............................");
			assert_true(ring_put(&r, bytes_of(text, (size_t)n)));
			produced++;
		} else if (what < 15) {
			told_gap += ring_gap(&r);
			uint64_t number = r.cursor;
			size_t n = ring_take(&r, out, sizeof out - 1);
			if (n == 0)
				continue;
			out[n] = '\0';
			assert_true(strtoull((const char *)out, NULL, 10) == number);
			if (number >= highest) {
				taken_once++;
				highest = number + 1;
			}
		} else {
			ring_rewind(&r);
		}
		uint64_t waiting = r.next - (r.first > highest ? r.first : highest);
		assert_true(produced == r.next && produced == taken_once + r.dropped + waiting);
		assert_true(told_gap <= r.dropped && r.used <= r.cap);
	}
	assert_true(r.dropped > 1000 && taken_once > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_out_in_order),
		cmocka_unit_test(the_oldest_go_and_are_counted),
		cmocka_unit_test(what_cannot_fit_is_refused),
		cmocka_unit_test(nothing_is_miscounted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
