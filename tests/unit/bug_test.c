/* How PID 1 ends when it has a bug of its own: in a child, with a reset button that tells the test. What a process sends it is no bug. */
#include "enclave/init/bug.h"

#include "fake_machine.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { RESET = 77, SURVIVED = 78 };

static struct err err;
static struct events events;
static struct signals signals;
static struct loop loop;
static void (*while_dying)(void);

static void on_reset(void) { _exit(RESET); }
static void on_reaped(struct signals *s, pid_t pid, int status) { (void)s; (void)pid; (void)status; }

static int far;
static int dial(int *ret_fd, struct err *why)
{
	(void)why;
	*ret_fd = far;
	return far >= 0 ? 0 : -ECONNREFUSED;
}

/* The alarm's clock is moved instead of waited for. */
int setitimer(__itimer_which_t which, const struct itimerval *restrict v, struct itimerval *restrict old)
{
	(void)old;
	machine_note("alarm %d every %ld s\n", (int)which, (long)v->it_interval.tv_sec);
	return 0;
}

/* The moment that the last words have to leave. */
int usleep(useconds_t us)
{
	(void)us;
	if (while_dying != NULL)
		while_dying();
	return 0;
}

/* Runs what in a process that is init as far as bug.h goes; its last words and how it ended. connected: to a parent that reads. */
static char words[4096];
static int ends(void (*what)(void), bool connected)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		machine_on_reset = on_reset;
		events_init(&events);
		if (loop_open(&loop, &err) != 0)
			_exit(1);
		signals = (struct signals){ .loop = &loop, .events = &events, .on_reaped = on_reaped };
		far = connected ? dup(pair[1]) : -1;
		events.dial = dial;
		events_connect(&events, &loop);
		if (connected && (fcntl(far, F_SETFL, O_NONBLOCK) != 0 || loop_once(&loop, 1000, &err) != 0 || events.state != EVENTS_UP))
			_exit(1);
		if (signals_open(&signals, &err) != 0)
			_exit(1);
		bug_watch(&loop, &events, &signals);
		what();
		dprintf(pair[1], "count %llu\n", (unsigned long long)signals.refused);
		_exit(SURVIVED);
	}
	close(pair[1]);
	size_t n = 0;
	for (ssize_t got; n < sizeof words - 1 && (got = read(pair[0], words + n, sizeof words - 1 - n)) > 0;)
		n += (size_t)got;
	words[n] = '\0';
	close(pair[0]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int set_up(void **state)
{
	(void)state;
	machine_start();
	while_dying = NULL;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	machine_stop();
	return 0;
}

static void said(const char *text)
{
	if (strstr(words, text) == NULL)
		assert_string_equal(words, text);
}

/* --- bugs --------------------------------------------------------------------------------------------------------- */
__attribute__((no_sanitize("undefined", "address"))) static void write_nowhere(void) { *(volatile int *)(uintptr_t)0x10 = 1; }
__attribute__((no_sanitize("undefined", "address"))) static void divide(void) { __asm__ volatile("ud2"); }
__attribute__((no_sanitize("undefined", "address"))) static int sink(volatile char *below, int n)
{
	volatile char page[65536];
	page[0] = below[0];
	return n > 1000000 ? 0 : page[0] + sink(page, n + 1);
}
static void overflow_stack(void)
{
	volatile char top = 1;
	_exit(sink(&top, 0));
}
static void give_up(void) { abort(); }

static void faults(void **state)
{
	(void)state;
	static const struct { void (*what)(void); const char *says; } cases[] = {
		{ write_nowhere, "\n{\"kind\":\"bug\",\"seq\":0,\"ms\":" }, { write_nowhere, "\"text\":\"signal 11 at 0x10\"}\n" },
		{ divide, "\"text\":\"signal 4 at 0x" }, { give_up, "\"text\":\"signal 6 at " }, { overflow_stack, "\"text\":\"signal 11 at 0x" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(ends(cases[i].what, true), RESET);
		said(cases[i].says);
		/* without a parent there is nobody to tell, and the end is the same */
		assert_int_equal(ends(cases[i].what, false), RESET);
		assert_string_equal(words, "");
	}
}

/* A fault while it says so is the kernel's to end: of PID 1 that is a panic. */
static void a_fault_in_its_last_words(void **state)
{
	(void)state;
	while_dying = write_nowhere;
	assert_int_equal(ends(write_nowhere, true), -SIGSEGV);
	said("\"text\":\"signal 11 at 0x10\"}\n");
	assert_int_equal(ends(give_up, true), -SIGSEGV);
	said("\"text\":\"signal 6 at ");
}

static void stand_still(void)
{
	machine_later_ms += INIT_STUCK_S * 1000 + 1000;
	raise(SIGALRM);
}
static void a_loop_that_stands_still(void **state)
{
	(void)state;
	assert_int_equal(ends(stand_still, true), RESET);
	said("\"text\":\"stuck for seconds: 30 at ");
}

/* Slow is not stuck: as long as it turns in time. */
static void turn_slowly(void)
{
	for (int i = 0; i < 50; i++) {
		machine_later_ms += INIT_STUCK_S * 1000 - 2000;
		raise(SIGALRM);
		if (loop_once(&loop, 0, &err) != 0)
			_exit(1);
	}
}
static void a_loop_that_is_slow(void **state)
{
	(void)state;
	assert_int_equal(ends(turn_slowly, true), SURVIVED);
}

static void once(void) { }
static void the_alarm_is_on(void **state)
{
	(void)state;
	ends(once, true);
	events_init(&events);
	pid_t pid = fork();
	if (pid == 0) {
		if (loop_open(&loop, &err) != 0)
			_exit(1);
		bug_watch(&loop, &events, &signals);
		_exit(strcmp(machine_story, "alarm 0 every 10 s\n") == 0 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* --- no bugs ------------------------------------------------------------------------------------------------------ */
static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGALRM };

static void be_sent_faults(void)
{
	pid_t init = getpid(), pid = fork();
	if (pid == 0) {
		for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
			for (int n = 0; n < 20; n++) {
				kill(init, fatal[i]);
				usleep(1);
			}
		_exit(0);
	}
	int status;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	machine_later_ms += 5000;                        /* the next pulse tells */
	for (int i = 0; i < 3; i++)
		if (loop_once(&loop, 0, &err) != 0)
			_exit(1);
}
static void faults_that_somebody_sent(void **state)
{
	(void)state;
	unsigned long long count = 0;
	int how = ends(be_sent_faults, true);
	if (how != SURVIVED)
		fail_msg("it ended with %d, saying %s", how, words);
	assert_null(strstr(words, "\"kind\":\"bug\""));
	said("\"what\":\"a signal from inside\"");
	assert_int_equal(sscanf(strstr(words, "\ncount "), "\ncount %llu", &count), 1);
	assert_in_range(count, sizeof fatal / sizeof *fatal, 20 * sizeof fatal / sizeof *fatal);
}

/* … while it stands still: then that is what it ends for. */
static void stand_still_and_be_called(void)
{
	machine_later_ms += INIT_STUCK_S * 1000 + 1000;
	pid_t init = getpid(), pid = fork();
	if (pid == 0) {
		kill(init, SIGALRM);
		_exit(0);
	}
	for (int i = 0; i < 1000; i++)
		syscall(SYS_poll, NULL, 0, 10);
}
static void an_alarm_that_somebody_sent_to_a_stuck_one(void **state)
{
	(void)state;
	assert_int_equal(ends(stand_still_and_be_called, true), RESET);
	said("\"text\":\"stuck for seconds: 30 at ");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(faults), TEST(a_fault_in_its_last_words), TEST(a_loop_that_stands_still), TEST(a_loop_that_is_slow), TEST(the_alarm_is_on),
		TEST(faults_that_somebody_sent), TEST(an_alarm_that_somebody_sent_to_a_stuck_one),
	};
	return cmocka_run_group_tests_name("bug", tests, NULL, NULL);
}
