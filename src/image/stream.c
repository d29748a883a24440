/* The plain streams: files, pipes, the check of size and digest. Buffers belong to whoever reads; nothing here
 * holds more than a few hundred bytes. */
#include "image/stream.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <stdio.h>

enum { NAME_MAX_SHOWN = 120, DRAIN_SIZE = 64 << 10 };

static enum image_code no_memory(struct err *err) { return image_fail(err, IMAGE_IO, ENOMEM, "read a stream"); }

enum image_code stream_fill(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	size_t at = 0, n = 1;
	while (at < cap && n > 0) {
		enum image_code c = stream_read(s, buf + at, cap - at, &n, err);
		if (c != IMAGE_OK)
			return c;
		at += n;
	}
	*ret_n = at;
	return IMAGE_OK;
}

enum image_code stream_drain(struct stream *s, struct err *err)
{
	CLEANUP(free_ptr) uint8_t *buf = malloc(DRAIN_SIZE);
	if (buf == NULL)
		return no_memory(err);
	for (size_t n = 1; n > 0;) {
		enum image_code c = stream_read(s, buf, DRAIN_SIZE, &n, err);
		if (c != IMAGE_OK)
			return c;
	}
	return IMAGE_OK;
}

enum image_code stream_slurp(struct stream *s, size_t max, const char *what, uint8_t **ret, size_t *ret_n,
                             struct err *err)
{
	CLEANUP(free_ptr) uint8_t *buf = NULL;
	size_t at = 0, cap = 0, n = 1;
	while (n > 0) {
		if (at == cap) {
			/* one byte more than allowed tells "too large" from "just fits" */
			size_t want = cap == 0 ? 16 << 10 : cap * 2;
			cap = want > max ? max + 1 : want;
			uint8_t *grown = at == cap ? NULL : realloc(buf, cap);
			if (grown == NULL)
				return at == cap ? image_fail(err, IMAGE_TOO_LARGE, 0, "%s is larger than %zu bytes", what, max)
				                 : no_memory(err);
			buf = grown;
		}
		enum image_code c = stream_read(s, buf + at, cap - at, &n, err);
		if (c != IMAGE_OK)
			return c;
		at += n;
	}
	if (at > max)
		return image_fail(err, IMAGE_TOO_LARGE, 0, "%s is larger than %zu bytes", what, max);
	*ret = buf;
	*ret_n = at;
	buf = NULL;
	return IMAGE_OK;
}

/* --- files and pipes -------------------------------------------------------------------------- */

struct fd_stream {
	struct stream s;
	int fd;
	bool own, seekable;
	uint64_t at, left;
	const char *name;                    /* borrowed */
};

static enum image_code fd_read(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	struct fd_stream *f = (struct fd_stream *)(void *)s;
	size_t want = cap < f->left ? cap : (size_t)f->left;
	ssize_t n = 0;
	if (want > 0)
		do
			n = f->seekable ? pread(f->fd, buf, want, (off_t)f->at) : read(f->fd, buf, want);
		while (n < 0 && errno == EINTR);
	if (n < 0)
		return image_fail(err, IMAGE_IO, errno, "read %s", f->name);
	if (n == 0 && f->left > 0 && f->seekable)
		return image_fail(err, IMAGE_TRUNCATED, 0, "%s ends %llu bytes early", f->name, (unsigned long long)f->left);
	if (f->seekable)
		f->left -= (uint64_t)n;
	f->at += (uint64_t)n;
	*ret_n = (size_t)n;
	return IMAGE_OK;
}

static enum image_code fd_skip(struct stream *s, uint64_t n, struct err *err)
{
	struct fd_stream *f = (struct fd_stream *)(void *)s;
	if (n > f->left)
		return image_fail(err, IMAGE_TRUNCATED, 0, "%s ends %llu bytes early", f->name,
		                  (unsigned long long)(n - f->left));
	f->at += n;
	f->left -= n;
	return IMAGE_OK;
}

static void fd_close(struct stream *s)
{
	struct fd_stream *f = (struct fd_stream *)(void *)s;
	if (f->own)
		close_fd(&f->fd);
	free(f);
}

static enum image_code fd_open(struct fd_stream what, struct stream **ret, struct err *err)
{
	struct fd_stream *f = malloc(sizeof *f);
	if (f == NULL) {
		if (what.own)
			close_fd(&what.fd);
		return no_memory(err);
	}
	*f = what;
	*ret = &f->s;
	return IMAGE_OK;
}

enum image_code stream_of_fd(int fd, bool own, uint64_t at, uint64_t n, const char *name, struct stream **ret,
                             struct err *err)
{
	return fd_open((struct fd_stream){ { fd_read, fd_skip, fd_close }, fd, own, true, at, n, name }, ret, err);
}

enum image_code stream_of_pipe(int fd, const char *name, struct stream **ret, struct err *err)
{
	return fd_open((struct fd_stream){ { fd_read, NULL, fd_close }, fd, true, false, 0, UINT64_MAX, name }, ret, err);
}

/* --- check of size and digest ----------------------------------------------------------------- */

struct checked_stream {
	struct stream s;
	struct stream *inner;
	struct hash *hash;                   /* NULL: the digest is not checked */
	uint8_t sha256[SHA256_SIZE];
	uint64_t size, seen;
	enum image_code mismatch;
	bool over;
	char name[NAME_MAX_SHOWN];
};

static enum image_code check_end(struct checked_stream *c, struct err *err)
{
	uint8_t got[SHA256_SIZE];
	char got_text[2 * SHA256_SIZE + 1], want_text[2 * SHA256_SIZE + 1];
	if (c->size != UINT64_MAX && c->seen != c->size)
		return image_fail(err, IMAGE_SIZE_MISMATCH, 0, "%s has %llu bytes, %llu were announced: fetch or copy it again",
		                  c->name, (unsigned long long)c->seen, (unsigned long long)c->size);
	if (c->hash == NULL)
		return IMAGE_OK;
	if (!hash_peek(c->hash, got))
		return image_fail(err, IMAGE_IO, 0, "hash %s", c->name);
	if (memcmp(got, c->sha256, SHA256_SIZE) != 0)
		return image_fail(err, c->mismatch, 0, "%s has the digest sha256:%s, not sha256:%s as announced%s", c->name,
		                  hex_encode(BYTES_ARRAY(got), got_text), hex_encode(BYTES_ARRAY(c->sha256), want_text),
		                  c->mismatch == IMAGE_DIFF_ID_MISMATCH ? " by the image's configuration"
		                                                        : ": fetch or copy it again");
	return IMAGE_OK;
}

static enum image_code checked_read(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	struct checked_stream *c = (struct checked_stream *)(void *)s;
	size_t n = 0;
	enum image_code r = c->over ? IMAGE_OK : stream_read(c->inner, buf, cap, &n, err);
	if (r != IMAGE_OK)
		return r;
	if (n > c->size - c->seen)
		return image_fail(err, IMAGE_SIZE_MISMATCH, 0, "%s has more than the %llu bytes announced: fetch or copy it again",
		                  c->name, (unsigned long long)c->size);
	c->seen += n;
	if (c->hash != NULL && n > 0)
		hash_update(c->hash, bytes_of(buf, n));
	if (n == 0 && !c->over && (r = check_end(c, err)) != IMAGE_OK)
		return r;
	c->over = n == 0;
	*ret_n = n;
	return IMAGE_OK;
}

static void checked_close(struct stream *s)
{
	struct checked_stream *c = (struct checked_stream *)(void *)s;
	stream_close(&c->inner);
	hash_free(c->hash);
	free(c);
}

enum image_code stream_checked(struct stream *inner, const struct stream_check *check, struct stream **ret,
                               struct err *err)
{
	struct checked_stream *c = calloc(1, sizeof *c);
	if (c == NULL) {
		stream_close(&inner);
		return no_memory(err);
	}
	c->s = (struct stream){ checked_read, NULL, checked_close };
	c->inner = inner;
	c->size = check->size;
	c->mismatch = check->mismatch;
	snprintf(c->name, sizeof c->name, "%s", check->name);
	if (check->sha256 != NULL) {
		memcpy(c->sha256, check->sha256, SHA256_SIZE);
		c->hash = hash_new(HASH_SHA256);
		if (c->hash == NULL) {
			checked_close(&c->s);
			return image_fail(err, IMAGE_IO, 0, "start a digest of %s", check->name);
		}
	}
	*ret = &c->s;
	return IMAGE_OK;
}

/* --- progress --------------------------------------------------------------------------------- */

struct metered_stream { struct stream s; struct stream *inner; struct stream_meter *meter; };

static enum image_code metered_read(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	struct metered_stream *m = (struct metered_stream *)(void *)s;
	enum image_code c = stream_read(m->inner, buf, cap, ret_n, err);
	if (c == IMAGE_OK)
		m->meter->add(m->meter, *ret_n);
	return c;
}

static void metered_close(struct stream *s)
{
	struct metered_stream *m = (struct metered_stream *)(void *)s;
	stream_close(&m->inner);
	free(m);
}

enum image_code stream_metered(struct stream *inner, struct stream_meter *meter, struct stream **ret, struct err *err)
{
	struct metered_stream *m = malloc(sizeof *m);
	if (m == NULL) {
		stream_close(&inner);
		return no_memory(err);
	}
	*m = (struct metered_stream){ { metered_read, NULL, metered_close }, inner, meter };
	*ret = &m->s;
	return IMAGE_OK;
}
