/* Every error that the driver knows has a meaning of its own; the calls themselves are tested against the driver's
 * model in tests/e2e/test_nitro_driver.py. */
#include "linux/ne_dev.h"

#include <errno.h>
#include <linux/nitro_enclaves.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void every_error_of_the_driver_is_named(void **state)
{
	(void)state;
	const char *seen[NE_ERROR_MAX - NE_ERROR_MIN + 1];
	for (int e = NE_ERROR_MIN; e <= NE_ERROR_MAX; e++) {
		struct ne_meaning m = ne_error_meaning(NE_OP_START, e);
		assert_non_null(m.name);
		assert_int_equal(strncmp(m.name, "NE_ERR_", 7), 0);
		for (int before = NE_ERROR_MIN; before < e; before++)
			assert_string_not_equal(m.name, seen[before - NE_ERROR_MIN]);
		seen[e - NE_ERROR_MIN] = m.name;
	}
	assert_string_equal(ne_error_meaning(NE_OP_MEMORY, NE_ERR_MEM_MAX_REGIONS).name, "NE_ERR_MEM_MAX_REGIONS");
	assert_string_equal(ne_error_meaning(NE_OP_START, NE_ERR_INVALID_ENCLAVE_CID).name, "NE_ERR_INVALID_ENCLAVE_CID");
}

static void every_meaning_says_why_and_what_to_do(void **state)
{
	(void)state;
	for (enum ne_op op = 0; op < NE_OP_COUNT; op++)
		for (int e = 1; e < 400; e++) {
			struct ne_meaning m = ne_error_meaning(op, e);
			assert_true(strlen(m.why) > 10 && strlen(m.fix) > 5);
			assert_true(m.why[strlen(m.why) - 1] != '.' && m.fix[strlen(m.fix) - 1] != '.');
		}
}

static void the_same_error_means_what_its_call_makes_of_it(void **state)
{
	(void)state;
	static const struct { enum ne_op op; int errnum; const char *why; } cases[] = {
		{ NE_OP_CREATE, NE_ERR_NO_CPUS_AVAIL_IN_POOL, "empty" },
		{ NE_OP_VCPU, NE_ERR_NO_CPUS_AVAIL_IN_POOL, "no core is left" },
		{ NE_OP_MEMORY, EIO, "another address space" },
		{ NE_OP_VCPU, EIO, "another address space" },
		{ NE_OP_START, EIO, "hypervisor refused" },
		{ NE_OP_CREATE, EIO, "hypervisor refused" },
		{ NE_OP_MEMORY, EINVAL, "physical memory" },
		{ NE_OP_START, EINVAL, "hypervisor refused" },
		{ NE_OP_MEMORY, EFAULT, "not mapped" },
		{ NE_OP_START, EFAULT, "not readable" },
		{ NE_OP_OPEN, ENOENT, "not loaded" },
		{ NE_OP_OPEN, EIO, "not one of the driver's" },
		{ NE_OP_CREATE, ETIMEDOUT, "120 seconds" },
		{ NE_OP_START, 399, "not one of the driver's" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_non_null(strstr(ne_error_meaning(cases[i].op, cases[i].errnum).why, cases[i].why));
}

static void what_is_not_there_or_not_the_device(void **state)
{
	(void)state;
	struct err err;
	int fd = -7;
	assert_int_equal(ne_open("/nowhere/nitro_enclaves", &fd, &err), -ENOENT);
	assert_int_equal(fd, -7);
	assert_string_equal(err.text, "open /nowhere/nitro_enclaves: there is no such device: the driver nitro_enclaves is not "
	                    "loaded, or the instance was launched without enclaves (ENOENT); modprobe nitro_enclaves; see that "
	                    "the instance has the enclave option (EnclaveOptions.Enabled); tee-rex doctor says which");
	assert_int_equal(ne_open("/dev/null", &fd, &err), 0);
	uint64_t slot = 7;
	int vm = -7;
	assert_int_equal(ne_create_vm(fd, &vm, &slot, &err), -ENOTTY);
	assert_true(vm == -7 && slot == 7);
	assert_non_null(strstr(err.text, "create an enclave: the file is not the driver's device"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_of_the_driver_is_named), cmocka_unit_test(every_meaning_says_why_and_what_to_do),
		cmocka_unit_test(the_same_error_means_what_its_call_makes_of_it),
		cmocka_unit_test(what_is_not_there_or_not_the_device),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
