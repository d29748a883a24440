/* Compresses blocks on several threads and gives them back in the order in which they came, so that the result does not
 * depend on how many threads there are.
 *
 *     ring of jobs:  oldest ▸ [done] [busy] [busy] [queued] ◂ newest      the caller fills the next one
 *
 * Every function is for one thread, the caller's. zstd, each block by itself; a block that does not shrink stays as it is. */
#ifndef IMAGE_BLOCK_POOL_H
#define IMAGE_BLOCK_POOL_H

#include "base/bytes.h"
#include "image/code.h"

struct block_job {
	uint8_t *in;                         /* room for the pool's block size; filled by the caller */
	size_t in_n;
	uint64_t tag[2];                     /* the caller's */
	struct bytes result;                 /* once it is given back */
	bool stored;                         /* the result is what came in */
	/* private */
	uint8_t *out;
	enum { BLOCK_FREE, BLOCK_QUEUED, BLOCK_BUSY, BLOCK_DONE } state;
};

/* Takes what is finished, in order. */
struct block_consumer {
	enum image_code (*take)(struct block_consumer *c, const struct block_job *job, struct err *err);
};

struct block_pool;
/* threads 0: one for each processor, within reason. NULL when there is no memory, or no thread. */
struct block_pool *block_pool_open(size_t block_size, int level, unsigned threads, struct block_consumer *consumer);
/* Stops the threads, whatever they are at. NULL is fine. */
void block_pool_close(struct block_pool *p);

/* The next job to fill; makes room by giving the oldest back. NULL: *ret says why. */
struct block_job *block_pool_next(struct block_pool *p, enum image_code *ret, struct err *err);
/* The job that block_pool_next() gave is full. */
void block_pool_submit(struct block_pool *p, struct block_job *job);
/* Gives all back. */
enum image_code block_pool_drain(struct block_pool *p, struct err *err);

/* One small block, on the caller's own thread; as block_job.result. */
struct bytes block_pool_pack(struct block_pool *p, struct bytes in, bool *ret_stored);

#endif
