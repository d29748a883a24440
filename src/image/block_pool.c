#include "image/block_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

enum { THREADS_MAX = 16, JOBS_PER_THREAD = 3 };

struct block_pool {
	size_t block_size, bound;
	struct block_consumer *consumer;     /* borrowed */
	struct block_job *job;               /* the ring; owned, as are the buffers in it */
	unsigned job_count, thread_count;
	unsigned oldest, used;               /* the caller's view of the ring */
	ZSTD_CCtx *own;                      /* for the caller's thread */
	uint8_t *own_out;
	int level;
	pthread_mutex_t lock;                /* of what follows, and of every job's state */
	pthread_cond_t work, done;
	bool failed, quit;
	pthread_t thread[THREADS_MAX];
};

static ZSTD_CCtx *new_context(int level)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	if (c != NULL && !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level)))
		return c;
	ZSTD_freeCCtx(c);
	return NULL;
}

/* False: no memory. */
static bool pack(ZSTD_CCtx *c, struct bytes in, uint8_t *out, size_t cap, struct bytes *ret, bool *ret_stored)
{
	size_t n = ZSTD_compress2(c, out, cap, in.p, in.n);
	*ret_stored = ZSTD_isError(n) || n >= in.n;
	*ret = *ret_stored ? in : bytes_of(out, n);
	return !ZSTD_isError(n);
}

static struct block_job *find_queued(struct block_pool *p)
{
	for (unsigned i = 0; i < p->job_count; i++) {
		struct block_job *j = &p->job[(p->oldest + i) % p->job_count];
		if (j->state == BLOCK_QUEUED)
			return j;
	}
	return NULL;
}

static void *worker(void *arg)
{
	struct block_pool *p = arg;
	ZSTD_CCtx *c = new_context(p->level);
	pthread_mutex_lock(&p->lock);
	if (c == NULL) {
		p->failed = true;
		pthread_cond_signal(&p->done);
	}
	while (!p->quit) {
		struct block_job *j = c != NULL ? find_queued(p) : NULL;
		if (j == NULL) {
			pthread_cond_wait(&p->work, &p->lock);
			continue;
		}
		j->state = BLOCK_BUSY;
		pthread_mutex_unlock(&p->lock);
		bool ok = pack(c, bytes_of(j->in, j->in_n), j->out, p->bound, &j->result, &j->stored);
		pthread_mutex_lock(&p->lock);
		p->failed = p->failed || !ok;
		j->state = BLOCK_DONE;
		pthread_cond_signal(&p->done);
	}
	pthread_mutex_unlock(&p->lock);
	ZSTD_freeCCtx(c);
	return NULL;
}

static bool start(struct block_pool *p, unsigned threads)
{
	p->job = calloc(p->job_count, sizeof *p->job);
	p->own = new_context(p->level);
	p->own_out = malloc(p->bound);
	if (p->job == NULL || p->own == NULL || p->own_out == NULL)
		return false;
	for (unsigned i = 0; i < p->job_count; i++) {
		p->job[i].in = malloc(p->block_size);
		p->job[i].out = malloc(p->bound);
		if (p->job[i].in == NULL || p->job[i].out == NULL)
			return false;
	}
	while (p->thread_count < threads && pthread_create(&p->thread[p->thread_count], NULL, worker, p) == 0)
		p->thread_count++;
	return p->thread_count > 0;
}

struct block_pool *block_pool_open(size_t block_size, int level, unsigned threads, struct block_consumer *consumer)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct block_pool *p = calloc(1, sizeof *p);
	if (p == NULL)
		return NULL;
	if (threads == 0)
		threads = processors < 1 ? 1 : (unsigned)processors;
	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	p->block_size = block_size;
	p->bound = ZSTD_compressBound(block_size);
	p->consumer = consumer;
	p->level = level;
	p->job_count = threads * JOBS_PER_THREAD;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	if (start(p, threads))
		return p;
	block_pool_close(p);
	return NULL;
}

void block_pool_close(struct block_pool *p)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->thread_count; i++)
		pthread_join(p->thread[i], NULL);
	for (unsigned i = 0; p->job != NULL && i < p->job_count; i++) {
		free(p->job[i].in);
		free(p->job[i].out);
	}
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->done);
	ZSTD_freeCCtx(p->own);
	free(p->own_out);
	free(p->job);
	free(p);
}

static enum image_code give_back_oldest(struct block_pool *p, struct err *err)
{
	struct block_job *j = &p->job[p->oldest];
	pthread_mutex_lock(&p->lock);
	while (j->state != BLOCK_DONE && !p->failed)
		pthread_cond_wait(&p->done, &p->lock);
	bool failed = p->failed;
	pthread_mutex_unlock(&p->lock);
	if (failed)
		return image_fail(err, IMAGE_IO, ENOMEM, "compress a block");
	enum image_code c = p->consumer->take(p->consumer, j, err);
	pthread_mutex_lock(&p->lock);
	j->state = BLOCK_FREE;
	p->oldest = (p->oldest + 1) % p->job_count;
	p->used--;
	pthread_mutex_unlock(&p->lock);
	return c;
}

struct block_job *block_pool_next(struct block_pool *p, enum image_code *ret, struct err *err)
{
	*ret = p->used == p->job_count ? give_back_oldest(p, err) : IMAGE_OK;
	if (*ret != IMAGE_OK)
		return NULL;
	struct block_job *j = &p->job[(p->oldest + p->used) % p->job_count];
	j->in_n = 0;
	return j;
}

void block_pool_submit(struct block_pool *p, struct block_job *job)
{
	pthread_mutex_lock(&p->lock);
	job->state = BLOCK_QUEUED;
	p->used++;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

enum image_code block_pool_drain(struct block_pool *p, struct err *err)
{
	enum image_code c = IMAGE_OK;
	while (p->used > 0 && c == IMAGE_OK)
		c = give_back_oldest(p, err);
	return c;
}

struct bytes block_pool_pack(struct block_pool *p, struct bytes in, bool *ret_stored)
{
	struct bytes result;
	(void)pack(p->own, in, p->own_out, p->bound, &result, ret_stored);
	return result;
}
