/* Layers, compressed or not, put on top of themselves: no path leaves the tree, its order holds, and reading in small
 * pieces ends the same way. Checksums of headers are made right first, or little would get past them. */
#include "image/expand.h"
#include "image/layer.h"
#include "image/merge.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20, ENTRIES_MAX = 2000 };

struct memory_stream { struct stream s; struct bytes left; size_t piece; };

static enum image_code memory_read(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	struct memory_stream *m = (struct memory_stream *)(void *)s;
	size_t n = m->left.n < cap ? m->left.n : cap;
	(void)err;
	if (n > m->piece)
		n = m->piece;
	if (n > 0)
		memcpy(buf, m->left.p, n);
	m->left = bytes_slice(m->left, n, m->left.n - n);
	*ret_n = n;
	return IMAGE_OK;
}

static void memory_close(struct stream *s) { free(s); }

static struct stream *memory_stream(struct bytes b, size_t piece)
{
	struct memory_stream *m = malloc(sizeof *m);
	if (m == NULL)
		abort();
	*m = (struct memory_stream){ { memory_read, NULL, memory_close }, b, piece };
	return &m->s;
}

static enum image_code read_entries(struct layer *l, struct tree *t, uint16_t number, struct err *err)
{
	const struct entry *e;
	struct bytes piece;
	uint32_t inode;
	enum image_code c;
	unsigned n = 0;
	while ((c = layer_next(l, &e, err)) == IMAGE_OK && e != NULL && n++ < ENTRIES_MAX) {
		if ((c = merge_entry(t, number, e, &inode, err)) != IMAGE_OK)
			return c;
		uint64_t got = 0;
		while (e->kind == ENTRY_FILE && (c = layer_data(l, &piece, err)) == IMAGE_OK && piece.n > 0)
			got += piece.n;
		if (c != IMAGE_OK)
			return c;
		if (e->kind == ENTRY_FILE && got != e->size)
			abort();
	}
	return c;
}

static enum image_code apply(struct bytes in, size_t piece, struct tree *t, uint16_t number)
{
	static struct layer l;
	struct expand_budget budget = { 4 << 20, 1 << 20, 256 };
	struct image_warnings warnings = { .count = { 0 } };
	struct stream *s = NULL;
	struct err err;
	enum image_code c = stream_expanded(memory_stream(in, piece), &budget, "layer", &s, &err);
	if (c == IMAGE_OK)
		c = layer_open(&l, s, "layer", &warnings, &err);
	if (c == IMAGE_OK) {
		c = read_entries(&l, t, number, &err);
		layer_close(&l);
	}
	stream_close(&s);
	return c;
}

static void check_tree(struct tree *t)
{
	static char path[TREE_PATH_MAX + 1];
	size_t n;
	uint32_t count = 0;
	tree_finish(t);
	for (uint32_t node = tree_next(t, TREE_ROOT); node != 0; node = tree_next(t, node), count++) {
		struct bytes name = tree_name(t, node);
		if (name.n == 0 || name.n > TREE_NAME_MAX || memchr(name.p, '/', name.n) != NULL || memchr(name.p, '\0', name.n) != NULL ||
		    bytes_equal(name, BYTES_LIT(".")) || bytes_equal(name, BYTES_LIT("..")) ||
		    !tree_path(t, node, path, sizeof path, &n) || tree_resolve(t, bytes_of(path, n), false) != node)
			abort();
		if (tree_inode_of(t, node)->links == 0)
			abort();
		uint32_t next = tree_child_after(t, tree_node(t, node)->parent, name);
		struct bytes after = next != 0 ? tree_name(t, next) : BYTES_NONE;
		if (next != 0 && memcmp(name.p, after.p, name.n < after.n ? name.n : after.n) > 0)
			abort();
	}
	if (count + 1 != t->live_nodes)
		abort();
}

static void right_checksums(uint8_t *p, size_t n)
{
	for (size_t at = 0; at + 512 <= n; at += 512) {
		unsigned sum = 0;
		if (memcmp(p + at + 257, "ustar", 5) != 0)
			continue;
		memset(p + at + 148, ' ', 8);
		for (size_t i = 0; i < 512; i++)
			sum += p[at + i];
		for (int i = 5; i >= 0; i--, sum >>= 3)
			p[at + 148 + (size_t)i] = (uint8_t)('0' + (sum & 7));
		p[at + 154] = '\0';
	}
}

static void run(struct bytes in)
{
	enum image_code code[2][2];
	for (int i = 0; i < 2; i++) {
		struct tree *t;
		struct err err;
		if (tree_open(8 << 20, NULL, &t, &err) != IMAGE_OK)
			abort();
		for (uint16_t layer = 0; layer < 2; layer++)
			code[i][layer] = apply(in, i == 0 ? INPUT_MAX : 100, t, layer);
		check_tree(t);
		tree_close(t);
	}
	if (memcmp(code[0], code[1], sizeof code[0]) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > INPUT_MAX)
		return 0;
	run(bytes_of(data, size));
	uint8_t *fixed = malloc(size + 1);
	if (fixed == NULL)
		abort();
	if (size > 0)
		memcpy(fixed, data, size);
	right_checksums(fixed, size);
	run(bytes_of(fixed, size));
	free(fixed);
	return 0;
}
