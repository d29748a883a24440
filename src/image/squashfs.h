/* The application as a compressed, read-only file system (squashfs 4.0, zstd, blocks of 128 KiB), written as a stream: files
 * as their contents come, in layer order, then inodes and directories from walks of the tree. The bytes depend on the
 * image and libzstd alone, not on the number of processors.
 *
 * It goes to a temporary file, because a ramdisk wants to know sizes in advance. Memory: the tree, 32 bytes for each file
 * with contents and 4 for each block of large ones (which spill with it), and a few blocks for each processor. */
#ifndef IMAGE_SQUASHFS_H
#define IMAGE_SQUASHFS_H

#include "image/rootfs.h"
#include "image/squashfs_file.h"

enum { SQUASHFS_LEVEL = 12 };

/* Writes and flushes the whole image, padded. out: just opened. Uses tree_inode.user and .number. LAYOUT_LIMIT when it
 * does not fit: more than 65535 users and groups. */
enum image_code squashfs_write(struct rootfs *r, struct spool *out, struct err *err);

#endif
