/* The init of tests/slow/kernel_boot: runs as PID 1 in a guest with the kernel under test, tries what must work and
 * what must not, prints one line per fact between two marker lines, and powers the guest off.
 *
 *     name = value        a value is text, or the name of the errno that an attempt ended with; "done" when it worked
 *
 * It judges nothing; what each fact has to be stands in kernel_boot. Static, because there is nothing else there. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/loop.h>
#include <linux/vm_sockets.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

static void fact(const char *name, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	text[strcspn(text, "\n")] = '\0';
	printf("%s = %s\n", name, text);
}

/* done, or the errno's name, when the attempt returned ret */
static void attempt(const char *name, long ret)
{
	fact(name, "%s", ret < 0 ? strerrorname_np(errno) : "done");
}

static bool read_file(const char *path, char *buf, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, cap - 1);
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

static void file_fact(const char *name, const char *path)
{
	char buf[1024];
	fact(name, "%s", read_file(path, buf, sizeof buf) ? buf : strerrorname_np(errno));
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return ok;
}

static void open_fact(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	attempt(path, fd);
	if (fd >= 0)
		close(fd);
}

static void mount_or_say(const char *name, const char *type, const char *at)
{
	mkdir(at, 0755);
	attempt(name, mount(type, at, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
}

/* --- what the kernel says of itself --------------------------------------------------------------- */

static void config_fact(void)
{
	static char text[1 << 20];
	gzFile f = gzopen("/proc/config.gz", "rb");
	int n = f == NULL ? -1 : gzread(f, text, sizeof text);
	if (n <= 0) {
		fact("config", "unreadable");
		return;
	}
	gzclose(f);
	fact("config", "%d bytes, crc32 %08lx", n, crc32(0, (Bytef *)text, (uInt)n));
}

/* The first line of the log that has the word. */
static void log_fact(const char *name, const char *word)
{
	static char log[1 << 17];
	int n = klogctl(3, log, sizeof log - 1);
	log[n < 0 ? 0 : n] = '\0';
	char *at = strstr(log, word);
	fact(name, "%s", at == NULL ? "not in the log" : at);
}

static void kernel_facts(void)
{
	struct utsname u;
	char buf[64], path[128];
	uname(&u);
	fact("release", "%s", u.release);
	fact("version", "%s", u.version);
	file_fact("cmdline", "/proc/cmdline");
	config_fact();
	file_fact("lsm", "/sys/kernel/security/lsm");
	fact("landlock abi", "%ld", syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION));
	log_fact("auto-init", "mem auto-init");
	file_fact("printk", "/proc/sys/kernel/printk");
	file_fact("min_free_kbytes", "/proc/sys/vm/min_free_kbytes");
	file_fact("pressure", "/proc/pressure/memory");
	file_fact("perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid");
	file_fact("dmesg_restrict", "/proc/sys/kernel/dmesg_restrict");
	FILE *f = fopen("/proc/meminfo", "re");
	for (char line[128]; f != NULL && fgets(line, sizeof line, f) != NULL;)
		if (sscanf(line, "%63[A-Za-z]:", buf) == 1 && (!strcmp(buf, "MemTotal") || !strcmp(buf, "MemFree") ||
		    !strcmp(buf, "MemAvailable") || !strcmp(buf, "Slab") || !strcmp(buf, "Percpu")))
			fact(buf, "%s", line + strlen(buf) + 1 + strspn(line + strlen(buf) + 1, " "));
	static const char *const flaws[] = { "spectre_v1", "spectre_v2", "spec_store_bypass", "mds", "l1tf", "retbleed" };
	for (size_t i = 0; i < sizeof flaws / sizeof flaws[0]; i++) {
		snprintf(path, sizeof path, "/sys/devices/system/cpu/vulnerabilities/%s", flaws[i]);
		file_fact(flaws[i], path);
	}
}

/* --- what must not be there ------------------------------------------------------------------------ */

static void absent_calls(void)
{
	struct sockaddr_vm self = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = 5000 };
	char buf[8];
	struct iovec io = { buf, sizeof buf };
	attempt("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL));
	attempt("io_setup", syscall(SYS_io_setup, 1, NULL));
	attempt("userfaultfd", syscall(SYS_userfaultfd, 0));
	attempt("bpf", syscall(SYS_bpf, 0, NULL, 0));
	attempt("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
	attempt("init_module", syscall(SYS_init_module, NULL, 0, ""));
	attempt("add_key", syscall(SYS_add_key, "user", "a", "b", 1, -2));
	attempt("mq_open", syscall(SYS_mq_open, "/q", O_CREAT, 0600, NULL));
	attempt("swapon", syscall(SYS_swapon, "/init", 0));
	attempt("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), &io, 1, &io, 1, 0));
	attempt("kcmp", syscall(SYS_kcmp, 1, 1, 0, 0, 0));
	attempt("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
	attempt("iopl", syscall(SYS_iopl, 3));
	attempt("modify_ldt", syscall(SYS_modify_ldt, 0, buf, sizeof buf));
	attempt("AF_INET6", socket(AF_INET6, SOCK_STREAM, 0));
	attempt("AF_PACKET", socket(AF_PACKET, SOCK_RAW, 0));
	attempt("AF_ALG", socket(AF_ALG, SOCK_SEQPACKET, 0));
	attempt("AF_INET", socket(AF_INET, SOCK_STREAM, 0));
	attempt("AF_UNIX", socket(AF_UNIX, SOCK_STREAM, 0));
	int s = socket(AF_VSOCK, SOCK_STREAM, 0);
	attempt("AF_VSOCK", s);
	attempt("vsock loopback", connect(s, (struct sockaddr *)&self, sizeof self));
	static const char *const files[] = { "/dev/mem", "/dev/port", "/dev/zram0", "/proc/kcore", "/proc/sysrq-trigger",
		"/proc/swaps", "/proc/modules", "/proc/kallsyms", "/proc/self/pagemap", "/proc/sys/kernel/core_pattern",
		"/sys/power/state", "/dev/vsock", "/dev/fuse", "/dev/hwrng" };
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
		open_fact(files[i]);
}

/* --- containment ------------------------------------------------------------------------------------ */

static void namespaces(void)
{
	static const struct { const char *name; int flag; } kinds[] = {
		{ "unshare user", CLONE_NEWUSER }, { "unshare mount", CLONE_NEWNS }, { "unshare uts", CLONE_NEWUTS },
		{ "unshare ipc", CLONE_NEWIPC }, { "unshare net", CLONE_NEWNET }, { "unshare pid", CLONE_NEWPID } };
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		fflush(stdout);
		pid_t child = fork();
		if (child == 0) {
			attempt(kinds[i].name, unshare(kinds[i].flag));
			fflush(stdout);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
}

/* Runs body in a cgroup of its own, made with the limit in the file; the exit status as text goes to name. */
static void in_cgroup(const char *name, const char *file, const char *limit, void (*body)(void))
{
	char path[128], text[32];
	int status = 0;
	mkdir("/sys/fs/cgroup/t", 0755);
	snprintf(path, sizeof path, "/sys/fs/cgroup/t/%s", file);
	if (!write_file(path, limit)) {
		attempt(name, -1);
		return;
	}
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		snprintf(text, sizeof text, "%d", getpid());
		if (!write_file("/sys/fs/cgroup/t/cgroup.procs", text))
			_exit(100);
		body();
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		fact(name, "signal %d", WTERMSIG(status));
	else
		fact(name, "exit %d", WEXITSTATUS(status));
}

static void eat_memory(void)
{
	enum { SIZE = 64 << 20 };
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; p != MAP_FAILED && i < SIZE; i += 4096)
		p[i] = 1;
}

static void fork_many(void)
{
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();
		if (child < 0)
			_exit(errno == EAGAIN ? i : 101);
		if (child == 0) {
			pause();
			_exit(0);
		}
	}
}

static void cgroups(void)
{
	char buf[256];
	attempt("mount cgroup2", mount("none", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	file_fact("controllers", "/sys/fs/cgroup/cgroup.controllers");
	attempt("enable controllers", write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids +cpu") ? 0 : -1);
	in_cgroup("memory.max 16M, 64M eaten", "memory.max", "16777216", eat_memory);
	if (read_file("/sys/fs/cgroup/t/memory.events", buf, sizeof buf)) {
		char *kills = strstr(buf, "oom_kill ");
		fact("oom_kill", "%s", kills == NULL ? "not told" : kills + strlen("oom_kill "));
	}
	file_fact("memory.peak", "/sys/fs/cgroup/t/memory.peak");
	write_file("/sys/fs/cgroup/t/memory.max", "max");
	in_cgroup("pids.max 4, forks that worked", "pids.max", "4", fork_many);
	attempt("cgroup.kill", write_file("/sys/fs/cgroup/t/cgroup.kill", "1") ? 0 : -1);
	attempt("cpu.max", write_file("/sys/fs/cgroup/t/cpu.max", "50000 100000") ? 0 : -1);
	file_fact("memory.pressure", "/sys/fs/cgroup/t/memory.pressure");
}

/* With ptrace_scope 3 not even root reads another process's memory. */
static void ptrace_scope(void)
{
	char path[64];
	file_fact("ptrace_scope", "/proc/sys/kernel/yama/ptrace_scope");
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	snprintf(path, sizeof path, "/proc/%d/mem", child);
	int fd = open(path, O_RDONLY);
	attempt("child's memory, scope 0", fd);
	attempt("ptrace_scope 3", write_file("/proc/sys/kernel/yama/ptrace_scope", "3") ? 0 : -1);
	fd = open(path, O_RDONLY);
	attempt("child's memory, scope 3", fd);
	kill(child, 9);
	waitpid(child, NULL, 0);
}

/* --- the application's root --------------------------------------------------------------------------- */

static int loop_of(const char *path)
{
	char name[32];
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	snprintf(name, sizeof name, "/dev/loop%d", n);
	/* read-only: a block device that somebody may write is not mounted (BLK_DEV_WRITE_MOUNTED is off) */
	int loop = n < 0 ? -1 : open(name, O_RDONLY | O_CLOEXEC), file = open(path, O_RDONLY | O_CLOEXEC);
	struct loop_config c = { .fd = (uint32_t)file, .info = { .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR } };
	return loop < 0 || file < 0 || ioctl(loop, LOOP_CONFIGURE, &c) < 0 ? -1 : n;
}

static void layouts(void)
{
	static const char *const squash[] = { "squashfs zstd", "/app.squashfs" };
	char source[32];
	mkdir("/squash", 0755);
	mkdir("/root", 0755);
	mkdir("/rw", 0755);
	file_fact("rootfs", "/proc/mounts");
	int n = loop_of(squash[1]);
	attempt("loop device", n);
	snprintf(source, sizeof source, "/dev/loop%d", n);
	attempt(squash[0], mount(source, "/squash", "squashfs", MS_RDONLY, NULL));
	file_fact("squashfs content", "/squash/dir/hello");
	attempt("tmpfs", mount("none", "/rw", "tmpfs", 0, "size=1m"));
	mkdir("/rw/upper", 0755);
	mkdir("/rw/work", 0755);
	attempt("overlay", mount("none", "/root", "overlay", 0, "lowerdir=/squash,upperdir=/rw/upper,workdir=/rw/work"));
	attempt("overlay write", write_file("/root/dir/hello", "changed") ? 0 : -1);
	file_fact("overlay content", "/root/dir/hello");
	file_fact("lower content", "/squash/dir/hello");
}

int main(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	mkdir("/dev", 0755);
	mount("none", "/dev", "devtmpfs", 0, NULL);
	int console = open("/dev/console", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(console, fd);
	puts("PROBE BEGIN");
	fact("kernel seconds", "%lld.%03ld", (long long)t.tv_sec, t.tv_nsec / 1000000);
	mount_or_say("mount proc", "proc", "/proc");
	mount_or_say("mount sysfs", "sysfs", "/sys");
	mount_or_say("mount securityfs", "securityfs", "/sys/kernel/security");
	kernel_facts();
	/* as init does once it is up: from here on only a dying kernel writes to the console */
	attempt("console loglevel 1", write_file("/proc/sys/kernel/printk", "1") ? 0 : -1);
	absent_calls();
	namespaces();
	cgroups();
	ptrace_scope();
	layouts();
	puts("PROBE END");
	fflush(stdout);
	sync();
	reboot(RB_AUTOBOOT);
	return 1;
}
