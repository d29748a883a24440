/* The root file system: every layer of tests/vectors/oci ends with the code that is written beside it; contents come out
 * whole, once and in order. */
#include "image_helpers.h"

#include "base/text.h"

static const struct rootfs_limits small = { .bytes_max = 8 << 20, .entries_max = 1000, .expansion_grace = 1 << 20,
	.expansion_ratio = 100, .tree_memory = 8 << 20 };

/* --- vectors ----------------------------------------------------------------------------------------------- */

static size_t read_whole(const char *path, uint8_t **ret)
{
	FILE *f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("open %s", path);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	size_t n = (size_t)ftell(f);
	rewind(f);
	*ret = malloc(n + 1);
	assert_non_null(*ret);
	assert_int_equal(fread(*ret, 1, n, f), n);
	fclose(f);
	return n;
}

static enum image_code scan(struct bytes layer, struct err *err)
{
	struct fake_source f;
	struct rootfs *r = NULL;
	fake_source_open(&f, &layer, 1);
	enum image_code c = rootfs_scan(&f.s, &small, NULL, &r, err);
	rootfs_close(r);
	fake_source_close(&f);
	return c;
}

static void test_layer_vectors(void **state)
{
	FILE *list = fopen("tests/vectors/oci/manifest.txt", "r");
	char line[512], name[200], code[64], path[300];
	size_t n = 0, wrong = 0;
	(void)state;
	assert_non_null(list);
	while (fgets(line, sizeof line, list) != NULL) {
		uint8_t *data = NULL;
		struct err err = { "" };
		if (sscanf(line, "%199s %63s", name, code) != 2 || strncmp(name, "layers/", 7) != 0)
			continue;
		snprintf(path, sizeof path, "tests/vectors/oci/%s", name);
		size_t size = read_whole(path, &data);
		enum image_code c = scan(bytes_of(data, size), &err);
		if (strcmp(image_code_name(c), code) != 0) {
			print_error("%s: %s instead of %s: %s\n", name, image_code_name(c), code, err.text);
			wrong++;
		}
		/* a sentence for people, about which layer it is */
		if (c != IMAGE_OK && (strlen(err.text) < 20 || (strstr(err.text, "layer") == NULL && strstr(err.text, "image") == NULL))) {
			print_error("%s: says only \"%s\"\n", name, err.text);
			wrong++;
		}
		free(data);
		n++;
	}
	fclose(list);
	assert_true(n > 90);
	assert_int_equal(wrong, 0);
}

/* --- contents ------------------------------------------------------------------------------------------------ */

struct recorder {
	struct content_sink sink;
	struct rootfs **rootfs;                  /* NULL during the scan */
	char text[4096];
	enum image_code refuse;                  /* of data() */
};

static enum image_code record_begin(struct content_sink *s, uint32_t inode, struct err *err)
{
	struct recorder *r = (struct recorder *)(void *)s;
	char path[TREE_PATH_MAX + 1] = "?";
	size_t n;
	(void)err;
	if (r->rootfs != NULL)
		assert_true(tree_path((*r->rootfs)->tree, tree_inode((*r->rootfs)->tree, inode)->node, path, sizeof path, &n));
	snprintf(r->text + strlen(r->text), sizeof r->text - strlen(r->text), "%s=", path);
	return IMAGE_OK;
}

static enum image_code record_data(struct content_sink *s, struct bytes piece, struct err *err)
{
	struct recorder *r = (struct recorder *)(void *)s;
	if (r->refuse != IMAGE_OK)
		return image_fail(err, r->refuse, 0, "the sink is full");
	snprintf(r->text + strlen(r->text), sizeof r->text - strlen(r->text), "%.*s", (int)piece.n, (const char *)piece.p);
	return IMAGE_OK;
}

static enum image_code record_end(struct content_sink *s, struct err *err)
{
	struct recorder *r = (struct recorder *)(void *)s;
	(void)err;
	snprintf(r->text + strlen(r->text), sizeof r->text - strlen(r->text), ";");
	return IMAGE_OK;
}

#define RECORDER(fs) { .sink = { record_begin, record_data, record_end }, .rootfs = fs }

struct two_layers { struct fake_tar a, b; struct fake_source source; };

static void open_two(struct two_layers *t)
{
	fake_tar_open(&t->a);
	fake_file(&t->a, "z", "last name, first place");
	fake_file(&t->a, "kept", "1");
	fake_file(&t->a, "replaced", "old");
	fake_file(&t->a, "empty", "");
	fake_file(&t->a, "hidden", "gone");
	fake_tar_add(&t->a, '1', "alias", BYTES_NONE, "replaced", 0644);
	fake_file(&t->a, "etc/passwd", "root:x:0:0:::\n");
	fake_tar_open(&t->b);
	fake_file(&t->b, "replaced", "new");
	fake_file(&t->b, ".wh.hidden", "");
	fake_tar_add(&t->b, '1', "a-link", BYTES_NONE, "kept", 0644);
	fake_file(&t->b, "added", "2");
	const struct bytes layers[] = { bytes_of(t->a.p, t->a.n + 1024), bytes_of(t->b.p, t->b.n + 1024) };
	fake_source_open(&t->source, layers, 2);
}

static void close_two(struct two_layers *t)
{
	fake_source_close(&t->source);
	free(t->a.p);
	free(t->b.p);
}

static void test_contents(void **state)
{
	struct two_layers t;
	struct rootfs *r;
	struct err err;
	struct recorder during = RECORDER(NULL), after = RECORDER(&r);
	(void)state;
	open_two(&t);
	assert_int_equal(rootfs_scan(&t.source.s, &small, &during.sink, &r, &err), IMAGE_OK);
	/* all bytes as they are read, also of what does not last */
	assert_string_equal(during.text, "?=last name, first place;?=1;?=old;?=gone;?=root:x:0:0:::\n;?=new;?=2;");
	/* what lasts, in the order of the layers, under its first name; the replaced file lives on as its alias */
	assert_int_equal(rootfs_contents(r, &after.sink, &err), IMAGE_OK);
	assert_string_equal(after.text, "z=last name, first place;a-link=1;alias=old;etc/passwd=root:x:0:0:::\n;replaced=new;added=2;");
	uint32_t kept = tree_resolve(r->tree, BYTES_LIT("/kept"), true);
	assert_int_equal(tree_inode_of(r->tree, kept)->links, 2);
	assert_int_equal(r->tree->live_bytes, 22 + 1 + 3 + 14 + 3 + 1);
	assert_int_equal(r->entries, 11);
	rootfs_close(r);
	close_two(&t);
}

static void test_read_file(void **state)
{
	struct two_layers t;
	struct rootfs *r;
	struct err err;
	uint8_t *data = NULL;
	size_t n;
	(void)state;
	open_two(&t);
	assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_OK);
	uint32_t alias = tree_node(r->tree, tree_lookup(r->tree, TREE_ROOT, BYTES_LIT("alias")))->inode;
	assert_int_equal(rootfs_read_file(r, alias, 3, &data, &n, &err), IMAGE_OK);
	assert_int_equal(n, 3);
	assert_memory_equal(data, "old", 3);
	free(data);
	assert_int_equal(rootfs_read_file(r, alias, 2, &data, &n, &err), IMAGE_TOO_LARGE);
	uint32_t empty = tree_node(r->tree, tree_lookup(r->tree, TREE_ROOT, BYTES_LIT("empty")))->inode;
	assert_int_equal(rootfs_read_file(r, empty, 0, &data, &n, &err), IMAGE_OK);
	assert_int_equal(n, 0);
	free(data);
	assert_int_equal(rootfs_read_file(r, tree_node(r->tree, TREE_ROOT)->inode, 10, &data, &n, &err), IMAGE_NOT_FOUND);
	rootfs_close(r);
	close_two(&t);
}

static void test_user_needs_no_second_reading(void **state)
{
	struct two_layers t;
	struct rootfs *r;
	struct err err;
	struct image_user u;
	(void)state;
	open_two(&t);
	assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_OK);
	unsigned opened = t.source.opened;
	assert_int_equal(rootfs_resolve_user(r, "root", &u, &err), IMAGE_OK);
	assert_int_equal(t.source.opened, opened);
	assert_int_equal(rootfs_resolve_user(r, "nobody", &u, &err), IMAGE_UNKNOWN_USER);
	rootfs_close(r);
	close_two(&t);
}

static void test_a_sink_that_refuses_ends_it(void **state)
{
	struct two_layers t;
	struct rootfs *r = NULL;
	struct err err;
	struct recorder full = RECORDER(NULL);
	(void)state;
	open_two(&t);
	full.refuse = IMAGE_BYTES_LIMIT;
	assert_int_equal(rootfs_scan(&t.source.s, &small, &full.sink, &r, &err), IMAGE_BYTES_LIMIT);
	assert_string_equal(err.text, "the sink is full");
	assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_OK);
	assert_int_equal(rootfs_contents(r, &full.sink, &err), IMAGE_BYTES_LIMIT);
	rootfs_close(r);
	close_two(&t);
}

/* What is read the second time is checked again. */
static void test_change_between_the_passes(void **state)
{
	static const struct { size_t at; bool keep_digest; enum image_code code; } cases[] = {
		{ 600, false, IMAGE_DIGEST_MISMATCH },           /* a byte of a file */
		{ 0, false, IMAGE_DIGEST_MISMATCH },             /* a header */
		{ 124 + 10, true, IMAGE_BAD_TAR },               /* a size, and the digest with it: nobody could know */
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct two_layers t;
		struct rootfs *r;
		struct err err;
		struct recorder after = RECORDER(&r);
		open_two(&t);
		assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_OK);
		t.a.p[cases[i].at] ^= 1;
		if (cases[i].keep_digest)
			assert_true(crypto_hash(HASH_SHA256, t.source.layer[0], t.source.s.manifest.layer[0].sha256));
		assert_int_equal(rootfs_contents(r, &after.sink, &err), cases[i].code);
		rootfs_close(r);
		close_two(&t);
	}
}

static void test_source_that_turns_into_another(void **state)
{
	struct two_layers t, other;
	struct rootfs *r;
	struct err err;
	struct recorder after = RECORDER(&r);
	(void)state;
	open_two(&t);
	open_two(&other);
	assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_OK);
	/* the second layer where the first was, digests and all */
	t.source.layer[0] = other.source.layer[1];
	t.source.s.manifest.layer[0] = other.source.s.manifest.layer[1];
	assert_int_equal(rootfs_contents(r, &after.sink, &err), IMAGE_CHANGED);
	rootfs_close(r);
	close_two(&t);
	close_two(&other);
}

static void test_wrong_digests(void **state)
{
	struct two_layers t;
	struct rootfs *r = NULL;
	struct err err;
	(void)state;
	open_two(&t);
	t.source.s.config.diff_id[1][5] ^= 1;
	assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_DIFF_ID_MISMATCH);
	t.source.s.config.diff_id[1][5] ^= 1;
	t.source.s.manifest.layer[1].sha256[0] ^= 1;
	assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_DIGEST_MISMATCH);
	t.source.s.manifest.layer[1].sha256[0] ^= 1;
	t.source.s.manifest.layer[1].size--;
	assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_SIZE_MISMATCH);
	t.source.s.manifest.layer[1].size += 2;
	assert_int_equal(rootfs_scan(&t.source.s, &small, NULL, &r, &err), IMAGE_SIZE_MISMATCH);
	close_two(&t);
}

/* --- whiteouts ----------------------------------------------------------------------------------------------- */

/* The tree of these layers as "path path …"; each layer is a list of names, a slash at the end for directories. */
static void check_tree(const char *const *layers, size_t n, const char *want)
{
	struct fake_tar tars[8];
	struct bytes blobs[8];
	struct fake_source f;
	struct rootfs *r;
	struct err err;
	char text[1024], path[TREE_PATH_MAX + 1];
	struct writer w = writer_of(text, sizeof text);
	size_t path_n;
	for (size_t i = 0; i < n; i++) {
		char names[512];
		snprintf(names, sizeof names, "%s", layers[i]);
		fake_tar_open(&tars[i]);
		for (char *name = strtok(names, " "); name != NULL; name = strtok(NULL, " ")) {
			char *target = strchr(name, '>');
			if (target != NULL)
				*target++ = '\0';
			size_t size = strlen(name);
			fake_tar_add(&tars[i], target != NULL ? '2' : name[size - 1] == '/' ? '5' : '0', name, BYTES_NONE,
			             target != NULL ? target : "", 0700);
		}
		blobs[i] = bytes_of(tars[i].p, tars[i].n + 1024);
	}
	fake_source_open(&f, blobs, n);
	if (rootfs_scan(&f.s, &small, NULL, &r, &err) != IMAGE_OK)
		fail_msg("%s", err.text);
	for (uint32_t node = tree_next(r->tree, TREE_ROOT); node != 0; node = tree_next(r->tree, node)) {
		assert_true(tree_path(r->tree, node, path, sizeof path, &path_n));
		put_fmt(&w, "%s%s%s", w.at > 0 ? " " : "", path, (tree_inode_of(r->tree, node)->mode & 07777) == 0755 ? "*" : "");
	}
	put_u8(&w, '\0');
	assert_false(w.full);
	assert_string_equal(text, want);
	rootfs_close(r);
	fake_source_close(&f);
	for (size_t i = 0; i < n; i++)
		free(tars[i].p);
}

/* A star marks directories that nobody described. */
static void test_whiteouts(void **state)
{
	static const struct { const char *layers[4]; size_t n; const char *want; } cases[] = {
		{ { "a b/ b/c" }, 1, "a b b/c" },
		{ { "a/b/c" }, 1, "a* a/b* a/b/c" },
		{ { "a b", ".wh.a" }, 2, "b" },
		{ { "d/ d/e/ d/e/f g", ".wh.d" }, 2, "g" },
		{ { "d/ d/e/ d/e/f g", "d/.wh..wh..opq" }, 2, "d g" },
		{ { "d/ d/a d/b", "d/.wh..wh..opq d/c" }, 2, "d d/c" },
		{ { "d/ d/a d/b", "d/c d/.wh..wh..opq" }, 2, "d d/c" },
		{ { "d/ d/a d/b", "d/c .wh.d" }, 2, "d* d/c" },
		{ { "d/ d/a d/b", ".wh.d d/c" }, 2, "d* d/c" },
		{ { "d/ d/s/ d/s/x d/t/ d/t/y", "d/s/new d/.wh..wh..opq" }, 2, "d d/s* d/s/new" },
		{ { "d/ d/a", "d/a d/.wh.a" }, 2, "d d/a" },
		{ { "a", ".wh.a", "a" }, 3, "a" },
		{ { "d/ d/a", ".wh.d", "d/b" }, 3, "d* d/b" },
		{ { "a b c", ".wh..wh..opq d" }, 2, "d" },
		{ { "d/ d/a", "d" }, 2, "d" },
		{ { "d", "d/ d/a" }, 2, "d d/a" },
		{ { "d/ d/a l>d", "l/ l/b" }, 2, "d d/a l l/b" },
		{ { "d/ d/a l>d", "l/b" }, 2, "d d/a d/b l" },
		{ { "d/ d/a l>d", "l/.wh.a" }, 2, "d l" },
		{ { "d/ d/a l>/d", "l/x/y" }, 2, "d d/a d/x* d/x/y l" },
		{ { "e/ e/d/ l>e/d m>l/. e/n>../m", "e/n/x" }, 2, "e e/d e/d/x e/n l m" },
		{ { "a", ".wh.b" }, 2, "a" },
		{ { "d/x", "d/y/.wh.z" }, 2, "d* d/x" },
		{ { "d/ d/a", "d/.wh..wh..opq", "d/.wh..wh..opq d/b", "d/.wh.b d/c" }, 4, "d d/c" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		check_tree(cases[i].layers, cases[i].n, cases[i].want);
}

/* Every image has the same tree whether it stays in memory or not. */
static void test_spilled_tree_is_the_same(void **state)
{
	struct fake_tar tar;
	struct fake_source f;
	struct rootfs *r[2];
	struct err err;
	struct rootfs_limits limits = small;
	char name[40];
	(void)state;
	fake_tar_open(&tar);
	limits.entries_max = 100000;
	for (unsigned i = 0; i < 1500; i++) {
		snprintf(name, sizeof name, "d%u/e%u/f%u", i % 7, i * 7919 % 101, i);
		fake_file(&tar, name, i % 3 != 0 ? "x" : "");
	}
	const struct bytes layer = bytes_of(tar.p, tar.n + 1024);
	fake_source_open(&f, &layer, 1);
	for (int i = 0; i < 2; i++) {
		limits.tree_memory = i == 0 ? 64 << 20 : 0;
		assert_int_equal(rootfs_scan(&f.s, &limits, NULL, &r[i], &err), IMAGE_OK);
		assert_true((r[i]->tree->pool.spilled > 0) == (i == 1));
	}
	uint32_t a = TREE_ROOT, b = TREE_ROOT;
	while (a != 0 && b != 0) {
		assert_true(bytes_equal(tree_name(r[0]->tree, a), tree_name(r[1]->tree, b)));
		assert_int_equal(tree_inode_of(r[0]->tree, a)->ordinal, tree_inode_of(r[1]->tree, b)->ordinal);
		a = tree_next(r[0]->tree, a);
		b = tree_next(r[1]->tree, b);
	}
	assert_int_equal(a, b);
	limits.spill_dir = "/nonexistent";
	struct rootfs *none = NULL;
	assert_int_equal(rootfs_scan(&f.s, &limits, NULL, &none, &err), IMAGE_IO);
	assert_non_null(strstr(err.text, "/nonexistent"));
	rootfs_close(r[0]);
	rootfs_close(r[1]);
	fake_source_close(&f);
	free(tar.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layer_vectors),
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_read_file),
		cmocka_unit_test(test_user_needs_no_second_reading),
		cmocka_unit_test(test_a_sink_that_refuses_ends_it),
		cmocka_unit_test(test_change_between_the_passes),
		cmocka_unit_test(test_source_that_turns_into_another),
		cmocka_unit_test(test_wrong_digests),
		cmocka_unit_test(test_whiteouts),
		cmocka_unit_test(test_spilled_tree_is_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
