#include "enclave/launcher/crs.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/sha256.h"

#include <fcntl.h>
#include <string.h>

void crs_path(const struct config_recipe *r, uint32_t pin, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s/%s", r->crs, r->crs_pin[pin].file);
}

static struct crs_file identity(const struct stat *st)
{
	return (struct crs_file){ st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim };
}

static bool same_time(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

bool crs_is_same(const struct crs_file *f, int fd)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return false;
	struct crs_file now = identity(&st);
	return now.device == f->device && now.inode == f->inode && now.size == f->size &&
	       same_time(now.modified, f->modified) && same_time(now.changed, f->changed);
}

/* By its permissions alone; the mount it sees forbids it as well. */
static bool a_job_could_write(const struct stat *st, const struct config *c)
{
	uint32_t first = c->recipe.uid_base, end = first + c->slots;
	return (st->st_mode & S_IWOTH) || (st->st_uid >= first && st->st_uid < end) ||
	       (st->st_gid >= first && st->st_gid < end && (st->st_mode & S_IWGRP));
}

static int hash_file(int fd, const char *path, uint8_t ret[32], struct err *err)
{
	uint8_t piece[OUTPUT_CHUNK];
	struct sha256 h;
	ssize_t n;

	sha256_init(&h);
	while ((n = read(fd, piece, sizeof piece)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(err, errno, "read %s", path);
		sha256_update(&h, bytes_of(piece, (size_t)n));
	}
	sha256_final(&h, ret);
	return 0;
}

static int open_file(const struct config *c, uint32_t pin, char *path, size_t cap, struct err *err)
{
	crs_path(&c->recipe, pin, path, cap);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? fail(err, errno, "[recipe] crs_sha256 = %s: open %s", c->recipe.crs_pin[pin].file, path) : fd;
}

static int look_at(const struct config *c, uint32_t pin, bool own_ids, struct crs_file *ret, struct err *err)
{
	const char *name = c->recipe.crs_pin[pin].file;
	char path[CONFIG_STRING_MAX + CONFIG_FILE_NAME_MAX];
	struct stat st;

	CLEANUP(close_fd) int fd = open_file(c, pin, path, sizeof path, err);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) != 0)
		return fail(err, errno, "[recipe] crs_sha256 = %s: look at %s", name, path);
	if (!S_ISREG(st.st_mode))
		return fail(err, 0, "[recipe] crs_sha256 = %s: %s is not a plain file", name, path);
	if (own_ids && a_job_could_write(&st, c))
		return fail(err, 0, "[recipe] crs_sha256 = %s: jobs could write %s by its owner or mode; make it root's and 0644", name, path);
	*ret = identity(&st);
	return 0;
}

static int check_file(const struct config *c, uint32_t pin, const struct crs_file *seen, struct err *err)
{
	const struct config_crs_pin *wanted = &c->recipe.crs_pin[pin];
	char path[CONFIG_STRING_MAX + CONFIG_FILE_NAME_MAX], is[65], should[65];
	uint8_t digest[32];

	CLEANUP(close_fd) int fd = open_file(c, pin, path, sizeof path, err);
	if (fd < 0)
		return fd;
	int bad = hash_file(fd, path, digest, err);
	if (bad != 0)
		return bad;
	/* after it was read, so that nothing can have changed before or meanwhile */
	if (!crs_is_same(seen, fd))
		return fail(err, 0, "[recipe] crs_sha256 = %s: %s was changed after the launcher had looked at it; start it again",
		            wanted->file, path);
	return memcmp(digest, wanted->sha256, sizeof digest) == 0 ? 0 :
	       fail(err, 0, "[recipe] crs_sha256 = %s: %s has SHA-256 %s; %s is configured: not the points that were meant, or damaged",
	            wanted->file, path, hex_encode(BYTES_ARRAY(digest), is), hex_encode(BYTES_ARRAY(wanted->sha256), should));
}

int crs_look(const struct config *c, bool own_ids, struct crs *ret, struct err *err)
{
	struct crs crs = { 0 };
	int bad = 0;
	for (uint32_t i = 0; i < c->recipe.crs_pin_count && bad == 0; i++)
		bad = look_at(c, i, own_ids, &crs.file[i], err);
	if (bad == 0)
		*ret = crs;
	return bad;
}

int crs_check(const struct config *c, const struct crs *crs, struct err *err)
{
	int bad = 0;
	for (uint32_t i = 0; i < c->recipe.crs_pin_count && bad == 0; i++)
		bad = check_file(c, i, &crs->file[i], err);
	return bad;
}
