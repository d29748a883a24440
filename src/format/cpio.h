/* The "newc" cpio archive (magic 070701) that a Linux kernel unpacks as its initial root file system.
 *
 *     110 bytes: "070701" and 13 fields of 8 hex digits:
 *         ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
 *     name, its zero, zeros up to a multiple of 4;   contents, zeros up to a multiple of 4
 *     … the last entry is named "TRAILER!!!"; zeros follow
 *
 * Names are relative and plain: no leading or trailing slash, no empty, "." or ".." component; "." alone is the
 * root directory. Sizes are below 4 GiB. Hard links are entries with the same ino and nlink, contents with the
 * first. A kernel wants directories before what is in them; that order is the caller's.
 *
 * The writer is deterministic: same calls, same bytes. It numbers inodes in the order in which it meets them
 * and writes one modification time everywhere. Neither side holds contents: the caller moves those itself. */
#ifndef FORMAT_CPIO_H
#define FORMAT_CPIO_H

#include "base/bytes.h"

enum {
	CPIO_HEADER_SIZE = 110,
	CPIO_NAME_MAX = 4095,                    /* without its zero; the kernel's PATH_MAX */
	CPIO_LINK_MAX = 4095,                    /* a symbolic link's target */
	CPIO_BLOCK = 512,                        /* what an archive is padded to */
	CPIO_ENTRY_MAX = CPIO_HEADER_SIZE + CPIO_NAME_MAX + 1 + 3,       /* header, name, padding */
	CPIO_TRAILER_MAX = 124 + CPIO_BLOCK      /* header, name, padding; zeros */
};

struct cpio_entry {
	struct bytes name;                       /* borrowed */
	uint32_t mode;                           /* S_IF… and permissions, as in stat */
	uint32_t uid, gid;
	uint32_t nlink;                          /* names of this file inside the archive; 0 counts as 1 */
	uint32_t ino;                            /* 0: a new one (writing) */
	uint32_t mtime_s;                        /* reading only */
	uint64_t size;                           /* of the contents; of a symbolic link: its target */
	uint32_t rdev_major, rdev_minor;         /* of a device node */
};

enum cpio_result {
	CPIO_OK,
	CPIO_BAD_MAGIC,                          /* not newc; also an archive with checksums (070702) */
	CPIO_BAD_NUMBER,                         /* a header field is not 8 hex digits */
	CPIO_BAD_NAME_SIZE,                      /* 0 or more than CPIO_NAME_MAX + 1 */
	CPIO_NAME_NOT_TERMINATED,                /* its last byte is not zero, or an earlier one is */
	CPIO_BAD_NAME,                           /* absolute, or with an empty, "." or ".." component */
	CPIO_BAD_MODE,                           /* an unknown file type */
	CPIO_BAD_SIZE,                           /* contents of what has none; 4 GiB or more */
	CPIO_BAD_LINK_TARGET,                    /* empty, too long, or with a zero byte */
	CPIO_BAD_CHECK,                          /* the checksum field is not 0 */
	CPIO_BAD_PADDING,                        /* not zeros */
	CPIO_BAD_TRAILER,                        /* with contents */
	CPIO_TRUNCATED,                          /* ends inside an entry, or without a trailer */
	CPIO_TRAILING_BYTES,                     /* after the trailer's zeros */
	CPIO_TOO_MANY,                           /* inode numbers are used up */
	CPIO_RESULT_COUNT
};

/* "cpio-bad-magic" …, one for each result. */
const char *cpio_result_name(enum cpio_result r);

/* Whether name obeys the rules above. */
bool cpio_name_valid(struct bytes name);
/* Zeros that follow n bytes up to the next multiple of 4. */
static inline size_t cpio_padding(uint64_t n) { return (size_t)(-n & 3); }

/* --- writing ------------------------------------------------------------------------------ */

struct cpio_writer {
	uint32_t mtime_s;                        /* of every entry */
	uint32_t last_ino;                       /* the highest number given out */
	uint64_t at;                             /* size of the archive so far, contents counted as written */
};

/* Writes header, name and padding of e to out (room for CPIO_ENTRY_MAX suffices). The caller sends e->size bytes
 * of contents after it, then cpio_padding(e->size) zeros. *ret_ino (may be NULL): the number the entry got.
 * Nothing is written unless CPIO_OK. */
enum cpio_result cpio_put_entry(struct cpio_writer *c, struct writer *out, const struct cpio_entry *e, uint32_t *ret_ino);
/* Zeros after contents of this size. */
void cpio_put_padding(struct writer *out, uint64_t size);
/* The trailer and zeros up to a multiple of CPIO_BLOCK (room for CPIO_TRAILER_MAX suffices). */
void cpio_put_trailer(struct cpio_writer *c, struct writer *out);

/* --- reading ------------------------------------------------------------------------------ */

/* Fed pieces of any size; holds one header and one name at a time. Contents come out as slices of the input. */
enum cpio_event {
	CPIO_MORE,                               /* the input is used up */
	CPIO_ENTRY,                              /* r->entry is complete, its name included */
	CPIO_CONTENTS,                           /* some of its contents; *ret_contents, borrowed from the input */
	CPIO_REFUSED                             /* r->result says why; final */
};

struct cpio_reader {
	struct cpio_entry entry;                 /* name: borrowed from here, until the next entry */
	enum cpio_result result;
	uint64_t entries;                        /* without the trailer */
	/* private */
	enum { CPIO_AT_HEADER, CPIO_AT_NAME, CPIO_AT_NAME_PADDING, CPIO_AT_CONTENTS, CPIO_AT_PADDING, CPIO_AT_END } state;
	uint64_t left;                           /* bytes of the current part still to come */
	size_t have;                             /* bytes of it in buf */
	uint8_t buf[CPIO_NAME_MAX + 1];           /* a header or a name */
};

void cpio_reader_init(struct cpio_reader *r);
/* Reads on in *in and advances it, until there is something to tell. */
enum cpio_event cpio_read(struct cpio_reader *r, struct bytes *in, struct bytes *ret_contents);
/* After the last piece: CPIO_OK when a trailer was the last entry, else why not. */
enum cpio_result cpio_reader_end(const struct cpio_reader *r);

#endif
