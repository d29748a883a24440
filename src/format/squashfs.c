#include "format/squashfs.h"

enum { MAGIC = 0x73717368, ZSTD = 6, MAJOR = 4, NO_XATTRS = 0x200, EXTENDED = 7 };

void squashfs_put_u16(struct writer *w, uint16_t v)
{
	put_u8(w, (uint8_t)v);
	put_u8(w, (uint8_t)(v >> 8));
}

void squashfs_put_u32(struct writer *w, uint32_t v)
{
	squashfs_put_u16(w, (uint16_t)v);
	squashfs_put_u16(w, (uint16_t)(v >> 16));
}

void squashfs_put_u64(struct writer *w, uint64_t v)
{
	squashfs_put_u32(w, (uint32_t)v);
	squashfs_put_u32(w, (uint32_t)(v >> 32));
}

void squashfs_put_super(struct writer *w, const struct squashfs_super *s)
{
	squashfs_put_u32(w, MAGIC);
	squashfs_put_u32(w, s->inodes);
	squashfs_put_u32(w, 0);                  /* when it was made */
	squashfs_put_u32(w, SQUASHFS_BLOCK);
	squashfs_put_u32(w, s->fragments);
	squashfs_put_u16(w, ZSTD);
	squashfs_put_u16(w, SQUASHFS_BLOCK_LOG);
	squashfs_put_u16(w, s->xattrs ? 0 : NO_XATTRS);
	squashfs_put_u16(w, s->ids);
	squashfs_put_u16(w, MAJOR);
	squashfs_put_u16(w, 0);
	squashfs_put_u64(w, s->root);
	squashfs_put_u64(w, s->size);
	squashfs_put_u64(w, s->ids_at);
	squashfs_put_u64(w, s->xattrs ? s->xattrs_at : SQUASHFS_NO_TABLE);
	squashfs_put_u64(w, s->inodes_at);
	squashfs_put_u64(w, s->directories_at);
	squashfs_put_u64(w, s->fragments_at);
	squashfs_put_u64(w, SQUASHFS_NO_TABLE);  /* by number: only for network file systems */
}

static bool extended(const struct squashfs_inode *i)
{
	switch (i->type) {
	case SQUASHFS_DIRECTORY:
		return i->xattr != SQUASHFS_NONE || i->size + 3 > UINT16_MAX;
	case SQUASHFS_FILE:
		return i->xattr != SQUASHFS_NONE || i->links > 1 || i->size > UINT32_MAX || i->start > UINT32_MAX;
	default:
		return i->xattr != SQUASHFS_NONE;
	}
}

static void put_directory(struct writer *w, const struct squashfs_inode *i)
{
	/* the size counts "." and "..", which are not written, as 3 */
	if (!extended(i)) {
		squashfs_put_u32(w, (uint32_t)i->start);
		squashfs_put_u32(w, i->links);
		squashfs_put_u16(w, (uint16_t)(i->size + 3));
		squashfs_put_u16(w, (uint16_t)i->offset);
		squashfs_put_u32(w, i->parent);
		return;
	}
	squashfs_put_u32(w, i->links);
	squashfs_put_u32(w, (uint32_t)(i->size + 3));
	squashfs_put_u32(w, (uint32_t)i->start);
	squashfs_put_u32(w, i->parent);
	squashfs_put_u16(w, 0);                  /* no index into the listing */
	squashfs_put_u16(w, (uint16_t)i->offset);
	squashfs_put_u32(w, i->xattr);
}

static void put_file(struct writer *w, const struct squashfs_inode *i)
{
	if (!extended(i)) {
		squashfs_put_u32(w, (uint32_t)i->start);
		squashfs_put_u32(w, i->fragment);
		squashfs_put_u32(w, i->offset);
		squashfs_put_u32(w, (uint32_t)i->size);
		return;
	}
	squashfs_put_u64(w, i->start);
	squashfs_put_u64(w, i->size);
	squashfs_put_u64(w, 0);                  /* bytes in holes: counted as there */
	squashfs_put_u32(w, i->links);
	squashfs_put_u32(w, i->fragment);
	squashfs_put_u32(w, i->offset);
	squashfs_put_u32(w, i->xattr);
}

void squashfs_put_inode(struct writer *w, const struct squashfs_inode *i)
{
	squashfs_put_u16(w, (uint16_t)(i->type + (extended(i) ? EXTENDED : 0)));
	squashfs_put_u16(w, i->mode);
	squashfs_put_u16(w, i->uid);
	squashfs_put_u16(w, i->gid);
	squashfs_put_u32(w, i->mtime);
	squashfs_put_u32(w, i->number);
	if (i->type == SQUASHFS_DIRECTORY) {
		put_directory(w, i);
	} else if (i->type == SQUASHFS_FILE) {
		put_file(w, i);
	} else {
		squashfs_put_u32(w, i->links);
		if (i->type == SQUASHFS_SYMLINK)
			squashfs_put_u32(w, (uint32_t)i->size);
		else if (extended(i))
			squashfs_put_u32(w, i->xattr);
	}
}

void squashfs_put_symlink_end(struct writer *w, const struct squashfs_inode *i)
{
	if (extended(i))
		squashfs_put_u32(w, i->xattr);
}

void squashfs_put_directory_header(struct writer *w, uint32_t count, uint32_t start, uint32_t number)
{
	squashfs_put_u32(w, count - 1);
	squashfs_put_u32(w, start);
	squashfs_put_u32(w, number);
}

void squashfs_put_directory_entry(struct writer *w, uint16_t offset, int16_t number_delta, enum squashfs_type type, size_t name_n)
{
	squashfs_put_u16(w, offset);
	squashfs_put_u16(w, (uint16_t)number_delta);
	squashfs_put_u16(w, (uint16_t)type);
	squashfs_put_u16(w, (uint16_t)(name_n - 1));
}

void squashfs_put_fragment(struct writer *w, uint64_t start, uint32_t size)
{
	squashfs_put_u64(w, start);
	squashfs_put_u32(w, size);
	squashfs_put_u32(w, 0);
}

bool squashfs_put_xattr(struct writer *w, struct bytes name, struct bytes value)
{
	static const char *const prefixes[] = { "user.", "trusted.", "security." };
	for (unsigned i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
		size_t n = strlen(prefixes[i]);
		if (name.n <= n || memcmp(name.p, prefixes[i], n) != 0)
			continue;
		squashfs_put_u16(w, (uint16_t)i);
		squashfs_put_u16(w, (uint16_t)(name.n - n));
		put_bytes(w, bytes_slice(name, n, name.n - n));
		squashfs_put_u32(w, (uint32_t)value.n);
		put_bytes(w, value);
		return true;
	}
	return false;
}

void squashfs_put_xattr_id(struct writer *w, uint64_t reference, uint32_t count, uint32_t size)
{
	squashfs_put_u64(w, reference);
	squashfs_put_u32(w, count);
	squashfs_put_u32(w, size);
}
