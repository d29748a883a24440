/* The records of a squashfs 4.0 image (Linux: Documentation/filesystems/squashfs.rst, fs/squashfs/squashfs_fs.h). Writing only:
 * whoever reads such an image is the kernel. All integers are little-endian.
 *
 *     superblock | blocks of files and fragments | inodes | directories | fragments | ids | attributes | zeros to 4 KiB
 *
 * What follows the data are streams of metadata: pieces of 8 KiB, each packed by itself behind a 16-bit size. A place in
 * such a stream is (where the packed piece starts, offset in it unpacked); a "reference" holds both in one number.
 * Small files share blocks ("fragments"). The kernel checks that the tables follow one another without a gap, in this order. */
#ifndef FORMAT_SQUASHFS_H
#define FORMAT_SQUASHFS_H

#include "base/bytes.h"

enum {
	SQUASHFS_SUPER_SIZE = 96,
	SQUASHFS_METADATA = 8192,                /* unpacked bytes of a piece */
	SQUASHFS_STORED = 1 << 15,               /* in a piece's size: not packed */
	SQUASHFS_BLOCK_STORED = 1 << 24,         /* the same, in a block's size; 0 alone is a block of zeros */
	SQUASHFS_BLOCK_LOG = 17,
	SQUASHFS_BLOCK = 1 << SQUASHFS_BLOCK_LOG,
	SQUASHFS_HEADER_ENTRIES = 256,           /* at most, behind one directory header */
	SQUASHFS_IDS_MAX = 65535,
	SQUASHFS_ALIGN = 4096,
	SQUASHFS_RECORD_MAX = 64                 /* room for any record here, without names, targets and block lists */
};
#define SQUASHFS_NONE UINT32_MAX                 /* no fragment, no attributes */
#define SQUASHFS_NO_TABLE UINT64_MAX

static inline uint64_t squashfs_reference(uint64_t start, uint32_t offset) { return start << 16 | offset; }

struct squashfs_super {
	uint32_t inodes, fragments;
	uint16_t ids;
	bool xattrs;
	uint64_t root;                           /* reference */
	uint64_t size;                           /* without the zeros at the end */
	uint64_t ids_at, xattrs_at, inodes_at, directories_at, fragments_at;
};
void squashfs_put_super(struct writer *w, const struct squashfs_super *s);

/* The numbers that directory entries use; extended inodes have others, which is this codec's business. */
enum squashfs_type { SQUASHFS_DIRECTORY = 1, SQUASHFS_FILE = 2, SQUASHFS_SYMLINK = 3, SQUASHFS_FIFO = 6 };

struct squashfs_inode {
	enum squashfs_type type;
	uint16_t mode;                           /* twelve bits */
	uint16_t uid, gid;                       /* indices into the ids */
	uint32_t mtime, number, links;
	uint32_t xattr;                          /* index, or SQUASHFS_NONE */
	uint64_t size;                           /* file: bytes; directory: of its listing; symlink: of its target, which follows */
	uint64_t start;                          /* file: of its first block; directory: of the piece of its listing */
	uint32_t offset;                         /* file: in its fragment; directory: in that piece */
	uint32_t fragment;                       /* file; or SQUASHFS_NONE */
	uint32_t parent;                         /* directory: number of its parent */
};
/* Without what follows it: block sizes (squashfs_put_u32) of a file, the target of a symbolic link and, behind that,
 * squashfs_put_symlink_end(). */
void squashfs_put_inode(struct writer *w, const struct squashfs_inode *i);
void squashfs_put_symlink_end(struct writer *w, const struct squashfs_inode *i);

void squashfs_put_u16(struct writer *w, uint16_t v);
void squashfs_put_u32(struct writer *w, uint32_t v);
void squashfs_put_u64(struct writer *w, uint64_t v);

/* count entries follow, all with inodes in the piece at start, and numbers near the first one's. */
void squashfs_put_directory_header(struct writer *w, uint32_t count, uint32_t start, uint32_t number);
/* Without the name, which follows. */
void squashfs_put_directory_entry(struct writer *w, uint16_t offset, int16_t number_delta, enum squashfs_type type, size_t name_n);
void squashfs_put_fragment(struct writer *w, uint64_t start, uint32_t size);

/* Key and value of an attribute; false when the kernel has no place for its name. */
bool squashfs_put_xattr(struct writer *w, struct bytes name, struct bytes value);
void squashfs_put_xattr_id(struct writer *w, uint64_t reference, uint32_t count, uint32_t size);

#endif
