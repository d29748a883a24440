/* Treaps over arrays. Insertion walks down to where the new node's priority belongs and splits what is below it
 * in two; there are no rotations, no recursion and no parent links inside a treap: the next name is found by
 * a search for "the least name above this one", which costs a logarithm and no memory. Removed names stay as
 * empty nodes, because a later layer often brings them back. */
#include "image/tree.h"

#include "base/cleanup.h"
#include "crypto/crypto.h"

enum { RESOLVE_HOPS_MAX = 40, LENGTH_SIZE = 4, STEPS_BETWEEN_TRIMS = 8192 };

enum image_code tree_open(uint64_t memory_limit, const char *spill_dir, struct tree **ret, struct err *err)
{
	struct tree *t = malloc(sizeof *t);
	if (t == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "hold a file tree");
	memset(t, 0, sizeof *t);
	slab_pool_init(&t->pool, memory_limit, spill_dir);
	slab_init(&t->nodes, &t->pool, sizeof(struct tree_node));
	slab_init(&t->inodes, &t->pool, sizeof(struct tree_inode));
	slab_init(&t->heap, &t->pool, 1);
	uint32_t inode, node, name;
	const struct tree_attributes root = { .mode = S_IFDIR | 0755 };
	enum image_code c = tree_add_inode(t, &root, &inode, err);
	if (c == IMAGE_OK)
		c = slab_append(&t->nodes, 1, &node, err);
	if (c == IMAGE_OK)
		c = slab_append(&t->heap, 1, &name, err);
	if (c == IMAGE_OK && !crypto_random(&t->seed, sizeof t->seed))
		c = image_fail(err, IMAGE_IO, 0, "get random bytes");
	if (c != IMAGE_OK) {
		tree_close(t);
		return c;
	}
	*tree_node(t, node) = (struct tree_node){ .parent = TREE_ROOT, .inode = inode, .name = name };
	*ret = t;
	return IMAGE_OK;
}

void tree_close(struct tree *t)
{
	if (t == NULL)
		return;
	slab_close(&t->nodes);
	slab_close(&t->inodes);
	slab_close(&t->heap);
	slab_pool_close(&t->pool);
	free(t);
}

/* --- the heap: names have one byte of length, everything else four --------------------------------- */

static enum image_code heap_add(struct tree *t, size_t length_size, struct bytes b, uint32_t *ret, struct err *err)
{
	enum image_code c = slab_append(&t->heap, (uint32_t)(length_size + b.n), ret, err);
	if (c != IMAGE_OK)
		return c;
	struct writer w = writer_of(slab_at(&t->heap, *ret), length_size + b.n);
	if (length_size == 1)
		put_u8(&w, (uint8_t)b.n);
	else
		put_be32(&w, (uint32_t)b.n);
	put_bytes(&w, b);
	return IMAGE_OK;
}

struct bytes tree_name(const struct tree *t, uint32_t node)
{
	const uint8_t *p = slab_at(&t->heap, tree_node(t, node)->name);
	return bytes_of(p + 1, p[0]);
}

static struct bytes heap_get(const struct tree *t, uint32_t ref)
{
	if (ref == 0)
		return BYTES_NONE;
	const uint8_t *p = slab_at(&t->heap, ref);
	struct reader r = reader_of(bytes_of(p, LENGTH_SIZE));
	return bytes_of(p + LENGTH_SIZE, get_be32(&r));
}

struct bytes tree_target(const struct tree *t, uint32_t inode) { return heap_get(t, tree_inode(t, inode)->target); }

struct reader tree_xattrs(const struct tree *t, uint32_t inode)
{
	return reader_of(heap_get(t, tree_inode(t, inode)->xattrs));
}

void tree_xattr_put(struct writer *w, struct bytes name, struct bytes value)
{
	put_be16(w, (uint16_t)name.n);
	put_bytes(w, name);
	put_be32(w, (uint32_t)value.n);
	put_bytes(w, value);
}

bool tree_xattr_next(struct reader *r, struct bytes *ret_name, struct bytes *ret_value)
{
	if (reader_left(r) == 0)
		return false;
	*ret_name = get_bytes(r, get_be16(r));
	*ret_value = get_bytes(r, get_be32(r));
	return !r->bad;
}

enum image_code tree_add_inode(struct tree *t, const struct tree_attributes *a, uint32_t *ret, struct err *err)
{
	uint32_t target = 0, xattrs = 0;
	enum image_code c = IMAGE_OK;
	if (S_ISLNK(a->mode))
		c = heap_add(t, LENGTH_SIZE, a->target, &target, err);
	if (c == IMAGE_OK && a->xattrs.n > 0)
		c = heap_add(t, LENGTH_SIZE, a->xattrs, &xattrs, err);
	if (c == IMAGE_OK)
		c = slab_append(&t->inodes, 1, ret, err);
	if (c != IMAGE_OK)
		return c;
	*tree_inode(t, *ret) = (struct tree_inode){ .mode = a->mode, .uid = a->uid, .gid = a->gid, .mtime = a->mtime,
		.size = S_ISLNK(a->mode) ? a->target.n : S_ISREG(a->mode) ? a->size : 0, .layer = a->layer,
		.ordinal = a->ordinal, .target = target, .xattrs = xattrs };
	return IMAGE_OK;
}

/* --- names in order ----------------------------------------------------------------------------- */

static int compare(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n > 0 ? memcmp(a.p, b.p, n) : 0;
	return d != 0 ? d : (a.n > b.n) - (a.n < b.n);
}

/* splitmix64's finalizer: a priority that is the same each time a node is looked at */
static uint64_t priority(const struct tree *t, uint32_t node)
{
	uint64_t z = t->seed + node * UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* The node with that name, removed or not. */
static uint32_t find(const struct tree *t, uint32_t directory, struct bytes name)
{
	uint32_t n = tree_node(t, directory)->children;
	while (n != 0) {
		int d = compare(name, tree_name(t, n));
		if (d == 0)
			break;
		n = d < 0 ? tree_node(t, n)->left : tree_node(t, n)->right;
	}
	return n;
}

uint32_t tree_lookup(const struct tree *t, uint32_t directory, struct bytes name)
{
	uint32_t n = find(t, directory, name);
	return n != 0 && tree_node(t, n)->inode != 0 ? n : 0;
}

static uint32_t next_name(const struct tree *t, uint32_t directory, struct bytes after)
{
	uint32_t best = 0;
	for (uint32_t n = tree_node(t, directory)->children; n != 0;) {
		if (compare(after, tree_name(t, n)) < 0) {
			best = n;
			n = tree_node(t, n)->left;
		} else {
			n = tree_node(t, n)->right;
		}
	}
	return best;
}

uint32_t tree_child_after(const struct tree *t, uint32_t directory, struct bytes after)
{
	uint32_t n = next_name(t, directory, after);
	while (n != 0 && tree_node(t, n)->inode == 0)
		n = next_name(t, directory, tree_name(t, n));
	return n;
}

/* Splits what hangs below the new node n by its name. */
static void split(struct tree *t, uint32_t rest, uint32_t n)
{
	uint32_t *smaller = &tree_node(t, n)->left, *greater = &tree_node(t, n)->right;
	while (rest != 0) {
		bool less = compare(tree_name(t, rest), tree_name(t, n)) < 0;
		uint32_t **side = less ? &smaller : &greater;
		**side = rest;
		*side = less ? &tree_node(t, rest)->right : &tree_node(t, rest)->left;
		rest = **side;
	}
	*smaller = *greater = 0;
}

static void insert(struct tree *t, uint32_t directory, uint32_t n)
{
	uint32_t *link = &tree_node(t, directory)->children;
	uint64_t mine = priority(t, n);
	while (*link != 0 && priority(t, *link) > mine) {
		struct tree_node *at = tree_node(t, *link);
		link = compare(tree_name(t, n), tree_name(t, *link)) < 0 ? &at->left : &at->right;
	}
	uint32_t below = *link;
	*link = n;
	split(t, below, n);
}

void tree_keep(struct tree *t, uint32_t directory, bool (*keep)(const struct tree *t, uint32_t node, uint16_t layer),
               uint16_t layer)
{
	uint32_t rest = tree_node(t, directory)->children;
	tree_node(t, directory)->children = 0;
	while (rest != 0) {
		struct tree_node *n = tree_node(t, rest);
		if (n->left != 0) {
			/* rotate the smaller side up: each name is turned past once */
			uint32_t up = n->left;
			n->left = tree_node(t, up)->right;
			tree_node(t, up)->right = rest;
			rest = up;
			continue;
		}
		uint32_t least = rest;
		rest = n->right;
		n->left = n->right = 0;
		if (n->inode != 0 && keep(t, least, layer))
			insert(t, directory, least);
	}
}

void tree_touch(struct tree *t, uint32_t node, uint16_t layer)
{
	/* what was touched in this layer has told all above it */
	while (tree_node(t, node)->touched != layer) {
		tree_node(t, node)->touched = layer;
		node = tree_node(t, node)->parent;
	}
}

enum image_code tree_set(struct tree *t, uint32_t directory, struct bytes name, uint32_t inode, uint16_t layer,
                         uint32_t *ret_node, struct err *err)
{
	uint32_t n = find(t, directory, name);
	if (n != 0) {
		tree_node(t, n)->children = 0;
	} else {
		uint32_t text;
		enum image_code c = heap_add(t, 1, name, &text, err);
		if (c == IMAGE_OK)
			c = slab_append(&t->nodes, 1, &n, err);
		if (c != IMAGE_OK)
			return c;
		*tree_node(t, n) = (struct tree_node){ .parent = directory, .name = text };
		insert(t, directory, n);
	}
	tree_node(t, n)->inode = inode;
	tree_node(t, n)->layer = layer;
	tree_node(t, n)->cleared = 0;
	tree_touch(t, n, layer);
	*ret_node = n;
	return IMAGE_OK;
}

void tree_remove(struct tree *t, uint32_t node)
{
	tree_node(t, node)->children = 0;
	if (node != TREE_ROOT)
		tree_node(t, node)->inode = 0;
}

void tree_breathe(struct tree *t)
{
	if (t->pool.spilled == 0 || ++t->steps < STEPS_BETWEEN_TRIMS)
		return;
	t->steps = 0;
	slab_trim(&t->nodes);
	slab_trim(&t->inodes);
	slab_trim(&t->heap);
}

/* --- walking -------------------------------------------------------------------------------------- */

uint32_t tree_next(struct tree *t, uint32_t node)
{
	tree_breathe(t);
	uint32_t n = tree_child_after(t, node, BYTES_NONE);
	while (n == 0 && node != TREE_ROOT) {
		uint32_t parent = tree_node(t, node)->parent;
		n = tree_child_after(t, parent, tree_name(t, node));
		node = parent;
	}
	return n;
}

bool tree_path(const struct tree *t, uint32_t node, char *buf, size_t cap, size_t *ret_n)
{
	size_t n = 0;
	for (uint32_t at = node; at != TREE_ROOT; at = tree_node(t, at)->parent)
		n += tree_name(t, at).n + (at != node);
	if (n >= cap)
		return false;
	size_t end = n;
	buf[end] = '\0';
	for (uint32_t at = node; at != TREE_ROOT; at = tree_node(t, at)->parent) {
		struct bytes name = tree_name(t, at);
		if (at != node)
			buf[--end] = '/';
		end -= name.n;
		memcpy(buf + end, name.p, name.n);
	}
	*ret_n = n;
	return true;
}

/* The next component of *rest, which is shortened; empty at the end. */
static struct bytes component(struct bytes *rest)
{
	size_t start = 0, end;
	while (start < rest->n && rest->p[start] == '/')
		start++;
	for (end = start; end < rest->n && rest->p[end] != '/'; end++) {}
	struct bytes part = bytes_slice(*rest, start, end - start);
	*rest = bytes_slice(*rest, end, rest->n - end);
	return part;
}

/* Recursion depth is bounded by the hops, and each level holds a few words only. */
static uint32_t resolve(const struct tree *t, uint32_t at, struct bytes path, bool follow_last, int *hops)
{
	if (path.n > 0 && path.p[0] == '/')
		at = TREE_ROOT;
	for (struct bytes part = component(&path); at != 0 && part.n > 0; part = component(&path)) {
		if (!tree_is_directory(t, at))
			return 0;
		if (bytes_equal(part, BYTES_LIT(".")))
			continue;
		if (bytes_equal(part, BYTES_LIT(".."))) {
			at = tree_node(t, at)->parent;
			continue;
		}
		uint32_t n = tree_lookup(t, at, part);
		struct bytes rest = path;
		bool last = component(&rest).n == 0;
		if (n != 0 && S_ISLNK(tree_inode_of(t, n)->mode) && (!last || follow_last)) {
			if (++*hops > RESOLVE_HOPS_MAX)
				return 0;
			n = resolve(t, at, tree_target(t, tree_node(t, n)->inode), true, hops);
		}
		at = n;
	}
	return at;
}

uint32_t tree_resolve(const struct tree *t, struct bytes path, bool follow_last)
{
	int hops = 0;
	return resolve(t, TREE_ROOT, path, follow_last, &hops);
}

/* --- the finished tree ------------------------------------------------------------------------------ */

void tree_finish(struct tree *t)
{
	t->live_nodes = 0;
	t->live_bytes = 0;
	for (uint32_t n = TREE_ROOT; n != 0; n = tree_next(t, n)) {
		struct tree_inode *i = tree_inode_of(t, n);
		t->live_nodes++;
		if (i->links++ > 0)
			continue;
		i->node = n;
		if (S_ISREG(i->mode))
			t->live_bytes += i->size;
	}
}
