/* The time of last use is the file's modification time, set on each hit: access times may be off. One lock file keeps two
 * programs from making room at once; losing a race costs a fetch, never a wrong byte. */
#include "image/cache.h"

#include "base/cleanup.h"
#include "base/make_path.h"
#include "base/text.h"
#include "image/slab.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { CACHED_BLOBS_MAX = 100000, HEX = 2 * OCI_SHA256_SIZE };

/* --- the place ---------------------------------------------------------------------------------------------- */

/* The directory, and that it can be used. */
static int make_directories(const char *path)
{
	int bad = make_path(path, 0700, NULL);
	return bad == 0 && access(path, W_OK | X_OK) != 0 ? -errno : bad;
}

static bool default_dir(char *buf, size_t cap)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n = -1;
	if (xdg != NULL && xdg[0] == '/')
		n = snprintf(buf, cap, "%s/tee-rex", xdg);
	else if (geteuid() == 0)
		n = snprintf(buf, cap, "/var/cache/tee-rex");
	else if (home != NULL && home[0] == '/')
		n = snprintf(buf, cap, "%s/.cache/tee-rex", home);
	return n > 0 && (size_t)n < cap;
}

static void blob_path(const struct cache *c, const uint8_t sha256[OCI_SHA256_SIZE], char path[PATH_MAX])
{
	char hex[HEX + 1];
	snprintf(path, PATH_MAX, "%.*s/%s", PATH_MAX - HEX - 2, c->dir, hex_encode(bytes_of(sha256, OCI_SHA256_SIZE), hex));
}

int cache_find(const struct cache *c, const uint8_t sha256[OCI_SHA256_SIZE], uint64_t size)
{
	char path[PATH_MAX];
	struct stat st;
	if (!c->on)
		return -1;
	blob_path(c, sha256, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size))
		close_fd(&fd);
	if (fd >= 0)
		utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
	return fd;
}

void cache_forget(const struct cache *c, const uint8_t sha256[OCI_SHA256_SIZE])
{
	char path[PATH_MAX];
	if (!c->on)
		return;
	blob_path(c, sha256, path);
	unlink(path);
}

/* --- making room -------------------------------------------------------------------------------------------- */

struct kept { struct timespec used; uint64_t size; char name[HEX + 1]; };

static int by_use(const void *a, const void *b)
{
	const struct timespec *x = &((const struct kept *)a)->used, *y = &((const struct kept *)b)->used;
	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/* Lists the blobs; *ret owned by the caller. */
static size_t list(DIR *dir, struct kept **ret, uint64_t *ret_total)
{
	struct kept *v = NULL;
	size_t n = 0, cap = 0;
	struct dirent *e;
	*ret_total = 0;
	while (n < CACHED_BLOBS_MAX && (e = readdir(dir)) != NULL) {
		struct stat st;
		if (strlen(e->d_name) != HEX || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
			continue;
		if (n == cap) {
			struct kept *grown = realloc(v, (cap = cap == 0 ? 64 : cap * 2) * sizeof *v);
			if (grown == NULL)
				break;
			v = grown;
		}
		v[n] = (struct kept){ .used = st.st_mtim, .size = (uint64_t)st.st_size };
		memcpy(v[n].name, e->d_name, HEX + 1);
		*ret_total += v[n++].size;
	}
	*ret = v;
	return n;
}

static void make_room(const struct cache *c, uint64_t size)
{
	CLEANUP(close_dir) DIR *dir = opendir(c->dir);
	CLEANUP(free_ptr) struct kept *v = NULL;
	CLEANUP(close_fd) int lock = -1;
	uint64_t total;
	if (dir == NULL)
		return;
	lock = openat(dirfd(dir), "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock >= 0)
		while (flock(lock, LOCK_EX) != 0 && errno == EINTR) {}
	out_file_sweep(dirfd(dir), NULL);
	size_t n = list(dir, &v, &total);
	if (n > 0)
		qsort(v, n, sizeof *v, by_use);
	for (size_t i = 0; i < n && (total > c->limit || size > c->limit - total); i++)
		if (unlinkat(dirfd(dir), v[i].name, 0) == 0 || errno == ENOENT)
			total -= v[i].size;
}

enum image_code cache_open(const char *dir, uint64_t limit, const char *spill_dir, struct cache *ret, struct err *err)
{
	struct cache c = { .limit = limit, .spill_dir = spill_dir };
	char base[PATH_MAX - 16];
	bool asked = dir != NULL;
	if (asked)
		snprintf(base, sizeof base, "%s", dir);
	if (limit > 0 && (asked || default_dir(base, sizeof base))) {
		snprintf(c.dir, sizeof c.dir, "%s/blobs", base);
		int e = make_directories(c.dir);
		if (e < 0 && asked)
			return image_fail(err, IMAGE_IO, -e, "make the cache directory %s", c.dir);
		c.on = e == 0;
	}
	/* what a lower limit than last time leaves no room for goes now */
	if (c.on)
		make_room(&c, 0);
	*ret = c;
	return IMAGE_OK;
}

/* --- writing -------------------------------------------------------------------------------------------------- */

enum image_code cache_begin(const struct cache *c, const uint8_t sha256[OCI_SHA256_SIZE], uint64_t size,
                            struct cache_write *ret, struct err *err)
{
	struct cache_write w = CACHE_WRITE_NONE;
	char path[PATH_MAX];
	if (!c->on || size > c->limit) {
		if (temporary_file(c->spill_dir, &w.fd, err) < 0)
			return IMAGE_IO;
		*ret = w;
		return IMAGE_OK;
	}
	make_room(c, size);
	blob_path(c, sha256, path);
	if (out_file_open(&w.out, path, 0600, err) < 0)
		return image_fail_in(err, IMAGE_IO, "write into the cache");
	w.kept = true;
	w.fd = fcntl(w.out.fd, F_DUPFD_CLOEXEC, 3);
	if (w.fd < 0) {
		out_file_close(&w.out);
		return image_fail(err, IMAGE_IO, errno, "write into the cache");
	}
	*ret = w;
	return IMAGE_OK;
}

enum image_code cache_commit(const struct cache *c, struct cache_write *w, int *ret_fd, struct err *err)
{
	(void)c;
	if (w->kept && out_file_commit(&w->out, err) < 0) {
		cache_abort(w);
		return image_fail_in(err, IMAGE_IO, "write into the cache");
	}
	*ret_fd = fd_steal(&w->fd);
	return IMAGE_OK;
}

void cache_abort(struct cache_write *w)
{
	out_file_close(&w->out);
	close_fd(&w->fd);
}
