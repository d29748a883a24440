/* Which waiting job starts: order, number, memory, and how often one may be overtaken. */
#include "enclave/prover/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N = 6 };

static struct admission_job job[N], *all[N];
static struct admission_limits limits;

static int set_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++) {
		job[i] = (struct admission_job){ ADMISSION_NONE, 0, 0, 0 };
		all[i] = &job[i];
	}
	limits = (struct admission_limits){ .jobs = 16, .budget_mib = 1000, .overtakes_max = 2 };
	return 0;
}

static void waits(size_t i, uint64_t order, uint64_t mib) { job[i] = (struct admission_job){ ADMISSION_WAITS, order, mib, 0 }; }
static void runs(size_t i, uint64_t mib) { job[i] = (struct admission_job){ ADMISSION_RUNS, 1, mib, 0 }; }

/* The index of the job that starts, and starts it; -1. */
static int next(void)
{
	struct admission_job *j = admission_next(&limits, all, N);
	if (j == NULL)
		return -1;
	assert_int_equal(j->state, ADMISSION_WAITS);
	j->state = ADMISSION_RUNS;
	return (int)(j - job);
}

static void first_come_first_served(void **state)
{
	(void)state;
	assert_int_equal(next(), -1);
	waits(0, 7, 100), waits(1, 5, 100), waits(2, 6, 100);
	assert_int_equal(next(), 1);
	assert_int_equal(next(), 2);
	assert_int_equal(next(), 0);
	assert_int_equal(next(), -1);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(job[i].overtaken, 0);
}

static void no_more_than_so_many(void **state)
{
	(void)state;
	limits.jobs = 2;
	limits.budget_mib = 0;                   /* then memory does not count */
	runs(0, UINT64_MAX), waits(1, 1, UINT64_MAX), waits(2, 2, 1);
	assert_int_equal(next(), 1);
	assert_int_equal(next(), -1);
	job[0].state = ADMISSION_NONE;
	assert_int_equal(next(), 2);
}

static void jobs_are_packed(void **state)
{
	(void)state;
	runs(0, 400);
	waits(1, 1, 700), waits(2, 2, 400), waits(3, 3, 300), waits(4, 4, 200);
	assert_int_equal(next(), 2);             /* 800 of 1000 */
	assert_int_equal(next(), 4);             /* 1000; the 300 between did not fit */
	assert_int_equal(next(), -1);
	assert_int_equal(job[1].overtaken, 2);
	assert_int_equal(job[3].overtaken, 1);
}

static void nobody_is_overtaken_for_ever(void **state)
{
	(void)state;
	runs(0, 400), waits(1, 1, 700);
	for (uint64_t order = 2; order < 4; order++) {
		waits(2, order, 100);
		assert_int_equal(next(), 2);
		job[2].state = ADMISSION_NONE;
	}
	waits(2, 9, 100);
	assert_int_equal(next(), -1);            /* it would fit, and waits for the one before it */
	job[0].state = ADMISSION_NONE;
	assert_int_equal(next(), 1);
	assert_int_equal(next(), 2);
	limits.overtakes_max = 0;                /* strictly in order */
	runs(0, 400), waits(1, 10, 700), waits(2, 11, 100);
	assert_int_equal(next(), -1);
}

static void budgets_do_not_wrap(void **state)
{
	(void)state;
	runs(0, 2000);                           /* more than there is */
	waits(1, 1, 1);
	assert_int_equal(next(), -1);
	job[0].state = ADMISSION_NONE;
	waits(1, 1, UINT64_MAX);
	assert_int_equal(next(), -1);
	waits(1, 1, 1000);
	assert_int_equal(next(), 1);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_come_first_served), TEST(no_more_than_so_many), TEST(jobs_are_packed), TEST(nobody_is_overtaken_for_ever),
		TEST(budgets_do_not_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
