/* Tar headers: POSIX ustar and pax, GNU long names and base-256 numbers, and the oldest format.
 *
 *     512-byte header | data, padded to 512 | header | ... | two zero blocks
 *
 *       0 name 100    100 mode 8   108 uid 8    116 gid 8     124 size 12   136 mtime 12
 *     148 checksum 8  156 type 1   157 link 100 257 magic 6   263 version 2 345 prefix 155
 *
 * A pax record is "LEN KEY=VALUE\n", LEN counting itself (POSIX.1-2017, pax, "pax Header Block").
 * The codec looks at one block at a time and does no I/O; what to do with the kinds that describe
 * the next entry (pax, long name, long link) is the reader's business.
 *
 * Written here because names must come out byte for byte: a library that converts names to the
 * locale's character set (and to Unicode's composed form) changes what a measured image contains. */
#ifndef FORMAT_TAR_H
#define FORMAT_TAR_H

#include "base/bytes.h"

enum { TAR_BLOCK_SIZE = 512, TAR_NAME_MAX = 256, TAR_LINK_MAX = 100 };

enum tar_kind {
	TAR_FILE, TAR_HARD_LINK, TAR_SYMLINK, TAR_CHARACTER, TAR_BLOCK, TAR_DIRECTORY, TAR_FIFO,
	TAR_LONG_NAME, TAR_LONG_LINK,        /* GNU: the data is the next entry's name or link */
	TAR_PAX,                             /* the data is records for the next entry */
	TAR_PAX_GLOBAL,                      /* the data is records for all entries to come */
	TAR_VOLUME_LABEL,                    /* says nothing about files */
	TAR_END                              /* a block of zeros */
};

enum tar_result {
	TAR_OK,
	TAR_BAD_CHECKSUM,
	TAR_BAD_NUMBER,              /* not octal or base-256, negative or too large */
	TAR_SPARSE_FILE,             /* a sparse map in place of the bytes */
	TAR_UNKNOWN_KIND,
	TAR_BAD_PAX                  /* a record that breaks its own length or has no key */
};
const char *tar_result_name(enum tar_result r);
/* What is wrong, as half a sentence. */
const char *tar_result_text(enum tar_result r);

struct tar_header {
	enum tar_kind kind;
	uint32_t mode, uid, gid;             /* mode: the low twelve bits */
	uint64_t size;                       /* of the data that follows; 0 for kinds without data */
	int64_t mtime;                       /* seconds since 1970 */
	uint8_t name[TAR_NAME_MAX]; size_t name_n;
	uint8_t link[TAR_LINK_MAX]; size_t link_n;
};
/* *ret is written only for TAR_OK. */
enum tar_result tar_header_parse(const uint8_t block[TAR_BLOCK_SIZE], struct tar_header *ret);
/* True for kinds whose data is wanted; hard links, directories and devices have none here, whatever
 * their size field says. */
bool tar_kind_has_data(enum tar_kind k);

struct tar_pax { struct bytes key, value; };                    /* borrowed */
/* The next record of r; asked while reader_left(r) > 0. */
enum tar_result tar_pax_next(struct reader *r, struct tar_pax *ret);
/* "123" or "-123.456": whole seconds, rounded down. */
bool tar_pax_seconds(struct bytes value, int64_t *ret);

#endif
