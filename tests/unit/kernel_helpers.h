/* Makes kernels for tests: the headers that the boot protocols describe around whatever payload a test wants. */
#ifndef KERNEL_HELPERS_H
#define KERNEL_HELPERS_H

#include "base/bytes.h"

#include <assert.h>
#include <lz4.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum { KH_SETUP_SECTORS = 3, KH_SETUP_SIZE = (KH_SETUP_SECTORS + 1) * 512, KH_PAYLOAD_AT = 0x40, KH_NAME_AT = 0x300 };

struct kh_file { uint8_t *p; size_t n; };                /* owned */

static inline void kh_free(struct kh_file *f) { free(f->p); }
static inline struct bytes kh_bytes(const struct kh_file *f) { return bytes_of(f->p, f->n); }

static inline struct kh_file kh_alloc(size_t n)
{
	struct kh_file f = { calloc(1, n == 0 ? 1 : n), n };
	assert(f.p != NULL);
	return f;
}

static inline void kh_le(struct kh_file *f, size_t at, size_t size, uint64_t v)
{
	assert(at + size <= f->n);
	for (size_t i = 0; i < size; i++)
		f->p[at + i] = (uint8_t)(v >> (8 * i));
}

static inline void kh_put(struct kh_file *f, size_t at, struct bytes b)
{
	assert(at + b.n <= f->n);
	if (b.n > 0)
		memcpy(f->p + at, b.p, b.n);
}

/* A bzImage of boot protocol 2.15 whose release is "6.12.1-test". */
static inline struct kh_file kh_bzimage(struct bytes payload)
{
	size_t code = (KH_PAYLOAD_AT + payload.n + 15) / 16 * 16;
	struct kh_file f = kh_alloc(KH_SETUP_SIZE + code);
	kh_le(&f, 0x1f1, 1, KH_SETUP_SECTORS);
	kh_le(&f, 0x1f4, 4, code / 16);
	kh_le(&f, 0x1fe, 2, 0xaa55);
	kh_put(&f, 0x202, BYTES_LIT("HdrS"));
	kh_le(&f, 0x206, 2, 0x20f);
	kh_le(&f, 0x20e, 2, KH_NAME_AT - 0x200);
	kh_put(&f, KH_NAME_AT, BYTES_LIT("6.12.1-test (who@where) #1"));
	kh_le(&f, 0x236, 2, 1);
	kh_le(&f, 0x248, 4, KH_PAYLOAD_AT);
	kh_le(&f, 0x24c, 4, payload.n);
	kh_le(&f, 0x260, 4, 0x2000000);
	kh_put(&f, KH_SETUP_SIZE + KH_PAYLOAD_AT, payload);
	return f;
}

/* A raw arm64 Image with text_offset, the kernel's banner and whatever data. */
static inline struct kh_file kh_arm64(uint64_t text_offset, struct bytes data)
{
	static const char banner[] = "Linux version 6.12.1-arm (who@where)";
	struct kh_file f = kh_alloc(64 + sizeof banner + data.n);
	kh_le(&f, 8, 8, text_offset);
	kh_le(&f, 16, 8, 0x1000000);
	kh_put(&f, 56, BYTES_LIT("ARM\x64"));
	kh_put(&f, 64, BYTES_LIT(banner));
	kh_put(&f, 64 + sizeof banner, data);
	return f;
}

static inline struct kh_file kh_gzip(struct bytes b)
{
	struct kh_file f = kh_alloc(compressBound((uLong)b.n) + 64);
	z_stream z = { .next_in = (Bytef *)(uintptr_t)b.p, .avail_in = (uInt)b.n, .next_out = f.p, .avail_out = (uInt)f.n };
	assert(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY) == Z_OK);
	assert(deflate(&z, Z_FINISH) == Z_STREAM_END);
	f.n = z.total_out;
	deflateEnd(&z);
	return f;
}

/* As Kbuild packs: a frame and the unpacked size behind it. */
static inline struct kh_file kh_zstd(struct bytes b)
{
	struct kh_file f = kh_alloc(ZSTD_compressBound(b.n) + 4);
	size_t n = ZSTD_compress(f.p, f.n, b.p, b.n, 3);
	assert(!ZSTD_isError(n));
	f.n = n + 4;
	kh_le(&f, n, 4, b.n);
	return f;
}

/* The legacy frame in blocks of 8 MiB, and the unpacked size behind it. */
static inline struct kh_file kh_lz4(struct bytes b)
{
	enum { BLOCK = 8 << 20 };
	size_t blocks = b.n / BLOCK + 1, at = 4;
	struct kh_file f = kh_alloc(blocks * (4 + (size_t)LZ4_compressBound(BLOCK)) + 8);
	kh_put(&f, 0, BYTES_LIT("\x02\x21\x4c\x18"));
	for (size_t done = 0; done < b.n; done += BLOCK) {
		size_t n = b.n - done < BLOCK ? b.n - done : BLOCK;
		int packed = LZ4_compress_default((const char *)b.p + done, (char *)f.p + at + 4, (int)n, LZ4_compressBound(BLOCK));
		assert(packed > 0);
		kh_le(&f, at, 4, (uint64_t)packed);
		at += 4 + (size_t)packed;
	}
	kh_le(&f, at, 4, b.n);
	f.n = at + 4;
	return f;
}

/* before bytes of filler, the configuration as a kernel carries it, after bytes of filler. */
static inline struct kh_file kh_vmlinux(size_t before, struct bytes config, size_t after)
{
	struct kh_file gz = kh_gzip(config), f = kh_alloc(4 + before + 8 + gz.n + 8 + after);
	for (size_t i = 0; i < f.n; i++)
		f.p[i] = (uint8_t)(i * 2654435761u >> 13);
	kh_put(&f, 0, BYTES_LIT("\x7f" "ELF"));
	kh_put(&f, 4 + before, BYTES_LIT("IKCFG_ST"));
	kh_put(&f, 12 + before, kh_bytes(&gz));
	kh_put(&f, 12 + before + gz.n, BYTES_LIT("IKCFG_ED"));
	kh_free(&gz);
	return f;
}

#endif
