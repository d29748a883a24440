#include "format/eif.h"

#include "format/crc32.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* An image under construction: sections, then whatever the test wants to break. */
enum { IMAGE_MAX = 16 << 10, KERNEL_SIZE = 0x210 };
struct image { uint8_t p[IMAGE_MAX]; size_t n; };

static const uint8_t arm64_kernel[64] = { [8] = 0, [10] = 0x20, [56] = 'A', 'R', 'M', 0x64 };

static struct bytes x86_kernel(void)
{
	static uint8_t k[KERNEL_SIZE];
	memcpy(k + 0x1fe, "\x55\xaa", 2);
	memcpy(k + 0x202, "HdrS", 4);
	return BYTES_ARRAY(k);
}

struct part { enum eif_section_type type; struct bytes payload; };

static void fix_crc(struct image *i)
{
	uint32_t crc = crc32_update(0, bytes_of(i->p, EIF_CRC_AT));
	crc = crc32_update(crc, bytes_of(i->p + EIF_HEADER_SIZE, i->n - EIF_HEADER_SIZE));
	struct writer w = writer_of(i->p + EIF_CRC_AT, 4);
	put_be32(&w, crc);
}

static void assemble(struct image *i, uint16_t flags, const struct part *parts, size_t count)
{
	struct eif e = { .flags = flags, .default_mem = 1 << 30, .default_cpus = 2, .count = count };
	uint64_t at = EIF_HEADER_SIZE;
	for (size_t k = 0; k < count; k++) {
		e.section[k] = (struct eif_section){ parts[k].type, at, parts[k].payload.n };
		eif_put_section(&e.section[k], i->p + at);
		memcpy(i->p + at + EIF_SECTION_HEADER_SIZE, parts[k].payload.p, parts[k].payload.n);
		at += EIF_SECTION_HEADER_SIZE + parts[k].payload.n;
		assert_true(at < sizeof i->p - 64);
	}
	i->n = at;
	eif_put_header(&e, i->p);
	fix_crc(i);
}

#define KERNEL { EIF_KERNEL, x86_kernel() }
#define CMDLINE { EIF_CMDLINE, BYTES_LIT("console=ttyS0") }
#define METADATA { EIF_METADATA, BYTES_LIT("{}") }
#define RAMDISK { EIF_RAMDISK, BYTES_LIT("0707010") }
#define SIGNATURE { EIF_SIGNATURE, BYTES_LIT("\x80") }
#define ASSEMBLE(i, flags, ...) \
	do { const struct part parts_[] = { __VA_ARGS__ }; assemble(i, flags, parts_, sizeof parts_ / sizeof *parts_); } while (0)

/* An exact heap copy, so that the sanitizer sees a read past the end. */
static enum eif_result parse(const struct image *i, struct eif *ret)
{
	uint8_t *copy = malloc(i->n == 0 ? 1 : i->n);
	assert_non_null(copy);
	memcpy(copy, i->p, i->n);
	enum eif_result r = eif_parse(bytes_of(copy, i->n), ret);
	free(copy);
	return r;
}

static void assert_refused(struct image *i, enum eif_result why)
{
	struct eif e = { .count = 99 };
	fix_crc(i);
	enum eif_result r = parse(i, &e);
	if (r != why)
		fail_msg("%s instead of %s", eif_result_name(r), eif_result_name(why));
	assert_int_equal(e.count, 99);
}

static void good_images(void **state)
{
	(void)state;
	struct image i;
	struct eif e;
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, RAMDISK, RAMDISK, SIGNATURE);
	assert_int_equal(parse(&i, &e), EIF_OK);
	assert_int_equal(e.count, 6);
	assert_int_equal(e.default_mem, 1 << 30);
	assert_int_equal(e.default_cpus, 2);
	assert_true(bytes_equal(eif_payload(bytes_of(i.p, i.n), &e, 1), BYTES_LIT("console=ttyS0")));
	assert_true(bytes_equal(eif_payload(bytes_of(i.p, i.n), &e, 5), BYTES_LIT("\x80")));
	/* metadata and signature may be anywhere: they are not measured */
	ASSEMBLE(&i, 0, METADATA, SIGNATURE, KERNEL, CMDLINE, RAMDISK);
	assert_int_equal(parse(&i, &e), EIF_OK);
	ASSEMBLE(&i, 0, KERNEL, { EIF_CMDLINE, BYTES_LIT("") }, RAMDISK, METADATA);
	assert_int_equal(parse(&i, &e), EIF_OK);
	ASSEMBLE(&i, 0, KERNEL, { EIF_CMDLINE, BYTES_LIT("quiet\0") }, RAMDISK, METADATA);
	assert_int_equal(parse(&i, &e), EIF_OK);
	ASSEMBLE(&i, EIF_FLAG_ARM64, { EIF_KERNEL, BYTES_ARRAY(arm64_kernel) }, CMDLINE, METADATA, RAMDISK);
	assert_int_equal(parse(&i, &e), EIF_OK);
	assert_int_equal(e.flags, EIF_FLAG_ARM64);
}

/* The layout, byte by byte, from the format's description. */
static void header_bytes(void **state)
{
	(void)state;
	struct eif e = { .flags = 1, .default_mem = 0x0102030405060708, .default_cpus = 3, .crc32 = 0xaabbccdd, .count = 2,
	                 .section = { { EIF_KERNEL, 548, 0x1122 }, { EIF_CMDLINE, 0x998877, 5 } } };
	uint8_t h[EIF_HEADER_SIZE], s[EIF_SECTION_HEADER_SIZE];
	eif_put_header(&e, h);
	assert_memory_equal(h, ".eif\0\4\0\1\1\2\3\4\5\6\7\x8\0\0\0\0\0\0\0\3\0\0\0\2\0\0\0\0\0\0\2\x24\0\0\0\0\0\x99\x88\x77\0\0", 46);
	assert_memory_equal(h + 284, "\0\0\0\0\0\0\x11\x22\0\0\0\0\0\0\0\5\0\0", 18);
	assert_memory_equal(h + 540, "\0\0\0\0\xaa\xbb\xcc\xdd", 8);
	eif_put_section(&e.section[0], s);
	assert_memory_equal(s, "\0\1\0\0\0\0\0\0\0\0\x11\x22", 12);
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	struct image i;
	struct eif e;
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, RAMDISK);
	for (size_t n = i.n; n-- > 0;) {
		i.n = n;
		enum eif_result r = parse(&i, &e);
		assert_int_equal(r, n < EIF_HEADER_SIZE ? EIF_TRUNCATED : EIF_OUT_OF_RANGE);
	}
}

/* Any one bit anywhere: something notices, at the latest the checksum. */
static void every_bit_flip_is_refused(void **state)
{
	(void)state;
	struct image i;
	struct eif e;
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, RAMDISK);
	for (size_t bit = 0; bit < 8 * i.n; bit++) {
		i.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(parse(&i, &e), EIF_OK);
		i.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(parse(&i, &e), EIF_OK);
}

static void put16(struct image *i, size_t at, uint16_t v) { struct writer w = writer_of(i->p + at, 2); put_be16(&w, v); }
static void put64(struct image *i, size_t at, uint64_t v) { struct writer w = writer_of(i->p + at, 8); put_be64(&w, v); }
static uint64_t be64(const struct image *i, size_t at) { struct reader r = reader_of(bytes_of(i->p + at, 8)); return get_be64(&r); }
enum { OFFSETS = 28, SIZES = 284 };

static void bad_headers(void **state)
{
	(void)state;
	static const struct { size_t at; uint64_t value; int bytes; enum eif_result why; } rows[] = {
		{ 0, 0x2e66, 2, EIF_BAD_MAGIC },
		{ 4, 3, 2, EIF_BAD_VERSION }, { 4, 5, 2, EIF_BAD_VERSION }, { 4, 0, 2, EIF_BAD_VERSION },
		{ 6, 2, 2, EIF_BAD_FLAGS }, { 6, 0x8000, 2, EIF_BAD_FLAGS },
		{ 24, 1, 2, EIF_BAD_RESERVED }, { 542, 1, 2, EIF_BAD_RESERVED },
		{ 26, 0, 2, EIF_NO_SECTIONS },
		{ 26, 33, 2, EIF_TOO_MANY_SECTIONS }, { 26, 65535, 2, EIF_TOO_MANY_SECTIONS },
		{ 26, 3, 2, EIF_BAD_SLOT },              /* the fourth section is still in the table */
		{ 26, 5, 2, EIF_SECTION_IN_HEADER },     /* a fifth at offset 0 */
		{ OFFSETS + 8 * 31, 1, 8, EIF_BAD_SLOT }, { SIZES + 8 * 4, 1, 8, EIF_BAD_SLOT },
		{ OFFSETS, 547, 8, EIF_SECTION_IN_HEADER }, { OFFSETS, 0, 8, EIF_SECTION_IN_HEADER },
		{ OFFSETS, 549, 8, EIF_GAP },
		{ OFFSETS + 8, 548, 8, EIF_SECTIONS_OVERLAP },
		{ OFFSETS + 16, 549, 8, EIF_SECTIONS_UNSORTED },
		{ OFFSETS + 8, UINT64_MAX, 8, EIF_OUT_OF_RANGE }, { OFFSETS + 8, UINT64_MAX - 11, 8, EIF_OUT_OF_RANGE },
		{ SIZES, UINT64_MAX, 8, EIF_OUT_OF_RANGE }, { SIZES, UINT64_MAX - 559, 8, EIF_OUT_OF_RANGE },
		{ SIZES + 8 * 3, 8, 8, EIF_OUT_OF_RANGE },
		{ SIZES, KERNEL_SIZE + 1, 8, EIF_SECTIONS_OVERLAP },
		{ SIZES, KERNEL_SIZE - 1, 8, EIF_GAP },
		{ SIZES + 8 * 3, 6, 8, EIF_TRAILING_BYTES },
		{ 548, 0, 2, EIF_BAD_SECTION_TYPE }, { 548, 6, 2, EIF_BAD_SECTION_TYPE }, { 548, 0x101, 2, EIF_BAD_SECTION_TYPE },
		{ 550, 1, 2, EIF_BAD_SECTION_FLAGS },
		{ 552, KERNEL_SIZE - 1, 8, EIF_SIZES_DISAGREE }, { 552, UINT64_MAX, 8, EIF_SIZES_DISAGREE },
		{ 548 + 12 + 0x202, 0, 2, EIF_KERNEL_NOT_BZIMAGE }, { 548 + 12 + 0x1fe, 0, 2, EIF_KERNEL_NOT_BZIMAGE },
		{ 6, 1, 2, EIF_KERNEL_NOT_IMAGE },
	};
	for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
		struct image i;
		ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, RAMDISK);
		if (rows[k].bytes == 2)
			put16(&i, rows[k].at, (uint16_t)rows[k].value);
		else
			put64(&i, rows[k].at, rows[k].value);
		assert_refused(&i, rows[k].why);
	}
}

static void bad_crc(void **state)
{
	(void)state;
	struct image i;
	struct eif e;
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, RAMDISK);
	i.p[EIF_CRC_AT] ^= 1;
	assert_int_equal(parse(&i, &e), EIF_BAD_CRC);
}

static void trailing_bytes(void **state)
{
	(void)state;
	struct image i;
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, RAMDISK);
	i.p[i.n++] = 0;
	assert_refused(&i, EIF_TRAILING_BYTES);
}

static void bad_sets_of_sections(void **state)
{
	(void)state;
	struct image i;
	static uint8_t long_line[EIF_CMDLINE_MAX + 1];
	memset(long_line, 'a', sizeof long_line);
	ASSEMBLE(&i, 0, CMDLINE, METADATA, RAMDISK); assert_refused(&i, EIF_NO_KERNEL);
	ASSEMBLE(&i, 0, KERNEL, METADATA, RAMDISK); assert_refused(&i, EIF_NO_CMDLINE);
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA); assert_refused(&i, EIF_NO_RAMDISK);
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, RAMDISK); assert_refused(&i, EIF_NO_METADATA);
	ASSEMBLE(&i, 0, KERNEL, KERNEL, CMDLINE, METADATA, RAMDISK); assert_refused(&i, EIF_TWO_KERNELS);
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, CMDLINE, METADATA, RAMDISK); assert_refused(&i, EIF_TWO_CMDLINES);
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, METADATA, RAMDISK); assert_refused(&i, EIF_TWO_METADATA);
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, RAMDISK, SIGNATURE, SIGNATURE); assert_refused(&i, EIF_TWO_SIGNATURES);
	ASSEMBLE(&i, 0, RAMDISK, KERNEL, CMDLINE, METADATA); assert_refused(&i, EIF_WRONG_ORDER);
	ASSEMBLE(&i, 0, CMDLINE, KERNEL, METADATA, RAMDISK); assert_refused(&i, EIF_WRONG_ORDER);
	ASSEMBLE(&i, 0, KERNEL, RAMDISK, CMDLINE, RAMDISK, METADATA); assert_refused(&i, EIF_WRONG_ORDER);
	ASSEMBLE(&i, 0, { EIF_KERNEL, BYTES_LIT("") }, CMDLINE, METADATA, RAMDISK); assert_refused(&i, EIF_EMPTY_SECTION);
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, METADATA, RAMDISK, { EIF_RAMDISK, BYTES_LIT("") }); assert_refused(&i, EIF_EMPTY_SECTION);
	ASSEMBLE(&i, 0, KERNEL, CMDLINE, { EIF_METADATA, BYTES_LIT("") }, RAMDISK); assert_refused(&i, EIF_EMPTY_SECTION);
	ASSEMBLE(&i, 0, KERNEL, { EIF_CMDLINE, BYTES_ARRAY(long_line) }, METADATA, RAMDISK);
	assert_refused(&i, EIF_CMDLINE_TOO_LARGE);
	ASSEMBLE(&i, 0, KERNEL, { EIF_CMDLINE, BYTES_LIT("a\0b") }, METADATA, RAMDISK); assert_refused(&i, EIF_BAD_CMDLINE);
	ASSEMBLE(&i, 0, KERNEL, { EIF_CMDLINE, BYTES_LIT("a\0\0") }, METADATA, RAMDISK); assert_refused(&i, EIF_BAD_CMDLINE);
}

/* Sizes beyond what a test writes: only the table says them. */
static void too_large_sections(void **state)
{
	(void)state;
	struct eif e = { .count = 4, .section = { { EIF_KERNEL, 0, 1 }, { EIF_CMDLINE, 0, 1 }, { EIF_METADATA, 0, EIF_METADATA_MAX },
	                                          { EIF_RAMDISK, 0, UINT64_MAX } } };
	assert_int_equal(eif_check_sections(&e), EIF_OK);
	e.section[2].size++;
	assert_int_equal(eif_check_sections(&e), EIF_METADATA_TOO_LARGE);
	e.section[2].size = 1;
	e.section[e.count++] = (struct eif_section){ EIF_SIGNATURE, 0, EIF_SIGNATURE_MAX };
	assert_int_equal(eif_check_sections(&e), EIF_OK);
	e.section[4].size++;
	assert_int_equal(eif_check_sections(&e), EIF_SIGNATURE_TOO_LARGE);
}

static void as_many_sections_as_there_are_slots(void **state)
{
	(void)state;
	struct image i;
	struct eif e;
	struct part parts[EIF_SECTIONS_MAX] = { KERNEL, CMDLINE, METADATA };
	for (size_t k = 3; k < EIF_SECTIONS_MAX; k++)
		parts[k] = (struct part)RAMDISK;
	assemble(&i, 0, parts, EIF_SECTIONS_MAX);
	assert_int_equal(parse(&i, &e), EIF_OK);
	assert_int_equal(e.count, EIF_SECTIONS_MAX);
	assert_int_equal(be64(&i, OFFSETS + 8 * 31), i.n - 12 - 7);
}

static void arm64_kernels(void **state)
{
	(void)state;
	uint8_t k[64];
	memcpy(k, arm64_kernel, sizeof k);
	assert_int_equal(eif_check_kernel(1, BYTES_ARRAY(k)), EIF_OK);
	assert_int_equal(eif_check_kernel(0, BYTES_ARRAY(k)), EIF_KERNEL_NOT_BZIMAGE);
	assert_int_equal(eif_check_kernel(1, bytes_of(k, 63)), EIF_KERNEL_NOT_IMAGE);
	assert_int_equal(eif_kernel_flags(BYTES_ARRAY(k)), EIF_FLAG_ARM64);
	assert_int_equal(eif_kernel_flags(x86_kernel()), 0);
	assert_int_equal(eif_kernel_flags(BYTES_LIT("\x1f\x8b")), -1);
	/* 0, 512 KiB and 2 MiB in big-endian; a bit in the highest byte */
	k[10] = 0;
	assert_int_equal(eif_check_kernel(1, BYTES_ARRAY(k)), EIF_KERNEL_TEXT_OFFSET);
	k[10] = 0x08;
	assert_int_equal(eif_check_kernel(1, BYTES_ARRAY(k)), EIF_KERNEL_TEXT_OFFSET);
	k[10] = 0, k[13] = 0x20;
	assert_int_equal(eif_check_kernel(1, BYTES_ARRAY(k)), EIF_KERNEL_TEXT_OFFSET);
	k[13] = 0, k[10] = 0x20, k[15] = 1;
	assert_int_equal(eif_check_kernel(1, BYTES_ARRAY(k)), EIF_KERNEL_TEXT_OFFSET);
	k[15] = 0, k[59] = 'x';
	assert_int_equal(eif_check_kernel(1, BYTES_ARRAY(k)), EIF_KERNEL_NOT_IMAGE);
}

static void laying_out(void **state)
{
	(void)state;
	uint64_t size = 7;
	struct eif e = { .count = 4, .section = { { EIF_KERNEL, 9, 100 }, { EIF_CMDLINE, 9, 0 }, { EIF_METADATA, 9, 5 }, { EIF_RAMDISK, 9, 7 } } };
	assert_int_equal(eif_lay_out(&e, &size), EIF_OK);
	assert_int_equal(e.section[0].offset, 548);
	assert_int_equal(e.section[1].offset, 660);
	assert_int_equal(e.section[2].offset, 672);
	assert_int_equal(e.section[3].offset, 689);
	assert_int_equal(size, 708);
	e.section[3].size = INT64_MAX - 689 - 12;
	assert_int_equal(eif_lay_out(&e, &size), EIF_OK);
	struct eif before = e;
	e.section[3].size++;
	assert_int_equal(eif_lay_out(&e, &size), EIF_OUT_OF_RANGE);
	e.section[3].size = UINT64_MAX;
	assert_int_equal(eif_lay_out(&e, &size), EIF_OUT_OF_RANGE);
	assert_int_equal(e.section[3].offset, before.section[3].offset);
	e.count = 33;
	assert_int_equal(eif_lay_out(&e, &size), EIF_TOO_MANY_SECTIONS);
	e.count = 0;
	assert_int_equal(eif_lay_out(&e, &size), EIF_NO_SECTIONS);
	e.count = 1;
	assert_int_equal(eif_lay_out(&e, &size), EIF_NO_CMDLINE);
}

/* No two results share a name, and each has a sentence. */
static void names(void **state)
{
	(void)state;
	for (int a = 0; a < EIF_RESULT_COUNT; a++) {
		assert_non_null(eif_result_name((enum eif_result)a));
		assert_true(strlen(eif_result_message((enum eif_result)a)) > 15);
		for (int b = 0; b < a; b++)
			assert_string_not_equal(eif_result_name((enum eif_result)a), eif_result_name((enum eif_result)b));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_images),
		cmocka_unit_test(header_bytes),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(every_bit_flip_is_refused),
		cmocka_unit_test(bad_headers),
		cmocka_unit_test(bad_crc),
		cmocka_unit_test(trailing_bytes),
		cmocka_unit_test(bad_sets_of_sections),
		cmocka_unit_test(too_large_sections),
		cmocka_unit_test(as_many_sections_as_there_are_slots),
		cmocka_unit_test(arm64_kernels),
		cmocka_unit_test(laying_out),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
