/* The root file system of an image, as its consumers see it.
 *
 *     rootfs_scan()      reads every layer once: digests, compression, names, whiteouts. Afterwards the final tree
 *                        is known and everything was verified.
 *     tree_next()        walks the tree (image/tree.h): sorted by name, parents first. Metadata only, as often as
 *                        wanted, no I/O.
 *     rootfs_contents()  reads the layers again and hands out the bytes of the files that are in the final tree:
 *                        each inode once, in the order (layer, place in layer), never an empty file.
 *
 * Nothing is unpacked to disk and no file is held: memory is the tree (about 110 bytes for each file, spilled to a
 * temporary file beyond a limit) and a few fixed buffers, whatever the size of the image.
 *
 * For who writes a ramdisk. Formats that put an index behind the data (squashfs) take contents
 * in layer order and write directories and inodes from a tree walk afterwards. newc cpio wants a header before each
 * file: write directories, links and empty files from a tree walk first, then header and bytes of each file as
 * contents come; both orders depend on the image alone, so the output is deterministic. Hard links are nodes with the
 * same inode: tree_inode.links counts them and .node is the first, in walk order. tree_inode.user is the consumer's,
 * for an inode number or a place in the output. Who wants to decompress once only may give rootfs_scan() a sink: it
 * then gets every file's bytes as they are read, also of files that a later layer replaces (links is 0 in the
 * end), and must throw its output away when the scan fails, because verification ends with the last byte. */
#ifndef IMAGE_ROOTFS_H
#define IMAGE_ROOTFS_H

#include "image/source.h"
#include "image/tree.h"

struct rootfs_limits {
	uint64_t bytes_max;                  /* of all layers, unpacked */
	uint64_t entries_max;                /* of all layers */
	uint64_t expansion_grace, expansion_ratio;   /* of each layer: image/expand.h */
	uint64_t tree_memory;                /* bytes of the tree before it spills */
	const char *spill_dir;               /* NULL: image/slab.h says */
};
#define ROOTFS_LIMITS { .bytes_max = UINT64_C(128) << 30, .entries_max = 4000000, .expansion_grace = 1 << 30, \
	.expansion_ratio = 256, .tree_memory = 24 << 20 }

/* Gets the bytes of files, one after another. Codes other than IMAGE_OK end the reading. */
struct content_sink {
	enum image_code (*begin)(struct content_sink *s, uint32_t inode, struct err *err);
	enum image_code (*data)(struct content_sink *s, struct bytes piece, struct err *err);
	enum image_code (*end)(struct content_sink *s, struct err *err);
};

enum { ROOTFS_ACCOUNTS_MAX = 1 << 20 };          /* bytes of /etc/passwd and of /etc/group */

struct rootfs {
	struct source *source;               /* borrowed */
	struct rootfs_limits limits;
	struct tree *tree;                   /* owned; finished */
	struct image_warnings warnings;
	uint64_t entries;                    /* in all layers */
	uint64_t unpacked;                   /* bytes of all layers */
	uint32_t first_inode[TREE_LAYERS_MAX + 1];       /* of each layer; and one past the last */
	struct kept_file { uint32_t inode; uint8_t *bytes; size_t n; } passwd, group;    /* of the last layer that has it */
};

/* sink may be NULL. *ret is to be closed; source must outlive it. */
enum image_code rootfs_scan(struct source *source, const struct rootfs_limits *limits, struct content_sink *sink,
                            struct rootfs **ret, struct err *err);
void rootfs_close(struct rootfs *r);                 /* NULL is fine */

enum image_code rootfs_contents(struct rootfs *r, struct content_sink *sink, struct err *err);
/* One file's bytes (*ret owned by the caller): reads its layer again. TOO_LARGE above max. */
enum image_code rootfs_read_file(struct rootfs *r, uint32_t inode, size_t max, uint8_t **ret, size_t *ret_n,
                                 struct err *err);
/* Makes the directory and what is missing above it, owned by root, where it is not there yet; symbolic links count as
 * what they point to. BAD_DIRECTORY when something else is in its place. */
enum image_code rootfs_make_directory(struct rootfs *r, const char *path, uint32_t mode, struct err *err);
/* user as in the configuration, or one given in its place; looked up in the tree's /etc/passwd and /etc/group. */
enum image_code rootfs_resolve_user(struct rootfs *r, const char *user, struct image_user *ret, struct err *err);

#endif
