#include "host/enclave_budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define M(n) ((uint64_t)(n) << 20)

/* Every peak that was measured is below what is budgeted for it. */
static void peaks(void **state)
{
	(void)state;
	static const struct { uint64_t gates, measured_mib; } rows[] = {
		{ 0, 236 }, { 20000, 236 }, { 108000, 250 }, { 150000, 299 }, { 200000, 344 }, { 500000, 790 }, { 1 << 20, 1604 },
	};
	uint64_t last = 0;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t peak = enclave_job_peak(rows[i].gates);
		assert_true(peak > M(rows[i].measured_mib) && peak >= last && peak >= M(320));
		last = peak;
	}
	assert_int_equal(enclave_job_peak(1 << 20), M(60) + M(1792));
}

static void sums(void **state)
{
	(void)state;
	struct enclave_need need = { .kernel = M(20), .ramdisks = M(30), .unpacked = M(60), .system = M(40), .booting = M(150), .loading = M(88),
	                             .total = M(150), .exact = true };
	struct enclave_budget b;
	enclave_budget_make(&need, 0, 1, 64, 0, &b);
	assert_false(b.boots_larger);
	assert_int_equal(b.working, M(20 + 60 + 40 + 40 + 64 + 320));
	assert_int_equal(b.total_mib, 544);
	enclave_budget_make(&need, 0, 2, 64, 100, &b);
	assert_int_equal(b.total_mib, 544 + 64 + 320 + 100);
	/* page records of a large enclave */
	enclave_budget_make(&need, 1 << 22, 1, 64, 0, &b);
	assert_true(b.working > M(7168 + 60 + 20 + 60 + 40 + 64 + 115));
	/* an image that is larger than its work */
	need.total = M(4001);
	enclave_budget_make(&need, 0, 1, 1, 0, &b);
	assert_true(b.boots_larger);
	assert_int_equal(b.total_mib, 4002);             /* whole huge pages */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(peaks), cmocka_unit_test(sums) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
