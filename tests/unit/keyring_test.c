/* The service's keys: rotation, keeping, and what a job's hold on a key means. */
#include "enclave/prover/keyring.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdint.h>
#include <cmocka.h>

static void rotation_keeps_the_predecessor_for_a_while(void **state)
{
	(void)state;
	struct keyring r;
	struct keyring_entry *accepted[KEYRING_MAX];
	struct err err;
	assert_int_equal(keyring_init(&r, &err), 0);
	struct keyring_entry *first = r.current;
	assert_int_equal(keyring_accepted(&r, accepted), 1);
	assert_int_equal(keyring_rotate(&r, 60000, &err), 0);
	assert_int_equal(r.generation, 2);
	assert_int_equal(keyring_accepted(&r, accepted), 2);
	assert_ptr_equal(accepted[0], r.current);
	assert_ptr_equal(accepted[1], first);
	assert_string_not_equal(first->armored, r.current->armored);
	first->expires_ms = clock_monotonic_ms() - 1;
	assert_int_equal(keyring_accepted(&r, accepted), 1);
	keyring_expire(&r);
	assert_false(first->used);
	keyring_close(&r);
}

static void a_job_holds_its_key_past_expiry(void **state)
{
	(void)state;
	struct keyring r;
	struct err err;
	assert_int_equal(keyring_init(&r, &err), 0);
	struct keyring_entry *held[KEYRING_MAX];
	for (int i = 0; i < KEYRING_MAX - 1; i++) {
		held[i] = r.current;
		held[i]->refs++;
		assert_int_equal(keyring_rotate(&r, 0, &err), 0);
	}
	/* every older key is held: no new one, and the current one goes on */
	struct keyring_entry *current = r.current;
	assert_int_equal(keyring_rotate(&r, 0, &err), -EBUSY);
	assert_ptr_equal(r.current, current);
	assert_true(held[0]->used);
	held[0]->refs--;
	assert_int_equal(keyring_rotate(&r, 0, &err), 0);
	for (int i = 1; i < KEYRING_MAX - 1; i++)
		held[i]->refs--;
	keyring_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rotation_keeps_the_predecessor_for_a_while),
		cmocka_unit_test(a_job_holds_its_key_past_expiry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
