/* The clock from the NSM's documents: set when it is far off, told in any case, never waited for, and not believed when it cannot be. The
 * NSM is a fake one that real children ask. */
#include "enclave/init/wallclock.h"

#include "fake_machine.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct err err;
static struct wallclock clock_;
static struct events events;
static struct loop loop;
static struct nsm nsm;

static int set_up(void **state)
{
	(void)state;
	machine_start();
	memset(&clock_, 0, sizeof clock_);
	memset(&events, 0, sizeof events);
	events_init(&events);
	if (loop_open(&loop, &err) != 0 || nsm_open_device(&nsm, "/dev/nsm", &err) != 0)
		return 1;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (clock_.answer.fd > 0)
		close(clock_.answer.fd);
	nsm_close(&nsm);
	loop_close(&loop);
	machine_stop();
	return 0;
}

static void the_nsm_is_ahead_by(int64_t ms) { machine_nsm_ms = (uint64_t)(clock_wall_ms() + ms); }
static void open_clock(void) { wallclock_open(&clock_, &loop, &events, &nsm); }

static int64_t member(const char *line, const char *name)
{
	char quoted[32];
	snprintf(quoted, sizeof quoted, "\"%s\":", name);
	const char *at = line == NULL ? NULL : strstr(line, quoted);
	if (at == NULL)
		fail_msg("no %s in %s", name, line == NULL ? "(nothing)" : line);
	return strncmp(at + strlen(quoted), "true", 4) == 0 ? 1 : atoll(at + strlen(quoted));
}

static void told_drift(int64_t ms, bool set)
{
	const char *line = machine_told(&events);
	int64_t drift = member(line, "drift_ms");
	assert_true(drift > ms - 200 && drift < ms + 200);
	assert_int_equal(member(line, "set"), set);
	if (set)
		assert_int_equal(machine_set_wall_ms, member(line, "wall_ms"));
	else
		assert_int_equal(machine_set_wall_ms, 0);
	assert_null(machine_told(&events));
}

static void told_why(const char *why)
{
	const char *line = machine_told(&events);
	assert_non_null(line);
	if (strstr(line, why) == NULL)
		assert_string_equal(line, why);
	assert_int_equal(machine_set_wall_ms, 0);
	assert_null(machine_told(&events));
}

/* --- at boot ------------------------------------------------------------------------------------------------------ */
static void a_far_clock_is_set(void **state)
{
	(void)state;
	static const int64_t drifts[] = { 1000, -1000, 86400000, -86400000, 365 * INT64_C(86400000) };
	for (size_t i = 0; i < sizeof drifts / sizeof *drifts; i++) {
		machine_set_wall_ms = 0;
		the_nsm_is_ahead_by(drifts[i]);
		open_clock();
		told_drift(drifts[i], true);
	}
}

static void a_near_one_is_left_alone_and_told(void **state)
{
	(void)state;
	the_nsm_is_ahead_by(0);
	open_clock();
	told_drift(0, false);
	assert_in_range(clock_.due.deadline_ms - clock_monotonic_ms(), (INIT_CLOCK_S - 1) * 1000, INIT_CLOCK_S * 1000);
}

static void an_enclave_that_woke_up_in_1970(void **state)
{
	(void)state;
	int64_t now = clock_wall_ms();
	machine_nsm_ms = (uint64_t)now;
	machine_later_ms = -now + 1000;
	open_clock();
	told_drift(now - 1000, true);
}

static void one_that_cannot_be_set_is_told(void **state)
{
	(void)state;
	the_nsm_is_ahead_by(5000);
	machine_fail("clock_settime", "realtime", EPERM);
	open_clock();
	told_drift(5000, false);
}

static void times_that_cannot_be(void **state)
{
	(void)state;
	static const uint64_t times[] = { 1, 1577836799000, 7258118401000, UINT64_C(1) << 53 };
	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		machine_nsm_ms = times[i];
		open_clock();
		told_why("the NSM gave a time that cannot be");
	}
	machine_nsm_ms = 0;                              /* no document may have these */
	open_clock();
	told_why("the NSM gave no time");
	machine_nsm_ms = UINT64_MAX;
	open_clock();
	told_why("the NSM gave no time");
	/* the first and the last that can be */
	machine_nsm_ms = 1577836800000;
	open_clock();
	assert_int_equal(member(machine_told(&events), "set"), 1);
	machine_nsm_ms = 7258118399000;
	open_clock();
	assert_int_equal(member(machine_told(&events), "set"), 1);
}

static void an_nsm_that_does_not_tell(void **state)
{
	(void)state;
	static const enum machine_nsm ways[] = { NSM_IS_BROKEN, NSM_REFUSES, NSM_IS_GARBAGE };
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		machine_nsm = ways[i];
		open_clock();
		told_why("the NSM gave no time");
		assert_true(timer_armed(&clock_.due));   /* and is asked again */
	}
}

static void where_there_is_none(void **state)
{
	(void)state;
	struct nsm none = { .fd = -1 };
	wallclock_open(&clock_, &loop, &events, &none);
	assert_null(machine_told(&events));
	assert_false(timer_armed(&clock_.due));
}

/* --- later ---------------------------------------------------------------------------------------------------------- */
static void ask(void) { clock_.due.on_expiry(&clock_.due); }

static void wait_for_child(void)
{
	int status;
	assert_true(clock_.child > 0);
	assert_int_equal(waitpid(clock_.child, &status, 0), clock_.child);
	wallclock_reaped(&clock_, clock_.child);
	assert_int_equal(clock_.child, 0);
	assert_int_equal(clock_.pidfd, -1);
}

static void opened(void)
{
	the_nsm_is_ahead_by(0);
	open_clock();
	told_drift(0, false);
}

static void a_child_asks(void **state)
{
	(void)state;
	opened();
	the_nsm_is_ahead_by(3000);
	ask();
	assert_null(machine_told(&events));              /* nobody waited */
	while (clock_.answer.fd >= 0)
		assert_int_equal(loop_once(&loop, 1000, &err), 0);
	told_drift(3000, true);
	wait_for_child();
	/* a stranger's end is not its end */
	ask();
	pid_t child = clock_.child;
	wallclock_reaped(&clock_, child + 1);
	assert_int_equal(clock_.child, child);
	while (clock_.answer.fd >= 0)
		assert_int_equal(loop_once(&loop, 1000, &err), 0);
	wait_for_child();
}

static void a_child_that_fails(void **state)
{
	(void)state;
	opened();
	machine_nsm = NSM_IS_BROKEN;
	ask();
	while (clock_.answer.fd >= 0)
		assert_int_equal(loop_once(&loop, 1000, &err), 0);
	told_why("the NSM gave no time");
	wait_for_child();
}

/* It has the device and its pipe: a connection that init closes meanwhile is closed. */
static void a_child_keeps_nothing_of_init_s(void **state)
{
	(void)state;
	char path[64], byte;
	int ends[2], count = 0;
	struct dirent *e;
	opened();
	machine_nsm = NSM_IS_SILENT;
	assert_int_equal(pipe(ends), 0);
	ask();
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 0);    /* returns when the child has let go, too */
	snprintf(path, sizeof path, "/proc/%d/fd", (int)clock_.child);
	machine_is_on = false;
	for (int tries = 0; tries < 200 && count != 2; tries++, usleep(10000)) {         /* it may not be through with them yet */
		DIR *d = opendir(path);
		for (count = 0; (e = readdir(d)) != NULL;)
			count += e->d_name[0] != '.';
		closedir(d);
	}
	machine_is_on = true;
	assert_int_equal(count, 2);
	close(ends[0]);
	kill(clock_.child, SIGKILL);
	wait_for_child();
}

/* The device hangs: the next time it is due the child is killed and that is told, and the one after asks anew. */
static void a_child_that_hangs(void **state)
{
	(void)state;
	opened();
	machine_nsm = NSM_IS_SILENT;
	ask();
	pid_t child = clock_.child;
	ask();
	assert_int_equal(clock_.child, child);           /* not a second one */
	told_why("the NSM does not answer");
	wait_for_child();
	while (clock_.answer.fd >= 0)
		assert_int_equal(loop_once(&loop, 1000, &err), 0);
	told_why("the NSM gave no time");
	machine_nsm = NSM_IS_FINE;
	ask();
	while (clock_.answer.fd >= 0)
		assert_int_equal(loop_once(&loop, 1000, &err), 0);
	told_drift(0, false);
	wait_for_child();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_far_clock_is_set), TEST(a_near_one_is_left_alone_and_told), TEST(an_enclave_that_woke_up_in_1970), TEST(one_that_cannot_be_set_is_told),
		TEST(times_that_cannot_be), TEST(an_nsm_that_does_not_tell), TEST(where_there_is_none), TEST(a_child_asks), TEST(a_child_that_fails),
		TEST(a_child_keeps_nothing_of_init_s), TEST(a_child_that_hangs),
	};
	return cmocka_run_group_tests_name("wallclock", tests, NULL, NULL);
}
