/* The directory is held open, so that what happens to its path meanwhile does not matter. A link cannot replace a
 * file, a rename can: so the unnamed file first gets the hidden name and then its own. Whoever writes holds a lock on
 * what has a hidden name, so one that nobody holds belongs to a run that was killed, and the next run removes it. */
#include "image/out_file.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { NAME_SHOWN = NAME_MAX - 48, TRIES_MAX = 16 };
static const char ending[] = ".partial";

static int split(struct out_file *f, const char *path, char dir[PATH_MAX], struct err *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return fail(err, EISDIR, "write %s", path);
	if (strlen(name) > NAME_SHOWN || strlen(path) >= PATH_MAX)
		return fail(err, ENAMETOOLONG, "write %s", path);
	strcpy(f->name, name);
	strcpy(f->path, path);
	if (slash == NULL)
		strcpy(dir, ".");
	else
		snprintf(dir, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return 0;
}

/* --- hidden names: .NAME.PID-N.partial ------------------------------------------------------------------------ */

static void choose_partial(struct out_file *f, unsigned n)
{
	snprintf(f->partial, sizeof f->partial, ".%.*s.%ld-%u%s", NAME_SHOWN, f->name, (long)getpid(), n, ending);
}

static bool is_partial(const char *entry, const char *name)
{
	size_t n = strlen(entry), end = sizeof ending - 1;
	if (entry[0] != '.' || n <= end || strcmp(entry + n - end, ending) != 0)
		return false;
	for (n -= end; n > 1 && strchr("0123456789-", entry[n - 1]) != NULL; n--) {}
	return n > 2 && entry[n - 1] == '.' && (name == NULL || (strlen(name) == n - 2 && memcmp(entry + 1, name, n - 2) == 0));
}

static void remove_if_left(int dir_fd, const char *partial)
{
	struct stat st, now;
	CLEANUP(close_fd) int fd = openat(dir_fd, partial, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || flock(fd, LOCK_EX | LOCK_NB) != 0)
		return;
	if (fstatat(dir_fd, partial, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == st.st_ino && now.st_dev == st.st_dev)
		(void)unlinkat(dir_fd, partial, 0);
}

void out_file_sweep(int dir_fd, const char *name)
{
	struct dirent *e;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_dir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (dir == NULL) {
		close_fd(&fd);
		return;
	}
	while ((e = readdir(dir)) != NULL)
		if (is_partial(e->d_name, name))
			remove_if_left(dir_fd, e->d_name);
}

/* A file with a hidden name, where there are none without a name. It may be swept before it is locked: then again. */
static int open_named(struct out_file *f, mode_t mode)
{
	struct stat st;
	for (unsigned n = 0; n < TRIES_MAX; n++) {
		choose_partial(f, n);
		int fd = openat(f->dir_fd, f->partial, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, mode);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return fd;
		(void)flock(fd, LOCK_EX | LOCK_NB);
		f->named = true;
		if (fstat(fd, &st) == 0 && st.st_nlink > 0)
			return fd;
		close(fd);
		f->named = false;
	}
	errno = EEXIST;
	return -1;
}

/* --- the file ------------------------------------------------------------------------------------------------- */

int out_file_open(struct out_file *f, const char *path, mode_t mode, struct err *err)
{
	char dir[PATH_MAX];
	*f = OUT_FILE_NONE;
	int ret = split(f, path, dir, err);
	if (ret < 0)
		return ret;
	struct stat st;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return fail(err, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "write %s (only a regular file can be replaced)", path);
	f->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dir_fd < 0)
		return fail(err, errno, "open the directory %s", dir);
	out_file_sweep(f->dir_fd, f->name);
	f->fd = openat(f->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (f->fd >= 0)
		(void)flock(f->fd, LOCK_EX | LOCK_NB);
	else if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)
		f->fd = open_named(f, mode);
	if (f->fd < 0) {
		ret = fail(err, errno, "write in the directory %s", dir);
		close_fd(&f->dir_fd);
	}
	return ret;
}

static int name_it(struct out_file *f, struct err *err)
{
	char self[64];
	if (f->named)
		return 0;
	snprintf(self, sizeof self, "/proc/self/fd/%d", f->fd);
	for (unsigned n = 0; n < TRIES_MAX && !f->named; n++) {
		choose_partial(f, n);
		f->named = linkat(AT_FDCWD, self, f->dir_fd, f->partial, AT_SYMLINK_FOLLOW) == 0;
		if (!f->named && errno != EEXIST)
			break;
	}
	return f->named ? 0 : fail(err, errno, "name %s", f->path);
}

int out_file_commit(struct out_file *f, struct err *err)
{
	int ret = fsync(f->fd) == 0 ? 0 : fail(err, errno, "write %s to the disk", f->path);
	if (ret == 0)
		ret = name_it(f, err);
	if (ret == 0 && renameat(f->dir_fd, f->partial, f->dir_fd, f->name) != 0)
		ret = fail(err, errno, "rename to %s", f->path);
	if (ret == 0) {
		f->named = false;
		/* the new name itself; a file system that cannot say so has done what it can */
		if (fsync(f->dir_fd) != 0 && errno != EINVAL && errno != EROFS)
			ret = fail(err, errno, "write the directory of %s to the disk", f->path);
	}
	out_file_close(f);
	return ret;
}

void out_file_close(struct out_file *f)
{
	if (f->named)
		(void)unlinkat(f->dir_fd, f->partial, 0);
	f->named = false;
	close_fd(&f->fd);
	close_fd(&f->dir_fd);
}
