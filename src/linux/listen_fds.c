#include "linux/listen_fds.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int take(const char *fds, const char *names, bool unique, struct listen_fds *l, struct err *err)
{
	uint64_t count;
	if (!text_to_u64(bytes_str(fds), LISTEN_FDS_MAX, &count))
		return fail(err, 0, "LISTEN_FDS=%.20s: a number up to %d is allowed", fds, LISTEN_FDS_MAX);
	for (size_t i = 0; i < count; i++) {
		int fd = LISTEN_FDS_START + (int)i;
		size_t n = strcspn(names, ":");
		if (n == 0 || n >= LISTEN_FD_NAME_MAX)
			return fail(err, 0, "LISTEN_FDNAMES: descriptor %d needs a name of 1-%d characters", fd, LISTEN_FD_NAME_MAX - 1);
		bytes_to_cstr(bytes_of(names, n), l->entry[i].name, LISTEN_FD_NAME_MAX);
		if (unique && listen_fds_find(l, l->entry[i].name) >= 0)
			return fail(err, 0, "LISTEN_FDNAMES: two descriptors are called %s", l->entry[i].name);
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
			return fail(err, errno, "inherited descriptor %d (%s)", fd, l->entry[i].name);
		l->entry[i].fd = fd;
		l->count++;
		names += n;
		if (*names == ':' && i + 1 < count)
			names++;
	}
	if (*names != '\0')
		return fail(err, 0, "LISTEN_FDNAMES has more names than LISTEN_FDS=%.20s descriptors", fds);
	return 0;
}

static int take_from_environment(bool unique, struct listen_fds *ret, struct err *err)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	struct listen_fds l = { .count = 0 };
	char self[24];
	int bad = 0;

	snprintf(self, sizeof self, "%ld", (long)getpid());
	if (pid != NULL && fds != NULL && strcmp(pid, self) == 0)
		bad = take(fds, names != NULL ? names : "", unique, &l, err);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (bad == 0)
		*ret = l;
	return bad;
}

int listen_fds_take(struct listen_fds *ret, struct err *err) { return take_from_environment(true, ret, err); }
int listen_fds_take_all(struct listen_fds *ret, struct err *err) { return take_from_environment(false, ret, err); }

int listen_fds_find(const struct listen_fds *l, const char *name)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->entry[i].name, name) == 0)
			return l->entry[i].fd;
	return -1;
}

int listen_fds_give(const int *fds, const char *const *names, size_t count, struct err *err)
{
	int high[LISTEN_FDS_MAX];
	char value[LISTEN_FDS_MAX * (LISTEN_FD_NAME_MAX + 1)], number[24];
	struct writer w = writer_of(value, sizeof value - 1);

	if (count > LISTEN_FDS_MAX)
		return fail(err, 0, "%zu descriptors to hand on; %d are allowed", count, LISTEN_FDS_MAX);
	/* out of the way first: one of them may be where another has to go */
	for (size_t i = 0; i < count; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, LISTEN_FDS_START + LISTEN_FDS_MAX);
		if (high[i] < 0)
			return fail(err, errno, "hand on descriptor %d (%s)", fds[i], names[i]);
		put_str(&w, i > 0 ? ":" : "");
		put_str(&w, names[i]);
	}
	put_u8(&w, 0);
	for (size_t i = 0; i < count; i++)
		if (dup2(high[i], LISTEN_FDS_START + (int)i) < 0)
			return fail(err, errno, "hand on descriptor %d (%s)", fds[i], names[i]);
	snprintf(number, sizeof number, "%ld", (long)getpid());
	if (w.full || setenv("LISTEN_FDNAMES", value, 1) != 0 || setenv("LISTEN_PID", number, 1) != 0)
		return fail(err, 0, "hand on descriptors: no room for their names");
	snprintf(number, sizeof number, "%zu", count);
	return setenv("LISTEN_FDS", number, 1) != 0 ? fail(err, errno, "set LISTEN_FDS") : 0;
}
