/* What comes to PID 1 as a signal: children by the hundred, and everything a process can send. The process under test is a child of the
 * test's, so that its mask and its children are its own. */
#include "enclave/init/signals.h"

#include "fake_machine.h"

#include <setjmp.h>
#include <stddef.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct err err;
static struct signals signals;
static struct events events;
static struct loop loop;
static int reaped, status_sum;
static sigset_t before;

static void on_reaped(struct signals *s, pid_t pid, int status)
{
	assert_ptr_equal(s, &signals);
	assert_true(pid > 1);
	reaped++;
	status_sum += WEXITSTATUS(status);
}

static int set_up(void **state)
{
	(void)state;
	machine_start();
	memset(&events, 0, sizeof events);
	events_init(&events);
	reaped = status_sum = 0;
	signals = (struct signals){ .loop = &loop, .events = &events, .on_reaped = on_reaped };
	sigprocmask(SIG_SETMASK, NULL, &before);
	return loop_open(&loop, &err) != 0 || signals_open(&signals, &err) != 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(signals.watch.fd);
	loop_close(&loop);
	/* what waits still must not come now */
	struct timespec none = { 0, 0 };
	sigset_t all;
	sigfillset(&all);
	while (sigtimedwait(&all, NULL, &none) > 0)
		;
	sigprocmask(SIG_SETMASK, &before, NULL);
	machine_stop();
	return 0;
}

static void turn(int ms) { assert_int_equal(loop_once(&loop, ms, &err), 0); }

/* A process inside that sends n of these and ends; it stays to be reaped. */
static pid_t somebody_sends(int signal, int n)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		for (int i = 0; i < n; i++)
			kill(parent, signal);
		_exit(0);
	}
	siginfo_t info;
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	return pid;
}

static void children_are_buried_so_many_a_turn(void **state)
{
	(void)state;
	enum { MANY = 3 * INIT_REAP + 5 };
	pid_t pid[MANY];
	siginfo_t info;
	for (int i = 0; i < MANY; i++)
		if ((pid[i] = fork()) == 0)
			_exit(i % 5);
	for (int i = 0; i < MANY; i++)
		waitid(P_PID, (id_t)pid[i], &info, WEXITED | WNOWAIT);
	int turns = 0, sum = 0;
	for (int seen = 0; reaped < MANY; seen = reaped, turns++) {
		assert_true(turns < 50);
		turn(100);
		assert_true(reaped - seen <= 2 * INIT_REAP);     /* the signal's, and those left over from the last */
	}
	for (int i = 0; i < MANY; i++)
		sum += i % 5;
	assert_int_equal(reaped, MANY);
	assert_int_equal(status_sum, sum);
	assert_true(turns >= 2);
	assert_int_equal(signals.refused, 0);
	turn(0);
	assert_null(machine_told(&events));
}

static void everything_that_may_be_sent_is_refused(void **state)
{
	(void)state;
	static const int all[] = { SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGTERM, SIGCONT, SIGTSTP, SIGTTIN, SIGURG, SIGXCPU, SIGWINCH,
	                           SIGIO, SIGPWR, SIGCHLD };
	char members[128];
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		pid_t pid = somebody_sends(all[i], 1);
		int had = reaped;
		while (reaped == had || signals.refused == i)
			turn(100);
		assert_int_equal(signals.refused, i + 1);
		assert_int_equal(signals.last_signal, all[i]);
		assert_int_equal(signals.last_pid, pid);
		if (i > 0) {
			assert_null(machine_told(&events));
			continue;
		}
		snprintf(members, sizeof members, "\"what\":\"a signal from inside\",\"signal\":%d,\"pid\":%d,\"count\":1}\n", all[0], (int)pid);
		const char *line = machine_told(&events);
		assert_non_null(line);
		assert_non_null(strstr(line, members));
	}
	/* the rest is told in a minute, as a number */
	machine_later_ms += INIT_REFUSED_S * 1000;
	turn(0);
	const char *line = machine_told(&events);
	assert_non_null(line);
	assert_non_null(strstr(line, "\"count\":16}"));
	/* and after that nothing, while there is nothing */
	machine_later_ms += INIT_REFUSED_S * 1000;
	turn(0);
	assert_null(machine_told(&events));
	assert_false(timer_armed(&signals.again));
	signals_refuse(&signals, 3, SIGSEGV, 77);
	line = machine_told(&events);
	assert_non_null(line);
	assert_non_null(strstr(line, "\"signal\":11,\"pid\":77,\"count\":19}"));
}

/* Queued ones are read so many a turn: other work goes on between. */
static void a_flood(void **state)
{
	(void)state;
	enum { MANY = 500 };
	somebody_sends(SIGRTMIN + 3, MANY);
	for (uint64_t seen = 0; signals.refused < MANY; seen = signals.refused) {
		turn(100);
		assert_in_range(signals.refused - seen, 1, INIT_SIGNALS);
	}
	while (reaped < 1)
		turn(100);
	assert_non_null(machine_told(&events));
	assert_null(machine_told(&events));
	turn(0);
	assert_int_equal(signals.refused, MANY);
}

/* Somebody's SIGCHLD that waits swallows the kernel's; the child is buried all the same. */
static void a_forged_sigchld_hides_no_child(void **state)
{
	(void)state;
	somebody_sends(SIGCHLD, 5);
	while (reaped < 1)
		turn(100);
	assert_true(signals.refused >= 1);
	turn(0);
	assert_int_equal(reaped, 1);
}

static void whose_a_signal_is(void **state)
{
	(void)state;
	static const struct { int code; bool self, genuine; } cases[] = {
		{ SEGV_MAPERR, false, true }, { BUS_ADRERR, false, true }, { SI_KERNEL, false, true }, { CLD_EXITED, false, true }, { SI_TKILL, true, true },
		{ SI_TKILL, false, false }, { SI_USER, true, false }, { SI_USER, false, false }, { SI_QUEUE, true, false }, { SI_TIMER, true, false },
		{ SI_ASYNCIO, true, false }, { -60, true, false },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		siginfo_t info = { 0 };
		info.si_code = cases[i].code;
		info.si_pid = cases[i].self ? getpid() : 1 + getpid();
		assert_int_equal(signals_genuine(&info), cases[i].genuine);
	}
}

/* What the last one rests on: the kernel refuses to send as itself, or as the one it is sent to. */
static void nobody_can_send_as_the_kernel(void **state)
{
	(void)state;
	static const int codes[] = { SI_KERNEL, SEGV_MAPERR, CLD_EXITED, SI_TKILL };
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		int refused = 0;
		for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
			siginfo_t info = { 0 };
			info.si_signo = SIGUSR1;
			info.si_code = codes[i];
			info.si_pid = parent;
			refused += syscall(SYS_rt_sigqueueinfo, parent, SIGUSR1, &info) != 0 && errno == EPERM;
			refused += syscall(SYS_rt_tgsigqueueinfo, parent, parent, SIGUSR1, &info) != 0 && errno == EPERM;
		}
		_exit(refused);
	}
	while (reaped < 1)
		turn(100);
	assert_int_equal(status_sum, 8);
	assert_int_equal(signals.refused, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(children_are_buried_so_many_a_turn), TEST(everything_that_may_be_sent_is_refused), TEST(a_flood), TEST(a_forged_sigchld_hides_no_child),
		TEST(whose_a_signal_is), TEST(nobody_can_send_as_the_kernel),
	};
	return cmocka_run_group_tests_name("signals", tests, NULL, NULL);
}
