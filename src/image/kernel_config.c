/* vmlinux is pushed through a scanner piece by piece: it looks for the marker, hands what follows to zlib, and ends
 * the unpacking as soon as the text is whole. The decoders are zlib's, libzstd's and liblz4's; they are not those of
 * the layers (image/expand.h) because a packed kernel is no well-formed stream: it ends with its unpacked size, LZ4
 * comes in the legacy frame, zstd with windows that no layer is allowed. */
#include "image/kernel_config.h"

#include "base/cleanup.h"

#include <lz4.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { CHUNK = 128 << 10, LZ4_BLOCK_MAX = 8 << 20, TRAILER_SIZE = 4, ZSTD_WINDOW_LOG = 27 };

/* --- the scanner ------------------------------------------------------------------------------ */

struct scan {
	size_t matched;                      /* bytes of marker seen */
	bool inflating, over;
	enum kernel_code code;               /* once over; NO_CONFIG until then */
	uint64_t seen;
	z_stream z;
	char *text;                          /* owned */
	size_t text_n;
};

/* The marker and the first two bytes of the gzip stream behind it: the marker alone also stands in programs that
 * look for it. No proper prefix of it is a suffix of another, so a mismatch starts over. */
static const uint8_t marker[] = { 'I', 'K', 'C', 'F', 'G', '_', 'S', 'T', 0x1f, 0x8b };
enum { MARKER_TEXT = 8 };

static enum kernel_code scan_open(struct scan *s)
{
	*s = (struct scan){ .code = KERNEL_NO_CONFIG, .text = malloc(KERNEL_CONFIG_MAX) };
	if (s->text == NULL)
		return KERNEL_NO_MEMORY;
	if (inflateInit2(&s->z, 16 + MAX_WBITS) == Z_OK)
		return KERNEL_OK;
	free(s->text);
	return KERNEL_NO_MEMORY;
}

static void scan_close(struct scan *s)
{
	inflateEnd(&s->z);
	free(s->text);
}

static void scan_end(struct scan *s, enum kernel_code code)
{
	s->over = true;
	s->code = code;
}

static void scan_inflate(struct scan *s, struct bytes b)
{
	s->z.next_in = (Bytef *)(uintptr_t)b.p;          /* zlib promises not to write there */
	s->z.avail_in = (uInt)b.n;
	s->z.next_out = (Bytef *)s->text + s->text_n;
	s->z.avail_out = (uInt)(KERNEL_CONFIG_MAX - s->text_n);
	int r = inflate(&s->z, Z_NO_FLUSH);
	s->text_n = KERNEL_CONFIG_MAX - s->z.avail_out;
	if (r == Z_STREAM_END)
		scan_end(s, KERNEL_OK);
	else if (r == Z_MEM_ERROR)
		scan_end(s, KERNEL_NO_MEMORY);
	else if (r != Z_OK || s->z.avail_out == 0)
		scan_end(s, KERNEL_BAD_CONFIG);
}

/* Takes the next piece of vmlinux (at most CHUNK or LZ4_BLOCK_MAX bytes). */
static void scan_feed(struct scan *s, struct bytes b)
{
	size_t i = 0;
	s->seen += b.n;
	while (!s->inflating && i < b.n) {
		if (s->matched == 0) {
			const uint8_t *at = memchr(b.p + i, marker[0], b.n - i);
			if (at == NULL)
				break;
			i = (size_t)(at - b.p) + 1;
			s->matched = 1;
		} else if (b.p[i] == marker[s->matched]) {
			i++;
			s->inflating = ++s->matched == sizeof marker;
		} else {
			s->matched = 0;
		}
		if (s->inflating)                        /* its first bytes were part of the marker */
			scan_inflate(s, bytes_of(marker + MARKER_TEXT, sizeof marker - MARKER_TEXT));
	}
	if (s->inflating && !s->over && i < b.n)
		scan_inflate(s, bytes_of(b.p + i, b.n - i));
	if (s->seen > KERNEL_UNPACKED_MAX && !s->over)
		scan_end(s, KERNEL_DAMAGED);
}

/* --- unpackers: each returns when the scanner is over or the payload has ended ------------------ */

static enum kernel_code unpack_plain(struct bytes in, struct scan *s)
{
	for (size_t at = 0; at < in.n && !s->over; at += CHUNK)
		scan_feed(s, bytes_of(in.p + at, in.n - at < CHUNK ? in.n - at : CHUNK));
	return KERNEL_OK;
}

static enum kernel_code unpack_gzip(struct bytes in, struct scan *s)
{
	CLEANUP(free_ptr) uint8_t *out = malloc(CHUNK);
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in.p, .avail_in = (uInt)in.n };   /* below 4 GiB: a u32 field */
	if (out == NULL || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return KERNEL_NO_MEMORY;
	int r = Z_OK;
	while (r == Z_OK && !s->over) {
		z.next_out = out;
		z.avail_out = CHUNK;
		r = inflate(&z, Z_NO_FLUSH);
		scan_feed(s, bytes_of(out, CHUNK - z.avail_out));
	}
	inflateEnd(&z);
	return r == Z_OK || r == Z_STREAM_END ? KERNEL_OK : r == Z_MEM_ERROR ? KERNEL_NO_MEMORY : KERNEL_DAMAGED;
}

static enum kernel_code unpack_zstd(struct bytes in, struct scan *s)
{
	CLEANUP(free_ptr) uint8_t *out = malloc(CHUNK);
	ZSTD_DCtx *z = ZSTD_createDCtx();
	enum kernel_code code = out == NULL || z == NULL ? KERNEL_NO_MEMORY : KERNEL_OK;
	ZSTD_inBuffer from = { in.p, in.n, 0 };
	size_t r = 1;
	if (code == KERNEL_OK)
		ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	while (code == KERNEL_OK && r != 0 && !s->over) {
		ZSTD_outBuffer to = { out, CHUNK, 0 };
		size_t before = from.pos;
		r = ZSTD_decompressStream(z, &to, &from);
		if (ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation)
			code = KERNEL_NO_MEMORY;
		else if (ZSTD_isError(r) || (to.pos == 0 && from.pos == before))
			code = KERNEL_DAMAGED;
		else
			scan_feed(s, bytes_of(out, to.pos));
	}
	ZSTD_freeDCtx(z);
	return code;
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Magic, then blocks of "u32 size | data", each up to 8 MiB unpacked; the last four bytes are the size of it all. */
static enum kernel_code unpack_lz4(struct bytes in, struct scan *s)
{
	CLEANUP(free_ptr) uint8_t *out = malloc(LZ4_BLOCK_MAX);
	if (out == NULL)
		return KERNEL_NO_MEMORY;
	size_t at = 4;
	while (in.n - at > TRAILER_SIZE && !s->over) {
		size_t size = le32(in.p + at);
		struct bytes block = bytes_slice(in, at + 4, size);
		if (block.n == 0 || block.n > (size_t)LZ4_COMPRESSBOUND(LZ4_BLOCK_MAX))
			return KERNEL_DAMAGED;
		int n = LZ4_decompress_safe((const char *)block.p, (char *)out, (int)block.n, LZ4_BLOCK_MAX);
		if (n < 0)
			return KERNEL_DAMAGED;
		scan_feed(s, bytes_of(out, (size_t)n));
		at += 4 + size;
	}
	bool whole = s->over || (in.n - at == TRAILER_SIZE && le32(in.p + at) == (uint32_t)s->seen);
	return whole ? KERNEL_OK : KERNEL_DAMAGED;
}

enum kernel_code kernel_config_find(const struct kernel_image *k, char **ret, size_t *ret_n)
{
	static enum kernel_code (*const unpack[])(struct bytes in, struct scan *s) = {
		[KERNEL_PLAIN] = unpack_plain, [KERNEL_GZIP] = unpack_gzip, [KERNEL_LZ4] = unpack_lz4, [KERNEL_ZSTD] = unpack_zstd,
	};
	if (k->packing == KERNEL_OTHER_PACKING)
		return KERNEL_UNKNOWN_PACKING;
	struct scan s;
	enum kernel_code code = scan_open(&s);
	if (code != KERNEL_OK)
		return code;
	code = unpack[k->packing](k->payload, &s);
	if (code == KERNEL_OK)                           /* ended inside the text: it is not whole */
		code = s.inflating && !s.over ? KERNEL_BAD_CONFIG : s.code;
	if (code == KERNEL_OK) {
		*ret = s.text;
		*ret_n = s.text_n;
		s.text = NULL;
	}
	scan_close(&s);
	return code;
}
