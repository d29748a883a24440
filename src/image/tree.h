/* The file tree of an image: names and metadata, no contents. About 110 bytes for each file.
 *
 *     node (a name in a directory) ──> inode (mode, owner, size, where the bytes are)
 *       ├ left, right: the directory's names as a binary search tree
 *       └ children: the root of that tree, for directories
 *
 * Nodes and inodes are numbers (0: none) into append-only arrays, so the whole tree can leave memory for a
 * temporary file (image/slab.h). Hard links are nodes that share an inode. The search trees are balanced by
 * random priorities (treaps): their shape differs from run to run, their order does not, and nobody who
 * chooses the names can make them deep. Names are bytes; nothing here interprets them.
 *
 * Functions that only read cannot fail. */
#ifndef IMAGE_TREE_H
#define IMAGE_TREE_H

#include "base/bytes.h"
#include "image/slab.h"

#include <stdbool.h>
#include <sys/stat.h>

enum {
	TREE_ROOT = 1,                       /* the node of "/" */
	TREE_NAME_MAX = 255,
	TREE_PATH_MAX = 4095,                /* bytes, without a terminating zero */
	TREE_LAYERS_MAX = 1000
};

struct tree_node {
	uint32_t parent;                     /* the root's own: itself */
	uint32_t left, right, children;
	uint32_t inode;                      /* 0: the name was removed */
	uint32_t name;
	uint16_t layer;                      /* that set it last */
	uint16_t touched;                    /* the last layer that set it or anything below it */
	uint16_t cleared;                    /* 1 + the layer whose whiteout already went through here */
	uint16_t spare;
};
_Static_assert(sizeof(struct tree_node) == 32, "divides a segment");

struct tree_inode {
	uint32_t mode;                       /* S_IFMT and the twelve permission bits */
	uint32_t uid, gid;
	uint32_t links;                      /* names in the finished tree; 0: not part of it */
	uint64_t size;                       /* of a regular file; of a symbolic link's target */
	int64_t mtime;
	uint64_t user;                       /* this and number: for whoever consumes the tree; start as 0 */
	uint32_t ordinal;                    /* which entry of its layer it is, counted from 0 */
	uint32_t node;                       /* its first name in the finished tree */
	uint32_t target;                     /* symbolic link: tree_target() */
	uint32_t xattrs;                     /* tree_xattr_next() */
	uint16_t layer;
	uint16_t spare;
	uint32_t number;
};
_Static_assert(sizeof(struct tree_inode) == 64, "divides a segment");

struct tree {
	struct slab_pool pool;
	struct slab nodes, inodes, heap;     /* heap: names, targets, attributes */
	uint64_t seed;                       /* of the priorities */
	uint32_t steps;                      /* since the last trim */
	/* of the finished tree */
	uint32_t live_nodes;
	uint64_t live_bytes;                 /* of regular files, hard links counted once */
};

/* memory_limit: bytes before the tree spills into a file in spill_dir (NULL: image/slab.h says). */
enum image_code tree_open(uint64_t memory_limit, const char *spill_dir, struct tree **ret, struct err *err);
void tree_close(struct tree *t);                     /* NULL is fine */

static inline struct tree_node *tree_node(const struct tree *t, uint32_t n) { return slab_at(&t->nodes, n); }
static inline struct tree_inode *tree_inode(const struct tree *t, uint32_t i) { return slab_at(&t->inodes, i); }
static inline struct tree_inode *tree_inode_of(const struct tree *t, uint32_t node)
{
	return tree_inode(t, tree_node(t, node)->inode);
}
static inline bool tree_is_directory(const struct tree *t, uint32_t node)
{
	return S_ISDIR(tree_inode_of(t, node)->mode);
}

/* --- reading ---------------------------------------------------------------------------------- */

struct bytes tree_name(const struct tree *t, uint32_t node);             /* empty for the root */
/* The node's path without a leading slash, "" for the root, zero-terminated. False when it is longer than the
 * buffer (never, for TREE_PATH_MAX + 1). */
bool tree_path(const struct tree *t, uint32_t node, char *buf, size_t cap, size_t *ret_n);
struct bytes tree_target(const struct tree *t, uint32_t inode);          /* of a symbolic link */
/* Extended attributes, sorted by name: struct reader r = tree_xattrs(t, inode); while (tree_xattr_next(&r, …)). */
struct reader tree_xattrs(const struct tree *t, uint32_t inode);
bool tree_xattr_next(struct reader *r, struct bytes *ret_name, struct bytes *ret_value);

uint32_t tree_lookup(const struct tree *t, uint32_t directory, struct bytes name);        /* 0: not there */
/* The child whose name follows `after` in byte order (after empty: the first); 0 at the end. */
uint32_t tree_child_after(const struct tree *t, uint32_t directory, struct bytes after);

/* All nodes, parents before children, siblings in byte order of their names:
 *     for (uint32_t n = TREE_ROOT; n != 0; n = tree_next(t, n)) …
 * Keeps no state but lets go of resident pages now and then. */
uint32_t tree_next(struct tree *t, uint32_t node);

/* What path means to a process whose root is this tree: symbolic links are followed (the last one too when
 * follow_last), ".." of the root is the root. 0: not there, or links in circles. */
uint32_t tree_resolve(const struct tree *t, struct bytes path, bool follow_last);

/* --- writing (image/merge.c and directory sources) ----------------------------------------------- */

struct tree_attributes {
	uint32_t mode, uid, gid;
	uint64_t size;
	int64_t mtime;
	struct bytes target;                 /* symbolic link */
	struct bytes xattrs;                 /* as tree_xattr_put() wrote them */
	uint16_t layer;
	uint32_t ordinal;
};
enum image_code tree_add_inode(struct tree *t, const struct tree_attributes *a, uint32_t *ret, struct err *err);
/* Gives directory's name to inode. A name that is there already loses its old inode and all below it. */
enum image_code tree_set(struct tree *t, uint32_t directory, struct bytes name, uint32_t inode, uint16_t layer,
                         uint32_t *ret_node, struct err *err);
/* Takes all names out of the directory and puts those back for which keep says so. Removed names are gone for good then, and
 * the cost is that of the names there are. */
void tree_keep(struct tree *t, uint32_t directory, bool (*keep)(const struct tree *t, uint32_t node, uint16_t layer),
               uint16_t layer);
/* Tells the node and the directories above it that something changed in this layer. */
void tree_touch(struct tree *t, uint32_t node, uint16_t layer);
/* Removes the name and all below it; the root stays, empty. */
void tree_remove(struct tree *t, uint32_t node);
void tree_xattr_put(struct writer *w, struct bytes name, struct bytes value);
/* Counts links and bytes and gives every inode its first name. After it the tree is only read. */
void tree_finish(struct tree *t);
/* To be called for every entry that is put in: now and then lets go of resident pages of what was spilled. */
void tree_breathe(struct tree *t);

#endif
