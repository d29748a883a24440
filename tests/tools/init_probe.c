/* A service for testing tee-rex-init in a guest: init_probe MODE [ARG]…
 *
 *     report        what it was given (ids, capabilities, environment, descriptors, devices, limits), as "key = value" lines
 *     say TEXT      one line to its output, then waits
 *     log N         N numbered lines to its output as fast as it can, then waits
 *     exit CODE, crash, hang (ignores SIGTERM), eat MIB (touches memory, then waits)
 *     ready         a newline to the descriptor "ready" after a moment, then waits
 *     serve         answers each connection on the descriptor "service" with the bytes it reads, until their end
 *     tcp PORT      the same on 127.0.0.1:PORT
 *     link NAME [MS]  writes "link NAME up" when the other end of the link has said hello; ends when it is gone, or after MS
 *     signal PID N S [TIMES]  sends a signal, after S seconds
 *     cell MIB      a launcher whose job, in a group of its own with that much memory, dies of it; then it waits, deaf to SIGTERM
 *     watch         what PID 1 has (data, descriptors), every second, for one with root's capabilities
 *     forks         makes orphans as fast as it can: children whose children are left to PID 1
 *     closer        closes everything it was given, and waits
 *     junk          writes to "ready" without end, and never a newline
 *     half          half a line, a half of "ready", and its end
 *     harm          tries to hinder PID 1: its limits, priority, memory, descriptors and files
 *     scribble      writes to every file of /proc, /sys and /dev that it can open
 *     forge SOURCE N  writes N lines of the control channel from that port (0: any), and says how it went
 *     low           tries to call the control channel with the listener "low" on port 77, and with what that accepts
 *     app           an application that logs: "serve" with a line to stderr for each connection. What is sent to it may be
 *                   "log N" (N more lines from a child, which ends the connection when it has written them), "count" (lines
 *                   written so far, those of children that run included), "sleep MS" (it does nothing for so long), "die" (by
 *                   SIGKILL).
 *                   Without a mode and as PID 1 it is the same as a naive image has it: its log is /dev/console
 *
 * Reports go to the serial line, which a service with root's capabilities may make a device for. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <sys/stat.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int serial = 1;

static void open_serial(void)
{
	if (mknod("/dev/serial", S_IFCHR | 0600, makedev(4, 64)) == 0 || errno == EEXIST)
		serial = open("/dev/serial", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (serial < 0)
		serial = 1;
}

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n] = '\n';
	if (write(serial, line, (size_t)n + 1) < 0)
		_exit(99);
}

/* The descriptor of that name, or -1. */
static int inherited(const char *name)
{
	const char *names = getenv("LISTEN_FDNAMES"), *pid = getenv("LISTEN_PID");
	if (names == NULL || pid == NULL || atoi(pid) != (int)getpid())
		return -1;
	for (int fd = 3; *names != '\0'; fd++) {
		size_t n = strcspn(names, ":");
		if (strlen(name) == n && memcmp(names, name, n) == 0)
			return fd;
		names += n + (names[n] == ':');
	}
	return -1;
}

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

static void say_file(const char *key, const char *path, const char *line)
{
	char text[4096] = "";
	FILE *f = fopen(path, "r");
	if (f == NULL) {
		say("%s = %s", key, strerror(errno));
		return;
	}
	while (fgets(text, sizeof text, f) != NULL)
		if (strncmp(text, line, strlen(line)) == 0)
			break;
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	say("%s = %s", key, text + strlen(line));
}

static void report(void)
{
	char cwd[256], host[64];
	struct rlimit l;
	struct stat st;
	gid_t groups[32];
	extern char **environ;
	open_serial();
	say("REPORT BEGIN");
	say("ids = %u %u", getuid(), getgid());
	int n = getgroups(32, groups);
	for (int i = 0; i < n; i++)
		say("group%d = %u", i, groups[i]);
	for (char **e = environ; *e != NULL; e++)
		say("env %s", *e);
	say("cwd = %s", getcwd(cwd, sizeof cwd) != NULL ? cwd : "?");
	gethostname(host, sizeof host);
	say("host = %s", host);
	say_file("capeff", "/proc/self/status", "CapEff:\t");
	say_file("capbnd", "/proc/self/status", "CapBnd:\t");
	say_file("nnp", "/proc/self/status", "NoNewPrivs:\t");
	say_file("cgroup", "/proc/self/cgroup", "0::");
	say_file("memory.max", "/sys/fs/cgroup/probe/memory.max", "");
	say_file("pids.max", "/sys/fs/cgroup/probe/pids.max", "");
	say_file("printk", "/proc/sys/kernel/printk", "");
	say_file("ptrace_scope", "/proc/sys/kernel/yama/ptrace_scope", "");
	say_file("init", "/proc/1/status", "Name:\t");
	getrlimit(RLIMIT_NOFILE, &l);
	say("files = %llu", (unsigned long long)l.rlim_cur);
	for (int fd = 0; fd < 256; fd++)
		if (fstat(fd, &st) == 0 && fd != serial)
			say("fd%d = %s", fd, S_ISSOCK(st.st_mode) ? "socket" : S_ISFIFO(st.st_mode) ? "pipe" : S_ISCHR(st.st_mode) ? "device" : "file");
	say("nsm = %s", stat("/dev/nsm", &st) == 0 ? "there" : strerror(errno));
	say("vsock = %s", stat("/dev/vsock", &st) == 0 ? "there" : strerror(errno));
	say("console = %s", stat("/dev/console", &st) == 0 ? "there" : strerror(errno));
	say("write root = %s", mkdir("/new", 0755) == 0 ? "done" : strerror(errno));
	say("write tmp = %s", mkdir("/tmp/new", 0755) == 0 ? "done" : strerror(errno));
	say("write shm = %s", mkdir("/dev/shm/new", 0755) == 0 ? "done" : strerror(errno));
	say("device in the tree = %s", stat("/node", &st) == 0 && open("/node", O_WRONLY | O_NOCTTY | O_NONBLOCK) >= 0 ? "opened" : strerror(errno));
	say("boot conf = %s", stat("/etc/tee-rex/init.conf", &st) == 0 ? "there" : strerror(errno));
	say("write sysctl = %s", access("/proc/sys/kernel/panic", W_OK) == 0 && open("/proc/sys/kernel/panic", O_WRONLY) >= 0 ? "done" : strerror(errno));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int s = socket(AF_INET, SOCK_STREAM, 0);
	say("bind 127.0.0.1:80 = %s", bind(s, (struct sockaddr *)&a, sizeof a) == 0 ? "done" : strerror(errno));
	say("year = %d", (int)(1970 + time(NULL) / 31556952));
	say("REPORT END");
}

static void log_lines(long n)
{
	char buf[8192];
	size_t used = 0;
	for (long i = 0; i < n; i++) {
		used += (size_t)snprintf(buf + used, sizeof buf - used, "line %ld of what a service has to say about itself\n", i);
		if (used > sizeof buf - 128 || i + 1 == n) {
			for (size_t at = 0; at < used;) {
				ssize_t w = write(2, buf + at, used - at);
				if (w < 0)
					_exit(98);
				at += (size_t)w;
			}
			used = 0;
		}
	}
}

/* --- echo, and an application --- */
static struct pollfd served[64];                 /* the listener, then connections */
static nfds_t served_n;
static unsigned long long lines_written;

/* In a child, which holds nothing but its own connection. */
static void log_from_a_child(int fd, long n)
{
	if (fork() != 0)
		return;
	for (nfds_t i = 0; i < served_n; i++)
		if (served[i].fd != fd)
			close(served[i].fd);
	log_lines(n);
	_exit(0);
}

/* Does what an application is asked for. False: the connection is no more this process's. */
static bool obey(int fd, char *request, size_t *n, size_t cap)
{
	long number;
	request[*n] = '\0';
	if (sscanf(request, "log %ld", &number) == 1) {
		lines_written += (unsigned long long)number;
		log_from_a_child(fd, number);
		return false;
	}
	if (sscanf(request, "sleep %ld", &number) == 1)
		usleep((useconds_t)number * 1000);
	if (strcmp(request, "die") == 0)
		kill(getpid(), SIGKILL);
	if (strcmp(request, "count") == 0)
		*n = (size_t)snprintf(request, cap, "%llu", lines_written);
	return true;
}

/* Echoes connection by connection, all at once. logs: an application. */
static void serve(int listener, bool logs)
{
	char buf[4096];
	fcntl(listener, F_SETFL, O_NONBLOCK);
	served[served_n++] = (struct pollfd){ .fd = listener, .events = POLLIN };
	for (;;) {
		poll(served, served_n, -1);
		for (nfds_t i = served_n; i-- > 1;) {
			if (served[i].revents == 0)
				continue;
			ssize_t got = read(served[i].fd, buf, sizeof buf - 1);
			size_t n = got > 0 ? (size_t)got : 0;
			if (n > 0 && (!logs || obey(served[i].fd, buf, &n, sizeof buf)) && write(served[i].fd, buf, n) == (ssize_t)n)
				continue;
			close(served[i].fd);
			served[i] = served[--served_n];
		}
		int fd = served[0].revents != 0 && served_n < 64 ? accept(listener, NULL, NULL) : -1;
		if (fd >= 0)
			served[served_n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		if (fd >= 0 && logs)
			dprintf(2, "request %llu accepted from the parent, as an application is wont to say about each of them\n", ++lines_written);
	}
}

/* PID 1 of an image made by hand. */
static int naive_listener(void)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_port = 9002, .svm_cid = VMADDR_CID_ANY };
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	int console = open("/dev/console", O_RDWR), s = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (console < 0 || dup2(console, 2) < 0 || bind(s, (struct sockaddr *)&a, sizeof a) != 0 || listen(s, 64) != 0)
		_exit(92);
	return s;
}

static void serve_tcp(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (struct sockaddr *)&a, sizeof a) != 0 || listen(s, 64) != 0)
		_exit(97);
	serve(s, false);
}

static void link_to(const char *name, const char *ms)
{
	int fd = inherited(name);
	char buf[16];
	if (fd < 0 || send(fd, "hello", 5, MSG_NOSIGNAL) != 5 || recv(fd, buf, sizeof buf, 0) != 5)
		_exit(96);
	say("link %s up %d", name, (int)getpid());
	if (ms != NULL) {
		usleep((useconds_t)atoi(ms) * 1000);
		_exit(1);
	}
	while (recv(fd, buf, sizeof buf, 0) > 0)
		;
	_exit(0);
}

static void eat(long mib)
{
	for (long i = 0; i < mib; i++) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			_exit(95);
		memset(p, 1, 1 << 20);
	}
	wait_for_ever();
}

static void cell(const char *mib)
{
	char path[128];
	int status = 0;
	signal(SIGTERM, SIG_IGN);
	mkdir("/sys/fs/cgroup/boss/job", 0755);
	snprintf(path, sizeof path, "/sys/fs/cgroup/boss/job/memory.max");
	FILE *f = fopen(path, "w");
	if (f == NULL || fprintf(f, "%ld", atol(mib) << 20) < 0 || fclose(f) != 0)
		_exit(91);
	pid_t pid = fork();
	if (pid == 0) {
		f = fopen("/sys/fs/cgroup/boss/job/cgroup.procs", "w");
		if (f == NULL || fputs("0", f) < 0 || fclose(f) != 0)
			_exit(91);
		eat(2 * atol(mib));
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	say("the job ended by signal %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	wait_for_ever();
}

/* --- in its way ----------------------------------------------------------------------------------------------------- */
static void watch(void)
{
	for (;; sleep(1)) {
		char line[256];
		long data = -1, fds = 0;
		FILE *f = fopen("/proc/1/status", "r");
		while (f != NULL && fgets(line, sizeof line, f) != NULL)
			sscanf(line, "VmData: %ld", &data);
		if (f != NULL)
			fclose(f);
		DIR *d = opendir("/proc/1/fd");
		while (d != NULL && readdir(d) != NULL)
			fds++;
		if (d != NULL)
			closedir(d);
		say("init has %ld kB of data, %ld descriptors", data, fds);
	}
}

static void forks(void)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		pid_t pid = fork();
		if (pid == 0) {
			for (int i = 0; i < 8; i++)
				if (fork() == 0) {
					usleep(1000);
					_exit(i);
				}
			_exit(0);
		}
		if (pid < 0)
			usleep(1000);
	}
}

static void half(void)
{
	int ready = inherited("ready");
	static char junk[100000];
	memset(junk, 'h', sizeof junk);
	if (write(2, junk, sizeof junk) < 0 || write(ready, "almost", 6) != 6)
		_exit(90);
	_exit(3);
}

/* --- against PID 1 ------------------------------------------------------------------------------------------------- */
static void tried(const char *what, long ret) { say("harm %s: %s", what, ret >= 0 ? "done" : strerror(errno)); }

static void harm(void)
{
	static const char *const files[] = { "oom_score_adj", "oom_adj", "autogroup", "clear_refs", "coredump_filter", "comm", "mem", "sched", "timerslack_ns",
	                                     "uid_map", "setgroups", "attr/current", "loginuid", "timens_offsets", "task/1/comm" };
	const struct rlimit few = { 3, 3 }, second = { 1, 1 }, page = { 4096, 4096 };
	struct sched_param p = { 0 };
	cpu_set_t one;
	char path[64], byte;
	struct iovec own = { &byte, 1 }, theirs = { (void *)0x400000, 1 };
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	tried("files", prlimit(1, RLIMIT_NOFILE, &few, NULL));
	tried("address space", prlimit(1, RLIMIT_AS, &page, NULL));
	tried("signals", prlimit(1, RLIMIT_SIGPENDING, &second, NULL));
	tried("priority", setpriority(PRIO_PROCESS, 1, 19));
	tried("scheduler", sched_setscheduler(1, SCHED_IDLE, &p));
	tried("processor", sched_setaffinity(1, sizeof one, &one));
	tried("io priority", syscall(SYS_ioprio_set, 1, 1, 3 << 13));
	tried("trace", syscall(SYS_ptrace, 0x4206 /* SEIZE */, 1, 0, 0));
	tried("read memory", process_vm_readv(1, &own, 1, &theirs, 1, 0));
	tried("write memory", process_vm_writev(1, &own, 1, &theirs, 1, 0));
	int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
	tried("take a descriptor", syscall(SYS_pidfd_getfd, pidfd, 4, 0));
	tried("stop", kill(1, SIGSTOP));
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "/proc/1/%s", files[i]);
		int fd = open(path, O_WRONLY);
		tried(files[i], fd < 0 ? -1 : write(fd, "1000", 4));
	}
	/* last, because it is the end: a second of CPU time, then the kernel kills it */
	tried("processor time", prlimit(1, RLIMIT_CPU, &second, NULL));
	say("HARM END");
}

static unsigned long scribbled, opened;

static int scribble_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
	static const char *const words[] = { "1\n", "0", "-1000\n", "max\n", "\xff\xfe\xfd nonsense 99999999999999999999\n" };
	char own[32];
	(void)st;
	(void)at;
	snprintf(own, sizeof own, "/proc/%d/", (int)getpid());
	if (type != FTW_F || strncmp(path, own, strlen(own)) == 0 || strstr(path, "/self/") != NULL || strstr(path, "/thread-self/") != NULL)
		return 0;
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return 0;
	opened++;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		scribbled += write(fd, words[i], strlen(words[i])) > 0;
	close(fd);
	return 0;
}

static void scribble(void)
{
	nftw("/proc", scribble_file, 16, FTW_PHYS);
	nftw("/sys", scribble_file, 16, FTW_PHYS);
	nftw("/dev", scribble_file, 16, FTW_PHYS);
	say("scribbled on %lu files, %lu times with success", opened, scribbled);
}

/* --- as if it were init -------------------------------------------------------------------------------------------- */
enum { PARENT = 3, CONTROL = 9001 };

static int call_parent(int s, unsigned source)
{
	struct sockaddr_vm own = { .svm_family = AF_VSOCK, .svm_port = source, .svm_cid = VMADDR_CID_ANY };
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_port = CONTROL, .svm_cid = PARENT };
	if (source != 0 && bind(s, (struct sockaddr *)&own, sizeof own) != 0)
		return -1;
	return connect(s, (struct sockaddr *)&to, sizeof to);
}

static void forge(unsigned source, long n)
{
	char line[200];
	int s = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (call_parent(s, source) != 0) {
		say("forge from %u: %s", source, strerror(errno));
		return;
	}
	for (long i = 0; i < n; i++) {
		int size = snprintf(line, sizeof line, "{\"kind\":\"log\",\"seq\":%ld,\"ms\":1,\"service\":\"echo\",\"text\":\"forged\"}\n"
		                    "{\"kind\":\"boot\",\"seq\":%ld,\"ms\":1,\"stage\":\"forged\"}\n", 4000000000 + i, 4000000000 + i);
		if (send(s, line, (size_t)size, MSG_NOSIGNAL) != size)
			break;
	}
	/* a refusal comes as the end of the connection */
	struct timeval patience = { .tv_sec = 2 };
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	ssize_t got = recv(s, line, sizeof line, 0);
	say("forge from %u: %s", source, got < 0 && errno == EAGAIN ? "taken" : "refused");
	close(s);
}

/* A listener on a low port is handed down by init. It must not become a way to call from there. */
static void call_from_listener(void)
{
	int s = inherited("low");
	int made = socket(AF_VSOCK, SOCK_STREAM, 0);
	say("the listener calls: %s", call_parent(s, 0) == 0 ? "done" : strerror(errno));
	shutdown(s, SHUT_RDWR);
	say("shut down first: %s", call_parent(s, 0) == 0 ? "done" : strerror(errno));
	struct sockaddr_vm none = { .svm_family = AF_UNSPEC };
	say("dissolved: %s", connect(s, (struct sockaddr *)&none, sizeof none) == 0 ? "done" : strerror(errno));
	say("another on its port: %s", call_parent(made, 77) == 0 ? "done" : strerror(errno));
	/* and neither must what it accepts, when that has ended */
	int a = accept(s, NULL, NULL);
	char c;
	while (a >= 0 && recv(a, &c, 1, 0) > 0)
		;
	say("what it accepted calls: %s", a < 0 ? strerror(errno) : call_parent(a, 0) == 0 ? "done" : strerror(errno));
	shutdown(a, SHUT_RDWR);
	sleep(1);
	say("and later: %s", call_parent(a, 0) == 0 ? "done" : strerror(errno));
	say("LOW END");
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "", *arg = argc > 2 ? argv[2] : "";
	if (strcmp(mode, "report") == 0) {
		report();
		wait_for_ever();
	} else if (strcmp(mode, "say") == 0) {
		dprintf(1, "%s\n", arg);
		wait_for_ever();
	} else if (strcmp(mode, "log") == 0) {
		log_lines(atol(arg));
		wait_for_ever();
	} else if (strcmp(mode, "exit") == 0) {
		return atoi(arg);
	} else if (strcmp(mode, "crash") == 0) {
		abort();
	} else if (strcmp(mode, "hang") == 0) {
		signal(SIGTERM, SIG_IGN);
		if (inherited("ready") >= 0 && write(inherited("ready"), "\n", 1) != 1)
			return 94;
		wait_for_ever();
	} else if (strcmp(mode, "eat") == 0) {
		eat(atol(arg));
	} else if (strcmp(mode, "ready") == 0) {
		usleep(50 * 1000);
		if (write(inherited("ready"), "\n", 1) != 1)
			return 94;
		wait_for_ever();
	} else if (strcmp(mode, "serve") == 0) {
		serve(inherited("service"), false);
	} else if (strcmp(mode, "app") == 0 || getpid() == 1) {
		signal(SIGCHLD, SIG_IGN);
		serve(getpid() == 1 ? naive_listener() : inherited("service"), true);
	} else if (strcmp(mode, "tcp") == 0) {
		serve_tcp(atoi(arg));
	} else if (strcmp(mode, "link") == 0) {
		link_to(arg, argc > 3 ? argv[3] : NULL);
	} else if (strcmp(mode, "signal") == 0 && argc > 4) {
		sleep((unsigned)atoi(argv[4]));
		for (long i = argc > 5 ? atol(argv[5]) : 1; i > 0; i--)
			if (kill(atoi(arg), atoi(argv[3])) != 0)
				return 93;
		return 0;
	} else if (strcmp(mode, "watch") == 0) {
		watch();
	} else if (strcmp(mode, "forks") == 0) {
		forks();
	} else if (strcmp(mode, "closer") == 0) {
		syscall(SYS_close_range, 0, ~0u, 0);
		wait_for_ever();
	} else if (strcmp(mode, "junk") == 0) {
		for (int fd = inherited("ready"); write(fd, "junk and no end of a line ", 26) > 0;)
			;
	} else if (strcmp(mode, "half") == 0) {
		half();
	} else if (strcmp(mode, "harm") == 0) {
		harm();
		wait_for_ever();
	} else if (strcmp(mode, "scribble") == 0) {
		scribble();
		wait_for_ever();
	} else if (strcmp(mode, "cell") == 0) {
		cell(arg);
	} else if (strcmp(mode, "forge") == 0 && argc > 3) {
		forge((unsigned)atoi(arg), atol(argv[3]));
		wait_for_ever();
	} else if (strcmp(mode, "low") == 0) {
		call_from_listener();
		wait_for_ever();
	}
	return 2;
}
