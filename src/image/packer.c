/* A whole ramdisk is packed as one stream, so the window costs memory here and while the kernel unpacks, and the tables
 * cost memory here: gzip has 32 KiB of window, zstd is held at 2 MiB and twice 2 MiB of tables (on its own this level would
 * take 50 MiB). */
#include "image/packer.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum { OUT_SIZE = 256 << 10, GZIP_LEVEL = 9, GZIP_WINDOW = 15 + 16, ZSTD_LEVEL = 9, ZSTD_WINDOW_LOG = 21, ZSTD_TABLE_LOG = 19 };

struct packer {
	enum ramdisk_packing packing;
	z_stream z;
	ZSTD_CCtx *zstd;
	uint8_t out[OUT_SIZE];
};

static bool set(struct packer *p, ZSTD_cParameter what, int value)
{
	return !ZSTD_isError(ZSTD_CCtx_setParameter(p->zstd, what, value));
}

struct packer *packer_open(enum ramdisk_packing packing)
{
	struct packer *p = calloc(1, sizeof *p);
	if (p == NULL)
		return NULL;
	p->packing = packing;
	bool ok;
	if (packing == RAMDISK_GZIP) {
		ok = deflateInit2(&p->z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 9, Z_DEFAULT_STRATEGY) == Z_OK;
	} else {
		p->zstd = ZSTD_createCCtx();
		ok = p->zstd != NULL && set(p, ZSTD_c_compressionLevel, ZSTD_LEVEL) && set(p, ZSTD_c_windowLog, ZSTD_WINDOW_LOG) &&
			set(p, ZSTD_c_hashLog, ZSTD_TABLE_LOG) && set(p, ZSTD_c_chainLog, ZSTD_TABLE_LOG);
	}
	if (ok)
		return p;
	packer_close(p);
	return NULL;
}

void packer_close(struct packer *p)
{
	if (p == NULL)
		return;
	if (p->packing == RAMDISK_GZIP)
		deflateEnd(&p->z);
	ZSTD_freeCCtx(p->zstd);
	free(p);
}

static bool step_gzip(struct packer *p, struct bytes *in, bool finish, size_t *ret_n, bool *ret_failed)
{
	uInt n = in->n < (1u << 30) ? (uInt)in->n : 1u << 30;
	bool last = finish && n == in->n;
	p->z.next_in = (Bytef *)(uintptr_t)in->p;
	p->z.avail_in = n;
	p->z.next_out = p->out;
	p->z.avail_out = OUT_SIZE;
	int r = deflate(&p->z, last ? Z_FINISH : Z_NO_FLUSH);
	*ret_failed = r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR;
	*in = bytes_slice(*in, n - p->z.avail_in, in->n - (n - p->z.avail_in));
	*ret_n = OUT_SIZE - p->z.avail_out;
	return r == Z_STREAM_END;
}

static bool step_zstd(struct packer *p, struct bytes *in, bool finish, size_t *ret_n, bool *ret_failed)
{
	ZSTD_inBuffer from = { in->p, in->n, 0 };
	ZSTD_outBuffer to = { p->out, OUT_SIZE, 0 };
	size_t r = ZSTD_compressStream2(p->zstd, &to, &from, finish ? ZSTD_e_end : ZSTD_e_continue);
	*ret_failed = ZSTD_isError(r) != 0;
	*in = bytes_slice(*in, from.pos, in->n - from.pos);
	*ret_n = to.pos;
	return finish && r == 0;
}

bool packer_step(struct packer *p, struct bytes *in, bool finish, struct bytes *ret_out, bool *ret_failed)
{
	size_t n = 0;
	bool done = p->packing == RAMDISK_GZIP ? step_gzip(p, in, finish, &n, ret_failed) : step_zstd(p, in, finish, &n, ret_failed);
	*ret_out = bytes_of(p->out, n);
	return done;
}
