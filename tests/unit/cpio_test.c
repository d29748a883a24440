#include "format/cpio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

struct item { struct cpio_entry e; const char *contents; };

static size_t write_archive(uint8_t *buf, size_t cap, uint32_t mtime_s, const struct item *items, size_t n)
{
	struct cpio_writer c = { .mtime_s = mtime_s };
	struct writer w = writer_of(buf, cap);
	for (size_t i = 0; i < n; i++) {
		struct cpio_entry e = items[i].e;
		e.size = items[i].contents == NULL ? 0 : strlen(items[i].contents);
		assert_int_equal(cpio_put_entry(&c, &w, &e, NULL), CPIO_OK);
		if (e.size > 0)
			put_str(&w, items[i].contents);
		cpio_put_padding(&w, e.size);
		assert_int_equal(c.at, w.at);
	}
	cpio_put_trailer(&c, &w);
	assert_false(w.full);
	assert_int_equal(c.at, w.at);
	assert_int_equal(w.at % CPIO_BLOCK, 0);
	return w.at;
}

static const struct item tree[] = {
	{ { .name = BYTES_LIT("."), .mode = S_IFDIR | 0755, .nlink = 2 }, NULL },
	{ { .name = BYTES_LIT("bin"), .mode = S_IFDIR | 01777, .uid = 1, .gid = 2 }, NULL },
	{ { .name = BYTES_LIT("bin/a"), .mode = S_IFREG | 04755, .uid = 0xfffffffe, .gid = 7, .nlink = 2 }, "contents" },
	{ { .name = BYTES_LIT("bin/b"), .mode = S_IFREG | 04755, .nlink = 2, .ino = 3 }, NULL },
	{ { .name = BYTES_LIT("bin/link"), .mode = S_IFLNK | 0777 }, "../x" },
	{ { .name = BYTES_LIT("dev-null"), .mode = S_IFCHR | 0666, .rdev_major = 1, .rdev_minor = 3 }, NULL },
	{ { .name = BYTES_LIT("empty"), .mode = S_IFREG | 0600, .rdev_major = 9 }, NULL },
	{ { .name = BYTES_LIT("odd"), .mode = S_IFREG }, "12345" },
};
enum { TREE = sizeof tree / sizeof *tree };

/* From the format's description: magic, thirteen numbers, name, padding. */
static void golden_bytes(void **state)
{
	(void)state;
	uint8_t buf[2048];
	const struct item one = { { .name = BYTES_LIT("etc/x"), .mode = S_IFREG | 0644, .uid = 10, .gid = 255, .nlink = 1 }, "hello" };
	size_t n = write_archive(buf, sizeof buf, 0x5e0be100, &one, 1);
	static const char want[] =
		"070701" "00000001" "000081A4" "0000000A" "000000FF" "00000001" "5E0BE100" "00000005" "00000000" "00000000"
		"00000000" "00000000" "00000006" "00000000" "etc/x\0" "hello\0\0\0"
		"070701" "00000000" "00000000" "00000000" "00000000" "00000001" "00000000" "00000000" "00000000" "00000000"
		"00000000" "00000000" "0000000B" "00000000" "TRAILER!!!\0\0\0\0";
	assert_int_equal(n, 512);
	assert_memory_equal(buf, want, sizeof want - 1);
	for (size_t i = sizeof want - 1; i < n; i++)
		assert_int_equal(buf[i], 0);
}

/* Reads buf in pieces of this size and compares with tree. */
static void check_tree(const uint8_t *buf, size_t n, size_t piece)
{
	static const uint32_t inos[TREE] = { 1, 2, 3, 3, 4, 5, 6, 7 };
	struct cpio_reader r;
	size_t at = 0, seen = 0;
	uint8_t contents[64];
	size_t contents_n = 0;
	cpio_reader_init(&r);
	struct bytes in = BYTES_NONE, part;
	for (;;) {
		enum cpio_event e = cpio_read(&r, &in, &part);
		if (e == CPIO_MORE && at == n)
			break;
		if (e == CPIO_MORE) {
			size_t k = n - at < piece ? n - at : piece;
			in = bytes_of(buf + at, k);
			at += k;
		}
		assert_int_not_equal(e, CPIO_REFUSED);
		if (e == CPIO_ENTRY) {
			const struct item *want = &tree[seen];
			assert_true(seen < TREE);
			assert_true(bytes_equal(r.entry.name, want->e.name));
			assert_int_equal(r.entry.mode, want->e.mode);
			assert_int_equal(r.entry.uid, want->e.uid);
			assert_int_equal(r.entry.gid, want->e.gid);
			assert_int_equal(r.entry.nlink, want->e.nlink == 0 ? 1 : want->e.nlink);
			assert_int_equal(r.entry.ino, inos[seen]);
			assert_int_equal(r.entry.mtime_s, 1234);
			assert_int_equal(r.entry.rdev_major, S_ISCHR(want->e.mode) ? 1 : 0);
			assert_int_equal(r.entry.rdev_minor, S_ISCHR(want->e.mode) ? 3 : 0);
			assert_int_equal(r.entry.size, want->contents == NULL ? 0 : strlen(want->contents));
			seen++;
			contents_n = 0;
		}
		if (e == CPIO_CONTENTS) {
			memcpy(contents + contents_n, part.p, part.n);
			contents_n += part.n;
			if (contents_n == r.entry.size)
				assert_memory_equal(contents, tree[seen - 1].contents, contents_n);
		}
	}
	assert_int_equal(cpio_reader_end(&r), CPIO_OK);
	assert_int_equal(seen, TREE);
	assert_int_equal(r.entries, TREE);
}

static void round_trip_in_all_pieces(void **state)
{
	(void)state;
	static uint8_t buf[8192];
	size_t n = write_archive(buf, sizeof buf, 1234, tree, TREE);
	for (size_t piece = 1; piece < 300; piece++)
		check_tree(buf, n, piece);
	check_tree(buf, n, n);
}

static void names_valid(void **state)
{
	(void)state;
	static uint8_t longest[CPIO_NAME_MAX + 1];
	memset(longest, 'a', sizeof longest);
	const struct bytes good[] = {
		BYTES_LIT("."), BYTES_LIT("a"), BYTES_LIT("a/b/c"), BYTES_LIT("..."), BYTES_LIT("a/.b"), BYTES_LIT("a..b/c."), BYTES_LIT(" "),
		BYTES_LIT("\xff\n"), BYTES_LIT("TRAILER!!!/x"), BYTES_LIT("x/TRAILER!!!"), BYTES_LIT("TRAILER!!"), bytes_of(longest, CPIO_NAME_MAX),
	};
	const struct bytes bad[] = {
		BYTES_NONE, BYTES_LIT(""), BYTES_LIT("/"), BYTES_LIT("/a"), BYTES_LIT("a/"), BYTES_LIT("a//b"), BYTES_LIT(".."), BYTES_LIT("../a"),
		BYTES_LIT("a/.."), BYTES_LIT("a/../b"), BYTES_LIT("./a"), BYTES_LIT("a/."), BYTES_LIT("a/./b"), BYTES_LIT("a\0b"), BYTES_LIT("a\0"),
		BYTES_LIT("TRAILER!!!"), bytes_of(longest, CPIO_NAME_MAX + 1),
	};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(cpio_name_valid(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(cpio_name_valid(bad[i]));
}

static void entries_refused(void **state)
{
	(void)state;
	const struct { struct cpio_entry e; enum cpio_result why; } rows[] = {
		{ { .name = BYTES_LIT("../etc"), .mode = S_IFREG }, CPIO_BAD_NAME },
		{ { .name = BYTES_LIT("."), .mode = S_IFREG }, CPIO_BAD_NAME },
		{ { .name = BYTES_LIT("a"), .mode = 0644 }, CPIO_BAD_MODE },
		{ { .name = BYTES_LIT("a"), .mode = 0170000 }, CPIO_BAD_MODE },
		{ { .name = BYTES_LIT("a"), .mode = 0x10000 | S_IFREG }, CPIO_BAD_MODE },
		{ { .name = BYTES_LIT("a"), .mode = S_IFREG, .size = UINT64_C(1) << 32 }, CPIO_BAD_SIZE },
		{ { .name = BYTES_LIT("a"), .mode = S_IFDIR, .size = 1 }, CPIO_BAD_SIZE },
		{ { .name = BYTES_LIT("a"), .mode = S_IFIFO, .size = 1 }, CPIO_BAD_SIZE },
		{ { .name = BYTES_LIT("a"), .mode = S_IFLNK }, CPIO_BAD_LINK_TARGET },
		{ { .name = BYTES_LIT("a"), .mode = S_IFLNK, .size = CPIO_LINK_MAX + 1 }, CPIO_BAD_LINK_TARGET },
	};
	uint8_t buf[CPIO_ENTRY_MAX];
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct cpio_writer c = { .last_ino = 5 };
		struct writer w = writer_of(buf, sizeof buf);
		uint32_t ino = 77;
		assert_int_equal(cpio_put_entry(&c, &w, &rows[i].e, &ino), rows[i].why);
		assert_int_equal(w.at, 0);
		assert_int_equal(c.at, 0);
		assert_int_equal(c.last_ino, 5);
		assert_int_equal(ino, 77);
	}
	struct cpio_writer c = { .last_ino = UINT32_MAX };
	struct writer w = writer_of(buf, sizeof buf);
	assert_int_equal(cpio_put_entry(&c, &w, &(struct cpio_entry){ .name = BYTES_LIT("a"), .mode = S_IFREG }, NULL), CPIO_TOO_MANY);
}

static void largest_entry_fits_its_buffer(void **state)
{
	(void)state;
	static uint8_t name[CPIO_NAME_MAX], buf[CPIO_ENTRY_MAX];
	memset(name, 'n', sizeof name);
	for (size_t n = CPIO_NAME_MAX - 4; n <= CPIO_NAME_MAX; n++) {
		struct cpio_writer c = { 0 };
		struct writer w = writer_of(buf, sizeof buf);
		const struct cpio_entry e = { .name = bytes_of(name, n), .mode = S_IFREG, .size = UINT32_MAX };
		assert_int_equal(cpio_put_entry(&c, &w, &e, NULL), CPIO_OK);
		assert_false(w.full);
		assert_int_equal(w.at % 4, 0);
		assert_int_equal(c.at, w.at + UINT64_C(0x100000000));
	}
	for (uint64_t at = 0; at < 2 * CPIO_BLOCK; at += 4) {
		struct cpio_writer c = { .at = at };
		uint8_t trailer[CPIO_TRAILER_MAX];
		struct writer w = writer_of(trailer, sizeof trailer);
		cpio_put_trailer(&c, &w);
		assert_false(w.full);
		assert_int_equal(c.at % CPIO_BLOCK, 0);
	}
}

/* What reading a whole archive, in one piece and in single bytes, ends with. */
static enum cpio_result read_all(const uint8_t *p, size_t n)
{
	enum cpio_result result[2];
	for (size_t single = 0; single < 2; single++) {
		uint8_t *copy = malloc(n == 0 ? 1 : n);
		assert_non_null(copy);
		memcpy(copy, p, n);
		struct cpio_reader r;
		struct bytes part;
		cpio_reader_init(&r);
		enum cpio_event e = CPIO_MORE;
		for (size_t at = 0; at < n && e != CPIO_REFUSED;) {
			struct bytes in = bytes_of(copy + at, single ? 1 : n);
			at += in.n;
			while ((e = cpio_read(&r, &in, &part)) != CPIO_MORE && e != CPIO_REFUSED)
				;
		}
		result[single] = cpio_reader_end(&r);
		assert_int_equal(e == CPIO_REFUSED, r.result != CPIO_OK);
		free(copy);
	}
	assert_int_equal(result[0], result[1]);
	return result[0];
}

static void hostile_archives(void **state)
{
	(void)state;
	/* offsets of fields: 6 ino, 14 mode, 54 filesize, 94 namesize, 102 check, 110 name */
	static const struct { size_t at; const char *put; size_t n; enum cpio_result why; } rows[] = {
		{ 0, "070702", 6, CPIO_BAD_MAGIC }, { 0, "070707", 6, CPIO_BAD_MAGIC }, { 0, "\x1f\x8b", 2, CPIO_BAD_MAGIC },
		{ 6, "0000000g", 8, CPIO_BAD_NUMBER }, { 14, " 00081A4", 8, CPIO_BAD_NUMBER }, { 54, "0x000005", 8, CPIO_BAD_NUMBER },
		{ 54, "-0000001", 8, CPIO_BAD_NUMBER },
		{ 94, "00000000", 8, CPIO_BAD_NAME_SIZE }, { 94, "00001001", 8, CPIO_BAD_NAME_SIZE }, { 94, "FFFFFFFF", 8, CPIO_BAD_NAME_SIZE },
		{ 94, "00000005", 8, CPIO_NAME_NOT_TERMINATED }, { 110, "e\0c", 3, CPIO_NAME_NOT_TERMINATED },
		{ 110, "/tc", 3, CPIO_BAD_NAME }, { 110, "../", 3, CPIO_BAD_NAME }, { 110, "etc//", 5, CPIO_BAD_NAME },
		{ 14, "000001A4", 8, CPIO_BAD_MODE }, { 14, "000181A4", 8, CPIO_BAD_MODE },
		{ 14, "000041ED", 8, CPIO_BAD_SIZE },
		{ 102, "00000001", 8, CPIO_BAD_CHECK },
		{ 121, "x", 1, CPIO_BAD_PADDING },
		{ 54, "00000003", 8, CPIO_BAD_PADDING }, { 54, "00000004", 8, CPIO_BAD_MAGIC },
		{ 54, "0000000C", 8, CPIO_BAD_MAGIC },           /* swallows the start of the next header */
		{ 54, "FFFFFFFF", 8, CPIO_TRUNCATED },
		{ 124 + 54, "00000001", 8, CPIO_BAD_TRAILER },
		{ 124 + 124, "x", 1, CPIO_TRAILING_BYTES }, { 511, "\1", 1, CPIO_TRAILING_BYTES },
		{ 124 + 110, "T", 1, CPIO_OK },
		{ 124 + 110, "U", 1, CPIO_BAD_MODE },
	};
	const struct item one = { { .name = BYTES_LIT("etc/x"), .mode = S_IFREG | 0644 }, "hello" };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t buf[512];
		size_t n = write_archive(buf, sizeof buf, 0, &one, 1);
		memcpy(buf + rows[i].at, rows[i].put, rows[i].n);
		enum cpio_result r = read_all(buf, n);
		if (r != rows[i].why)
			fail_msg("row %zu: %s instead of %s", i, cpio_result_name(r), cpio_result_name(rows[i].why));
	}
}

static void links_with_zeros(void **state)
{
	(void)state;
	uint8_t buf[512];
	const struct item one = { { .name = BYTES_LIT("l"), .mode = S_IFLNK | 0777 }, "target" };
	size_t n = write_archive(buf, sizeof buf, 0, &one, 1);
	assert_int_equal(read_all(buf, n), CPIO_OK);
	buf[112 + 3] = 0;
	assert_int_equal(read_all(buf, n), CPIO_BAD_LINK_TARGET);
}

static void every_truncation(void **state)
{
	(void)state;
	static uint8_t buf[8192];
	size_t n = write_archive(buf, sizeof buf, 0, tree, TREE);
	size_t zeros = 0;
	while (buf[n - 1 - zeros] == 0)
		zeros++;
	/* the trailer's own name ends in zeros: one terminates it, three are its padding */
	for (size_t k = 0; k <= n; k++)
		assert_int_equal(read_all(buf, k), k >= n - zeros + 4 ? CPIO_OK : CPIO_TRUNCATED);
}

static void names_of_results(void **state)
{
	(void)state;
	for (int a = 0; a < CPIO_RESULT_COUNT; a++)
		for (int b = 0; b < a; b++)
			assert_string_not_equal(cpio_result_name((enum cpio_result)a), cpio_result_name((enum cpio_result)b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(round_trip_in_all_pieces),
		cmocka_unit_test(names_valid),
		cmocka_unit_test(entries_refused),
		cmocka_unit_test(largest_entry_fits_its_buffer),
		cmocka_unit_test(hostile_archives),
		cmocka_unit_test(links_with_zeros),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(names_of_results),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
