/* An image's tree and configuration as text and as JSON. Names come from the image and are escaped. */
#ifndef CLI_IMAGE_PRINT_H
#define CLI_IMAGE_PRINT_H

#include "image/rootfs.h"

#include <stdio.h>

struct hash;

/* SHA-256 of every file's content by inode number, filled as the sink of rootfs_scan(). */
struct file_digests {
	struct content_sink sink;
	struct slab_pool pool;
	struct slab slab;
	struct hash *hash;
	uint32_t inode;
};

void image_print_text(FILE *to, const struct rootfs *r, const struct file_digests *d);
void image_print_json(FILE *to, const struct rootfs *r, const struct file_digests *d);
void image_print_warnings(FILE *to, const struct rootfs *r);
void image_print_error(FILE *to, enum image_code c, const struct err *err);

#endif
