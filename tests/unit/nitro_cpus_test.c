#include "host/nitro_cpus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void how_many_and_why_not(void **state)
{
	(void)state;
	static const struct { const char *pool; unsigned threads, wanted; int ret; unsigned cpus; const char *says; } cases[] = {
		{ "1,5", 2, 2, 0, 2, NULL },
		{ "1,5", 2, 0, 0, 2, NULL },             /* not said: one core */
		{ "1-3,5-7", 2, 4, 0, 4, NULL },
		{ "1-3", 1, 0, 0, 1, NULL },             /* arm64: one thread a core */
		{ "1-3", 1, 3, 0, 3, NULL },
		{ "1,5", 2, 1, -EINVAL, 0, "1 CPUs are no whole cores: a core here has 2 threads, and an enclave gets all of them; "
		  "ask for 2" },
		{ "1-3,5-7", 2, 3, -EINVAL, 0, "ask for 4 or fewer" },
		{ "1,5", 2, 4, -ENOSPC, 0, "4 CPUs are asked for, and 2 are set aside for enclaves (1,5)" },
		{ "", 2, 2, -ENOSPC, 0, "no CPU is set aside for enclaves; reserve some: tee-rex reserve --cpus 2" },
		{ "", 2, 0, -ENOSPC, 0, "--cpus 2" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cpu_set pool;
		struct err err = { "" };
		unsigned cpus = 0;
		assert_true(cpulist_parse(bytes_str(cases[i].pool), &pool));
		assert_int_equal(nitro_cpus_plan(&pool, cases[i].threads, cases[i].wanted, &cpus, &err), cases[i].ret);
		assert_int_equal(cpus, cases[i].cpus);
		if (cases[i].says != NULL)
			assert_non_null(strstr(err.text, cases[i].says));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(how_many_and_why_not) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
