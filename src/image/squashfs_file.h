/* A squashfs image while it is written: a file that grows at its end, and streams of metadata on such files. */
#ifndef IMAGE_SQUASHFS_FILE_H
#define IMAGE_SQUASHFS_FILE_H

#include "format/squashfs.h"
#include "image/block_pool.h"

/* Bytes that go to a temporary file, one after another. */
struct spool {
	int fd;                              /* owned; -1: none yet */
	uint64_t at;                         /* bytes so far, buffered ones counted */
	size_t buffered;
	uint8_t *buf;                        /* owned */
};
#define SPOOL_NONE ((struct spool){ .fd = -1 })
enum image_code spool_open(struct spool *s, const char *dir, struct err *err);
void spool_close(struct spool *s);                   /* harmless on SPOOL_NONE */
enum image_code spool_put(struct spool *s, struct bytes b, struct err *err);
enum image_code spool_flush(struct spool *s, struct err *err);
/* Hands out all of a flushed spool, in order. */
struct spool_reader { enum image_code (*take)(struct spool_reader *r, struct bytes piece, struct err *err); };
enum image_code spool_read(struct spool *s, struct spool_reader *r, struct err *err);

/* A stream of packed pieces. */
struct metadata_stream {
	struct spool *out;                   /* borrowed */
	struct block_pool *pool;             /* borrowed; packs */
	uint64_t base;                       /* where the stream starts in out */
	size_t n;
	uint8_t buf[SQUASHFS_METADATA];
};
void metadata_open(struct metadata_stream *m, struct spool *out, struct block_pool *pool);
enum image_code metadata_put(struct metadata_stream *m, struct bytes b, struct err *err);
/* Packs what is left. */
enum image_code metadata_end(struct metadata_stream *m, struct err *err);
/* Where the next byte will be: the piece's start in the stream, and the offset in it. */
static inline uint64_t metadata_start(const struct metadata_stream *m) { return m->out->at - m->base; }
static inline uint32_t metadata_offset(const struct metadata_stream *m) { return (uint32_t)m->n; }

#endif
