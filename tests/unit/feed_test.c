/* The feed keeps the last FEED_SIZE bytes, whatever the pieces. */
#include "host/feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint8_t pattern(uint64_t at) { return (uint8_t)(at * 7 + at / 251); }

static void put(struct feed *f, size_t n)
{
	uint8_t *p = malloc(n + 1);
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(f->end + i);
	feed_put(f, bytes_of(p, n));
	free(p);
}

static uint64_t read_all(const struct feed *f, uint64_t at)
{
	uint64_t n = 0;
	for (struct bytes b; (b = feed_get(f, &at)).n > 0; at += b.n, n += b.n)
		for (size_t i = 0; i < b.n; i++)
			assert_int_equal(b.p[i], pattern(at + i));
	return n;
}

static void keeps_the_newest(void **state)
{
	struct feed *f = calloc(1, sizeof *f);
	static const size_t pieces[] = { 0, 1, 100, FEED_SIZE - 101, 1, FEED_SIZE, 3, FEED_SIZE + 5, 2 * FEED_SIZE + 1, 70000, 70000 };
	uint64_t total = 0;
	(void)state;
	for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
		put(f, pieces[i]);
		total += pieces[i];
		assert_int_equal(f->end, total);
		assert_int_equal(read_all(f, 0), total < FEED_SIZE ? total : FEED_SIZE);
		assert_int_equal(read_all(f, total), 0);
	}
	free(f);
}

/* Lines that were pushed out in the middle are not begun with. */
static void lines_are_whole(void **state)
{
	struct feed *f = calloc(1, sizeof *f);
	char line[64];
	uint64_t at = 0;
	(void)state;
	f->lines = true;
	for (int i = 0; f->end < FEED_SIZE + 1000; i++) {
		int n = snprintf(line, sizeof line, "{\"line\":%d}\n", i);
		feed_put(f, bytes_of(line, (size_t)n));
		struct bytes b = feed_get(f, (at = 0, &at));
		assert_int_equal(b.p[0], '{');
		/* one that fell behind in the middle of a line gets the end of one first */
		at = 3;
		b = feed_get(f, &at);
		assert_int_equal(b.p[0], feed_begin(f) <= 3 ? 'i' : '\n');
	}
	/* a line longer than all there is room for */
	char *longest = malloc(FEED_SIZE + 10);
	memset(longest, 'x', FEED_SIZE + 10);
	feed_put(f, bytes_of(longest, FEED_SIZE + 10));
	at = 0;
	assert_int_equal(feed_get(f, &at).n, 0);
	assert_int_equal(at, f->end);
	feed_put(f, BYTES_LIT("y\n{}\n"));
	at = 0;
	assert_true(bytes_equal(feed_get(f, &at), BYTES_LIT("{}\n")));
	free(longest);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(keeps_the_newest), cmocka_unit_test(lines_are_whole) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
