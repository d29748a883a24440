/* Archives: the reader says the same however its input is cut; and what it accepts, the writer writes, so that reading
 * it again gives the same entries. */
#include "format/cpio.h"

#include "format/crc32.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest { uint32_t crc; uint64_t entries; enum cpio_result result; };

static uint32_t add(uint32_t crc, const void *p, size_t n) { return crc32_update(crc, bytes_of(p, n)); }

/* The entry as the writer can say it again: numbers of inodes and times are its own. */
static uint32_t add_entry(uint32_t crc, const struct cpio_entry *e)
{
	bool device = (e->mode & 0170000) == 0020000 || (e->mode & 0170000) == 0060000;
	const uint64_t v[] = { e->mode, e->uid, e->gid, e->nlink == 0 ? 1 : e->nlink, e->size, device ? e->rdev_major : 0,
	                       device ? e->rdev_minor : 0 };
	if (!cpio_name_valid(e->name))
		abort();
	return add(add(crc, v, sizeof v), e->name.p, e->name.n);
}

/* out: where to write what is read; NULL: nowhere. */
static struct digest read_archive(const uint8_t *p, size_t n, size_t piece, struct writer *out)
{
	struct cpio_reader r;
	struct cpio_writer c = { 0 };
	struct digest d = { 0 };
	uint64_t padding = 0;
	cpio_reader_init(&r);
	for (size_t at = 0; at < n;) {
		struct bytes in = bytes_of(p + at, piece < n - at ? piece : n - at), part;
		at += in.n;
		enum cpio_event e;
		while ((e = cpio_read(&r, &in, &part)) != CPIO_MORE && e != CPIO_REFUSED) {
			if (e == CPIO_ENTRY) {
				d.crc = add_entry(d.crc, &r.entry);
				struct cpio_entry put = r.entry;
				put.ino = 0;
				if (out != NULL) {
					cpio_put_padding(out, padding);
					if (cpio_put_entry(&c, out, &put, NULL) != CPIO_OK)
						abort();
				}
				padding = put.size;
			} else {
				d.crc = add(d.crc, part.p, part.n);
				if (out != NULL)
					put_bytes(out, part);
			}
		}
		if (e == CPIO_REFUSED)
			break;
	}
	d.entries = r.entries;
	d.result = cpio_reader_end(&r);
	if (out != NULL && d.result == CPIO_OK) {
		cpio_put_padding(out, padding);
		cpio_put_trailer(&c, out);
		if (!out->full && c.at != out->at)
			abort();
	}
	return d;
}

/* Of a refused archive, how much of the last contents came out before depends on the pieces. */
static void same(struct digest a, struct digest b)
{
	if ((a.result == CPIO_OK && a.crc != b.crc) || a.entries != b.entries || a.result != b.result)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t again[4 << 20];
	struct writer w = writer_of(again, sizeof again);
	struct digest whole = read_archive(data, size, size == 0 ? 1 : size, &w);
	same(whole, read_archive(data, size, 1, NULL));
	same(whole, read_archive(data, size, 7, NULL));
	if (whole.result == CPIO_OK && !w.full)
		same(whole, read_archive(again, w.at, 512, NULL));
	return 0;
}
