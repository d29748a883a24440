/* Every case runs in a child of its own: taking and giving rearrange descriptors and the environment. */
#include "linux/listen_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "line %d: %s\n", __LINE__, #condition); _exit(1); } } while (0)

static void in_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void set_variables(const char *pid, const char *fds, const char *names)
{
	char self[24];
	snprintf(self, sizeof self, "%d", getpid());
	setenv("LISTEN_PID", pid == NULL ? self : pid, 1);
	setenv("LISTEN_FDS", fds, 1);
	if (names != NULL)
		setenv("LISTEN_FDNAMES", names, 1);
	else
		unsetenv("LISTEN_FDNAMES");
}

static void open_at(int fd)
{
	int null = open("/dev/null", O_RDONLY);
	CHECK(null >= 0 && (null == fd || (dup2(null, fd) == fd && close(null) == 0)));
}

static bool variables_are_gone(void)
{
	return getenv("LISTEN_PID") == NULL && getenv("LISTEN_FDS") == NULL && getenv("LISTEN_FDNAMES") == NULL;
}

static void taken(void)
{
	struct listen_fds l;
	struct err err;
	open_at(3), open_at(4);
	set_variables(NULL, "2", "service:launcher");
	CHECK(listen_fds_take(&l, &err) == 0);
	CHECK(l.count == 2);
	CHECK(listen_fds_find(&l, "service") == 3);
	CHECK(listen_fds_find(&l, "launcher") == 4);
	CHECK(listen_fds_find(&l, "serv") == -1 && listen_fds_find(&l, "") == -1);
	CHECK(fcntl(3, F_GETFD) == FD_CLOEXEC && fcntl(4, F_GETFD) == FD_CLOEXEC);
	CHECK(variables_are_gone());
	/* nothing is left to take */
	CHECK(listen_fds_take(&l, &err) == 0 && l.count == 0);
}

static void not_ours(void)
{
	struct listen_fds l;
	struct err err;
	char parent[24], padded[24];
	open_at(3);
	snprintf(parent, sizeof parent, "%d", getppid());
	snprintf(padded, sizeof padded, "0%d", getpid());
	const char *const others[] = { parent, padded, "", "-1", "1 " };
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		set_variables(others[i], "1", "service");
		CHECK(listen_fds_take(&l, &err) == 0 && l.count == 0);
		CHECK(variables_are_gone());
		CHECK(fcntl(3, F_GETFD) == 0);
	}
	unsetenv("LISTEN_PID");
	setenv("LISTEN_FDS", "1", 1);
	CHECK(listen_fds_take(&l, &err) == 0 && l.count == 0 && variables_are_gone());
}

static void malformed(void)
{
	static const struct { const char *fds, *names, *want; } rows[] = {
		{ "x", "a", "LISTEN_FDS=x: a number up to 8 is allowed" },
		{ "", "", "LISTEN_FDS=: a number up to 8 is allowed" },
		{ "-1", "a", "LISTEN_FDS=-1: a number up to 8 is allowed" },
		{ "9", "a:b:c:d:e:f:g:h:i", "LISTEN_FDS=9: a number up to 8 is allowed" },
		{ "99999999999999999999", "a", "LISTEN_FDS=99999999999999999999: a number up to 8 is allowed" },
		{ "1", NULL, "LISTEN_FDNAMES: descriptor 3 needs a name of 1-31 characters" },
		{ "1", "", "LISTEN_FDNAMES: descriptor 3 needs a name of 1-31 characters" },
		{ "2", "a", "LISTEN_FDNAMES: descriptor 4 needs a name of 1-31 characters" },
		{ "2", "a:", "LISTEN_FDNAMES: descriptor 4 needs a name of 1-31 characters" },
		{ "2", ":a", "LISTEN_FDNAMES: descriptor 3 needs a name of 1-31 characters" },
		{ "1", "12345678901234567890123456789012", "LISTEN_FDNAMES: descriptor 3 needs a name of 1-31 characters" },
		{ "2", "a:a", "LISTEN_FDNAMES: two descriptors are called a" },
		{ "1", "a:b", "LISTEN_FDNAMES has more names than LISTEN_FDS=1 descriptors" },
		{ "1", "a:", "LISTEN_FDNAMES has more names than LISTEN_FDS=1 descriptors" },
		{ "0", "a", "LISTEN_FDNAMES has more names than LISTEN_FDS=0 descriptors" },
		{ "3", "a:b:c", "inherited descriptor 5 (c): Bad file descriptor" },
	};
	open_at(3), open_at(4), close(5);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct listen_fds l = { .count = 77 };
		struct err err;
		set_variables(NULL, rows[i].fds, rows[i].names);
		CHECK(listen_fds_take(&l, &err) < 0);
		if (strcmp(err.text, rows[i].want) != 0)
			fprintf(stderr, "%s\n", err.text);
		CHECK(strcmp(err.text, rows[i].want) == 0);
		CHECK(l.count == 77);
		CHECK(variables_are_gone());
	}
}

static ino_t inode(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* What is given is what is taken, wherever the descriptors were before. */
static void given_and_taken(void)
{
	static const int places[][3] = { { 20, 21, 22 }, { 5, 4, 3 }, { 4, 5, 3 }, { 3, 20, 3 }, { 11, 12, 13 } };
	const char *const names[] = { "service", "launcher", "nsm" };
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct listen_fds l;
		struct err err;
		ino_t before[3];
		for (int n = 0; n < 3; n++) {
			FILE *f = tmpfile();
			CHECK(f != NULL && dup3(fileno(f), 100 + n, O_CLOEXEC) >= 0);
			fclose(f);
		}
		for (int n = 0; n < 3; n++)
			CHECK(dup3(100 + n, places[i][n], O_CLOEXEC) >= 0);
		for (int n = 0; n < 3; n++)
			before[n] = inode(places[i][n]);
		CHECK(listen_fds_give(places[i], names, 3, &err) == 0);
		for (int n = 3; n < 6; n++)
			CHECK(fcntl(n, F_GETFD) == 0);
		CHECK(strcmp(getenv("LISTEN_FDNAMES"), "service:launcher:nsm") == 0);
		CHECK(listen_fds_take(&l, &err) == 0 && l.count == 3);
		for (int n = 0; n < 3; n++)
			CHECK(inode(listen_fds_find(&l, names[n])) == before[n]);
	}
}

static void nothing_and_too_much_given(void)
{
	struct listen_fds l;
	struct err err;
	int fds[LISTEN_FDS_MAX + 1] = { 0 };
	const char *names[LISTEN_FDS_MAX + 1] = { "a" };
	CHECK(listen_fds_give(NULL, NULL, 0, &err) == 0);
	CHECK(strcmp(getenv("LISTEN_FDS"), "0") == 0);
	CHECK(listen_fds_take(&l, &err) == 0 && l.count == 0);
	CHECK(listen_fds_give(fds, names, LISTEN_FDS_MAX + 1, &err) == -EINVAL);
	fds[0] = 999;
	CHECK(listen_fds_give(fds, names, 1, &err) == -EBADF);
	CHECK(strcmp(err.text, "hand on descriptor 999 (a): Bad file descriptor") == 0);
}

#define CASE(body) static void test_##body(void **state) { (void)state; in_child(body); }
CASE(taken)
CASE(not_ours)
CASE(malformed)
CASE(given_and_taken)
CASE(nothing_and_too_much_given)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_given_and_taken),
		cmocka_unit_test(test_nothing_and_too_much_given),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
