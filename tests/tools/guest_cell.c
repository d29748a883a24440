/* PID 1 of a guest that tries out the launcher: does what /script says, line by line, and prints an answer to each on
 * the console. It plays the prover (format/launch.h) and, around it, the machine: devices, a CRS, a victim, cgroup v2.
 *
 *     launcher NAME GUARDS|-     starts /bin/NAME with /config-NAME, these guards off; prints the guards it reports
 *     run TEXT                   one job with TEXT as its input's first line, from OPEN to CLOSED: "OUTCOME peak limit proof"
 *     leave N TEXT               the same, left when N processes of its are there: ms until the last was gone
 *     pay MIB                    writes so much payload into a slot: MiB that this process's group and the slot's pay
 *     left                       what is left: job processes, job cgroups, descriptors of the launcher, mounts of its
 *     file PATH                  its first line
 *
 * {victim} {address} {word} {launcher} {n} in a TEXT become what they are now. */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "format/launch.h"
#include "linux/fdpass.h"
#include "linux/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORD "5f1c9c8ad3c1447e9d0b"
enum { UID_BASE = 64000, ANSWER_MS = 60000 };

static pid_t launcher, victim;
static int to_launcher = -1, program = -1, serial;
static char address[64];

static _Noreturn void die(const char *what)
{
	printf("GUEST DIED: %s: %s\n", what, strerror(errno));
	char line[512];
	FILE *log = fopen("/log", "r");
	while (log != NULL && fgets(line, sizeof line, log) != NULL)
		fputs(line, stdout);
	fflush(stdout);
	reboot(RB_AUTOBOOT);
	_exit(1);
}

static void must(bool ok, const char *what)
{
	if (!ok)
		die(what);
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool read_file(const char *path, char *buf, size_t cap)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, cap - 1);
	buf[n < 0 ? 0 : n] = '\0';
	return n >= 0;
}

static void write_file(const char *path, const char *text)
{
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
}

/* --- the machine ------------------------------------------------------------------------------------- */
static void furnish(void)
{
	static const struct { const char *name; mode_t mode; unsigned minor; } devices[] = {
		{ "/dev/nsm", 0600, 3 }, { "/dev/kmsg", 0600, 3 }, { "/dev/null", 0666, 3 }, { "/dev/zero", 0666, 5 }, { "/dev/urandom", 0444, 9 },
	};
	static const char *const directories[] = { "/proc", "/sys", "/tmp", "/run", "/crs", "/ro", "/etc", "/other", "/mnt" };
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		mkdir(directories[i], 0755);
	/* the first root has no parent, so nobody can pivot away from it: what init gives its services has one */
	must(mount("/", "/mnt", NULL, MS_BIND, NULL) == 0 && chdir("/mnt") == 0 && mount(".", "/", NULL, MS_MOVE, NULL) == 0 && chroot(".") == 0,
	     "move the root");
	must(mount("proc", "/proc", "proc", 0, NULL) == 0 && mount("sys", "/sys", "sysfs", 0, NULL) == 0, "mount");
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	must(mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) == 0, "mount cgroup2");
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		/* in the simulator there is a real NSM; otherwise stand-ins that can be opened */
		if (strcmp(devices[i].name, "/dev/nsm") != 0)
			unlink(devices[i].name);
		must((mknod(devices[i].name, S_IFCHR, makedev(1, devices[i].minor)) == 0 || errno == EEXIST) && chmod(devices[i].name, devices[i].mode) == 0,
		     devices[i].name);
	}
	chmod("/other", 0777);
	chmod("/other/secret", 0600);
	write_file("/crs/points", "honest");
	write_file("/ro/file", "honest");
	write_file("/etc/passwd", "root:x:0:0::/:\n");
	/* the launcher's cgroup is one of several, as under an init that gives each service its own */
	must(mkdir("/sys/fs/cgroup/launcher", 0755) == 0 && mkdir("/sys/fs/cgroup/service", 0755) == 0, "make cgroups");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids +cpu");
	write_file("/sys/fs/cgroup/service/cgroup.procs", "0");
	const struct rlimit files = { 4096, 4096 };
	setrlimit(RLIMIT_NOFILE, &files);
}

static void start_victim(void)
{
	int out[2];
	must(pipe2(out, O_CLOEXEC) == 0 && (victim = fork()) >= 0, "make the victim");
	if (victim == 0) {
		dup2(out[1], 1);
		/* no capability, as a service; the user that a job has whose guard "uid" is off */
		if (sandbox_identity(false, 0, 0, NULL) == 0)
			execl("/bin/evil_cell", "evil_cell", "victim", WORD, NULL);
		_exit(1);
	}
	close(out[1]);
	ssize_t n = read(out[0], address, sizeof address - 1);
	must(n > 0, "the victim's address");
	address[strcspn(address, "\n")] = '\0';
}

static void load_program(const char *path)
{
	static char block[1 << 16];
	CLEANUP(close_fd) int in = open(path, O_RDONLY | O_CLOEXEC);
	close_fd(&program);
	program = memfd_create("prover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	must(in >= 0 && program >= 0, path);
	for (ssize_t n; (n = read(in, block, sizeof block)) > 0;)
		must(write(program, block, (size_t)n) == n, path);
	must(fcntl(program, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0, "seal");
}

/* --- the launcher -------------------------------------------------------------------------------------- */
static void send_message(const struct launch_message *m, int fd)
{
	uint8_t buf[LAUNCH_MESSAGE_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	launch_put(&w, m);
	must(fdpass_send(to_launcher, writer_bytes(&w), &fd, fd >= 0) == 0, "send to the launcher");
}

/* The next message; its text points into a buffer of ours. */
static struct launch_message receive(int *ret_fd)
{
	static uint8_t buf[LAUNCH_MESSAGE_MAX];
	struct fdpass_packet p;
	struct launch_message m;
	struct pollfd ready = { .fd = to_launcher, .events = POLLIN };
	must(poll(&ready, 1, ANSWER_MS) == 1, "the launcher does not answer");
	must(fdpass_receive(to_launcher, buf, sizeof buf, false, &p) == 0 && p.size > 0 && launch_parse(bytes_of(buf, p.size), &m), "launcher's answer");
	*ret_fd = p.fd_count > 0 ? p.fd[0] : -1;
	return m;
}

static struct launch_message expect(enum launch_kind kind, int *ret_fd)
{
	struct launch_message m = receive(ret_fd);
	if (m.kind != kind && m.kind != LAUNCH_FAILED) {
		printf("GUEST DIED: message %d instead of %d\n", m.kind, kind);
		errno = EPROTO;
		die("the launcher's order");
	}
	return m;
}

static void stop_launcher(void)
{
	if (launcher == 0)
		return;
	close_fd(&to_launcher);
	must(waitpid(launcher, NULL, 0) == launcher, "the launcher's end");
	launcher = 0;
}

static void start_launcher(char *name, const char *guards)
{
	char path[64], config[80], pid[16];
	int ends[2], ignored;
	stop_launcher();
	snprintf(path, sizeof path, "/bin/%s", name);
	snprintf(config, sizeof config, "/config-%s", name);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0 && (launcher = fork()) >= 0, "make the launcher");
	if (launcher == 0) {
		int log = open("/log", O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(log, 1), dup2(log, 2);
		write_file("/sys/fs/cgroup/launcher/cgroup.procs", "0");
		snprintf(pid, sizeof pid, "%d", getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "1", 1);
		setenv("LISTEN_FDNAMES", "prover", 1);
		setenv("TEEREX_UNSAFE_JOB_DIRECTORY", "/other", 1);
		if (strcmp(guards, "-") != 0)
			setenv("TEEREX_UNSAFE_GUARDS_OFF", guards, 1);
		dup2(ends[1], 3);
		fcntl(3, F_SETFD, 0);
		execl(path, name, "--config", config, NULL);
		_exit(127);
	}
	close(ends[1]);
	to_launcher = ends[0];
	struct launch_message m = expect(LAUNCH_READY, &ignored);
	printf("= %.*s\n", (int)m.text.n, (const char *)m.text.p);
}

/* --- jobs ------------------------------------------------------------------------------------------------ */
static void replace(char *text, size_t cap, const char *name, const char *value)
{
	char copy[1024];
	for (char *at; (at = strstr(text, name)) != NULL;) {
		snprintf(copy, sizeof copy, "%.*s%s%s", (int)(at - text), text, value, at + strlen(name));
		snprintf(text, cap, "%s", copy);
	}
}

static void expand(const char *from, char *text, size_t cap)
{
	char number[32];
	snprintf(text, cap, "%s\n", from);
	snprintf(number, sizeof number, "%d", victim);
	replace(text, cap, "{victim}", number);
	snprintf(number, sizeof number, "%d", launcher);
	replace(text, cap, "{launcher}", number);
	snprintf(number, sizeof number, "%d", ++serial);
	replace(text, cap, "{n}", number);
	replace(text, cap, "{address}", address);
	replace(text, cap, "{word}", WORD);
	snprintf(number, sizeof number, "/crs/gone%d", serial);
	write_file(number, "x");
	write_file("/crs/empty", "x");
}

static int open_slot(size_t payload)
{
	int input;
	send_message(&(struct launch_message){ .kind = LAUNCH_OPEN, .payload_bytes = payload }, -1);
	struct launch_message m = expect(LAUNCH_OPENED, &input);
	if (m.kind == LAUNCH_FAILED)
		printf("= failed %.*s\n", (int)m.text.n, (const char *)m.text.p);
	return input;
}

static void close_slot(int *input)
{
	int ignored;
	close_fd(input);
	send_message(&(struct launch_message){ .kind = LAUNCH_CLOSE }, -1);
	while (receive(&ignored).kind != LAUNCH_CLOSED)
		close_fd(&ignored);
}

static bool begin(const char *act, int *ret_input)
{
	char text[1024];
	expand(act, text, sizeof text);
	*ret_input = open_slot(strlen(text));
	if (*ret_input < 0)
		return false;
	must(write(*ret_input, text, strlen(text)) == (ssize_t)strlen(text), "write the input");
	send_message(&(struct launch_message){ .kind = LAUNCH_START }, program);
	return true;
}

static void run(const char *act)
{
	char proof[256] = "";
	int input, fd;
	if (!begin(act, &input))
		return;
	struct launch_message m = expect(LAUNCH_ENDED, &fd);
	ssize_t n = fd < 0 ? 0 : pread(fd, proof, sizeof proof - 1, 0);
	close_fd(&fd);
	printf("= %s %llu %llu %.*s\n", outcome_name(m.how), (unsigned long long)m.peak_bytes, (unsigned long long)m.limit_bytes, n < 0 ? 0 : (int)n, proof);
	close_slot(&input);
}

/* Processes of the jobs' users. */
static unsigned job_processes(void)
{
	CLEANUP(close_dir) DIR *d = opendir("/proc");
	unsigned n = 0;
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		struct stat st;
		char path[300], line[64];
		snprintf(path, sizeof path, "/proc/%.200s/task", e->d_name);
		/* a zombie counts until it is reaped; dumpable or not, its owner is in the status */
		snprintf(path, sizeof path, "/proc/%.200s/status", e->d_name);
		CLEANUP(close_file) FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' && stat(path, &st) == 0 ? fopen(path, "r") : NULL;
		unsigned uid;
		while (f != NULL && fgets(line, sizeof line, f) != NULL)
			if (sscanf(line, "Uid: %u", &uid) == 1)
				n += uid >= UID_BASE && uid < UID_BASE + LAUNCH_SLOTS_MAX;
	}
	return n;
}

static void leave(unsigned want, const char *act)
{
	int input, ignored;
	if (!begin(act, &input))
		return;
	int64_t give_up = now_ms() + ANSWER_MS;
	while (job_processes() < want && now_ms() < give_up)
		usleep(10000);
	unsigned there = job_processes();
	int64_t left = now_ms();
	close_fd(&input);
	send_message(&(struct launch_message){ .kind = LAUNCH_CLOSE }, -1);
	while (job_processes() > 0 && now_ms() < left + 10000)
		usleep(2000);
	printf("= %u processes, gone after %lld\n", there, (long long)(now_ms() - left));
	while (receive(&ignored).kind != LAUNCH_CLOSED)
		close_fd(&ignored);
}

static unsigned long long number_in(const char *path)
{
	char text[64];
	return read_file(path, text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

static void pay(size_t mib)
{
	static char block[1 << 20];
	char group[128];
	unsigned long long before = number_in("/sys/fs/cgroup/service/memory.current");
	int input = open_slot(mib << 20);
	if (input < 0)
		return;
	memset(block, 1, sizeof block);
	for (size_t i = 0; i < mib; i++)
		must(write(input, block, sizeof block) == (ssize_t)sizeof block, "write a payload");
	snprintf(group, sizeof group, "/sys/fs/cgroup/tee-rex-%d/slot-0/memory.current", launcher);
	if (access(group, F_OK) != 0)
		snprintf(group, sizeof group, "/sys/fs/cgroup/launcher/tee-rex-%d/slot-0/memory.current", launcher);
	printf("= service %lld job %llu", (long long)(number_in("/sys/fs/cgroup/service/memory.current") - before) >> 20, number_in(group) >> 20);
	close_slot(&input);
	printf(" afterwards %lld\n", (long long)(number_in("/sys/fs/cgroup/service/memory.current") - before) >> 20);
}

/* --- what is left ------------------------------------------------------------------------------------------ */
static unsigned entries(const char *path, const char *prefix)
{
	CLEANUP(close_dir) DIR *d = opendir(path);
	unsigned n = 0;
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
	return n;
}

static void left(void)
{
	char path[96], home[96], line[1024];
	unsigned mounts = 0;
	snprintf(path, sizeof path, "/proc/%d/mountinfo", launcher);
	CLEANUP(close_file) FILE *f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		mounts++;
	snprintf(path, sizeof path, "/proc/%d/fd", launcher);
	snprintf(home, sizeof home, "/sys/fs/cgroup/tee-rex-%d", launcher);
	unsigned groups = entries(home, "slot-");
	snprintf(home, sizeof home, "/sys/fs/cgroup/launcher/tee-rex-%d", launcher);
	groups += entries(home, "slot-");
	printf("= processes %u groups %u descriptors %u mounts %u\n", job_processes(), groups, entries(path, ""), mounts);
}

static void obey(char *line)
{
	char *save = NULL, *verb = strtok_r(line, " ", &save), *rest = save;
	if (verb == NULL || verb[0] == '#')
		return;
	if (strcmp(verb, "launcher") == 0) {
		char *name = strtok_r(NULL, " ", &save), *guards = strtok_r(NULL, " ", &save);
		start_launcher(name, guards);
	} else if (strcmp(verb, "program") == 0) {
		load_program(rest);
	} else if (strcmp(verb, "run") == 0) {
		run(rest);
	} else if (strcmp(verb, "leave") == 0) {
		char *n = strtok_r(NULL, " ", &save);
		leave((unsigned)strtoul(n, NULL, 10), save);
	} else if (strcmp(verb, "pay") == 0) {
		pay(strtoul(rest, NULL, 10));
	} else if (strcmp(verb, "left") == 0) {
		left();
	} else if (strcmp(verb, "file") == 0) {
		char text[256];
		printf("= %s\n", read_file(rest, text, sizeof text) ? strtok(text, "\n") : strerrorname_np(errno));
	} else {
		errno = EINVAL;
		die(verb);
	}
}

int main(void)
{
	char line[1024];
	setvbuf(stdout, NULL, _IOLBF, 0);
	klogctl(8, NULL, 1);                     /* what the kernel says of each killed process is no answer */
	furnish();
	start_victim();
	load_program("/bin/evil_cell");
	puts("GUEST BEGIN");
	CLEANUP(close_file) FILE *script = fopen("/script", "r");
	must(script != NULL, "/script");
	while (fgets(line, sizeof line, script) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		printf("> %s\n", line);
		obey(line);
	}
	stop_launcher();
	puts("GUEST END");
	sync();
	reboot(RB_AUTOBOOT);
	return 0;
}
