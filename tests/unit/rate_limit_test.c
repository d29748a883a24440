#include "host/rate_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct rate_limit limit;

static int64_t take(const char *text, int64_t now_ms)
{
	struct client_address a = { 0 };
	if (strcmp(text, "unix") != 0)
		assert_true(address_parse(bytes_str(text), &a));
	return rate_limit_take(&limit, &a, now_ms);
}

static void a_burst_and_then_the_rate(void **state)
{
	(void)state;
	rate_limit_init(&limit, 6, 3);                   /* one in ten seconds */
	for (int i = 0; i < 3; i++)
		assert_int_equal(take("192.0.2.1", 5000), 0);
	assert_int_equal(take("192.0.2.1", 5000), 10000);
	assert_int_equal(take("192.0.2.1", 14999), 1);   /* being refused costs nothing */
	assert_int_equal(take("192.0.2.1", 15000), 0);
	assert_int_equal(take("192.0.2.1", 15000), 10000);
	for (int i = 0; i < 3; i++)                      /* no more than a burst is ever saved up */
		assert_int_equal(take("192.0.2.1", 10000000), 0);
	assert_int_equal(take("192.0.2.1", 10000000), 10000);
}

static void the_long_run(void **state)
{
	(void)state;
	int taken = 0;
	rate_limit_init(&limit, 90, 5);
	for (int64_t now = 0; now < 600 * 1000; now += 37)
		taken += take("192.0.2.1", now) == 0;
	assert_in_range(taken, 900, 905);
}

static void who_is_one_client(void **state)
{
	(void)state;
	rate_limit_init(&limit, 1, 1);
	assert_int_equal(take("2001:db8:0:1::1", 1), 0);
	assert_int_equal(take("2001:db8:0:1:ffff::2", 1), 60000);
	assert_int_equal(take("2001:db8:0:2::1", 1), 0);
	assert_int_equal(take("192.0.2.1", 1), 0);
	assert_int_equal(take("::ffff:192.0.2.1", 1), 60000);
	assert_int_equal(take("192.0.2.2", 1), 0);
	assert_int_equal(take("127.0.0.1", 1), 0);
	assert_int_equal(take("127.0.0.1", 1), 60000);
	assert_int_equal(take("unix", 1), 0);
	assert_int_equal(take("unix", 1), 60000);
}

static void a_crowd_larger_than_the_table(void **state)
{
	(void)state;
	rate_limit_init(&limit, 1, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(take("203.0.113.1", 1), 0);     /* both: full last of all */
	for (int i = 0; i < 3 * RATE_CLIENTS_MAX; i++) {
		char text[32];
		snprintf(text, sizeof text, "10.0.%d.%d", i / 250, i % 250);
		assert_int_equal(take(text, 1), 0);
	}
	assert_int_equal(take("203.0.113.1", 1), 60000);
	assert_int_equal(take("203.0.113.1", 60001), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_and_then_the_rate), cmocka_unit_test(the_long_run), cmocka_unit_test(who_is_one_client),
		cmocka_unit_test(a_crowd_larger_than_the_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
