/* Directories, links and empty files come first, from a walk of the tree; then files as their contents are read; then
 * the further names of files that have several, which the kernel links to what it already made. */
#include "image/app_plain.h"

static const char prefix[] = "app";

struct plain_sink {
	struct content_sink sink;
	struct ramdisk *rd;
	struct tree *tree;
};

/* The entry of node n, of that size; remembers its number in the inode. */
static enum image_code put_node(struct ramdisk *rd, struct tree *t, uint32_t n, uint64_t size, struct err *err)
{
	char name[sizeof prefix + TREE_PATH_MAX + 1];
	size_t path_n = 0;
	struct tree_inode *i = tree_inode_of(t, n);
	memcpy(name, prefix, sizeof prefix);
	if (n != TREE_ROOT) {
		name[sizeof prefix - 1] = '/';
		if (!tree_path(t, n, name + sizeof prefix, TREE_PATH_MAX + 1, &path_n))
			return image_fail(err, IMAGE_LAYOUT_LIMIT, 0, "a path is longer than %d bytes", TREE_PATH_MAX);
		path_n++;
	}
	/* the kernel links files, not symbolic links: those are made anew under each name */
	bool alone = S_ISDIR(i->mode) || S_ISLNK(i->mode);
	uint32_t ino = alone ? 0 : (uint32_t)i->user;
	const struct cpio_entry e = { .name = bytes_of(name, sizeof prefix - 1 + path_n), .mode = i->mode, .uid = i->uid, .gid = i->gid,
		.nlink = alone ? 1 : i->links, .ino = ino, .size = size };
	enum image_code c = ramdisk_entry(rd, &e, &ino, err);
	i->user = ino;
	return c;
}

static enum image_code begin(struct content_sink *s, uint32_t inode, struct err *err)
{
	struct plain_sink *p = (struct plain_sink *)(void *)s;
	const struct tree_inode *i = tree_inode(p->tree, inode);
	return put_node(p->rd, p->tree, i->node, i->size, err);
}

static enum image_code data(struct content_sink *s, struct bytes piece, struct err *err)
{
	return ramdisk_data(((struct plain_sink *)(void *)s)->rd, piece, err);
}

static enum image_code end(struct content_sink *s, struct err *err)
{
	(void)s, (void)err;
	return IMAGE_OK;
}

static bool has_contents(const struct tree_inode *i) { return S_ISREG(i->mode) && i->size > 0; }

static enum image_code put_structure(struct ramdisk *rd, struct tree *t, uint64_t *xattrs, struct err *err)
{
	enum image_code c = IMAGE_OK;
	for (uint32_t n = TREE_ROOT; n != 0 && c == IMAGE_OK; n = tree_next(t, n)) {
		const struct tree_inode *i = tree_inode_of(t, n);
		*xattrs += i->xattrs != 0 && i->node == n;
		if (has_contents(i) || (i->node != n && !S_ISLNK(i->mode)))
			continue;
		c = put_node(rd, t, n, S_ISLNK(i->mode) ? i->size : 0, err);
		if (c == IMAGE_OK && S_ISLNK(i->mode))
			c = ramdisk_data(rd, tree_target(t, tree_node(t, n)->inode), err);
	}
	return c;
}

enum image_code app_plain_write(struct ramdisk *rd, struct rootfs *r, uint64_t *ret_xattrs_lost, struct err *err)
{
	struct tree *t = r->tree;
	struct plain_sink sink = { { begin, data, end }, rd, t };
	*ret_xattrs_lost = 0;
	enum image_code c = put_structure(rd, t, ret_xattrs_lost, err);
	if (c == IMAGE_OK)
		c = rootfs_contents(r, &sink.sink, err);
	for (uint32_t n = TREE_ROOT; n != 0 && c == IMAGE_OK; n = tree_next(t, n)) {
		const struct tree_inode *i = tree_inode_of(t, n);
		if (i->node != n && !S_ISLNK(i->mode))
			c = put_node(rd, t, n, 0, err);
	}
	return c;
}
