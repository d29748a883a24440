/* A machine for the parts of init that talk to a kernel: files below a directory of its own in place of /proc, /sys, /dev, /run and
 * /app, mounts and ioctls that are only written down, an NSM, a clock that can be moved, and a reset button. Any call can be made
 * to fail. It takes the place of libc's functions in one test program, so it is included once.
 *
 *     machine_fail("mount", "squashfs", ENODEV)      a call fails whose argument contains that text
 *     machine_story                                   what was asked for, a line each
 *
 * /dev/nsm and /dev/random are the null device, so that they are devices; /dev/loop0 is one, too. */
#ifndef TESTS_FAKE_MACHINE_H
#define TESTS_FAKE_MACHINE_H

#include "base/clock.h"
#include "enclave/init/events.h"
#include "format/attest_doc.h"
#include "format/cose_sign1.h"
#include "format/nsm.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/random.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

static char machine_root[64];
static char machine_story[16 << 10];
static const char *machine_failing, *machine_failing_for;
static int machine_errno;
static bool machine_is_on;                       /* off: libc as it is */
static int64_t machine_later_ms;                 /* added to both clocks */
static int64_t machine_set_wall_ms;              /* what clock_settime() was last asked for; 0: nothing */
static void (*machine_on_reset)(void);

/* What the NSM says. */
enum machine_nsm { NSM_IS_FINE, NSM_IS_GARBAGE, NSM_REFUSES, NSM_ANSWERS_SOMETHING_ELSE, NSM_IS_BROKEN, NSM_IS_SILENT };
static enum machine_nsm machine_nsm;
static size_t machine_random_bytes = 256;        /* of one answer */
static uint64_t machine_nsm_ms = 1;

__attribute__((format(printf, 1, 2))) static inline void machine_note(const char *fmt, ...)
{
	size_t n = strlen(machine_story);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(machine_story + n, sizeof machine_story - n, fmt, ap);
	va_end(ap);
}

static inline void machine_fail(const char *call, const char *argument, int error)
{
	machine_failing = call;
	machine_failing_for = argument;
	machine_errno = error;
}

static inline bool machine_fails(const char *call, const char *argument)
{
	if (machine_failing == NULL || strcmp(call, machine_failing) != 0 || strstr(argument, machine_failing_for) == NULL)
		return false;
	errno = machine_errno;
	return true;
}

static inline void machine_start(void)
{
	strcpy(machine_root, "/tmp/fake-machine.XXXXXX");
	assert(mkdtemp(machine_root) != NULL);
	machine_is_on = true;
	machine_failing = NULL;
	machine_story[0] = '\0';
	machine_nsm = NSM_IS_FINE;
	machine_random_bytes = 256;
	machine_later_ms = machine_set_wall_ms = 0;
}

static inline void machine_stop(void)
{
	char command[96];
	machine_is_on = false;
	snprintf(command, sizeof command, "rm -rf %s", machine_root);
	assert(system(command) == 0);
}

static inline const char *machine_path(const char *path, char buf[1100])
{
	static const char *const ours[] = { "/proc", "/sys", "/dev", "/run", "/app", "/nothing" };
	for (size_t i = 0; machine_is_on && i < sizeof ours / sizeof *ours; i++) {
		size_t n = strlen(ours[i]);
		if (strncmp(path, ours[i], n) != 0 || (path[n] != '/' && path[n] != '\0' && path[n] != '.'))
			continue;
		if (strcmp(path, "/dev/nsm") == 0 || strcmp(path, "/dev/random") == 0 || strcmp(path, "/dev/loop0") == 0 ||
		    strcmp(path, "/dev/loop-control") == 0 || strcmp(path, "/dev/null") == 0)
			return "/dev/null";
		snprintf(buf, 1100, "%s%s", machine_root, path);
		return buf;
	}
	return path;
}

/* A file of the machine's, with directories. */
static inline void machine_file(const char *path, const char *text)
{
	char whole[2400], *slash;
	snprintf(whole, sizeof whole, "%s%s", machine_root, path);
	for (slash = strchr(whole + strlen(machine_root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		syscall(SYS_mkdirat, AT_FDCWD, whole, 0755);
		*slash = '/';
	}
	int fd = (int)syscall(SYS_openat, AT_FDCWD, whole, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static inline const char *machine_read(const char *path)
{
	static char text[4096];
	char whole[2400];
	snprintf(whole, sizeof whole, "%s%s", machine_root, path);
	int fd = (int)syscall(SYS_openat, AT_FDCWD, whole, O_RDONLY, 0);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n < 0 ? "(none)" : text;
}

/* The next event that init told, as its line; NULL: no more. */
static inline const char *machine_told(struct events *e)
{
	static char line[CONTROL_LINE_MAX + 1];
	size_t n = ring_take(&e->ring[STREAM_EVENT], (uint8_t *)line, CONTROL_LINE_MAX);
	line[n] = '\0';
	return n > 0 ? line : NULL;
}

/* --- libc's names --------------------------------------------------------------------------------------- */
int open(const char *path, int flags, ...)
{
	char buf[1100];
	va_list ap;
	va_start(ap, flags);
	unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, unsigned) : 0;
	va_end(ap);
	if (machine_is_on && machine_fails("open", path))
		return -1;
	return (int)syscall(SYS_openat, AT_FDCWD, machine_path(path, buf), flags & ~O_NOFOLLOW, mode);
}

/* Directories of cgroups come with their files, as the kernel makes them. */
static const char *machine_cgroup_lacks;
int mkdir(const char *path, mode_t mode)
{
	static const char *const files[][2] = {
		{ "memory.max", "max" }, { "memory.oom.group", "0" }, { "pids.max", "max" }, { "cpu.weight", "100" }, { "cgroup.kill", "" },
		{ "cgroup.procs", "" }, { "cgroup.subtree_control", "" }, { "memory.current", "0" }, { "memory.peak", "0" },
		{ "memory.events", "oom 0\noom_kill 0\n" }, { "memory.events.local", "oom 0\noom_kill 0\n" }
	};
	char buf[1100], name[1200];
	if (machine_is_on && machine_fails("mkdir", path))
		return -1;
	int ret = (int)syscall(SYS_mkdirat, AT_FDCWD, machine_path(path, buf), mode);
	if (!machine_is_on || ret != 0 || strncmp(path, "/sys/fs/cgroup/", 15) != 0)
		return ret;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(name, sizeof name, "%s/%s", path, files[i][0]);
		if (machine_cgroup_lacks == NULL || strcmp(files[i][0], machine_cgroup_lacks) != 0)
			machine_file(name, files[i][1]);
	}
	return ret;
}

int stat(const char *restrict path, struct stat *restrict st)
{
	char buf[1100];
	return (int)syscall(SYS_newfstatat, AT_FDCWD, machine_path(path, buf), st, 0);
}

int lstat(const char *restrict path, struct stat *restrict st)
{
	char buf[1100];
	return (int)syscall(SYS_newfstatat, AT_FDCWD, machine_path(path, buf), st, AT_SYMLINK_NOFOLLOW);
}

int access(const char *path, int mode)
{
	char buf[1100];
	return (int)syscall(SYS_faccessat, AT_FDCWD, machine_path(path, buf), mode);
}

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
	static const struct { unsigned long flag; const char *name; } names[] = {
		{ MS_RDONLY, " ro" }, { MS_NOSUID, " nosuid" }, { MS_NODEV, " nodev" }, { MS_NOEXEC, " noexec" }, { MS_BIND, " bind" }, { MS_REMOUNT, " remount" }
	};
	char line[512];
	snprintf(line, sizeof line, "%s %s %s", type != NULL ? type : "-", source != NULL ? source : "-", target);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (flags & names[i].flag)
			strcat(line, names[i].name);
	if (data != NULL)
		strcat(strcat(line, " "), data);
	if (machine_fails("mount", line))
		return -1;
	machine_note("mount %s\n", line);
	return 0;
}

int sethostname(const char *name, size_t n)
{
	if (machine_fails("sethostname", name))
		return -1;
	machine_note("hostname %.*s\n", (int)n, name);
	return 0;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	int ret = (int)syscall(SYS_clock_gettime, id, t);
	if (machine_is_on) {
		t->tv_sec += machine_later_ms / 1000;
		t->tv_nsec += machine_later_ms % 1000 * 1000000;
		t->tv_sec += t->tv_nsec < 0 ? -1 : t->tv_nsec / 1000000000;
		t->tv_nsec = (t->tv_nsec + 1000000000) % 1000000000;
	}
	return ret;
}

int clock_settime(clockid_t id, const struct timespec *t)
{
	if (id != CLOCK_REALTIME || machine_fails("clock_settime", "realtime"))
		return -1;
	machine_set_wall_ms = (int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000;
	return 0;
}

/* The kernel has no event for plain files: the test says when they changed. */
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *e)
{
	int ret = (int)syscall(SYS_epoll_ctl, epoll, op, fd, e);
	return ret != 0 && errno == EPERM && machine_is_on ? 0 : ret;
}

int reboot(int how)
{
	machine_note("reboot %x\n", (unsigned)how);
	if (machine_on_reset != NULL)
		machine_on_reset();
	return -1;
}

/* --- devices ----------------------------------------------------------------------------------------------- */
static inline size_t machine_document(uint8_t *out, size_t cap)
{
	static uint8_t payload[4096], pcr[ATTEST_DOC_PCR_SIZE], signature[96], certificate[16];
	struct writer p = writer_of(payload, sizeof payload), w = writer_of(out, cap);
	struct attest_doc d = {
		.module_id = BYTES_LIT("i-0"), .timestamp_ms = machine_nsm_ms, .pcr_mask = 1, .pcr[0] = BYTES_ARRAY(pcr),
		.certificate = BYTES_ARRAY(certificate), .cabundle[0] = BYTES_ARRAY(certificate), .cabundle_count = 1
	};
	attest_doc_put(&p, &d);
	cose_sign1_put(&w, writer_bytes(&p), signature);
	assert(!p.full && !w.full);
	return w.at;
}

static inline int machine_ask_nsm(struct iovec request_response[2])
{
	static uint8_t document[8192], random[4096];
	struct nsm_request q;
	struct nsm_response r = { .kind = NSM_ERROR, .error = NSM_INTERNAL_ERROR };
	struct writer w = writer_of(request_response[1].iov_base, request_response[1].iov_len);
	assert(nsm_request_parse(bytes_of(request_response[0].iov_base, request_response[0].iov_len), &q) == NSM_OK);
	if (machine_nsm == NSM_IS_BROKEN) {
		errno = EIO;
		return -1;
	}
	while (machine_nsm == NSM_IS_SILENT)
		pause();
	memset(random, 0x5a, sizeof random);
	if (machine_nsm == NSM_IS_FINE && q.kind == NSM_GET_RANDOM)
		r = (struct nsm_response){ .kind = NSM_GET_RANDOM, .random = bytes_of(random, machine_random_bytes) };
	else if (machine_nsm != NSM_REFUSES)
		r = (struct nsm_response){ .kind = NSM_ATTESTATION, .document = bytes_of(document, machine_document(document, sizeof document)) };
	if (machine_nsm == NSM_IS_GARBAGE)
		put_str(&w, "\xff\xff\xff");
	else
		nsm_response_put(&w, &r);
	assert(!w.full);
	request_response[1].iov_len = w.at;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	va_start(ap, request);
	void *argument = va_arg(ap, void *);
	va_end(ap);
	const char *name = request == SIOCSIFADDR ? "SIOCSIFADDR" : request == SIOCSIFFLAGS ? "SIOCSIFFLAGS" : request == RNDADDENTROPY ? "RNDADDENTROPY" :
	                   request == LOOP_CTL_GET_FREE ? "LOOP_CTL_GET_FREE" : request == LOOP_CONFIGURE ? "LOOP_CONFIGURE" : "NSM";
	if (!machine_is_on)
		return (int)syscall(SYS_ioctl, fd, request, argument);
	if (machine_fails("ioctl", name))
		return -1;
	if (strcmp(name, "NSM") == 0)
		return machine_ask_nsm(argument);
	machine_note("%s", name);
	if (request == RNDADDENTROPY) {
		const struct rand_pool_info *pool = argument;
		machine_note(" %d bits of %d bytes, from %02x to %02x", pool->entropy_count, pool->buf_size, ((const uint8_t *)pool->buf)[0],
		             ((const uint8_t *)pool->buf)[pool->buf_size - 1]);
	}
	machine_note("\n");
	return 0;
}

#endif
