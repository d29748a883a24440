#include "host/enclave_need.h"

#include "base/cleanup.h"
#include "format/cpio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zlib.h>
#include <cmocka.h>

enum { MIB = 1 << 20, OFFSET = 8 * MIB, INIT_SIZE = 30 * MIB };

static char dir[] = "/tmp/enclave-need-test-XXXXXX";
static char path[64];
static uint8_t kernel[0x1000];
static uint8_t archive[24 * MIB], packed[24 * MIB];

/* An archive with files of this size, in archive. */
static struct bytes cpio_of(size_t files, size_t size)
{
	struct cpio_writer c = { 0 };
	struct writer w = writer_of(archive, sizeof archive);
	char name[32];
	for (size_t i = 0; i < files; i++) {
		snprintf(name, sizeof name, "f%zu", i);
		const struct cpio_entry e = { .name = bytes_str(name), .mode = S_IFREG | 0644, .nlink = 1, .size = size };
		assert_int_equal(cpio_put_entry(&c, &w, &e, NULL), CPIO_OK);
		memset(archive + w.at, 'x', size);
		w.at += size;
		cpio_put_padding(&w, size);
	}
	cpio_put_trailer(&c, &w);
	assert_false(w.full);
	return writer_bytes(&w);
}

static struct bytes gzip_of(struct bytes b)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)b.p, .avail_in = (uInt)b.n, .next_out = packed, .avail_out = sizeof packed };
	assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t n = z.total_out;
	deflateEnd(&z);
	return bytes_of(packed, n);
}

static struct enclave_need need_of(const char *cmdline, struct bytes ramdisk)
{
	struct eif_writer w;
	struct eif_file f = EIF_FILE_NONE;
	struct eif_measures m;
	struct enclave_need n;
	struct err err = { "" };
	assert_int_equal(eif_writer_open(&w, path, 0, &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_KERNEL, BYTES_ARRAY(kernel), &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_CMDLINE, bytes_str(cmdline), &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_METADATA, BYTES_LIT("{}"), &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_RAMDISK, ramdisk, &err), 0);
	assert_int_equal(eif_writer_commit(&w, &m, &err), 0);
	eif_writer_close(&w);
	assert_int_equal(eif_file_open(&f, path, &err), 0);
	assert_int_equal(enclave_need(&f, OFFSET, &n, &err), 0);
	eif_file_close(&f);
	return n;
}

static void what_is_in_it_is_counted(void **state)
{
	(void)state;
	struct enclave_need n = need_of("rootfstype=ramfs", cpio_of(1000, 5000));
	assert_true(n.exact);
	assert_int_equal(n.kernel, INIT_SIZE);           /* what it says, not its file */
	assert_true(n.ramdisks > 5000 * 1000 && n.ramdisks < 5200 * 1000);
	assert_int_equal(n.unpacked, 1000 * (8192 + 1024));
	assert_int_equal(n.loading, OFFSET + n.image + n.kernel + n.ramdisks);
	assert_true(n.booting >= n.kernel + n.ramdisks + n.unpacked + 24 * MIB);
	assert_int_equal(n.total % MIB, 0);
	assert_true(n.total >= n.booting && n.total >= n.loading);
}

static void a_packed_ramdisk_counts_as_what_it_unpacks_to(void **state)
{
	(void)state;
	struct enclave_need plain = need_of("rootfstype=ramfs", cpio_of(5, 4 * MIB));
	struct enclave_need small = need_of("rootfstype=ramfs", gzip_of(cpio_of(5, 4 * MIB)));
	assert_true(small.exact && small.ramdisks < MIB);
	assert_int_equal(small.unpacked, plain.unpacked);
	assert_int_equal(small.unpacked, 5 * (4 * MIB + 1024));
	assert_true(small.total < plain.total);
	assert_true(small.booting > small.loading);      /* a file eighty times smaller needs more than four times its size */
	assert_true(small.total > 4 * small.image);
}

static void zeros_behind_a_packed_ramdisk(void **state)
{
	(void)state;
	struct bytes b = gzip_of(cpio_of(3, MIB));
	memset(packed + b.n, 0, 512);
	struct enclave_need n = need_of("quiet", bytes_of(b.p, b.n + 512));
	assert_true(n.exact);
	assert_int_equal(n.unpacked, 3 * (MIB + 1024));
}

static void a_tmpfs_holds_half_of_memory(void **state)
{
	(void)state;
	static const struct { const char *cmdline; bool tmpfs; } cases[] = {
		{ "console=ttyS0", true }, { "rootfstype=tmpfs quiet", true }, { "quiet rootfstype=ramfs", false }, { "root=/dev/ram0", false },
		{ "quiet root=/dev/ram0", false }, { "", true }, { "myroot=1", true },
	};
	struct bytes ramdisk = gzip_of(cpio_of(23, MIB));
	uint64_t ramfs = need_of("rootfstype=ramfs", ramdisk).total;
	kernel[0x262] = 0x20;                            /* 2 MiB: the smaller the kernel, the more the rule weighs */
	kernel[0x263] = 0;
	uint64_t small = need_of("rootfstype=ramfs", ramdisk).total;
	assert_true(small < ramfs);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(need_of(cases[i].cmdline, ramdisk).total > small, cases[i].tmpfs);
	kernel[0x262] = (INIT_SIZE >> 16) & 0xff;
	kernel[0x263] = INIT_SIZE >> 24;
}

static void what_is_not_read_is_said(void **state)
{
	(void)state;
	char text[224];
	struct enclave_need n = need_of("quiet", BYTES_LIT("\xfd" "7zXZ and so on"));
	assert_false(n.exact);
	assert_non_null(strstr(enclave_need_text(&n, text, sizeof text), "packed in a way not read here"));
	struct bytes cut = gzip_of(cpio_of(3, MIB));
	assert_false(need_of("quiet", bytes_of(cut.p, cut.n / 2)).exact);
	assert_false(need_of("quiet", bytes_of(archive, 3000)).exact);
	n = need_of("quiet", cpio_of(3, MIB));
	assert_null(strstr(enclave_need_text(&n, text, sizeof text), "not read"));
	assert_non_null(strstr(text, "30 for the kernel, 3 for ramdisks, 3 for what they unpack to"));
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/a.eif", dir);
	memcpy(kernel + 0x1fe, "\x55\xaa", 2);
	memcpy(kernel + 0x202, "HdrS", 4);
	kernel[0x206] = 0x0c;                            /* boot protocol 2.12 */
	kernel[0x207] = 0x02;
	kernel[0x236] = 1;                               /* 64-bit */
	kernel[0x1f1] = 1;
	kernel[0x24c] = 16;                              /* a payload */
	kernel[0x262] = (INIT_SIZE >> 16) & 0xff;        /* init_size, little-endian at 0x260 */
	kernel[0x263] = INIT_SIZE >> 24;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_in_it_is_counted), cmocka_unit_test(a_packed_ramdisk_counts_as_what_it_unpacks_to),
		cmocka_unit_test(zeros_behind_a_packed_ramdisk),
		cmocka_unit_test(a_tmpfs_holds_half_of_memory), cmocka_unit_test(what_is_not_read_is_said),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
