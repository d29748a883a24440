/* The lock is flock() on the directory itself: it leaves no file behind and goes with the process. A
 * new file is written under a temporary name, fsynced, renamed, and the directory fsynced; what a
 * killed writer left under the temporary name is removed by the next one, who holds the lock. The
 * directory's other users are distrusted: links are not followed, owners and modes are checked. */
#include "sim/state_dir.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { LOCK_RETRY_US = 10000 };

static int take_lock(int fd, const char *path, struct err *err)
{
	int64_t deadline = clock_monotonic_ms() + STATE_DIR_LOCK_MS;
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return fail(err, errno, "lock %s", path);
		if (clock_monotonic_ms() >= deadline)
			return fail(err, EBUSY, "%s has been locked by another process for %d s", path,
			            STATE_DIR_LOCK_MS / 1000);
		usleep(LOCK_RETRY_US);
	}
	return 0;
}

int state_dir_open(const char *path, int *ret_fd, struct err *err)
{
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return fail(err, errno, "make the directory %s", path);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(err, errno, "open the directory %s", path);
	struct stat st;
	if (fstat(fd, &st) != 0)
		return fail(err, errno, "stat %s", path);
	if (st.st_uid != geteuid())
		return fail(err, EPERM, "%s belongs to user %u; name a directory of your own", path, (unsigned)st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return fail(err, EPERM, "%s may be written by others; chmod go-w it", path);
	int ret = take_lock(fd, path, err);
	if (ret < 0)
		return ret;
	*ret_fd = fd_steal(&fd);
	return 0;
}

int state_dir_read(int dir_fd, const char *name, bool secret, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	CLEANUP(close_fd) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fail(err, errno, "open %s", name);
	struct stat st;
	if (fstat(fd, &st) != 0)
		return fail(err, errno, "stat %s", name);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return fail(err, EPERM, "%s is not a regular file of yours; remove it", name);
	if (secret && st.st_mode & (S_IRWXG | S_IRWXO))
		return fail(err, EPERM, "%s may be read by others (mode %03o); remove it, or chmod 600 it", name,
		            (unsigned)st.st_mode & 0777);
	if (st.st_size < 0 || (uintmax_t)st.st_size > cap)
		return fail(err, EFBIG, "%s is larger than %zu bytes", name, cap);
	size_t n = 0;
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, buf + n, (size_t)st.st_size - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(err, errno, "read %s", name);
		if (got == 0)
			return fail(err, EIO, "%s got shorter while it was read", name);
		n += (size_t)got;
	}
	*ret_n = n;
	return 0;
}

static int write_all(int fd, struct bytes content)
{
	for (size_t at = 0; at < content.n;) {
		ssize_t put = write(fd, content.p + at, content.n - at);
		if (put < 0 && errno != EINTR)
			return -errno;
		if (put > 0)
			at += (size_t)put;
	}
	return fsync(fd) != 0 ? -errno : 0;
}

int state_dir_write(int dir_fd, const char *name, mode_t mode, struct bytes content, struct err *err)
{
	char temporary[NAME_MAX + 1];
	if (snprintf(temporary, sizeof temporary, ".%s.new", name) >= (int)sizeof temporary)
		return fail(err, ENAMETOOLONG, "%s", name);
	if (unlinkat(dir_fd, temporary, 0) != 0 && errno != ENOENT)
		return fail(err, errno, "remove %s", temporary);
	/* made unreadable, so that the secret is never in a file that the umask left open */
	CLEANUP(close_fd) int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(err, errno, "make %s", temporary);
	int ret = fchmod(fd, mode) != 0 ? -errno : write_all(fd, content);
	if (ret < 0) {
		unlinkat(dir_fd, temporary, 0);
		return fail(err, -ret, "write %s", temporary);
	}
	if (renameat(dir_fd, temporary, dir_fd, name) != 0) {
		ret = fail(err, errno, "rename %s to %s", temporary, name);
		unlinkat(dir_fd, temporary, 0);
		return ret;
	}
	if (fsync(dir_fd) != 0)
		return fail(err, errno, "sync the directory of %s", name);
	return 0;
}
