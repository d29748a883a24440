/* Order matters: mounts need the capabilities, identity takes them; descriptors are moved last, because everything
 * before opens some. Each step says what it was doing when it fails. */
#include "enclave/init/child.h"

#include "base/cleanup.h"
#include "linux/listen_fds.h"
#include "linux/mounts.h"
#include "linux/sandbox.h"
#include "linux/small_file.h"
#include "linux/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

_Static_assert((int)SERVICE_FDS_MAX + 1 <= (int)LISTEN_FDS_MAX && (int)SERVICE_NAME_MAX < (int)LISTEN_FD_NAME_MAX, "what a table may hold can be handed down");

enum { DEV_BYTES = 64 << 10, DEV_INODES = 64, SHM_INODES = 4096 };
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* What container engines leave to root, but for those that lead out: with mknod it would make itself /dev/nsm, with
 * sys_chroot it would leave its root directory, with net_raw it has nothing to do here, with net_bind_service it would call the
 * parent as init does; TCP ports need none (boot.c). */
#define CONTAINER_CAPABILITIES (1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER | 1ull << CAP_FSETID | \
	1ull << CAP_KILL | 1ull << CAP_SETGID | 1ull << CAP_SETUID | 1ull << CAP_SETPCAP | 1ull << CAP_AUDIT_WRITE | \
	1ull << CAP_SETFCAP)

/* --- files -------------------------------------------------------------------------------------- */
static int make_device(int dev, const char *name, dev_t number, uid_t uid, gid_t gid, mode_t mode, struct err *err)
{
	if (mknodat(dev, name, S_IFCHR | mode, number) != 0 || fchownat(dev, name, uid, gid, AT_SYMLINK_NOFOLLOW) != 0 ||
	    fchmodat(dev, name, mode, 0) != 0)
		return fail(err, errno, "make the device %s", name);
	return 0;
}

/* A /dev of the service's own: what every program expects, no console, no vsock, and the NSM only where it was granted. */
static int make_dev(const struct child_plan *p, const char *root, struct err *err)
{
	static const struct { const char *name; unsigned minor; } plain[] = {
		{ "null", 3 }, { "zero", 5 }, { "full", 7 }, { "random", 8 }, { "urandom", 9 }
	};
	static const char *const links[][2] = {
		{ "fd", "/proc/self/fd" }, { "stdin", "/proc/self/fd/0" }, { "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" }
	};
	const struct service *s = p->service;
	const struct mounts_tmpfs t = { .bytes = DEV_BYTES, .inodes = DEV_INODES, .mode = 0755 };
	const struct mounts_tmpfs shm = { .bytes = (uint64_t)p->tmp_mib << 20, .inodes = SHM_INODES, .mode = 01777 };
	char path[ROOTED_PATH_MAX];
	CLEANUP(close_fd) int dev = mounts_tmpfs(&t, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
	int bad = dev < 0 ? dev : 0;
	for (size_t i = 0; i < sizeof plain / sizeof *plain && bad == 0; i++)
		bad = make_device(dev, plain[i].name, makedev(1, plain[i].minor), 0, 0, 0666, err);
	for (size_t i = 0; i < sizeof links / sizeof *links && bad == 0; i++)
		bad = symlinkat(links[i][1], dev, links[i][0]) != 0 ? fail(err, errno, "link /dev/%s", links[i][0]) : 0;
	if (bad == 0 && (s->grants & GRANT_NSM)) {
		if (p->nsm == 0)
			return fail(err, ENODEV, "grant = nsm, but this machine has no /dev/nsm");
		bad = make_device(dev, "nsm", p->nsm, s->uid, s->gid, 0600, err);
	}
	if (bad == 0 && mkdirat(dev, "shm", 0755) != 0)
		bad = fail(err, errno, "make /dev/shm");
	if (bad == 0)
		bad = mounts_attach(dev, AT_FDCWD, rooted_path(root, "/dev", path), err);
	if (bad != 0)
		return bad;
	CLEANUP(close_fd) int shm_fd = mounts_tmpfs(&shm, MOUNTS_INERT, err);
	return shm_fd < 0 ? shm_fd : mounts_attach(shm_fd, dev, "shm", err);
}

/* The kernel's settings belong to user 0, with or without capabilities: who may write them stops the kernel's end from being the
 * enclave's, or names a program that the kernel runs as root. The launcher has every right anyway. */
static int protect_settings(const char *root, struct err *err)
{
	static const char *const all[] = { "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/fs", "/proc/bus", "/sys" };
	char path[ROOTED_PATH_MAX];
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		rooted_path(root, all[i], path);
		if (mount(path, path, NULL, MS_BIND, NULL) != 0 && errno == ENOENT)
			continue;                /* a kernel without it */
		if (mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
			return fail(err, errno, "make %s read-only", path);
	}
	return 0;
}

/* The root directory becomes the application's: moved on top of the boot ramdisk, which nobody can pivot away from. */
static int enter_root(const struct child_plan *p, struct err *err)
{
	const char *root = p->service->root == SERVICE_ROOT_APP ? p->app : "";
	char path[ROOTED_PATH_MAX];
	int bad = mounts_isolate(err);
	if (bad == 0)
		bad = make_dev(p, root, err);
	if (bad == 0 && !(p->service->grants & GRANT_ROOT_CAPABILITIES))
		bad = protect_settings(root, err);
	if (bad != 0 || *root == '\0')
		return bad;
	rooted_path(root, "/sys/fs/cgroup", path);
	if ((p->service->grants & GRANT_ROOT_CAPABILITIES) && mount("/sys/fs/cgroup", path, NULL, MS_BIND, NULL) != 0)
		return fail(err, errno, "show the cgroups at %s", path);
	if (chdir(root) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		return fail(err, errno, "enter the root directory %s", root);
	return 0;
}

/* --- limits and user ---------------------------------------------------------------------------- */
static int set_limit(int resource, const char *name, rlim_t v, struct err *err)
{
	const struct rlimit l = { v, v };
	return setrlimit((__rlimit_resource_t)resource, &l) != 0 ? fail(err, errno, "set RLIMIT_%s", name) : 0;
}

static int set_limits(const struct service *s, struct err *err)
{
	/* one byte: at 0 a core_pattern handler would still start (core(5)) */
	int bad = set_limit(RLIMIT_CORE, "CORE", 1, err);
	if (bad == 0)
		bad = set_limit(RLIMIT_NOFILE, "NOFILE", s->files_max, err);
	/* whoever keeps keys locks them; how much memory it has is the cgroup's question */
	if (bad == 0)
		bad = set_limit(RLIMIT_MEMLOCK, "MEMLOCK", s->grants & (GRANT_NSM | GRANT_ROOT_CAPABILITIES) ? RLIM_INFINITY : 8 << 20, err);
	if (bad == 0 && s->essential)
		bad = small_file_write("", "/proc/self/oom_score_adj", "-500", err);
	return bad;
}

static int become_user(const struct service *s, struct err *err)
{
	/* another user has none to keep, and setuid programs must not make it root */
	uint64_t keep = s->uid != 0 ? 0 : s->grants & GRANT_ROOT_CAPABILITIES ? ~0ull : s->grants & GRANT_CONTAINER_CAPABILITIES ? CONTAINER_CAPABILITIES : 0;
	if (keep == ~0ull)
		for (unsigned cap = 63; cap > CAP_LAST_CAP; cap--)
			keep &= ~(1ull << cap);
	int bad = sandbox_become(s->uid, s->gid, s->group, s->group_count, keep, err);
	return bad == 0 && keep == 0 ? sandbox_no_new_privs(err) : bad;
}

/* --- the program --------------------------------------------------------------------------------- */
static int take_output(const struct child_plan *p, struct err *err)
{
	CLEANUP(close_fd) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int out = p->output >= 0 ? p->output : null;
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		return fail(err, errno, "set up standard input and output");
	return 0;
}

/* Tries every place of PATH; the error that is told is not that of the last place if an earlier one had the file. */
static int run_program(const struct service *s, struct err *err)
{
	char path[4096];
	const char *at = DEFAULT_PATH;
	int error = ENOENT;
	extern char **environ;
	if (strchr(s->arg[0], '/') != NULL) {
		execve(s->arg[0], (char *const *)s->arg, environ);
		return fail(err, errno, "run %s", s->arg[0]);
	}
	for (uint32_t i = 0; i < s->env_count; i++)
		if (strncmp(s->env[i], "PATH=", 5) == 0)
			at = s->env[i] + 5;
	for (;;) {
		size_t n = strcspn(at, ":");
		if ((size_t)snprintf(path, sizeof path, "%.*s%s%s", (int)n, at, n > 0 ? "/" : "", s->arg[0]) < sizeof path)
			execve(path, (char *const *)s->arg, environ);
		if (errno != ENOENT && errno != ENOTDIR)
			error = errno;
		if (at[n] == '\0')
			return fail(err, error, "run %s, looked up in PATH", s->arg[0]);
		at += n + 1;
	}
}

static int become(const struct child_plan *p, struct err *err)
{
	const struct service *s = p->service;
	spawn_fresh();
	umask(022);
	if (p->procs >= 0 && write(p->procs, "0", 1) != 1)
		return fail(err, errno, "join its cgroup");
	if (setresuid(0, 0, 0) != 0)             /* init has a user of its own; what is made from here on is root's */
		return fail(err, errno, "become root");
	int bad = enter_root(p, err);
	if (bad == 0)
		bad = set_limits(s, err);
	if (bad == 0)
		bad = take_output(p, err);
	if (bad == 0)
		bad = become_user(s, err);
	if (bad == 0 && chdir(s->workdir) != 0)
		bad = fail(err, errno, "enter the working directory %s", s->workdir);
	extern char **environ;
	if (bad == 0)
		environ = (char **)(uintptr_t)s->env;
	/* the status pipe may not be where a descriptor has to go */
	if (bad == 0 && p->fd_count > 0)
		bad = listen_fds_give(p->fd, p->fd_name, p->fd_count, err);
	return bad != 0 ? bad : run_program(s, err);
}

void child_run(const struct child_plan *p)
{
	struct err err = { "" };
	struct child_plan mine = *p;
	mine.status = fcntl(p->status, F_DUPFD_CLOEXEC, LISTEN_FDS_START + 2 * LISTEN_FDS_MAX);
	become(&mine, &err);
	if (mine.status >= 0 && write(mine.status, err.text, strlen(err.text)) < 0)
		_exit(126);
	_exit(127);
}
