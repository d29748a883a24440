#include "base/make_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int make_one(const char *path, mode_t mode, struct err *err)
{
	return mkdir(path, mode) != 0 && errno != EEXIST ? fail(err, errno, "make the directory %s", path) : 0;
}

int make_path_to(const char *path, mode_t mode, struct err *err)
{
	char part[PATH_MAX];
	if (path[0] == '\0' || strlen(path) >= sizeof part)
		return fail(err, ENAMETOOLONG, "make the directory %.80s", path);
	for (const char *slash = path; (slash = strchr(slash + 1, '/')) != NULL;) {
		snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
		int bad = make_one(part, mode, err);
		if (bad < 0)
			return bad;
	}
	return 0;
}

int make_path(const char *path, mode_t mode, struct err *err)
{
	int bad = make_path_to(path, mode, err);
	return bad < 0 ? bad : make_one(path, mode, err);
}
