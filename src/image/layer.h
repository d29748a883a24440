/* One layer's tar archive as a sequence of entries (image/entry.h) whose names were checked.
 *
 * Refused: names that are empty, too long, absolute or have ".." in them; targets of hard links like them (absolute
 * ones are taken from the image's root, as every tool does); whiteouts in wrong places. Control characters and bytes
 * that are no UTF-8 are names like any other. */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

#include "image/entry.h"
#include "image/tar_reader.h"
#include "image/tree.h"
#include "image/warnings.h"

enum { XATTRS_SIZE_MAX = 128 << 10 };            /* of one entry, names and values */

struct layer {
	struct tar_reader tar;
	struct image_warnings *warnings;     /* borrowed; NULL: not wanted (again) */
	const char *name;                    /* for messages; borrowed */
	uint32_t next_ordinal;
	struct entry entry;
	uint8_t *xattrs;                     /* owned */
	uint8_t path[TREE_PATH_MAX + 1], link[TREE_PATH_MAX + 1];
};

/* in: the unpacked layer; borrowed. */
enum image_code layer_open(struct layer *l, struct stream *in, const char *name, struct image_warnings *warnings,
                           struct err *err);
void layer_close(struct layer *l);
/* *ret is NULL at the end of the archive (the stream may still have padding); valid until the next call. */
enum image_code layer_next(struct layer *l, const struct entry **ret, struct err *err);
/* The next piece of the current file's content; empty at its end. */
enum image_code layer_data(struct layer *l, struct bytes *ret, struct err *err);

enum path_result { PATH_OK, PATH_EMPTY, PATH_TOO_LONG, PATH_NAME_TOO_LONG, PATH_ABSOLUTE, PATH_DOT_DOT, PATH_ZERO };
/* Writes in without doubled, leading "./" and trailing slashes to out; *ret_n is 0 for the root. */
enum path_result path_normalize(struct bytes in, uint8_t out[TREE_PATH_MAX + 1], size_t *ret_n);

#endif
