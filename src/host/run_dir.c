/* Two locks: BASE's while directories are made, taken, swept or left, so that nobody meets one that is made but not locked
 * yet; and each instance's own for its life. The kernel releases both with their process, however that ends. Both are files
 * that only we may open: whoever can open something can lock it, and hold us up with that. */
#include "host/run_dir.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

enum { LOOKERS_MS = 100 };                       /* run_dir_alive() holds a lock for a moment */
#define SYSTEM_BASE "/run/tee-rex"
static const char lock_name[] = "lock", base_lock_name[] = ".lock";

int run_dir_base(char *buf, size_t cap, struct err *err)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int n;
	if (geteuid() == 0)
		n = snprintf(buf, cap, SYSTEM_BASE);
	else if (xdg != NULL && xdg[0] == '/')
		n = snprintf(buf, cap, "%s/tee-rex", xdg);
	else
		n = snprintf(buf, cap, "/tmp/tee-rex-%u", (unsigned)geteuid());
	return n < 0 || (size_t)n >= cap ? fail(err, ENAMETOOLONG, "the runtime directory below %s", xdg) : 0;
}

/* A base in /tmp may be anybody's who was there first. */
static bool is_mine(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

int run_dir_find(const char *name, char *buf, size_t cap, struct err *err)
{
	char base[RUN_DIR_MAX];
	int ret = run_dir_base(base, sizeof base, err);
	if (ret < 0)
		return ret;
	int n = snprintf(buf, cap, "%s/%s", base, name);
	if (n >= 0 && (size_t)n < cap && (!is_mine(base) || access(buf, F_OK) != 0))
		n = snprintf(buf, cap, SYSTEM_BASE "/%s", name);
	return n < 0 || (size_t)n >= cap ? fail(err, ENAMETOOLONG, "the runtime directory of \"%.40s\"", name) : 0;
}

/* Opens the base, made when missing, and its lock, taken. */
static int open_base(const char *path, int *ret_fd, int *ret_lock, struct err *err)
{
	struct stat st;
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return fail(err, errno, "make the directory %s", path);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail(err, errno, "open %s", path);
	if (st.st_uid != geteuid())
		return fail(err, 0, "%s belongs to somebody else", path);
	CLEANUP(close_fd) int lock = openat(fd, base_lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) != 0)
		return fail(err, errno, "lock %s/%s", path, base_lock_name);
	*ret_fd = fd_steal(&fd);
	*ret_lock = fd_steal(&lock);
	return 0;
}

/* kept: a name to be left there; NULL: none. */
static void empty(int dir, const char *kept)
{
	CLEANUP(close_dir) DIR *d = NULL;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.' && (kept == NULL || strcmp(e->d_name, kept) != 0))
			unlinkat(dir, e->d_name, 0);
}

/* The instance's lock, or -1: somebody holds it, or it cannot be made. */
static int take_lock(int dir)
{
	CLEANUP(close_fd) int fd = openat(dir, lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		return -1;
	return fd_steal(&fd);
}

static int take_lock_from_lookers(int dir)
{
	int lock = take_lock(dir);
	for (int i = 0; i < LOOKERS_MS && lock < 0; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		lock = take_lock(dir);
	}
	return lock;
}

static void sweep(int base)
{
	CLEANUP(close_dir) DIR *d = NULL;
	int fd = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		CLEANUP(close_fd) int dir = openat(base, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		CLEANUP(close_fd) int lock = dir < 0 ? -1 : take_lock(dir);
		if (lock >= 0) {
			empty(dir, NULL);
			unlinkat(base, e->d_name, AT_REMOVEDIR);
		}
	}
}

int run_dir_open(struct run_dir *d, const char *name, struct err *err)
{
	char base_path[RUN_DIR_MAX];
	CLEANUP(close_fd) int base = -1, base_lock = -1;
	*d = RUN_DIR_NONE;
	int ret = run_dir_base(base_path, sizeof base_path, err);
	if (ret == 0)
		ret = open_base(base_path, &base, &base_lock, err);
	if (ret < 0)
		return ret;
	sweep(base);
	int n = snprintf(d->path, sizeof d->path, "%s/%s", base_path, name);
	if (n < 0 || (size_t)n >= sizeof d->path)
		return fail(err, ENAMETOOLONG, "the runtime directory of \"%.40s\" below %s; give a shorter --name", name, base_path);
	if (mkdirat(base, name, 0711) != 0 && errno != EEXIST)
		return fail(err, errno, "make the directory %s", d->path);
	CLEANUP(close_fd) int dir = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return fail(err, errno, "open %s", d->path);
	d->lock = take_lock_from_lookers(dir);
	if (d->lock < 0) {
		fail(err, EWOULDBLOCK, "an instance named \"%s\" runs already (%s is locked); give another --name", name, d->path);
		return -EWOULDBLOCK;
	}
	empty(dir, lock_name);                   /* the sweep may have met a looker */
	return dprintf(d->lock, "%d\n", (int)getpid()) < 0 ? fail(err, errno, "write %s/%s", d->path, lock_name) : 0;
}

void run_dir_close(struct run_dir *d)
{
	char base_path[RUN_DIR_MAX];
	CLEANUP(close_fd) int base = -1, base_lock = -1;
	struct err ignored;
	if (d->lock < 0)
		return;
	if (run_dir_base(base_path, sizeof base_path, &ignored) == 0)
		(void)open_base(base_path, &base, &base_lock, &ignored);
	CLEANUP(close_fd) int dir = open(d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0)
		empty(dir, NULL);
	rmdir(d->path);
	close_fd(&d->lock);
}

bool run_dir_alive(const char *path)
{
	char lock[RUN_DIR_MAX + sizeof lock_name + 1];
	snprintf(lock, sizeof lock, "%s/%s", path, lock_name);
	CLEANUP(close_fd) int fd = open(lock, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? errno == EACCES : flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}
