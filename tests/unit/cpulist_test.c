#include "format/cpulist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void lists(void **state)
{
	(void)state;
	static const struct { const char *text, *again; size_t count; } good[] = {
		{ "", "", 0 }, { "\n", "", 0 }, { "(null)", "", 0 },
		{ "0", "0", 1 }, { "0-3", "0-3", 4 }, { " 1,2,3 \n", "1-3", 3 }, { "8,0-1,10-11,9", "0-1,8-11", 6 },
		{ "5-5", "5", 1 }, { "0-1023", "0-1023", 1024 }, { "1,1,1-2", "1-2", 2 }, { "63-64", "63-64", 2 },
	};
	char text[CPULIST_TEXT_MAX];
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct cpu_set s;
		assert_true(cpulist_parse(bytes_str(good[i].text), &s));
		assert_int_equal(cpu_set_count(&s), good[i].count);
		assert_string_equal(cpulist_text(&s, text), good[i].again);
	}
	static const char *const bad[] = { ",", "1,", ",1", "1,,2", "a", "1-", "-1", "3-1", "1024", "0-1024", "01", "1 2", "0x1", "1-2-3",
	                                   "99999999999999999999", "0-3:1/2", "1\n2" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct cpu_set s;
		memset(&s, 0xa5, sizeof s);
		struct cpu_set before = s;
		if (cpulist_parse(bytes_str(bad[i]), &s))
			fail_msg("\"%s\" was accepted", bad[i]);
		assert_true(cpu_set_equal(&s, &before));
	}
}

static void sets(void **state)
{
	(void)state;
	struct cpu_set a, b;
	assert_true(cpulist_parse(BYTES_LIT("2-5,700"), &a));
	assert_true(cpulist_parse(BYTES_LIT("4"), &b));
	assert_true(cpu_set_within(&b, &a) && !cpu_set_within(&a, &b));
	cpu_set_remove(&a, &b);
	assert_false(cpu_set_has(&a, 4));
	assert_int_equal(cpu_set_next(&a, 0), 2);
	assert_int_equal(cpu_set_next(&a, 6), 700);
	assert_int_equal(cpu_set_next(&a, 701), CPU_MAX);
	cpu_set_join(&a, &b);
	assert_int_equal(cpu_set_count(&a), 5);
	cpu_set_add(&a, CPU_MAX);
	assert_false(cpu_set_has(&a, CPU_MAX));
	assert_int_equal(cpu_set_count(&a), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lists), cmocka_unit_test(sets) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
