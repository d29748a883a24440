/* Runtime directories, as an ordinary user below a directory of the test's own. The others (who look, who hold locks that they
 * should not be able to hold) are further descriptors, which is all that the kernel sees of them. */
#include "host/run_dir.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

enum { NOBODY = 65534, HANGS_S = 20, LOOKS_MS = 30 };

static char runtime[] = "/tmp/tee-rex-run-XXXXXX", base[64];

static int set_up(void **state)
{
	(void)state;
	if (geteuid() == 0 && seteuid(NOBODY) != 0)
		return -1;
	alarm(HANGS_S);
	snprintf(base, sizeof base, "%s/tee-rex", mkdtemp(runtime));
	return setenv("XDG_RUNTIME_DIR", runtime, 1);
}

static int tear_down(void **state)
{
	char path[96];
	(void)state;
	snprintf(path, sizeof path, "%s/.lock", base);
	unlink(path);
	int left = rmdir(base) != 0 || rmdir(runtime) != 0;
	/* changing users ended that, which the search for leaks needs */
	return seteuid(getuid()) != 0 || prctl(PR_SET_DUMPABLE, 1) != 0 || left;
}

static char *below(const char *name, char buf[128])
{
	snprintf(buf, 128, "%s/%s", base, name);
	return buf;
}

static mode_t mode_of(const char *name)
{
	char path[128];
	struct stat st;
	assert_int_equal(lstat(below(name, path), &st), 0);
	return st.st_mode & 07777;
}

static void make_file(const char *name)
{
	char path[128];
	CLEANUP(close_fd) int fd = open(below(name, path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
}

static void one_at_a_time_and_nothing_left(void **state)
{
	struct run_dir one, two;
	struct err err;
	char path[128];
	(void)state;
	assert_int_equal(run_dir_open(&one, "x", &err), 0);
	assert_true(run_dir_alive(one.path));
	assert_int_equal(run_dir_open(&two, "x", &err), -EWOULDBLOCK);
	run_dir_close(&two);
	assert_true(run_dir_alive(one.path));
	run_dir_close(&one);
	assert_false(run_dir_alive(below("x", path)));
	assert_int_not_equal(access(path, F_OK), 0);
}

static void what_a_killed_one_left_goes(void **state)
{
	struct run_dir d;
	struct err err;
	char path[128];
	(void)state;
	assert_int_equal(mkdir(below("killed", path), 0711), 0);
	make_file("killed/lock");
	make_file("killed/admin.sock");
	assert_int_equal(run_dir_open(&d, "other", &err), 0);
	assert_int_not_equal(access(below("killed", path), F_OK), 0);
	run_dir_close(&d);
}

static void nobody_else_can_hold_it_up(void **state)
{
	struct run_dir d;
	struct err err;
	(void)state;
	assert_int_equal(run_dir_open(&d, "x", &err), 0);
	assert_int_equal(mode_of("x/lock") & 077, 0);
	assert_int_equal(mode_of(".lock") & 077, 0);
	run_dir_close(&d);
	/* the base itself everybody may open */
	CLEANUP(close_fd) int anybody = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(anybody, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(run_dir_open(&d, "x", &err), 0);
	run_dir_close(&d);
}

static void *look(void *lock)
{
	nanosleep(&(struct timespec){ .tv_nsec = LOOKS_MS * 1000000 }, NULL);
	close(*(int *)lock);
	return NULL;
}

static void a_look_at_what_was_left_does_not_refuse_the_next_start(void **state)
{
	struct run_dir d;
	struct err err;
	char path[128];
	pthread_t looker;
	(void)state;
	assert_int_equal(mkdir(below("x", path), 0711), 0);
	make_file("x/lock");
	make_file("x/admin.sock");
	int lock = open(below("x/lock", path), O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(lock, LOCK_SH | LOCK_NB), 0);
	assert_int_equal(pthread_create(&looker, NULL, look, &lock), 0);
	assert_int_equal(run_dir_open(&d, "x", &err), 0);
	pthread_join(looker, NULL);
	assert_int_not_equal(access(below("x/admin.sock", path), F_OK), 0);
	run_dir_close(&d);
}

static void an_instance_of_ones_own_is_found_first(void **state)
{
	char found[RUN_DIR_MAX], path[128];
	struct run_dir d;
	struct err err;
	(void)state;
	assert_int_equal(run_dir_find("x", found, sizeof found, &err), 0);
	assert_string_equal(found, "/run/tee-rex/x");
	assert_int_equal(run_dir_open(&d, "x", &err), 0);
	assert_int_equal(run_dir_find("x", found, sizeof found, &err), 0);
	assert_string_equal(found, below("x", path));
	run_dir_close(&d);
	assert_int_equal(run_dir_find("x", found, 8, &err), -ENAMETOOLONG);
}

static void what_may_not_be_looked_at_is_not_called_dead(void **state)
{
	struct run_dir d;
	struct err err;
	char path[128];
	(void)state;
	assert_int_equal(run_dir_open(&d, "x", &err), 0);
	assert_int_equal(chmod(below("x/lock", path), 0), 0);
	assert_true(run_dir_alive(d.path));
	run_dir_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_at_a_time_and_nothing_left),
		cmocka_unit_test(what_a_killed_one_left_goes),
		cmocka_unit_test(nobody_else_can_hold_it_up),
		cmocka_unit_test(a_look_at_what_was_left_does_not_refuse_the_next_start),
		cmocka_unit_test(an_instance_of_ones_own_is_found_first),
		cmocka_unit_test(what_may_not_be_looked_at_is_not_called_dead),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
