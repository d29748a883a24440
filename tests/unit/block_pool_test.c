/* Blocks come back in order and with the same bytes however many threads there are; a consumer's refusal ends it; a pool may be
 * closed with work outstanding. */
#include "image_helpers.h"

#include "image/block_pool.h"

#include <zstd.h>

enum { BLOCK = 4096, BLOCKS = 200, REFUSE_AT = 57 };

struct collector {
	struct block_consumer consumer;
	uint64_t count, refuse_at;
	struct hash *hash;
};

/* Every third block is noise, which does not shrink. */
static size_t fill(uint64_t n, uint8_t *buf)
{
	uint64_t x = n * 2654435761u + 1;
	size_t size = n % 7 == 0 ? 100 + (size_t)n : BLOCK;
	for (size_t i = 0; i < size; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		buf[i] = n % 3 == 0 ? (uint8_t)(x >> 56) : (uint8_t)(i / 64 + n);
	}
	return size;
}

static enum image_code take(struct block_consumer *c, const struct block_job *job, struct err *err)
{
	struct collector *k = (struct collector *)(void *)c;
	uint8_t want[BLOCK], back[BLOCK];
	if (k->count == k->refuse_at)
		return image_fail(err, IMAGE_LAYOUT_LIMIT, 0, "enough");
	assert_true(job->tag[0] == k->count && job->tag[1] == ~k->count);
	size_t n = fill(k->count, want);
	assert_int_equal(job->in_n, n);
	assert_int_equal(job->stored, k->count % 3 == 0);
	if (job->stored) {
		assert_true(bytes_equal(job->result, bytes_of(want, n)));
	} else {
		assert_int_equal(ZSTD_decompress(back, sizeof back, job->result.p, job->result.n), n);
		assert_memory_equal(back, want, n);
	}
	hash_update(k->hash, job->result);
	k->count++;
	return IMAGE_OK;
}

static enum image_code feed(unsigned threads, uint64_t refuse_at, bool drain, uint8_t ret[32])
{
	struct collector k = { { take }, 0, refuse_at, hash_new(HASH_SHA256) };
	struct block_pool *p = block_pool_open(BLOCK, 3, threads, &k.consumer);
	enum image_code c = IMAGE_OK;
	struct err err;
	assert_non_null(p);
	for (uint64_t n = 0; n < BLOCKS && c == IMAGE_OK; n++) {
		struct block_job *j = block_pool_next(p, &c, &err);
		if (j == NULL)
			break;
		j->in_n = fill(n, j->in);
		j->tag[0] = n;
		j->tag[1] = ~n;
		block_pool_submit(p, j);
	}
	if (c == IMAGE_OK && drain) {
		c = block_pool_drain(p, &err);
		assert_true(c != IMAGE_OK || k.count == BLOCKS);
	}
	block_pool_close(p);
	assert_true(hash_peek(k.hash, ret));
	hash_free(k.hash);
	return c;
}

static void test_threads_do_not_show(void **state)
{
	uint8_t one[32], other[32];
	(void)state;
	assert_int_equal(feed(1, UINT64_MAX, true, one), IMAGE_OK);
	static const unsigned threads[] = { 2, 3, 16, 100, 0 };
	for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
		assert_int_equal(feed(threads[i], UINT64_MAX, true, other), IMAGE_OK);
		assert_memory_equal(one, other, 32);
	}
}

static void test_ends_early(void **state)
{
	uint8_t hash[32];
	(void)state;
	assert_int_equal(feed(2, REFUSE_AT, true, hash), IMAGE_LAYOUT_LIMIT);
	assert_int_equal(feed(2, BLOCKS - 1, true, hash), IMAGE_LAYOUT_LIMIT);
	for (unsigned threads = 1; threads < 5; threads++)
		assert_int_equal(feed(threads, UINT64_MAX, false, hash), IMAGE_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_do_not_show),
		cmocka_unit_test(test_ends_early),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
