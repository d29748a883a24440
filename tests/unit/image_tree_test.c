/* The tree against a plain sorted list, under random insertions and removals; resolution of paths. */
#include "image_helpers.h"

enum { NAMES = 300, STEPS = 20000 };

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static uint32_t put(struct tree *t, uint32_t directory, const char *name, uint32_t mode, const char *target)
{
	const struct tree_attributes a = { .mode = mode, .target = bytes_str(target) };
	struct err err;
	uint32_t inode, node;
	assert_int_equal(tree_add_inode(t, &a, &inode, &err), IMAGE_OK);
	assert_int_equal(tree_set(t, directory, bytes_str(name), inode, 0, &node, &err), IMAGE_OK);
	return node;
}

static void test_names_stay_sorted(void **state)
{
	static char name[NAMES][8];
	const char *present[NAMES];
	bool there[NAMES] = { false };
	uint32_t random = 1;
	struct tree *t;
	struct err err;
	(void)state;
	assert_int_equal(tree_open(1 << 20, NULL, &t, &err), IMAGE_OK);
	for (int i = 0; i < NAMES; i++)
		snprintf(name[i], sizeof name[i], "%c%x", 'a' + i % 5, (unsigned)i * 2654435761u >> 22);
	for (int step = 0; step < STEPS; step++) {
		random = random * 1103515245u + 12345u;
		int i = (int)(random >> 16) % NAMES;
		/* names may repeat in the table: look before */
		uint32_t n = tree_lookup(t, TREE_ROOT, bytes_str(name[i]));
		if (n != 0 && (random & 1) != 0)
			tree_remove(t, n);
		else if (n == 0)
			put(t, TREE_ROOT, name[i], S_IFREG, "");
	}
	size_t count = 0, at = 0;
	for (int i = 0; i < NAMES; i++) {
		there[i] = tree_lookup(t, TREE_ROOT, bytes_str(name[i])) != 0;
		bool seen = false;
		for (size_t k = 0; k < count; k++)
			seen = seen || strcmp(present[k], name[i]) == 0;
		if (there[i] && !seen)
			present[count++] = name[i];
	}
	assert_true(count > 50 && count < NAMES);
	qsort(present, count, sizeof present[0], by_name);
	for (uint32_t n = tree_next(t, TREE_ROOT); n != 0; n = tree_next(t, n), at++)
		assert_true(at < count && bytes_equal(tree_name(t, n), bytes_str(present[at])));
	assert_int_equal(at, count);
	tree_close(t);
}

static void test_deep_trees_need_no_stack(void **state)
{
	char path[TREE_PATH_MAX + 1];
	struct tree *t;
	struct err err;
	uint32_t at = TREE_ROOT, count = 0;
	size_t n;
	(void)state;
	assert_int_equal(tree_open(64 << 20, NULL, &t, &err), IMAGE_OK);
	for (int i = 0; i < 100000; i++)
		at = put(t, at, "d", S_IFDIR, "");
	assert_false(tree_path(t, at, path, sizeof path, &n));
	tree_finish(t);
	for (uint32_t node = TREE_ROOT; node != 0; node = tree_next(t, node))
		count++;
	assert_int_equal(count, 100001);
	assert_int_equal(t->live_nodes, 100001);
	tree_close(t);
}

static void test_long_paths(void **state)
{
	char name[TREE_NAME_MAX + 1], path[TREE_PATH_MAX + 1];
	struct tree *t;
	struct err err;
	uint32_t at = TREE_ROOT;
	size_t n;
	(void)state;
	memset(name, 'n', sizeof name);
	name[TREE_NAME_MAX] = '\0';
	assert_int_equal(tree_open(1 << 20, NULL, &t, &err), IMAGE_OK);
	for (int i = 0; i < 16; i++)
		at = put(t, at, i < 15 ? name : name + 1, S_IFDIR, "");
	assert_true(tree_path(t, at, path, sizeof path, &n));
	assert_int_equal(n, 15 * 256 + 254);
	assert_true(bytes_equal(tree_name(t, at), bytes_str(name + 1)));
	assert_int_equal(tree_resolve(t, bytes_of(path, n), true), at);
	tree_close(t);
}

static void test_resolve(void **state)
{
	static const struct { const char *path, *follow, *no_follow; } cases[] = {
		{ "", "", "" }, { "/", "", "" }, { "/d/f", "d/f", "d/f" }, { "d//f/", "d/f", "d/f" }, { "/d/./f", "d/f", "d/f" },
		{ "/../../d/f", "d/f", "d/f" }, { "/d/../d/f", "d/f", "d/f" }, { "/nothing", NULL, NULL }, { "/d/f/x", NULL, NULL },
		{ "/abs", "d/f", "abs" }, { "/rel", "d/f", "rel" }, { "/dir/f", "d/f", "d/f" }, { "/d/up/d/f", "d/f", "d/f" },
		{ "/out", "", "out" }, { "/loop", NULL, "loop" }, { "/dangling", NULL, "dangling" }, { "/chain1", "d/f", "chain1" },
		{ "/d/f/..", NULL, NULL },
	};
	struct tree *t;
	struct err err;
	(void)state;
	assert_int_equal(tree_open(1 << 20, NULL, &t, &err), IMAGE_OK);
	uint32_t d = put(t, TREE_ROOT, "d", S_IFDIR, "");
	put(t, d, "f", S_IFREG, "");
	put(t, d, "up", S_IFLNK, "..");
	put(t, TREE_ROOT, "abs", S_IFLNK, "/d/f");
	put(t, TREE_ROOT, "rel", S_IFLNK, "d/f");
	put(t, TREE_ROOT, "dir", S_IFLNK, "./d/");
	put(t, TREE_ROOT, "out", S_IFLNK, "../../..");
	put(t, TREE_ROOT, "loop", S_IFLNK, "loop");
	put(t, TREE_ROOT, "dangling", S_IFLNK, "/x/y");
	put(t, TREE_ROOT, "chain1", S_IFLNK, "chain2");
	put(t, TREE_ROOT, "chain2", S_IFLNK, "dir/f");
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		for (int follow = 0; follow < 2; follow++) {
			const char *want = follow ? cases[i].follow : cases[i].no_follow;
			char path[TREE_PATH_MAX + 1] = "(none)";
			size_t n;
			uint32_t node = tree_resolve(t, bytes_str(cases[i].path), follow);
			if (node != 0)
				assert_true(tree_path(t, node, path, sizeof path, &n));
			if (strcmp(path, want != NULL ? want : "(none)") != 0)
				fail_msg("%s: %s instead of %s", cases[i].path, path, want != NULL ? want : "(none)");
		}
	tree_close(t);
}

static void test_attributes(void **state)
{
	uint8_t buf[256];
	struct writer w = writer_of(buf, sizeof buf);
	struct tree *t;
	struct err err;
	struct bytes name, value;
	uint32_t inode;
	(void)state;
	assert_int_equal(tree_open(1 << 20, NULL, &t, &err), IMAGE_OK);
	tree_xattr_put(&w, BYTES_LIT("user.a"), BYTES_LIT("1\0\n2"));
	tree_xattr_put(&w, BYTES_LIT("user.b"), BYTES_NONE);
	const struct tree_attributes a = { .mode = S_IFREG | 0600, .uid = 7, .gid = 8, .size = UINT64_C(1) << 40, .mtime = -5,
		.xattrs = writer_bytes(&w), .layer = 3, .ordinal = 9 };
	assert_int_equal(tree_add_inode(t, &a, &inode, &err), IMAGE_OK);
	const struct tree_inode *i = tree_inode(t, inode);
	assert_true(i->uid == 7 && i->gid == 8 && i->size == UINT64_C(1) << 40 && i->mtime == -5 && i->layer == 3 && i->ordinal == 9);
	struct reader r = tree_xattrs(t, inode);
	assert_true(tree_xattr_next(&r, &name, &value));
	assert_true(bytes_equal(name, BYTES_LIT("user.a")) && bytes_equal(value, BYTES_LIT("1\0\n2")));
	assert_true(tree_xattr_next(&r, &name, &value));
	assert_true(bytes_equal(name, BYTES_LIT("user.b")) && value.n == 0);
	assert_false(tree_xattr_next(&r, &name, &value));
	tree_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_stay_sorted),
		cmocka_unit_test(test_deep_trees_need_no_stack),
		cmocka_unit_test(test_long_paths),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_attributes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
