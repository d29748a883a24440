#include "enclave/launcher/output.h"
#include "enclave/launcher/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define EXITED(code) ((code) << 8)
#define KILLED(signal) (signal)

static void every_end_has_its_code(void **state)
{
	(void)state;
	static const char *const limit = "the job reached its memory limit and was killed";
	static const struct { struct ending e; enum outcome how; uint32_t signal, exit_code; const char *text; } rows[] = {
		{ { .program_ended = true }, OUTCOME_OK, 0, 0, "" },
		{ { .program_ended = true, .oom_kills = 1 }, OUTCOME_OK, 0, 0, "" },   /* a helper died, the job did not */
		{ { .program_ended = true, .said_no_memory = true, .rlimit_memory = true }, OUTCOME_OK, 0, 0, "" },
		{ { .program_ended = true, .proof_error = -ENOENT, .proof_text = "no proof" }, OUTCOME_PROVER_ERROR, 0, 0, "no proof" },
		{ { .program_ended = true, .proof_error = -1, .proof_text = "odd", .oom_kills = 1 }, OUTCOME_PROVER_ERROR, 0, 0, "odd" },
		{ { .program_ended = true, .program_status = EXITED(1) }, OUTCOME_PROVER_ERROR, 0, 1, "the prover program exited with code 1" },
		{ { .program_ended = true, .program_status = EXITED(255) }, OUTCOME_PROVER_ERROR, 0, 255, "the prover program exited with code 255" },
		{ { .program_ended = true, .program_status = EXITED(1), .said_no_memory = true }, OUTCOME_PROVER_ERROR, 0, 1,
		  "the prover program exited with code 1" },                      /* a cgroup limits: the words mean nothing */
		{ { .program_ended = true, .program_status = EXITED(1), .said_no_memory = true, .rlimit_memory = true },
		  OUTCOME_OUT_OF_MEMORY, 0, 1, "the prover program could not allocate memory under its limit" },
		{ { .program_ended = true, .program_status = KILLED(SIGABRT), .said_no_memory = true, .rlimit_memory = true },
		  OUTCOME_OUT_OF_MEMORY, SIGABRT, 0, "the prover program could not allocate memory under its limit" },
		{ { .program_ended = true, .program_status = KILLED(SIGABRT), .rlimit_memory = true },
		  OUTCOME_CRASHED, SIGABRT, 0, "the prover program died by signal 6 (Aborted)" },
		{ { .program_ended = true, .program_status = KILLED(SIGSEGV) | 0x80 }, OUTCOME_CRASHED, SIGSEGV, 0,
		  "the prover program died by signal 11 (Segmentation fault)" },
		{ { .program_ended = true, .program_status = KILLED(SIGKILL) }, OUTCOME_CRASHED, SIGKILL, 0, "the prover program died by signal 9 (Killed)" },
		{ { .program_ended = true, .program_status = KILLED(SIGKILL), .oom_kills = 1 }, OUTCOME_OUT_OF_MEMORY, SIGKILL, 0, limit },
		{ { .program_ended = true, .program_status = EXITED(1), .oom_kills = 3 }, OUTCOME_OUT_OF_MEMORY, 0, 1, limit },
		/* the keeper died first */
		{ { .keeper_status = KILLED(SIGKILL), .oom_kills = 2 }, OUTCOME_OUT_OF_MEMORY, 0, 0, limit },
		{ { .keeper_status = KILLED(SIGKILL) }, OUTCOME_INTERNAL, 0, 0, "the job's keeper died by signal 9" },
		{ { .keeper_status = EXITED(1) }, OUTCOME_INTERNAL, 0, 0, "the job's keeper ended with code 1 and did not say why" },
		{ { .broken = "make the job's process: x", .keeper_status = EXITED(1) }, OUTCOME_INTERNAL, 0, 0, "make the job's process: x" },
		{ { .exec_error = ENOEXEC, .program_ended = true, .program_status = EXITED(127) }, OUTCOME_PROVER_ERROR, 0, 0,
		  "the prover program cannot be executed: Exec format error" },
		/* the launcher's own doing comes before what it led to */
		{ { .doom = DOOM_CANCELLED, .keeper_status = KILLED(SIGKILL) }, OUTCOME_CANCELLED, 0, 0, "the job was cancelled" },
		{ { .doom = DOOM_CANCELLED, .keeper_status = KILLED(SIGKILL), .oom_kills = 1 }, OUTCOME_CANCELLED, 0, 0, "the job was cancelled" },
		{ { .doom = DOOM_DEADLINE, .keeper_status = KILLED(SIGKILL) }, OUTCOME_TIMED_OUT, 0, 0, "the job reached its deadline and was killed" },
		{ { .doom = DOOM_MEMORY, .keeper_status = KILLED(SIGKILL), .oom_kills = 1 }, OUTCOME_OUT_OF_MEMORY, 0, 0, limit },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct verdict v;
		verdict_reach(&rows[i].e, &v);
		assert_int_equal(v.how, rows[i].how);
		assert_int_equal(v.signal, rows[i].signal);
		assert_int_equal(v.exit_code, rows[i].exit_code);
		assert_string_equal(v.text.text, rows[i].text);
	}
}

static bool says_no_memory(struct bytes text, size_t piece)
{
	struct output o = { .fd = -1 };
	for (size_t at = 0; at < text.n; at += piece)
		output_scan(&o, bytes_slice(text, at, piece < text.n - at ? piece : text.n - at));
	assert_true(o.tail_n <= OUTPUT_TAIL);
	return o.said_no_memory;
}

static void messages_are_found_however_they_are_cut(void **state)
{
	(void)state;
	static const struct { const char *text; bool want; } rows[] = {
		{ "terminate called after throwing an instance of 'std::bad_alloc'\n", true },
		{ "libc++abi: terminating due to uncaught exception of type std::bad_alloc: std::bad_alloc", true },
		{ "fork: Cannot allocate memory", true },
		{ "thread constructor failed: Resource temporarily unavailable", true },
		{ "bad_allo c bad_all oc bad-alloc", false },
		{ "", false },
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t piece = 1; piece < 80; piece++)
			assert_int_equal(says_no_memory(bytes_str(rows[i].text), piece), rows[i].want);
}

static void a_pipe_is_read_to_its_end_and_forgotten(void **state)
{
	(void)state;
	struct loop l;
	struct output o;
	struct err err;
	int ends[2];
	char big[60000];

	memset(big, 'x', sizeof big);
	assert_int_equal(loop_open(&l, &err), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(output_start(&o, &l, ends[0], 1, 0), 0);
	assert_int_equal(write(ends[1], big, sizeof big), (ssize_t)sizeof big);
	assert_int_equal(write(ends[1], "bad_alloc", 9), 9);
	assert_int_equal(loop_once(&l, 0, &err), 0);     /* one piece a turn … */
	assert_false(o.said_no_memory);
	output_drain(&o);                                /* … and then all of it */
	assert_true(o.said_no_memory);
	close(ends[1]);
	assert_int_equal(loop_once(&l, 0, &err), 0);     /* the end: no longer watched, so no busy loop */
	assert_int_equal(o.watch.fd, -1);
	output_stop(&o);
	assert_int_equal(fcntl(ends[0], F_GETFD), -1);
	assert_int_equal(o.tail_n, 0);
	output_stop(&o);
	loop_close(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_end_has_its_code),
		cmocka_unit_test(messages_are_found_however_they_are_cut),
		cmocka_unit_test(a_pipe_is_read_to_its_end_and_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
