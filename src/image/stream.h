/* A sequence of bytes that is pulled: files, verified blobs, decompressors, one behind the other.
 * A stream owns the one behind it; closing the last closes all. The owner of the memory that struct
 * stream is part of is its close function. */
#ifndef IMAGE_STREAM_H
#define IMAGE_STREAM_H

#include "base/bytes.h"
#include "image/code.h"

struct stream {
	/* Reads 1 to cap bytes; *ret_n == 0 is the end, and says so again when asked again. After an
	 * error the stream may only be closed. */
	enum image_code (*read)(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err);
	/* Passes over n bytes without reading them; NULL where that is not possible. */
	enum image_code (*skip)(struct stream *s, uint64_t n, struct err *err);
	void (*close)(struct stream *s);
};

static inline enum image_code stream_read(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	return s->read(s, buf, cap, ret_n, err);
}

/* Closes *s unless it is NULL, leaves NULL behind. */
static inline void stream_close(struct stream **s)
{
	if (*s != NULL)
		(*s)->close(*s);
	*s = NULL;
}

static inline struct stream *stream_steal(struct stream **s)
{
	struct stream *taken = *s;
	*s = NULL;
	return taken;
}

/* Reads until buf is full or the stream ends. */
enum image_code stream_fill(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err);
/* Reads and forgets what is left: for whoever must see the end to know that all was right. */
enum image_code stream_drain(struct stream *s, struct err *err);
/* The whole stream in one allocation (*ret owned by the caller), at most max bytes: TOO_LARGE. what names
 * it in messages. */
enum image_code stream_slurp(struct stream *s, size_t max, const char *what, uint8_t **ret, size_t *ret_n,
                             struct err *err);

/* n bytes of fd from offset at, by pread: several such streams may share a descriptor. own: close fd at
 * the end. An early end of the file is TRUNCATED. name: for messages; borrowed, as long as the stream. */
enum image_code stream_of_fd(int fd, bool own, uint64_t at, uint64_t n, const char *name, struct stream **ret,
                             struct err *err);
/* What read(2) yields until it ends; owns fd. */
enum image_code stream_of_pipe(int fd, const char *name, struct stream **ret, struct err *err);

/* What is being checked of a stream's bytes: NULL or 0xff…: not checked. */
struct stream_check {
	const uint8_t *sha256;               /* NULL: any. Copied */
	uint64_t size;                       /* UINT64_MAX: any */
	enum image_code mismatch;            /* DIGEST_MISMATCH or DIFF_ID_MISMATCH */
	const char *name;                    /* for messages; copied, cut */
};
/* Passes inner through and checks it: too long is SIZE_MISMATCH at the first byte too many, the rest shows at
 * the end, so nothing read is to be trusted before the end was. Takes inner, also when it fails. */
enum image_code stream_checked(struct stream *inner, const struct stream_check *check, struct stream **ret,
                               struct err *err);

/* Called with the bytes that went by, for whoever shows progress. */
struct stream_meter { void (*add)(struct stream_meter *m, size_t n); };
enum image_code stream_metered(struct stream *inner, struct stream_meter *m, struct stream **ret, struct err *err);

#endif
