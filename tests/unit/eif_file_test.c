#include "image/eif_file.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

static char dir[] = "/tmp/eif-file-test-XXXXXX";
static char path[64];
static uint8_t kernel[0x400];

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/a.eif", dir);
	memcpy(kernel + 0x1fe, "\x55\xaa", 2);
	memcpy(kernel + 0x202, "HdrS", 4);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);           /* fails when something else was left behind */
}

static struct bytes slurp(void)
{
	struct stat st;
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	uint8_t *p = malloc((size_t)st.st_size);
	assert_non_null(p);
	assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
	return bytes_of(p, (size_t)st.st_size);
}

static void write_image(struct bytes ramdisk, size_t piece, struct eif_measures *m)
{
	struct eif_writer w;
	struct err err = { "" };
	assert_int_equal(eif_writer_open(&w, path, 0, &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_KERNEL, BYTES_ARRAY(kernel), &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_CMDLINE, BYTES_LIT("quiet"), &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_METADATA, BYTES_LIT("{}"), &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_RAMDISK, BYTES_LIT("boot"), &err), 0);
	assert_int_equal(eif_writer_begin(&w, EIF_RAMDISK, &err), 0);
	for (size_t at = 0; at < ramdisk.n; at += piece)
		assert_int_equal(eif_writer_put(&w, bytes_of(ramdisk.p + at, piece < ramdisk.n - at ? piece : ramdisk.n - at), &err), 0);
	assert_int_equal(eif_writer_end(&w, &err), 0);
	/* nothing is there before the commit, and nothing else is in the directory */
	struct stat st;
	bool was = stat(path, &st) == 0;
	assert_int_equal(eif_writer_commit(&w, m, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(!was || st.st_nlink == 1);
	eif_writer_close(&w);
}

static void any_pieces_give_the_same_file(void **state)
{
	(void)state;
	static const size_t pieces[] = { 997, 4096, EIF_FILE_BUFFER - 1, EIF_FILE_BUFFER, EIF_FILE_BUFFER + 1, 3 * EIF_FILE_BUFFER, SIZE_MAX };
	size_t n = 3 * EIF_FILE_BUFFER + 12345;
	CLEANUP(free_ptr) uint8_t *ramdisk = malloc(n);
	assert_non_null(ramdisk);
	for (size_t i = 0; i < n; i++)
		ramdisk[i] = (uint8_t)(i * i >> 7);
	struct bytes first = BYTES_NONE;
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		struct eif_measures written, read;
		struct eif e;
		struct err err;
		write_image(bytes_of(ramdisk, n), pieces[i], &written);
		struct bytes file = slurp();
		assert_int_equal(eif_parse(file, &e), EIF_OK);
		assert_int_equal(e.count, 5);
		assert_true(bytes_equal(eif_payload(file, &e, 4), bytes_of(ramdisk, n)));
		assert_int_equal(e.crc32, written.crc32);

		struct eif_file f;
		assert_int_equal(eif_file_open(&f, path, &err), 0);
		assert_int_equal(eif_file_stream(&f, NULL, &read, &err), 0);
		assert_true(read.crc_ok);
		assert_memory_equal(read.pcr0, written.pcr0, 3 * PCR_SIZE);
		assert_int_equal(read.crc32, written.crc32);
		eif_file_close(&f);

		if (first.p == NULL)
			first = file;
		else {
			assert_true(bytes_equal(first, file));
			free((void *)(uintptr_t)file.p);
		}
	}
	free((void *)(uintptr_t)first.p);
}

static void what_could_not_be_read_is_not_written(void **state)
{
	(void)state;
	unlink(path);
	static const struct { enum eif_section_type order[4]; enum eif_result why; } rows[] = {
		{ { EIF_KERNEL, EIF_CMDLINE, EIF_RAMDISK }, EIF_NO_METADATA },
		{ { EIF_CMDLINE, EIF_KERNEL, EIF_METADATA, EIF_RAMDISK }, EIF_WRONG_ORDER },
		{ { EIF_KERNEL, EIF_CMDLINE, EIF_METADATA, EIF_METADATA }, EIF_TWO_METADATA },
		{ { EIF_KERNEL, EIF_CMDLINE, EIF_METADATA }, EIF_NO_RAMDISK },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct eif_writer w;
		struct eif_measures m;
		struct err err;
		assert_int_equal(eif_writer_open(&w, path, 0, &err), 0);
		for (size_t k = 0; k < 4 && rows[i].order[k] != 0; k++)
			assert_int_equal(eif_writer_section(&w, rows[i].order[k],
			                                    rows[i].order[k] == EIF_KERNEL ? BYTES_ARRAY(kernel) : BYTES_LIT("x"), &err), 0);
		assert_int_equal(eif_writer_commit(&w, &m, &err), -EBADMSG);
		assert_int_equal(w.refused, rows[i].why);
		eif_writer_close(&w);
		assert_int_equal(access(path, F_OK), -1);
	}
	struct eif_writer w;
	struct eif_measures m;
	struct err err;
	assert_int_equal(eif_writer_open(&w, path, 0, &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_KERNEL, BYTES_LIT("x"), &err), -EBADMSG);
	assert_int_equal(w.refused, EIF_KERNEL_NOT_BZIMAGE);
	assert_int_equal(eif_writer_section(&w, EIF_CMDLINE, BYTES_LIT("a\0b"), &err), -EBADMSG);
	assert_int_equal(w.refused, EIF_BAD_CMDLINE);
	eif_writer_close(&w);
	/* a section that was begun and not ended */
	assert_int_equal(eif_writer_open(&w, path, 0, &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_KERNEL, BYTES_ARRAY(kernel), &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_CMDLINE, BYTES_LIT("quiet"), &err), 0);
	assert_int_equal(eif_writer_section(&w, EIF_METADATA, BYTES_LIT("{}"), &err), 0);
	assert_int_equal(eif_writer_begin(&w, EIF_RAMDISK, &err), 0);
	assert_int_equal(eif_writer_put(&w, BYTES_LIT("boot"), &err), 0);
	assert_int_equal(eif_writer_commit(&w, &m, &err), -EINVAL);
	eif_writer_close(&w);
	assert_int_equal(access(path, F_OK), -1);
}

/* A file that shrinks between the look at its table and the reading of what that promises. */
static void a_file_cut_while_it_is_read(void **state)
{
	(void)state;
	struct eif_measures m;
	struct eif_file f;
	struct err err;
	write_image(BYTES_LIT("application"), SIZE_MAX, &m);
	assert_int_equal(eif_file_open(&f, path, &err), 0);
	assert_int_equal(truncate(path, (off_t)f.size - 1), 0);
	assert_int_equal(eif_file_stream(&f, NULL, &m, &err), -EIO);
	assert_non_null(strstr(err.text, "cut while it was read"));
	eif_file_close(&f);
	assert_int_equal(eif_file_open(&f, path, &err), -EBADMSG);
	assert_int_equal(f.refused, EIF_OUT_OF_RANGE);
	eif_file_close(&f);
}

static void small_sections_are_read_whole_or_not(void **state)
{
	(void)state;
	struct eif_measures m;
	struct eif_file f;
	struct err err;
	uint8_t buf[16];
	size_t n = 99;
	write_image(BYTES_LIT("application"), SIZE_MAX, &m);
	assert_int_equal(eif_file_open(&f, path, &err), 0);
	assert_int_equal(eif_file_find(&f, EIF_CMDLINE), 1);
	assert_int_equal(eif_file_find(&f, EIF_SIGNATURE), f.eif.count);
	assert_int_equal(eif_file_read(&f, 1, buf, 4, &n, &err), -EMSGSIZE);
	assert_int_equal(n, 99);
	assert_int_equal(eif_file_read(&f, 1, buf, 5, &n, &err), 0);
	assert_true(bytes_equal(bytes_of(buf, n), BYTES_LIT("quiet")));
	eif_file_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_pieces_give_the_same_file),
		cmocka_unit_test(what_could_not_be_read_is_not_written),
		cmocka_unit_test(a_file_cut_while_it_is_read),
		cmocka_unit_test(small_sections_are_read_whole_or_not),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
