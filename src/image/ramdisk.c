#include "image/ramdisk.h"

#include "image/packer.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const char *const names[] = { [RAMDISK_PLAIN] = "none", [RAMDISK_GZIP] = "gzip", [RAMDISK_ZSTD] = "zstd" };

const char *ramdisk_packing_name(enum ramdisk_packing p) { return names[p]; }

bool ramdisk_packing_parse(const char *name, enum ramdisk_packing *ret)
{
	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum ramdisk_packing)i;
			return true;
		}
	return false;
}

static enum image_code put_section(struct ramdisk *r, struct bytes piece, struct err *err)
{
	r->packed += piece.n;
	return eif_writer_put(r->out, piece, err) == 0 ? IMAGE_OK : IMAGE_IO;
}

static enum image_code put(struct ramdisk *r, struct bytes piece, bool finish, struct err *err)
{
	struct bytes out;
	bool done = false, failed = false;
	if (r->packer == NULL)
		return piece.n > 0 ? put_section(r, piece, err) : IMAGE_OK;
	enum image_code c = IMAGE_OK;
	while (c == IMAGE_OK && (piece.n > 0 || (finish && !done))) {
		done = packer_step(r->packer, &piece, finish, &out, &failed);
		if (failed)
			return image_fail(err, IMAGE_IO, ENOMEM, "compress a ramdisk");
		if (out.n > 0)
			c = put_section(r, out, err);
	}
	return c;
}

enum image_code ramdisk_begin(struct ramdisk *r, struct eif_writer *out, enum ramdisk_packing packing, struct err *err)
{
	*r = (struct ramdisk){ .out = out };
	if (packing != RAMDISK_PLAIN && (r->packer = packer_open(packing)) == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "compress a ramdisk");
	return eif_writer_begin(out, EIF_RAMDISK, err) == 0 ? IMAGE_OK : IMAGE_IO;
}

/* The padding behind contents is written when the next entry, or the trailer, comes. */
static enum image_code settle(struct ramdisk *r, struct err *err)
{
	uint8_t zeros[4];
	struct writer w = writer_of(zeros, sizeof zeros);
	if (r->left > 0)
		return image_fail(err, IMAGE_CHANGED, 0, "the source changed while it was read: a file lacks its last %llu bytes",
		                  (unsigned long long)r->left);
	cpio_put_padding(&w, r->size);
	r->size = 0;
	return put(r, writer_bytes(&w), false, err);
}

enum image_code ramdisk_entry(struct ramdisk *r, const struct cpio_entry *e, uint32_t *ret_ino, struct err *err)
{
	uint8_t buf[CPIO_ENTRY_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	enum image_code c = settle(r, err);
	if (c != IMAGE_OK)
		return c;
	enum cpio_result why = cpio_put_entry(&r->cpio, &w, e, ret_ino);
	if (why != CPIO_OK)
		return image_fail(err, IMAGE_LAYOUT_LIMIT, 0, "%.*s does not fit into a ramdisk (%s); a ramdisk's files are below 4 GiB and "
		                  "their paths below 4 KiB", (int)(e->name.n < 200 ? e->name.n : 200), (const char *)e->name.p,
		                  cpio_result_name(why));
	r->left = r->size = e->size;
	return put(r, writer_bytes(&w), false, err);
}

enum image_code ramdisk_data(struct ramdisk *r, struct bytes piece, struct err *err)
{
	if (piece.n > r->left)
		return image_fail(err, IMAGE_CHANGED, 0, "the source changed while it was read: a file is longer than it was");
	r->left -= piece.n;
	return put(r, piece, false, err);
}

enum image_code ramdisk_file(struct ramdisk *r, const char *name, uint32_t mode, struct bytes contents, struct err *err)
{
	const struct cpio_entry e = { .name = bytes_str(name), .mode = S_IFREG | mode, .size = contents.n };
	enum image_code c = ramdisk_entry(r, &e, NULL, err);
	return c == IMAGE_OK ? ramdisk_data(r, contents, err) : c;
}

enum image_code ramdisk_directory(struct ramdisk *r, const char *name, uint32_t mode, struct err *err)
{
	const struct cpio_entry e = { .name = bytes_str(name), .mode = S_IFDIR | mode };
	return ramdisk_entry(r, &e, NULL, err);
}

enum image_code ramdisk_end(struct ramdisk *r, struct err *err)
{
	static const uint8_t zeros[CPIO_BLOCK];
	uint8_t buf[CPIO_TRAILER_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	enum image_code c = settle(r, err);
	cpio_put_trailer(&r->cpio, &w);
	if (c == IMAGE_OK)
		c = put(r, writer_bytes(&w), true, err);
	if (c == IMAGE_OK && r->packed % CPIO_BLOCK != 0)
		c = put_section(r, bytes_of(zeros, CPIO_BLOCK - (size_t)(r->packed % CPIO_BLOCK)), err);
	if (c == IMAGE_OK && eif_writer_end(r->out, err) != 0)
		c = IMAGE_IO;
	ramdisk_close(r);
	return c;
}

void ramdisk_close(struct ramdisk *r)
{
	packer_close(r->packer);
	r->packer = NULL;
}
