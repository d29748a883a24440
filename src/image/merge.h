/* The OCI rules for putting layers on top of each other (image specification, "Image Layer Filesystem
 * Changeset"), applied to a tree of names: nothing is written anywhere else, so there is nothing to escape to.
 *
 * - A parent directory that no layer mentioned is made, 0755 and root's.
 * - A parent that is a symbolic link is followed inside the image, as every tool does (var/run -> /run); a link that
 *   climbs above the root, or leads to a place that the image does not have, is LINK_ESCAPES: whoever
 *   unpacked that with less care would write outside.
 * - Whiteouts hide what earlier layers had, never their own layer's entries, in whatever order they come.
 * - A name may come once in a layer, directories excepted (their last word counts).
 * - A hard link shares the inode that its target has at that moment, also across layers. */
#ifndef IMAGE_MERGE_H
#define IMAGE_MERGE_H

#include "image/entry.h"
#include "image/tree.h"

/* Applies e, which belongs to this layer (0 is the lowest; layers come in order). *ret_inode is the inode that
 * got the entry's name (0 for whiteouts and what is ignored). */
enum image_code merge_entry(struct tree *t, uint16_t layer, const struct entry *e, uint32_t *ret_inode,
                            struct err *err);

#endif
