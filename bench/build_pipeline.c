/* build_pipeline OUT LAYER…: what no builder of enclave images can avoid, and nothing else: layers are unpacked (gzip, zstd), hashed
 * (SHA-256), compressed in blocks as `tee-rex build` does it, on as many threads, hashed (SHA-384), summed (CRC-32) and written. */
#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "image/block_pool.h"
#include "image/squashfs.h"

#include <fcntl.h>
#include <zlib.h>
#include <zstd.h>

enum { PIECE = 128 << 10 };

struct end { struct block_consumer consumer; struct hash *sha384; unsigned long crc; int fd; uint64_t n; };

static enum image_code take(struct block_consumer *c, const struct block_job *job, struct err *err)
{
	struct end *e = (struct end *)(void *)c;
	hash_update(e->sha384, job->result);
	e->crc = crc32(e->crc, job->result.p, (uInt)job->result.n);
	e->n += job->result.n;
	return write(e->fd, job->result.p, job->result.n) == (ssize_t)job->result.n ? IMAGE_OK : image_fail(err, IMAGE_IO, errno, "write");
}

struct start { int fd; bool zstd; z_stream z; ZSTD_DCtx *d; uint8_t in[PIECE]; ZSTD_inBuffer from; };

static size_t more(struct start *s, uint8_t *out, size_t cap)
{
	size_t at = 0;
	while (at < cap) {
		if (s->from.pos == s->from.size) {
			ssize_t n = read(s->fd, s->in, sizeof s->in);
			if (n <= 0)
				break;
			s->from = (ZSTD_inBuffer){ s->in, (size_t)n, 0 };
		}
		if (s->zstd) {
			ZSTD_outBuffer to = { out, cap, at };
			if (ZSTD_isError(ZSTD_decompressStream(s->d, &to, &s->from)))
				abort();
			at = to.pos;
			continue;
		}
		s->z.next_in = s->in + s->from.pos;
		s->z.avail_in = (uInt)(s->from.size - s->from.pos);
		s->z.next_out = out + at;
		s->z.avail_out = (uInt)(cap - at);
		int r = inflate(&s->z, Z_NO_FLUSH);
		if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
			abort();
		at = cap - s->z.avail_out;
		s->from.pos = s->from.size - s->z.avail_in;
		if (r == Z_STREAM_END)
			break;
	}
	return at;
}

int main(int argc, char **argv)
{
	struct end e = { { take }, hash_new(HASH_SHA384), 0, open(argv[1], O_CREAT | O_TRUNC | O_WRONLY, 0644), 0 };
	struct block_pool *pool = block_pool_open(PIECE, SQUASHFS_LEVEL, 0, &e.consumer);
	enum image_code c = IMAGE_OK;
	struct err err;
	for (int i = 2; i < argc; i++) {
		static struct start s;
		uint8_t magic[2] = { 0 }, digest[32];
		struct hash *sha256 = hash_new(HASH_SHA256);
		s = (struct start){ .fd = open(argv[i], O_RDONLY), .d = ZSTD_createDCtx() };
		if (pread(s.fd, magic, 2, 0) != 2 || inflateInit2(&s.z, 31) != Z_OK)
			return 1;
		s.zstd = magic[0] == 0x28;
		for (size_t n = 1; n > 0 && c == IMAGE_OK;) {
			struct block_job *job = block_pool_next(pool, &c, &err);
			if (job == NULL || (n = job->in_n = more(&s, job->in, PIECE)) == 0)
				break;
			hash_update(sha256, bytes_of(job->in, n));
			block_pool_submit(pool, job);
		}
		hash_peek(sha256, digest);
		hash_free(sha256);
		inflateEnd(&s.z);
		ZSTD_freeDCtx(s.d);
		close(s.fd);
	}
	if (c == IMAGE_OK)
		c = block_pool_drain(pool, &err);
	block_pool_close(pool);
	printf("%llu\n", (unsigned long long)e.n);
	return c == IMAGE_OK && fsync(e.fd) == 0 ? 0 : 1;
}
