/* One input buffer, two decoders behind one step function. The decoders are zlib's and libzstd's; what they are
 * fed comes from strangers, so what they may yield is counted here after every step. */
#include "image/expand.h"

#include "base/cleanup.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { INPUT_SIZE = 64 << 10 };
enum codec { CODEC_NONE, CODEC_GZIP, CODEC_ZSTD };

struct expand_stream {
	struct stream s;
	struct stream *inner;
	struct expand_budget *budget;
	const char *name;
	enum codec codec;
	z_stream gzip;
	ZSTD_DCtx *zstd;
	uint64_t in_total, out_total;
	size_t in_at, in_n;                  /* what of the buffer is still to be decoded */
	bool in_over;                        /* the input has ended */
	bool between;                        /* at a place where the input may end */
	uint8_t in[INPUT_SIZE];
};

static enum codec sniff(struct bytes b, const char **ret_foreign)
{
	static const struct { struct bytes magic; enum codec codec; const char *foreign; } known[] = {
		{ { (const uint8_t *)"\x1f\x8b", 2 }, CODEC_GZIP, NULL },
		{ { (const uint8_t *)"\x28\xb5\x2f\xfd", 4 }, CODEC_ZSTD, NULL },
		{ { (const uint8_t *)"BZh91AY&SY", 10 }, CODEC_NONE, "bzip2" },
		{ { (const uint8_t *)"\xfd" "7zXZ\0", 6 }, CODEC_NONE, "xz" },
		{ { (const uint8_t *)"\x04\x22\x4d\x18", 4 }, CODEC_NONE, "lz4" },
	};
	*ret_foreign = NULL;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (bytes_equal(bytes_slice(b, 0, known[i].magic.n), known[i].magic)) {
			*ret_foreign = known[i].foreign;
			return known[i].codec;
		}
	/* a zstd file may start with a frame to be skipped */
	if (b.n >= 4 && (b.p[0] & 0xf0) == 0x50 && memcmp(b.p + 1, "\x2a\x4d\x18", 3) == 0)
		return CODEC_ZSTD;
	return CODEC_NONE;
}

static enum image_code refill(struct expand_stream *e, struct err *err)
{
	enum image_code c = stream_read(e->inner, e->in, sizeof e->in, &e->in_n, err);
	if (c != IMAGE_OK)
		return c;
	e->in_at = 0;
	e->in_total += e->in_n;
	e->in_over = e->in_n == 0;
	return IMAGE_OK;
}

static enum image_code damaged(const struct expand_stream *e, const char *why, struct err *err)
{
	return image_fail(err, IMAGE_BAD_COMPRESSION, 0, "%s is damaged or not what it says: %s", e->name, why);
}

static enum image_code step_gzip(struct expand_stream *e, uint8_t *out, size_t cap, size_t *ret_n, struct err *err)
{
	if (e->between) {
		/* another member: its magic is checked by zlib */
		inflateReset(&e->gzip);
		e->between = false;
	}
	e->gzip.next_in = e->in + e->in_at;
	e->gzip.avail_in = (uInt)(e->in_n - e->in_at);
	e->gzip.next_out = out;
	e->gzip.avail_out = (uInt)(cap < UINT32_MAX ? cap : UINT32_MAX);
	uInt room = e->gzip.avail_out;
	int r = inflate(&e->gzip, Z_NO_FLUSH);
	e->in_at = e->in_n - e->gzip.avail_in;
	*ret_n = room - e->gzip.avail_out;
	e->between = r == Z_STREAM_END;
	if (r == Z_MEM_ERROR)
		return image_fail(err, IMAGE_IO, ENOMEM, "decompress %s", e->name);
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		return damaged(e, e->gzip.msg != NULL ? e->gzip.msg : "bad gzip data", err);
	return IMAGE_OK;
}

static enum image_code step_zstd(struct expand_stream *e, uint8_t *out, size_t cap, size_t *ret_n, struct err *err)
{
	ZSTD_inBuffer in = { e->in, e->in_n, e->in_at };
	ZSTD_outBuffer to = { out, cap, 0 };
	size_t r = ZSTD_decompressStream(e->zstd, &to, &in);
	if (ZSTD_getErrorCode(r) == ZSTD_error_frameParameter_windowTooLarge)
		return image_fail(err, IMAGE_WINDOW_TOO_LARGE, 0, "%s needs a zstd window above %d MiB; compress it again "
		                  "without --long or --ultra", e->name, (1 << EXPAND_WINDOW_LOG_MAX) >> 20);
	if (ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation)
		return image_fail(err, IMAGE_IO, ENOMEM, "decompress %s", e->name);
	if (ZSTD_isError(r))
		return damaged(e, ZSTD_getErrorName(r), err);
	e->in_at = in.pos;
	e->between = r == 0;
	*ret_n = to.pos;
	return IMAGE_OK;
}

static enum image_code step_none(struct expand_stream *e, uint8_t *out, size_t cap, size_t *ret_n, struct err *err)
{
	(void)err;
	size_t n = e->in_n - e->in_at < cap ? e->in_n - e->in_at : cap;
	memcpy(out, e->in + e->in_at, n);
	e->in_at += n;
	*ret_n = n;
	return IMAGE_OK;
}

/* Counts n bytes of output against the limits. */
static enum image_code account(struct expand_stream *e, size_t n, struct err *err)
{
	if (n > e->budget->left)
		return image_fail(err, IMAGE_BYTES_LIMIT, 0, "%s makes the image larger than the limit; raise it if the "
		                  "image is what you expect", e->name);
	e->budget->left -= n;
	e->out_total += n;
	if (e->codec != CODEC_NONE && e->out_total > e->budget->grace &&
	    e->out_total / e->budget->ratio_max > e->in_total)
		return image_fail(err, IMAGE_EXPANSION_LIMIT, 0, "%s grows to more than %llu times its size: it is made to "
		                  "fill memory or disk", e->name, (unsigned long long)e->budget->ratio_max);
	return IMAGE_OK;
}

static enum image_code expand_read(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	static enum image_code (*const step[])(struct expand_stream *, uint8_t *, size_t, size_t *, struct err *) = {
		[CODEC_NONE] = step_none, [CODEC_GZIP] = step_gzip, [CODEC_ZSTD] = step_zstd };
	struct expand_stream *e = (struct expand_stream *)(void *)s;
	for (;;) {
		size_t n = 0;
		enum image_code c;
		if (e->codec == CODEC_NONE && e->in_at == e->in_n) {
			/* what was sniffed is gone: no need to copy the rest */
			if ((c = stream_read(e->inner, buf, cap, ret_n, err)) != IMAGE_OK)
				return c;
			return account(e, *ret_n, err);
		}
		if (e->in_at == e->in_n && !e->in_over && (c = refill(e, err)) != IMAGE_OK)
			return c;
		if (e->in_over && e->between) {
			*ret_n = 0;
			return IMAGE_OK;
		}
		/* with the input over, a decoder may still hold output */
		if ((c = step[e->codec](e, buf, cap, &n, err)) != IMAGE_OK || (c = account(e, n, err)) != IMAGE_OK)
			return c;
		if (n > 0) {
			*ret_n = n;
			return IMAGE_OK;
		}
		if (e->in_over && !e->between)
			return image_fail(err, IMAGE_TRUNCATED, 0, "%s ends in the middle of its compressed data", e->name);
	}
}

static void expand_close(struct stream *s)
{
	struct expand_stream *e = (struct expand_stream *)(void *)s;
	stream_close(&e->inner);
	if (e->codec == CODEC_GZIP)
		inflateEnd(&e->gzip);
	ZSTD_freeDCtx(e->zstd);
	free(e);
}

static enum image_code start(struct expand_stream *e, struct err *err)
{
	const char *foreign;
	enum image_code c = stream_fill(e->inner, e->in, sizeof e->in, &e->in_n, err);
	if (c != IMAGE_OK)
		return c;
	e->in_total = e->in_n;
	enum codec codec = sniff(bytes_of(e->in, e->in_n), &foreign);
	if (foreign != NULL)
		return image_fail(err, IMAGE_UNSUPPORTED_COMPRESSION, 0, "%s is compressed with %s; gzip, zstd and none are taken",
		                  e->name, foreign);
	if (codec == CODEC_GZIP && inflateInit2(&e->gzip, 15 + 16) != Z_OK)
		return image_fail(err, IMAGE_IO, ENOMEM, "decompress %s", e->name);
	e->codec = codec;
	if (codec == CODEC_ZSTD && ((e->zstd = ZSTD_createDCtx()) == NULL ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(e->zstd, ZSTD_d_windowLogMax, EXPAND_WINDOW_LOG_MAX))))
		return image_fail(err, IMAGE_IO, ENOMEM, "decompress %s", e->name);
	return IMAGE_OK;
}

enum image_code stream_expanded(struct stream *inner, struct expand_budget *budget, const char *name,
                                struct stream **ret, struct err *err)
{
	struct expand_stream *e = calloc(1, sizeof *e);
	if (e == NULL) {
		stream_close(&inner);
		return image_fail(err, IMAGE_IO, ENOMEM, "decompress %s", name);
	}
	e->s = (struct stream){ expand_read, NULL, expand_close };
	e->inner = inner;
	e->budget = budget;
	e->name = name;
	enum image_code c = start(e, err);
	if (c != IMAGE_OK) {
		expand_close(&e->s);
		return c;
	}
	*ret = &e->s;
	return IMAGE_OK;
}
