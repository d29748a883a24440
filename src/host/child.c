#include "host/child.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "linux/listen_fds.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { READS_PER_TURN = 16 };

/* --- what the child itself does ------------------------------------------------------------------------ */

static void die(const char *what)
{
	dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
	_exit(127);
}

static void pass_fds(const struct child_spec *spec)
{
	int fds[CHILD_FDS_MAX];
	const char *names[CHILD_FDS_MAX];
	struct err err;
	size_t n = 0;
	for (; n < CHILD_FDS_MAX && spec->fds[n].name != NULL; n++) {
		fds[n] = spec->fds[n].fd;
		names[n] = spec->fds[n].name;
	}
	if (listen_fds_give(fds, names, n, &err) < 0) {
		dprintf(STDERR_FILENO, "%s\n", err.text);
		_exit(127);
	}
	if (syscall(SYS_close_range, LISTEN_FDS_START + (unsigned)n, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
		die("close_range");
}

static void become(uid_t uid)
{
	gid_t gid = (gid_t)uid;
	if (uid != 0 && (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0))
		die("change user");
}

static _Noreturn void child_main(const struct child_spec *spec, int error_pipe, pid_t parent)
{
	sigset_t none;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* a group of its own: Ctrl-C reaches the supervisor, which then stops everyone in order */
	setpgid(0, 0);
	if (dup2(error_pipe, STDERR_FILENO) < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    (!spec->keep_stdout && dup2(null, STDOUT_FILENO) < 0))
		die("dup2");
	pass_fds(spec);
	for (size_t i = 0; spec->env != NULL && spec->env[i] != NULL; i++)
		if (putenv((char *)(uintptr_t)spec->env[i]) != 0)
			die("putenv");
	become(spec->uid);
	/* after the change of user, which clears it; then the parent may be gone already */
	prctl(PR_SET_PDEATHSIG, spec->death_signal);
	if (getppid() != parent)
		_exit(127);
	execv(spec->argv[0], (char *const *)(uintptr_t)spec->argv);
	die(spec->argv[0]);
	_exit(127);
}

/* --- what we do ------------------------------------------------------------------------------------------ */

static void print_line(struct child *c)
{
	char shown[CHILD_LINE_MAX * 4 + 1];
	/* bounded and escaped: a line may be made of what a peer of the child said */
	fprintf(stderr, "%s\n", text_escape(bytes_of(c->line, c->line_n), shown, sizeof shown));
	c->line_n = 0;
}

/* As much as a pipe holds: what a dead child has left, and no more at a time of one that never stops. */
static void drain_errors(struct child *c)
{
	char buf[4096];
	ssize_t n = -1;
	for (int reads = 0; reads < READS_PER_TURN && (n = read(c->errors.fd, buf, sizeof buf)) > 0; reads++)
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] != '\n')
				c->line[c->line_n++] = buf[i];
			if (buf[i] == '\n' || c->line_n == sizeof c->line)
				print_line(c);
		}
	if (n == 0) {
		int fd = c->errors.fd;
		if (c->line_n > 0)
			print_line(c);
		loop_del(c->loop, &c->errors);
		close_fd(&fd);
	}
}

static void on_errors(struct watch *w, uint32_t events)
{
	(void)events;
	drain_errors(CONTAINER_OF(w, struct child, errors));
}

static void on_exited(struct watch *w, uint32_t events)
{
	struct child *c = CONTAINER_OF(w, struct child, exited);
	int status = 0, pidfd = w->fd;
	(void)events;
	if (waitpid(c->pid, &status, WNOHANG) != c->pid)
		return;
	c->pid = 0;
	loop_del(c->loop, w);
	close_fd(&pidfd);
	if (c->errors.fd >= 0)
		drain_errors(c);
	if (c->errors.fd >= 0) {
		int fd = c->errors.fd;           /* a grandchild may hold the other end: not ours to wait for */
		loop_del(c->loop, &c->errors);
		close_fd(&fd);
	}
	c->on_exit(c, status);
}

int child_start(struct child *c, struct loop *loop, const struct child_spec *spec, struct err *err)
{
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		return fail(err, errno, "%s: make a pipe", spec->name);
	CLEANUP(close_fd) int read_end = pipe_fds[0];
	CLEANUP(close_fd) int write_end = pipe_fds[1];
	pid_t parent = getpid(), pid = fork();
	if (pid < 0)
		return fail(err, errno, "%s: fork", spec->name);
	if (pid == 0)
		child_main(spec, write_end, parent);

	c->name = spec->name;
	c->pid = pid;
	c->loop = loop;
	c->line_n = 0;
	c->exited.on_event = on_exited;
	c->errors.on_event = on_errors;
	c->exited.fd = c->errors.fd = -1;
	CLEANUP(close_fd) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int ret = pidfd < 0 ? -errno : 0;
	if (ret == 0 && fcntl(read_end, F_SETFL, O_NONBLOCK) != 0)
		ret = -errno;
	if (ret == 0)
		ret = loop_add(loop, &c->exited, pidfd, EPOLLIN);
	if (ret == 0)
		ret = loop_add(loop, &c->errors, read_end, EPOLLIN);
	if (ret < 0) {
		loop_del(loop, &c->exited);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		c->pid = 0;
		return fail(err, -ret, "%s: watch the process", spec->name);
	}
	fd_steal(&pidfd);
	fd_steal(&read_end);
	return 0;
}

void child_signal(struct child *c, int signal_number)
{
	if (c->pid != 0)
		kill(c->pid, signal_number);
}
