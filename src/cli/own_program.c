#include "cli/own_program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int own_path(char ret[PATH_MAX], struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);
	if (n < 0)
		return fail(err, errno, "read /proc/self/exe");
	ret[n] = '\0';
	return 0;
}

int own_program(const char *name, char ret[PATH_MAX], struct err *err)
{
	static const char *const places[] = { "", "../libexec/tee-rex/" };
	char self[PATH_MAX];
	int bad = own_path(self, err);
	if (bad < 0)
		return bad;
	const char *slash = strrchr(self, '/');
	int directory = slash == NULL ? 0 : (int)(slash - self) + 1;
	for (size_t i = 0; i < 2; i++) {
		int length = snprintf(ret, PATH_MAX, "%.*s%s%s", directory, self, places[i], name);
		if (length < PATH_MAX && access(ret, X_OK) == 0)
			return 0;
	}
	return fail(err, ENOENT, "%s is neither beside %.300s nor in ../libexec/tee-rex; run make, or install again", name, self);
}
