#include "base/cleanup.h"
#include "linux/small_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char root[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(root, "/tmp/tee-rex-small-XXXXXX");
	return mkdtemp(root) == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	char path[ROOTED_PATH_MAX];
	unlink(rooted_path(root, "/a", path));
	return rmdir(root);
}

static void put(const char *text)
{
	char path[ROOTED_PATH_MAX];
	CLEANUP(close_file) FILE *f = fopen(rooted_path(root, "/a", path), "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
}

static void files(void **state)
{
	(void)state;
	char buf[8];
	uint64_t v = 7;
	struct err err;
	assert_int_equal(small_file_read(root, "/a", buf, sizeof buf), -ENOENT);
	assert_int_equal(small_file_write(root, "/a", "1", &err), -ENOENT);
	assert_false(small_file_exists(root, "/a") || small_file_u64(root, "/a", &v));
	put("42\n");
	assert_true(small_file_u64(root, "/a", &v) && v == 42);
	assert_int_equal(small_file_write(root, "/a", "5", &err), 0);
	assert_int_equal(small_file_read(root, "/a", buf, sizeof buf), 0);
	assert_string_equal(buf, "5");                   /* nothing of "42" is left */
	put("0123456789");
	assert_int_equal(small_file_read(root, "/a", buf, sizeof buf), 0);
	assert_string_equal(buf, "0123456");
	put("12 13");
	assert_false(small_file_u64(root, "/a", &v));
	char whole[ROOTED_PATH_MAX], deep[ROOTED_PATH_MAX];
	memset(deep, 'x', sizeof deep);
	deep[sizeof deep - 1] = '\0';
	assert_int_equal(access(rooted_path("/tmp", deep, whole), F_OK), -1);
}

static void fields(void **state)
{
	(void)state;
	const char *text = "MemTotal:       100 kB\nMemTotalX: 3\nNode 0 MemFree:     7 kB\nEmpty:\nLast: 9";
	uint64_t v;
	assert_true(text_field_u64(text, "MemTotal:", &v) && v == 100);
	assert_true(text_field_u64(text, "Node 0 MemFree:", &v) && v == 7);
	assert_true(text_field_u64(text, "Last", &v) && v == 9);
	assert_false(text_field_u64(text, "Empty:", &v));
	assert_false(text_field_u64(text, "Absent:", &v) || text_field_u64("", "Absent:", &v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files, set_up, tear_down), cmocka_unit_test(fields),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
