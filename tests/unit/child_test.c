/* A child that writes to its standard error without end: its lines come, and others have their turns. */
#include "host/child.h"

#include "base/clock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

enum { HANGS_S = 30, ROUNDS = 20 };

static struct loop loop;
static int ended;

static void on_exit_of(struct child *c, int status)
{
	(void)c;
	(void)status;
	ended++;
}

static void a_flood_leaves_others_their_turns(void **state)
{
	static const char *const argv[] = { "/bin/sh", "-c", "exec yes 1>&2", NULL };
	const struct child_spec spec = { .name = "flood", .argv = argv, .death_signal = SIGKILL };
	struct child c = { .on_exit = on_exit_of };
	struct err err;
	(void)state;
	alarm(HANGS_S);
	/* what it says is not for the report of the tests */
	int kept = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	assert_int_equal(dup2(null, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(loop_open(&loop, &err), 0);
	assert_int_equal(child_start(&c, &loop, &spec, &err), 0);
	/* a turn of the loop has an end, though what it reads has none */
	for (int i = 0; i < ROUNDS; i++)
		assert_int_equal(loop_once(&loop, 1000, &err), 0);
	assert_true(child_running(&c));
	child_signal(&c, SIGKILL);
	for (int64_t until = clock_monotonic_ms() + 5000; ended == 0 && clock_monotonic_ms() < until;)
		assert_int_equal(loop_once(&loop, 100, &err), 0);
	assert_int_equal(ended, 1);
	loop_close(&loop);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_flood_leaves_others_their_turns) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
