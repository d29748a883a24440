/* The service's cell: what a taken-over service tries fails with the errno stated, and the same without the cell
 * succeeds (so the probe itself is not what fails). */
#include "linux/seal.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

static int outcome(long ret) { return ret < 0 ? errno : 0; }

static int try_open(void) { return outcome(open("/etc/passwd", O_RDONLY)); }
static int try_create(void) { return outcome(open("/tmp/tee-rex-seal-test", O_CREAT | O_WRONLY, 0600)); }
static int try_exec(void)
{
	/* a dead end even when it works: the child of the test is replaced and exits 0 */
	char *argv[] = { (char *)(uintptr_t)"/bin/true", NULL };
	execv(argv[0], argv);
	return errno;
}
static int try_fork(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return outcome(pid);
}
static int try_unix_socket(void) { return outcome(socket(AF_UNIX, SOCK_STREAM, 0)); }
static int try_inet_socket(void) { return outcome(socket(AF_INET, SOCK_STREAM, 0)); }
static int try_kill(void) { return outcome(kill(getppid(), 0)); }
static int try_ptrace(void) { return outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL)); }
static int try_unlink(void) { return outcome(unlink("/tmp/tee-rex-seal-test")); }
static int try_chmod(void) { return outcome(chmod(".", 0755)); }
static int try_dumpable(void) { return outcome(syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0)); }
static int try_ioctl(void) { int n; return outcome(ioctl(0, FIONREAD, &n)) == EPERM ? EPERM : 0; }
static int try_unshare(void) { return outcome(unshare(CLONE_FS)); }

static const struct { const char *name; int (*probe)(void); int sealed; } probes[] = {
	{ "create", try_create, EPERM }, { "unlink", try_unlink, EPERM }, { "open", try_open, EPERM },
	{ "fork", try_fork, EPERM }, { "unix socket", try_unix_socket, EPERM }, { "inet socket", try_inet_socket, EPERM },
	{ "kill", try_kill, EPERM }, { "ptrace", try_ptrace, EPERM }, { "chmod", try_chmod, EPERM },
	{ "dumpable", try_dumpable, EPERM }, { "ioctl", try_ioctl, EPERM }, { "unshare", try_unshare, EPERM },
	{ "exec", try_exec, EPERM },
};

/* Runs a probe in a child, sealed or not, and returns what it said. */
static int in_child(int (*probe)(void), bool sealed)
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct seal_report r;
		struct err err;
		if (sealed && (seal_service(&r, &err) != 0 || !r.seccomp))
			syscall(SYS_exit_group, 200);
		syscall(SYS_exit_group, probe());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void every_way_out_is_closed(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++) {
		int free_result = in_child(probes[i].probe, false), sealed_result = in_child(probes[i].probe, true);
		if (free_result != 0 || sealed_result != probes[i].sealed)
			print_error("%s: %d without the cell, %d in it\n", probes[i].name, free_result, sealed_result);
		assert_int_equal(free_result, 0);
		assert_int_equal(sealed_result, probes[i].sealed);
	}
	unlink("/tmp/tee-rex-seal-test");
}

static int open_behind_landlock(void)
{
	bool given;
	struct err err;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (seal_landlock(&given, &err) != 0)
		return 201;
	return given ? try_open() : 202;
}

static void landlock_alone_closes_files(void **state)
{
	(void)state;
	int got = in_child(open_behind_landlock, false);
	if (got == 202) {
		print_message("SKIPPED: this kernel has no landlock\n");
		skip();
	}
	assert_int_equal(got, EACCES);
}

static int serve(void)
{
	char buf[8];
	int memory = memfd_create("m", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory < 0 || write(memory, "x", 1) != 1 || pread(memory, buf, 1, 0) != 1 || fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE) != 0)
		return 1;
	void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || madvise(p, 1 << 20, MADV_DONTNEED) != 0 || munmap(p, 1 << 20) != 0)
		return 2;
	struct stat st;
	return fstat(memory, &st) != 0 || close(memory) != 0 ? 3 : 0;
}

static void what_a_service_needs_works(void **state)
{
	(void)state;
	assert_int_equal(in_child(serve, true), 0);
}

/* --- the launcher's --------------------------------------------------------------------------------------- */
static pid_t another;                    /* a user of its own, not dumpable: as the service is */

static int try_mknod(void)
{
	int ret = outcome(mknod("/tmp/tee-rex-seal-node", S_IFCHR | 0600, makedev(1, 3)));
	unlink("/tmp/tee-rex-seal-node");
	return ret;
}
static int try_memory(void)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/mem", another);
	return outcome(open(path, O_RDONLY));
}
static int try_seize(void) { return outcome(ptrace(PTRACE_SEIZE, another, NULL, NULL)); }
static int try_clock(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return outcome(clock_settime(CLOCK_REALTIME, &now));
}
static int try_priority(void) { return outcome(setpriority(PRIO_PROCESS, 0, -5)); }
static int try_lock(void)
{
	const struct rlimit more = { RLIM_INFINITY, RLIM_INFINITY };
	return outcome(setrlimit(RLIMIT_CORE, &more));
}
/* What it is there for. */
static int make_cell(void)
{
	int pair[2];
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("t", "/tmp", "tmpfs", 0, NULL) != 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0)
		return errno;
	int file = open("/tmp/x", O_CREAT | O_RDWR, 0600);
	if (file < 0 || fchown(file, 64000, 64000) != 0 || kill(another, 0) != 0)
		return errno;
	return outcome(setresuid(64000, 64000, 64000));
}

static const struct { const char *name; int (*probe)(void); int sealed; } launcher_probes[] = {
	{ "unix socket", try_unix_socket, EPERM }, { "inet socket", try_inet_socket, EPERM }, { "mknod", try_mknod, EPERM },
	{ "memory of the service", try_memory, EACCES }, { "ptrace", try_seize, EPERM }, { "clock", try_clock, EPERM },
	{ "priority", try_priority, EACCES }, { "rlimit", try_lock, EPERM }, { "make a cell", make_cell, 0 },
};

static int in_launcher(int (*probe)(void))
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		bool seccomp;
		struct err err;
		_exit(seal_launcher(&seccomp, &err) != 0 || !seccomp ? 200 : probe());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void the_launcher_keeps_what_it_needs_and_no_more(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("SKIPPED: needs root\n");
		skip();
	}
	another = fork();
	if (another == 0) {
		if (setresuid(64001, 64001, 64001) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
			_exit(1);
		for (;;)
			pause();
	}
	usleep(50000);
	for (size_t i = 0; i < sizeof launcher_probes / sizeof launcher_probes[0]; i++) {
		int free_result = in_child(launcher_probes[i].probe, false), sealed = in_launcher(launcher_probes[i].probe);
		if (free_result != 0 || sealed != launcher_probes[i].sealed)
			print_error("%s: %d without the seal, %d with it\n", launcher_probes[i].name, free_result, sealed);
		assert_int_equal(free_result, 0);
		assert_int_equal(sealed, launcher_probes[i].sealed);
	}
	kill(another, SIGKILL);
	waitpid(another, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_out_is_closed),
		cmocka_unit_test(landlock_alone_closes_files),
		cmocka_unit_test(what_a_service_needs_works),
		cmocka_unit_test(the_launcher_keeps_what_it_needs_and_no_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
