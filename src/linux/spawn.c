#include "linux/spawn.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

pid_t spawn_clone(uint64_t namespaces, int *ret_pidfd, struct err *err)
{
	int pidfd = -1;
	struct clone_args args = {
		.flags = namespaces | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0)
		return fail(err, errno, "make a process in new namespaces");
	if (pid > 0)
		*ret_pidfd = pidfd;
	return (pid_t)pid;
}

static int write_file(const char *path, const char *text, struct err *err)
{
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return fail(err, errno, "write %s", path);
	return 0;
}

int spawn_map_ids(uid_t uid, gid_t gid, struct err *err)
{
	char users[48], groups[48];
	snprintf(users, sizeof users, "%u %u 1", uid, uid);
	snprintf(groups, sizeof groups, "%u %u 1", gid, gid);
	int bad = write_file("/proc/self/setgroups", "deny", err);
	if (bad == 0)
		bad = write_file("/proc/self/gid_map", groups, err);
	if (bad == 0)
		bad = write_file("/proc/self/uid_map", users, err);
	return bad;
}

void spawn_fresh(void)
{
	sigset_t none;
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	umask(077);
}

void spawn_keep(int a, int b)
{
	const unsigned keep[] = { (unsigned)(a < b ? a : b), (unsigned)(a < b ? b : a) };
	unsigned from = 0;
	for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
		if (keep[i] > from)
			syscall(SYS_close_range, from, keep[i] - 1, 0);
		from = keep[i] + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0);
}

int spawn_follow_parent(struct err *err)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 ? fail(err, errno, "tie a process to its parent") : 0;
}

void spawn_kill(int pidfd)
{
	if (pidfd >= 0)
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

static uint64_t milliseconds(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_usec / 1000;
}

int spawn_reap(pid_t pid, int *ret_status, struct spawn_usage *ret_usage)
{
	struct rusage u;
	int status;
	pid_t got = wait4(pid, &status, WNOHANG, &u);
	if (got <= 0)
		return got == 0 ? -EAGAIN : -errno;
	uint64_t cpu = milliseconds(u.ru_utime) + milliseconds(u.ru_stime);
	*ret_status = status;
	*ret_usage = (struct spawn_usage){
		.cpu_ms = cpu < UINT32_MAX ? (uint32_t)cpu : UINT32_MAX,
		.peak_rss_bytes = (uint64_t)u.ru_maxrss << 10,
	};
	return 0;
}
