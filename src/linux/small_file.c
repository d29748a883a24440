#include "linux/small_file.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <string.h>

char *rooted_path(const char *root, const char *path, char buf[ROOTED_PATH_MAX])
{
	int n = snprintf(buf, ROOTED_PATH_MAX, "%s%s", root, path);
	if (n < 0 || n >= ROOTED_PATH_MAX)
		strcpy(buf, "/nonexistent/path-too-long");
	return buf;
}

int small_file_read(const char *root, const char *path, char *buf, size_t cap)
{
	char whole[ROOTED_PATH_MAX];
	CLEANUP(close_fd) int fd = open(rooted_path(root, path, whole), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	size_t at = 0;
	for (ssize_t n = 1; n > 0 && at < cap - 1; at += n > 0 ? (size_t)n : 0) {
		n = read(fd, buf + at, cap - 1 - at);
		if (n < 0)
			return -errno;
	}
	while (at > 0 && buf[at - 1] == '\n')
		at--;
	buf[at] = '\0';
	return 0;
}

bool small_file_u64(const char *root, const char *path, uint64_t *ret)
{
	char text[64];
	if (small_file_read(root, path, text, sizeof text) != 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return text_to_u64(bytes_str(text), UINT64_MAX, ret);
}

int small_file_write(const char *root, const char *path, const char *text, struct err *err)
{
	char whole[ROOTED_PATH_MAX];
	CLEANUP(close_fd) int fd = open(rooted_path(root, path, whole), O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(err, errno, "open %s", whole);
	ssize_t n = write(fd, text, strlen(text));
	if (n < 0)
		return fail(err, errno, "write \"%.*s\" to %s", (int)strcspn(text, "\n"), text, whole);
	/* the kernel's files cannot be cut and need not be; those of a copy must */
	if (*root != '\0' && ftruncate(fd, n) != 0)
		errno = 0;
	return 0;
}

bool small_file_exists(const char *root, const char *path)
{
	char whole[ROOTED_PATH_MAX];
	return access(rooted_path(root, path, whole), F_OK) == 0;
}

bool text_field_u64(const char *text, const char *name, uint64_t *ret)
{
	size_t n = strlen(name);
	for (const char *line = text; line != NULL && *line != '\0';) {
		const char *end = strchr(line, '\n');
		if (strncmp(line, name, n) == 0) {
			const char *digits = line + n + strspn(line + n, " \t:");
			return text_to_u64(bytes_of(digits, strspn(digits, "0123456789")), UINT64_MAX, ret);
		}
		line = end == NULL ? NULL : end + 1;
	}
	return false;
}
