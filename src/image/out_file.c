/* The directory is held open, so that what happens to its path meanwhile does not matter. A link cannot replace a
 * file, a rename can: so the unnamed file first gets the hidden name and then its own. */
#include "image/out_file.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int split(struct out_file *f, const char *path, char dir[PATH_MAX], struct err *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return fail(err, EISDIR, "write %s", path);
	if (strlen(name) > NAME_MAX - 32 || strlen(path) >= PATH_MAX)
		return fail(err, ENAMETOOLONG, "write %s", path);
	strcpy(f->name, name);
	strcpy(f->path, path);
	if (slash == NULL)
		strcpy(dir, ".");
	else
		snprintf(dir, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return 0;
}

/* The hidden name: unique among those who write here now; a leftover of a killed run may be replaced. */
static void choose_partial(struct out_file *f)
{
	snprintf(f->partial, sizeof f->partial, ".%.*s.%ld.partial", (int)sizeof f->partial - 32, f->name, (long)getpid());
}

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
	choose_partial(f);
	f->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dir_fd < 0)
		return fail(err, errno, "open the directory %s", dir);
	f->fd = openat(f->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (f->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		(void)unlinkat(f->dir_fd, f->partial, 0);
		f->fd = openat(f->dir_fd, f->partial, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, mode);
		f->named = f->fd >= 0;
	}
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
	if (linkat(AT_FDCWD, self, f->dir_fd, f->partial, AT_SYMLINK_FOLLOW) != 0) {
		if (errno != EEXIST || unlinkat(f->dir_fd, f->partial, 0) != 0 ||
		    linkat(AT_FDCWD, self, f->dir_fd, f->partial, AT_SYMLINK_FOLLOW) != 0)
			return fail(err, errno, "name %s", f->path);
	}
	f->named = true;
	return 0;
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
