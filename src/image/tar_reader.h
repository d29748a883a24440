/* A tar archive from a stream, entry by entry, with what extended headers say already applied.
 *
 * One buffer of TAR_READER_BUFFER bytes, and as much as the longest extended header, which is bounded. Data is
 * handed out where it lies in the buffer. What is not read of an entry is passed over, by seeking where the
 * stream can. The archive ends at its first block of zeros or where the stream ends between entries (as
 * Go's reader has it); what follows the zeros is not looked at. */
#ifndef IMAGE_TAR_READER_H
#define IMAGE_TAR_READER_H

#include "format/tar.h"
#include "image/stream.h"

enum {
	TAR_READER_BUFFER = 128 << 10,
	TAR_READER_PAX_MAX = 1 << 20,        /* bytes of one extended header */
	TAR_READER_XATTRS_MAX = 64           /* of one entry */
};

struct tar_xattr { struct bytes name, value; };

struct tar_entry {                           /* valid until the next call of tar_reader_next */
	enum tar_kind kind;
	uint32_t mode, uid, gid;
	uint64_t size;
	int64_t mtime;
	struct bytes name, link;             /* as written; never with a zero byte */
	struct tar_xattr xattr[TAR_READER_XATTRS_MAX];
	size_t xattr_count;
	uint64_t data_at;                    /* where its data starts in the archive */
};

struct tar_reader {
	struct stream *in;                   /* borrowed */
	const char *archive;                 /* its name, for messages; borrowed */
	struct tar_header header;
	struct tar_entry entry;
	uint64_t left, padding;              /* of the entry's data, and after it */
	uint64_t at;                         /* bytes of the archive taken so far */
	size_t buf_at, buf_n;
	uint8_t *buf;                        /* owned, like the others */
	uint8_t *pax; size_t pax_n;          /* extended header of the next entry */
	uint8_t *long_name; size_t long_name_n;
	uint8_t *long_link; size_t long_link_n;
};

enum image_code tar_reader_open(struct tar_reader *r, struct stream *in, const char *archive, struct err *err);
void tar_reader_close(struct tar_reader *r);
/* *ret is NULL at the end. */
enum image_code tar_reader_next(struct tar_reader *r, const struct tar_entry **ret, struct err *err);
/* The next piece of the current entry's data, borrowed until the next call; empty at its end. */
enum image_code tar_reader_data(struct tar_reader *r, struct bytes *ret, struct err *err);

#endif
