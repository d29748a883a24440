/* A ramdisk on its way into an enclave image: a newc archive, packed or not, whose bytes go straight into the open
 * writer. The same calls give the same bytes (with the same zlib and libzstd).
 *
 *     ramdisk_begin()
 *     ramdisk_entry()  [ramdisk_data() …]     for each entry; contents of the announced size follow it
 *     ramdisk_end()                           trailer, padding
 *
 * The kernel sees all ramdisks as one piece of memory: each ends on a multiple of CPIO_BLOCK, packed or not, so that
 * it finds the next one behind it. */
#ifndef IMAGE_RAMDISK_H
#define IMAGE_RAMDISK_H

#include "format/cpio.h"
#include "image/code.h"
#include "image/eif_file.h"

enum ramdisk_packing { RAMDISK_PLAIN, RAMDISK_GZIP, RAMDISK_ZSTD };

/* "none", "gzip", "zstd" */
const char *ramdisk_packing_name(enum ramdisk_packing p);
bool ramdisk_packing_parse(const char *name, enum ramdisk_packing *ret);

struct packer;
struct ramdisk {
	struct eif_writer *out;              /* borrowed */
	struct packer *packer;               /* owned; NULL: plain */
	struct cpio_writer cpio;
	uint64_t left;                       /* of the open entry's contents */
	uint64_t size;                       /* of its contents, for the padding */
	uint64_t packed;                     /* bytes that went to out */
};

/* Opens a ramdisk section. r is to be ended or given up (ramdisk_close) in any case. */
enum image_code ramdisk_begin(struct ramdisk *r, struct eif_writer *out, enum ramdisk_packing packing, struct err *err);
/* *ret_ino (may be NULL): the number the entry got, for hard links. LAYOUT_LIMIT: newc cannot hold it. */
enum image_code ramdisk_entry(struct ramdisk *r, const struct cpio_entry *e, uint32_t *ret_ino, struct err *err);
enum image_code ramdisk_data(struct ramdisk *r, struct bytes piece, struct err *err);
/* An entry with all of its contents. */
enum image_code ramdisk_file(struct ramdisk *r, const char *name, uint32_t mode, struct bytes contents, struct err *err);
enum image_code ramdisk_directory(struct ramdisk *r, const char *name, uint32_t mode, struct err *err);
enum image_code ramdisk_end(struct ramdisk *r, struct err *err);
/* Releases what ramdisk_end() does not. */
void ramdisk_close(struct ramdisk *r);

#endif
