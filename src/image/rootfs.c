/* Inodes are numbered as entries are read, so all inodes of one layer follow each other and those of files have rising
 * ordinals: the second pass finds out whose bytes it is reading with one index that moves forward. */
#include "image/rootfs.h"

#include "base/cleanup.h"
#include "image/merge.h"

static bool has_content(const struct tree_inode *i) { return S_ISREG(i->mode) && i->size > 0; }

/* --- first pass ----------------------------------------------------------------------------------------- */

/* Hands the current file to sink (if any) and keeps a copy in `keep` (if any). */
static enum image_code deliver(struct entries *in, uint32_t inode, struct content_sink *sink, struct kept_file *keep,
                               struct err *err)
{
	struct bytes piece = BYTES_NONE;
	size_t at = 0;
	enum image_code c = sink != NULL ? sink->begin(sink, inode, err) : IMAGE_OK;
	while (c == IMAGE_OK && (c = in->data(in, &piece, err)) == IMAGE_OK && piece.n > 0) {
		if (keep != NULL) {
			memcpy(keep->bytes + at, piece.p, piece.n);
			at += piece.n;
		}
		if (sink != NULL)
			c = sink->data(sink, piece, err);
	}
	return c == IMAGE_OK && sink != NULL ? sink->end(sink, err) : c;
}

/* The file that /etc/passwd or /etc/group may be in the end is kept, so that looking up a user rarely needs another
 * reading. */
static enum image_code prepare_keep(struct rootfs *r, const struct entry *e, uint32_t inode, struct kept_file **ret,
                                    struct err *err)
{
	struct kept_file *k = bytes_equal(e->path, BYTES_LIT("etc/passwd")) ? &r->passwd :
		bytes_equal(e->path, BYTES_LIT("etc/group")) ? &r->group : NULL;
	*ret = NULL;
	if (k == NULL || e->size > ROOTFS_ACCOUNTS_MAX)
		return IMAGE_OK;
	free(k->bytes);
	*k = (struct kept_file){ .inode = inode, .bytes = malloc((size_t)e->size), .n = (size_t)e->size };
	if (k->bytes == NULL) {
		*k = (struct kept_file){ .inode = 0 };
		return image_fail(err, IMAGE_IO, ENOMEM, "keep a file");
	}
	*ret = k;
	return IMAGE_OK;
}

static enum image_code take_entry(struct rootfs *r, struct entries *in, uint16_t layer, const struct entry *e,
                                  struct content_sink *sink, struct err *err)
{
	uint32_t inode;
	struct kept_file *keep;
	/* one entry may imply many directories: they count as well */
	if (++r->entries > r->limits.entries_max || r->tree->inodes.count > r->limits.entries_max + 2)
		return image_fail(err, IMAGE_ENTRIES_LIMIT, 0, "the image has more than %llu entries; raise the limit if it is what "
		                  "you expect", (unsigned long long)r->limits.entries_max);
	tree_breathe(r->tree);
	enum image_code c = merge_entry(r->tree, layer, e, &inode, err);
	if (c != IMAGE_OK)
		return image_fail_in(err, c, "layer %u of %zu", layer + 1u, source_layer_count(r->source));
	if (e->kind != ENTRY_FILE || e->size == 0)
		return IMAGE_OK;
	c = prepare_keep(r, e, inode, &keep, err);
	if (c == IMAGE_OK && (sink != NULL || keep != NULL))
		c = deliver(in, inode, sink, keep, err);
	return c;
}

static enum image_code scan_layer(struct rootfs *r, uint16_t layer, struct expand_budget *budget,
                                  struct content_sink *sink, struct err *err)
{
	struct entries *in;
	const struct entry *e;
	enum image_code c = source_layer(r->source, layer, false, budget, &r->warnings, &in, err);
	if (c != IMAGE_OK)
		return c;
	while (c == IMAGE_OK && (c = in->next(in, &e, err)) == IMAGE_OK && e != NULL)
		c = take_entry(r, in, layer, e, sink, err);
	c = in->finish(in, c, err);
	in->close(in);
	return c;
}

/* Devices took their places, which hid what was below them; the finished tree is without them. */
static void drop_devices(struct tree *t)
{
	for (uint32_t n = tree_next(t, TREE_ROOT); n != 0; n = tree_next(t, n)) {
		uint32_t mode = tree_inode_of(t, n)->mode;
		if (S_ISCHR(mode) || S_ISBLK(mode))
			tree_remove(t, n);
	}
}

enum image_code rootfs_scan(struct source *source, const struct rootfs_limits *limits, struct content_sink *sink,
                            struct rootfs **ret, struct err *err)
{
	struct expand_budget budget = { limits->bytes_max, limits->expansion_grace, limits->expansion_ratio };
	struct rootfs *r = calloc(1, sizeof *r);
	if (r == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "hold a root file system");
	r->source = source;
	r->limits = *limits;
	enum image_code c = tree_open(limits->tree_memory, limits->spill_dir, &r->tree, err);
	size_t n = source_layer_count(source);
	for (size_t i = 0; i < n && c == IMAGE_OK; i++) {
		r->first_inode[i] = r->tree->inodes.count;
		c = scan_layer(r, (uint16_t)i, &budget, sink, err);
	}
	if (c != IMAGE_OK) {
		rootfs_close(r);
		return c;
	}
	r->first_inode[n] = r->tree->inodes.count;
	r->unpacked = limits->bytes_max - budget.left;
	drop_devices(r->tree);
	tree_finish(r->tree);
	*ret = r;
	return IMAGE_OK;
}

void rootfs_close(struct rootfs *r)
{
	if (r == NULL)
		return;
	tree_close(r->tree);
	free(r->passwd.bytes);
	free(r->group.bytes);
	free(r);
}

/* --- second pass ---------------------------------------------------------------------------------------- */

/* The next inode from `at` on whose bytes are wanted; `end` when there is none. only 0: any. */
static uint32_t next_wanted(const struct tree *t, uint32_t at, uint32_t end, uint32_t only)
{
	for (; at < end; at++) {
		const struct tree_inode *i = tree_inode(t, at);
		if (i->links > 0 && has_content(i) && (only == 0 || at == only))
			break;
	}
	return at;
}

static enum image_code read_layer(struct rootfs *r, size_t layer, uint32_t only, struct content_sink *sink,
                                  struct err *err)
{
	struct expand_budget budget = { r->limits.bytes_max, r->limits.expansion_grace, r->limits.expansion_ratio };
	uint32_t end = r->first_inode[layer + 1];
	uint32_t at = next_wanted(r->tree, r->first_inode[layer], end, only);
	struct entries *in;
	const struct entry *e;
	if (at == end)
		return IMAGE_OK;
	enum image_code c = source_layer(r->source, layer, true, &budget, NULL, &in, err);
	if (c != IMAGE_OK)
		return c;
	while (at < end && (c = in->next(in, &e, err)) == IMAGE_OK && e != NULL) {
		const struct tree_inode *i = tree_inode(r->tree, at);
		if (e->ordinal != i->ordinal)
			continue;
		if (e->kind != ENTRY_FILE || e->size != i->size)
			break;
		if ((c = deliver(in, at, sink, NULL, err)) != IMAGE_OK)
			break;
		at = next_wanted(r->tree, at + 1, end, only);
		tree_breathe(r->tree);
	}
	c = in->finish(in, c, err);
	/* after finish, whose check of the digest says more */
	if (c == IMAGE_OK && at < end)
		c = image_fail(err, IMAGE_CHANGED, 0, "the source changed while it was read: layer %zu is not what it was", layer + 1);
	in->close(in);
	return c;
}

enum image_code rootfs_contents(struct rootfs *r, struct content_sink *sink, struct err *err)
{
	enum image_code c = IMAGE_OK;
	for (size_t i = 0; i < source_layer_count(r->source) && c == IMAGE_OK; i++)
		c = read_layer(r, i, 0, sink, err);
	return c;
}

struct slurp { struct content_sink sink; uint8_t *buf; size_t at; };

static enum image_code slurp_begin(struct content_sink *s, uint32_t inode, struct err *err)
{
	(void)s, (void)inode, (void)err;
	return IMAGE_OK;
}

static enum image_code slurp_data(struct content_sink *s, struct bytes piece, struct err *err)
{
	struct slurp *p = (struct slurp *)(void *)s;
	(void)err;
	memcpy(p->buf + p->at, piece.p, piece.n);
	p->at += piece.n;
	return IMAGE_OK;
}

static enum image_code slurp_end(struct content_sink *s, struct err *err)
{
	(void)s, (void)err;
	return IMAGE_OK;
}

enum image_code rootfs_read_file(struct rootfs *r, uint32_t inode, size_t max, uint8_t **ret, size_t *ret_n,
                                 struct err *err)
{
	const struct tree_inode *i = tree_inode(r->tree, inode);
	struct slurp s = { .sink = { slurp_begin, slurp_data, slurp_end } };
	if (!S_ISREG(i->mode))
		return image_fail(err, IMAGE_NOT_FOUND, 0, "it is not a file");
	if (i->size > max)
		return image_fail(err, IMAGE_TOO_LARGE, 0, "it has %llu bytes; %zu are allowed", (unsigned long long)i->size, max);
	s.buf = malloc((size_t)i->size + 1);
	if (s.buf == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read a file of the image");
	enum image_code c = i->size > 0 ? read_layer(r, i->layer, inode, &s.sink, err) : IMAGE_OK;
	if (c != IMAGE_OK) {
		free(s.buf);
		return c;
	}
	*ret = s.buf;
	*ret_n = s.at;
	return IMAGE_OK;
}

/* --- additions ------------------------------------------------------------------------------------------- */

static enum image_code add_directory(struct tree *t, uint32_t parent, struct bytes name, uint32_t mode, uint32_t *ret,
                                     struct err *err)
{
	const struct tree_attributes a = { .mode = S_IFDIR | mode };
	uint32_t inode;
	if (name.n > TREE_NAME_MAX)
		return image_fail(err, IMAGE_BAD_NAME, 0, "a part of its path is longer than %d bytes", TREE_NAME_MAX);
	enum image_code c = tree_add_inode(t, &a, &inode, err);
	if (c == IMAGE_OK)
		c = tree_set(t, parent, name, inode, (uint16_t)(TREE_LAYERS_MAX + 1), ret, err);
	if (c != IMAGE_OK)
		return c;
	/* what tree_finish() does for those that were there */
	tree_inode(t, inode)->links = 1;
	tree_inode(t, inode)->node = *ret;
	t->live_nodes++;
	return IMAGE_OK;
}

enum image_code rootfs_make_directory(struct rootfs *r, const char *path, uint32_t mode, struct err *err)
{
	uint32_t at = TREE_ROOT;
	size_t n = strlen(path);
	if (n > TREE_PATH_MAX)
		return image_fail(err, IMAGE_BAD_NAME, 0, "a path of %zu bytes is too long", n);
	for (size_t end, start = 0; start < n; start = end + 1) {
		end = start + strcspn(path + start, "/");
		uint32_t found = end > 0 ? tree_resolve(r->tree, bytes_of(path, end), true) : TREE_ROOT;
		enum image_code c = IMAGE_OK;
		if (found == 0 && (end == start || path[start] == '.' || tree_lookup(r->tree, at, bytes_of(path + start, end - start)) != 0))
			return image_fail(err, IMAGE_BAD_DIRECTORY, 0, "%.*s is a link to nowhere, or no plain path", (int)end, path);
		if (found == 0)
			c = add_directory(r->tree, at, bytes_of(path + start, end - start), end == n ? mode : 0755, &found, err);
		if (c != IMAGE_OK)
			return c;
		if (!tree_is_directory(r->tree, found))
			return image_fail(err, IMAGE_BAD_DIRECTORY, 0, "%.*s is no directory", (int)end, path);
		at = found;
	}
	return IMAGE_OK;
}

/* --- the user ---------------------------------------------------------------------------------------------- */

/* The bytes of the file that path means in the image; nothing when there is none. *ret_owned: to be freed. */
static enum image_code account_file(struct rootfs *r, const char *path, const struct kept_file *kept, struct bytes *ret,
                                    uint8_t **ret_owned, struct err *err)
{
	uint32_t node = tree_resolve(r->tree, bytes_str(path), true);
	uint32_t inode = node != 0 ? tree_node(r->tree, node)->inode : 0;
	size_t n = 0;
	*ret = BYTES_NONE;
	if (inode == 0 || !has_content(tree_inode(r->tree, inode)))
		return IMAGE_OK;
	if (kept->inode == inode) {
		*ret = bytes_of(kept->bytes, kept->n);
		return IMAGE_OK;
	}
	enum image_code c = rootfs_read_file(r, inode, ROOTFS_ACCOUNTS_MAX, ret_owned, &n, err);
	*ret = bytes_of(*ret_owned, n);
	return c == IMAGE_OK ? c : image_fail_in(err, c, "read the image's %s", path);
}

enum image_code rootfs_resolve_user(struct rootfs *r, const char *user, struct image_user *ret, struct err *err)
{
	CLEANUP(free_ptr) uint8_t *passwd_owned = NULL, *group_owned = NULL;
	struct bytes passwd, group;
	enum image_code c = account_file(r, "/etc/passwd", &r->passwd, &passwd, &passwd_owned, err);
	if (c == IMAGE_OK)
		c = account_file(r, "/etc/group", &r->group, &group, &group_owned, err);
	return c == IMAGE_OK ? user_resolve(user, passwd, group, ret, err) : c;
}
