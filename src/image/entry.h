/* One thing that a layer says, whatever the layer is made of: the word between layer readers and the merge. */
#ifndef IMAGE_ENTRY_H
#define IMAGE_ENTRY_H

#include "base/bytes.h"
#include "image/code.h"

enum entry_kind {
	ENTRY_FILE,
	ENTRY_DIRECTORY,
	ENTRY_SYMLINK,
	ENTRY_FIFO,
	ENTRY_DEVICE,                        /* takes its place in the layer, and is dropped in the end */
	ENTRY_HARD_LINK,
	ENTRY_WHITEOUT,                      /* what earlier layers had at path goes */
	ENTRY_OPAQUE,                        /* what earlier layers had below path goes */
	ENTRY_IGNORED                        /* bookkeeping of another tool */
};

struct entry {
	enum entry_kind kind;
	struct bytes path;                   /* without leading, doubled or trailing slashes, without . and ..; "" is the root */
	struct bytes link;                   /* symbolic link: the target as it is; hard link: a path like the above */
	uint32_t mode, uid, gid;             /* mode: twelve bits */
	uint64_t size;                       /* of a file's content */
	int64_t mtime;
	struct bytes xattrs;                 /* written by tree_xattr_put(), sorted by name */
	uint32_t ordinal;                    /* counts the layer's entries from 0 */
};

/* A layer's entries, one after another. */
struct entries {
	/* *ret is NULL at the end; valid until the next call. */
	enum image_code (*next)(struct entries *e, const struct entry **ret, struct err *err);
	/* The next piece of the current file's content, borrowed until the next call; empty at its end. What is not
	 * asked for is passed over. */
	enum image_code (*data)(struct entries *e, struct bytes *ret, struct err *err);
	/* Sees the layer to its end, wherever it is now: nothing that was read is to be trusted before this was
	 * IMAGE_OK. After a failure so_far it looks at the blob's digest only: bytes that are not what was announced
	 * explain everything else. Returns that, or so_far. */
	enum image_code (*finish)(struct entries *e, enum image_code so_far, struct err *err);
	void (*close)(struct entries *e);
};

#endif
