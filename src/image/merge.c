/* Paths are walked name by name from the root of the tree. Following a symbolic link puts its target before what is
 * left of the path; the tail that is the entry's own is remembered, because only there may directories be made.
 *
 * A whiteout must spare what its own layer put at or below the same place. Every node knows the last layer that
 * set it or something below it (`touched`), so a subtree without such news is dropped at once, and the rest is
 * walked once per layer (`cleared`): a layer full of whiteouts costs no more than its own size. */
#include "image/merge.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>

enum { HOPS_MAX = 40, REST_MAX = 2 * TREE_PATH_MAX, SHOWN = 160 };

struct walk {
	struct tree *t;
	uint16_t layer;
	bool create;                         /* make directories that are missing */
	uint32_t at;                         /* 0: not there (only without create) */
	struct bytes rest;                   /* still to walk */
	size_t own;                          /* of these, at the end: from the entry itself */
	int hops;
	uint8_t *free_buffer, *used_buffer;
	uint8_t buffer[2][REST_MAX + 1];
};

static const char *shown(struct bytes b, char buf[SHOWN])
{
	return text_escape(b.n > 0 ? b : BYTES_LIT("/"), buf, SHOWN);
}

static struct bytes next_part(struct bytes *rest)
{
	size_t start = 0, end;
	while (start < rest->n && rest->p[start] == '/')
		start++;
	for (end = start; end < rest->n && rest->p[end] != '/'; end++) {}
	struct bytes part = bytes_slice(*rest, start, end - start);
	*rest = bytes_slice(*rest, end, rest->n - end);
	return part;
}

static enum image_code make_directory(struct tree *t, uint32_t parent, struct bytes name, uint16_t layer,
                                      uint32_t *ret, struct err *err)
{
	const struct tree_attributes implied = { .mode = S_IFDIR | 0755, .layer = layer };
	uint32_t inode;
	enum image_code c = tree_add_inode(t, &implied, &inode, err);
	return c == IMAGE_OK ? tree_set(t, parent, name, inode, layer, ret, err) : c;
}

/* Puts the link's target before what is left. */
static enum image_code follow(struct walk *w, uint32_t link, struct err *err)
{
	char where[SHOWN];
	struct bytes target = tree_target(w->t, tree_node(w->t, link)->inode);
	if (++w->hops > HOPS_MAX)
		return image_fail(err, IMAGE_LINK_LOOP, 0, "more than %d symbolic links lead to it, or they go in circles", HOPS_MAX);
	struct writer out = writer_of(w->free_buffer, REST_MAX);
	put_bytes(&out, target);
	put_bytes(&out, w->rest);            /* begins with a slash, or is empty */
	if (out.full)
		return image_fail(err, IMAGE_BAD_NAME, 0, "the symbolic link %s on its way makes it longer than %d bytes",
		                  shown(tree_name(w->t, link), where), REST_MAX);
	uint8_t *other = w->used_buffer;
	w->used_buffer = w->free_buffer;
	w->free_buffer = other;
	if (w->own > w->rest.n)
		w->own = w->rest.n;
	w->rest = writer_bytes(&out);
	if (target.n > 0 && target.p[0] == '/')
		w->at = TREE_ROOT;
	return IMAGE_OK;
}

static enum image_code step(struct walk *w, struct bytes part, bool own, struct err *err)
{
	char name[SHOWN];
	if (bytes_equal(part, BYTES_LIT(".")))
		return IMAGE_OK;
	if (bytes_equal(part, BYTES_LIT(".."))) {
		if (w->at == TREE_ROOT)
			return image_fail(err, IMAGE_LINK_ESCAPES, 0, "a symbolic link on its way climbs above the image's root");
		w->at = tree_node(w->t, w->at)->parent;
		return IMAGE_OK;
	}
	uint32_t n = tree_lookup(w->t, w->at, part);
	if (n == 0 && !w->create) {
		w->at = 0;
		return IMAGE_OK;
	}
	if (n == 0 && !own)
		return image_fail(err, IMAGE_LINK_ESCAPES, 0, "a symbolic link on its way leads to %s, which the image does not have",
		                  shown(part, name));
	if (n == 0)
		return make_directory(w->t, w->at, part, w->layer, &w->at, err);
	if (S_ISLNK(tree_inode_of(w->t, n)->mode))
		return follow(w, n, err);
	if (!tree_is_directory(w->t, n))
		return image_fail(err, IMAGE_PARENT_NOT_DIRECTORY, 0, "%s on its way is no directory", shown(part, name));
	w->at = n;
	return IMAGE_OK;
}

/* The directory that path names; *ret_at is 0 when it is not there and is not to be made. */
static enum image_code walk(struct tree *t, uint16_t layer, struct bytes path, bool create, uint32_t *ret_at,
                            struct err *err)
{
	struct walk w = { .t = t, .layer = layer, .create = create, .at = TREE_ROOT, .rest = path, .own = path.n };
	w.free_buffer = w.buffer[0];
	w.used_buffer = w.buffer[1];
	while (w.at != 0) {
		const uint8_t *end = w.rest.p + w.rest.n;
		struct bytes part = next_part(&w.rest);
		if (part.n == 0)
			break;
		enum image_code c = step(&w, part, (size_t)(end - part.p) <= w.own, err);
		if (c != IMAGE_OK)
			return c;
	}
	*ret_at = w.at;
	return IMAGE_OK;
}

static void split_path(struct bytes path, struct bytes *ret_parent, struct bytes *ret_name)
{
	size_t at = path.n;
	while (at > 0 && path.p[at - 1] != '/')
		at--;
	*ret_name = bytes_slice(path, at, path.n - at);
	*ret_parent = bytes_slice(path, 0, at > 0 ? at - 1 : 0);
}

/* The node that path names, its last part not followed; 0: not there. */
static enum image_code find(struct tree *t, uint16_t layer, struct bytes path, uint32_t *ret, struct err *err)
{
	struct bytes parent, name;
	uint32_t directory;
	split_path(path, &parent, &name);
	enum image_code c = walk(t, layer, parent, false, &directory, err);
	if (c != IMAGE_OK)
		return c;
	*ret = directory == 0 ? 0 : name.n == 0 ? TREE_ROOT : tree_lookup(t, directory, name);
	return IMAGE_OK;
}

/* --- whiteouts ------------------------------------------------------------------------------------ */

/* A directory of an earlier layer that only lives on because this layer put something inside: its own attributes
 * went with the layer that said them. */
static enum image_code forget_attributes(struct tree *t, uint32_t n, uint16_t layer, struct err *err)
{
	const struct tree_attributes implied = { .mode = S_IFDIR | 0755, .layer = layer };
	if (tree_node(t, n)->layer == layer)
		return IMAGE_OK;
	tree_node(t, n)->layer = layer;
	return tree_add_inode(t, &implied, &tree_node(t, n)->inode, err);
}

/* True when nothing of this layer is at n or below it. */
static bool only_earlier(const struct tree *t, uint32_t n, uint16_t layer)
{
	return tree_node(t, n)->layer != layer && tree_node(t, n)->touched != layer;
}

static bool is_news(const struct tree *t, uint32_t n, uint16_t layer) { return !only_earlier(t, n, layer); }

static void enter(struct tree *t, uint32_t directory, uint16_t layer)
{
	tree_node(t, directory)->cleared = (uint16_t)(layer + 1);
	tree_keep(t, directory, is_news, layer);
}

/* Removes what earlier layers put below `top`. Directories are entered by going down and left by going to the name
 * after theirs, so this needs no stack. */
static enum image_code clear_below(struct tree *t, uint32_t top, uint16_t layer, struct err *err)
{
	uint32_t directory = top;
	struct bytes after = BYTES_NONE;
	if (tree_node(t, top)->cleared == layer + 1)
		return IMAGE_OK;
	enter(t, top, layer);
	for (;;) {
		uint32_t n = tree_child_after(t, directory, after);
		if (n == 0 && directory == top)
			return IMAGE_OK;
		if (n == 0) {
			after = tree_name(t, directory);
			directory = tree_node(t, directory)->parent;
			continue;
		}
		after = tree_name(t, n);
		if (tree_is_directory(t, n) && tree_node(t, n)->cleared != layer + 1) {
			enum image_code c = forget_attributes(t, n, layer, err);
			if (c != IMAGE_OK)
				return c;
			enter(t, n, layer);
			directory = n;
			after = BYTES_NONE;
		}
	}
}

static enum image_code whiteout(struct tree *t, uint16_t layer, struct bytes path, struct err *err)
{
	uint32_t n;
	enum image_code c = find(t, layer, path, &n, err);
	if (c != IMAGE_OK || n == 0)
		return c;
	if (only_earlier(t, n, layer)) {
		tree_remove(t, n);
		return IMAGE_OK;
	}
	if (!tree_is_directory(t, n))
		return IMAGE_OK;
	c = clear_below(t, n, layer, err);
	return c == IMAGE_OK ? forget_attributes(t, n, layer, err) : c;
}

/* --- what stays ----------------------------------------------------------------------------------- */

static uint32_t type_bits(enum entry_kind k)
{
	switch (k) {
	case ENTRY_DIRECTORY: return S_IFDIR;
	case ENTRY_SYMLINK: return S_IFLNK;
	case ENTRY_FIFO: return S_IFIFO;
	case ENTRY_DEVICE: return S_IFCHR;
	default: return S_IFREG;
	}
}

static enum image_code link_target(struct tree *t, uint16_t layer, struct bytes target, uint32_t *ret_inode,
                                   struct err *err)
{
	char name[SHOWN];
	uint32_t n;
	enum image_code c = find(t, layer, target, &n, err);
	if (c != IMAGE_OK)
		return c;
	if (n == 0)
		return image_fail(err, IMAGE_LINK_TARGET_MISSING, 0, "it is a hard link to %s, which is not there", shown(target, name));
	if (tree_is_directory(t, n))
		return image_fail(err, IMAGE_LINK_TO_DIRECTORY, 0, "it is a hard link to %s, which is a directory", shown(target, name));
	*ret_inode = tree_node(t, n)->inode;
	return IMAGE_OK;
}

/* The directory takes new attributes and keeps what is in it. */
static enum image_code restate_directory(struct tree *t, uint16_t layer, uint32_t n, uint32_t inode)
{
	tree_node(t, n)->inode = inode;
	tree_node(t, n)->layer = layer;
	tree_touch(t, n, layer);
	return IMAGE_OK;
}

static size_t path_size(const struct tree *t, uint32_t node)
{
	size_t n = 0;
	for (; node != TREE_ROOT; node = tree_node(t, node)->parent)
		n += tree_name(t, node).n + 1;
	return n;
}

static enum image_code place(struct tree *t, uint16_t layer, const struct entry *e, uint32_t *ret_inode,
                             struct err *err)
{
	struct bytes parent, name;
	uint32_t directory, inode, n;
	split_path(e->path, &parent, &name);
	enum image_code c = walk(t, layer, parent, true, &directory, err);
	if (c != IMAGE_OK)
		return c;
	if (path_size(t, directory) + name.n > TREE_PATH_MAX)
		return image_fail(err, IMAGE_BAD_NAME, 0, "with symbolic links followed its path is longer than %d bytes", TREE_PATH_MAX);
	uint32_t old = name.n == 0 ? TREE_ROOT : tree_lookup(t, directory, name);
	bool onto_directory = old != 0 && tree_is_directory(t, old) && e->kind == ENTRY_DIRECTORY;
	if (old == TREE_ROOT && e->kind != ENTRY_DIRECTORY)
		return image_fail(err, IMAGE_BAD_NAME, 0, "it has the name of the root and is no directory");
	if (old != 0 && !onto_directory && !only_earlier(t, old, layer))
		return image_fail(err, IMAGE_DUPLICATE_ENTRY, 0, "the layer has that name twice");
	if (e->kind == ENTRY_HARD_LINK) {
		c = link_target(t, layer, e->link, &inode, err);
	} else {
		const struct tree_attributes a = { .mode = type_bits(e->kind) | e->mode, .uid = e->uid, .gid = e->gid,
			.size = e->size, .mtime = e->mtime, .target = e->link, .xattrs = e->xattrs, .layer = layer,
			.ordinal = e->ordinal };
		c = tree_add_inode(t, &a, &inode, err);
	}
	if (c != IMAGE_OK)
		return c;
	*ret_inode = inode;
	return onto_directory ? restate_directory(t, layer, old, inode) : tree_set(t, directory, name, inode, layer, &n, err);
}

static enum image_code opaque(struct tree *t, uint16_t layer, struct bytes path, struct err *err)
{
	uint32_t directory;
	enum image_code c = walk(t, layer, path, true, &directory, err);
	if (c != IMAGE_OK)
		return c;
	/* the marker itself says that this layer has the directory */
	tree_touch(t, directory, layer);
	return clear_below(t, directory, layer, err);
}

enum image_code merge_entry(struct tree *t, uint16_t layer, const struct entry *e, uint32_t *ret_inode,
                            struct err *err)
{
	char path[SHOWN];
	enum image_code c = IMAGE_OK;
	*ret_inode = 0;
	if (e->kind == ENTRY_WHITEOUT)
		c = whiteout(t, layer, e->path, err);
	else if (e->kind == ENTRY_OPAQUE)
		c = opaque(t, layer, e->path, err);
	else if (e->kind != ENTRY_IGNORED)
		c = place(t, layer, e, ret_inode, err);
	return c == IMAGE_OK ? c : image_fail_in(err, c, "%s", shown(e->path, path));
}
