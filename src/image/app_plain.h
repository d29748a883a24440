/* The application ramdisk that is a plain tree: below app/, what the image holds. Costs the guest as much memory as the
 * image has bytes. newc knows no extended attributes: they are counted in *ret_xattrs_lost. */
#ifndef IMAGE_APP_PLAIN_H
#define IMAGE_APP_PLAIN_H

#include "image/ramdisk.h"
#include "image/rootfs.h"

/* rd: just begun; the caller ends it. Uses tree_inode.user. */
enum image_code app_plain_write(struct ramdisk *rd, struct rootfs *r, uint64_t *ret_xattrs_lost, struct err *err);

#endif
