#include "cli/save_file.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static int directory_of(const char *path, char *dir, size_t cap, struct err *err)
{
	const char *slash = strrchr(path, '/');
	struct bytes d = slash == NULL ? BYTES_LIT(".") : bytes_of(path, slash == path ? 1 : (size_t)(slash - path));
	return bytes_to_cstr(d, dir, cap) ? 0 : fail(err, ENAMETOOLONG, "write %.80s", path);
}

static int write_all(int fd, struct bytes b, const char *path, struct err *err)
{
	while (b.n > 0) {
		ssize_t n = write(fd, b.p, b.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(err, errno, "write %s", path);
		b = bytes_of(b.p + n, b.n - (size_t)n);
	}
	return 0;
}

int save_file_check(const char *path, struct err *err)
{
	char dir[PATH_MAX];
	struct stat st;
	if (strcmp(path, "-") == 0)
		return 0;
	int ret = directory_of(path, dir, sizeof dir, err);
	if (ret < 0)
		return ret;
	if (access(dir, W_OK | X_OK) != 0)
		return fail(err, errno, "write into the directory %s", dir);
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return fail(err, 0, "%s exists and is no regular file: it is not replaced", path);
	return 0;
}

static int fill(const char *temporary, int fd, struct bytes content, const char *path, struct err *err)
{
	mode_t mask = umask(0);
	umask(mask);
	int ret = write_all(fd, content, temporary, err);
	if (ret == 0 && (fchmod(fd, 0666 & ~mask) != 0 || fsync(fd) != 0))
		ret = fail(err, errno, "write %s", temporary);
	if (ret == 0 && rename(temporary, path) != 0)
		ret = fail(err, errno, "rename %s to %s", temporary, path);
	return ret;
}

int save_file(const char *path, struct bytes content, struct err *err)
{
	char dir[PATH_MAX], temporary[PATH_MAX];
	if (strcmp(path, "-") == 0)
		return write_all(STDOUT_FILENO, content, "standard output", err);
	int ret = save_file_check(path, err);
	if (ret == 0)
		ret = directory_of(path, dir, sizeof dir, err);
	if (ret < 0)
		return ret;
	if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
		return fail(err, ENAMETOOLONG, "write %.80s", path);
	CLEANUP(close_fd) int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return fail(err, errno, "make a temporary file beside %s", path);
	ret = fill(temporary, fd, content, path, err);
	if (ret < 0) {
		unlink(temporary);
		return ret;
	}
	CLEANUP(close_fd) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd >= 0)
		fsync(dir_fd);           /* the name survives a power loss; the content does in any case */
	return 0;
}
