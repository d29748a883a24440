/* Enclave images on disk, read and written as streams: whatever the size of the image, one buffer of EIF_FILE_BUFFER
 * bytes is held, and each byte is read or written once, checksummed and measured on its way.
 *
 * Functions that read return 0; -EBADMSG when the image is refused, with the reason in f->refused and its code and
 * sentence in err; or -errno. */
#ifndef IMAGE_EIF_FILE_H
#define IMAGE_EIF_FILE_H

#include "attest/pcr.h"
#include "base/fail.h"
#include "format/eif.h"
#include "image/out_file.h"

enum { EIF_FILE_BUFFER = 1 << 20 };

struct eif_measures {
	uint8_t pcr0[PCR_SIZE], pcr1[PCR_SIZE], pcr2[PCR_SIZE];
	uint32_t crc32;                          /* as it is */
	bool crc_ok;                             /* and as the header says it is */
};

/* --- reading ----------------------------------------------------------------------------- */

struct eif_file {
	int fd;                                  /* owned */
	uint64_t size;
	uint8_t header[EIF_HEADER_SIZE];
	struct eif eif;                          /* checked: header, table, section headers, kernel, command line */
	enum eif_result refused;
	const char *path;                        /* borrowed */
};
#define EIF_FILE_NONE ((struct eif_file){ .fd = -1 })

/* Checks everything but checksum and signature. f must be closed in any case. */
int eif_file_open(struct eif_file *f, const char *path, struct err *err);
void eif_file_close(struct eif_file *f);

/* The first section of this type, or eif.count. */
size_t eif_file_find(const struct eif_file *f, enum eif_section_type type);
/* All of a small section's payload. -EMSGSIZE when it is larger than cap. */
int eif_file_read(const struct eif_file *f, size_t section, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err);

/* Gets the payload of every section, in order and in pieces; an empty piece (n == 0) ends each section. */
struct eif_sink {
	int (*put)(struct eif_sink *s, size_t section, struct bytes piece, struct err *err);     /* 0 or -errno */
};
/* Streams the whole file, to sink too unless that is NULL, and measures it. A checksum that does not fit is no error
 * here: ret->crc_ok says it (eif_file_refuse_crc() makes it one). */
int eif_file_stream(struct eif_file *f, struct eif_sink *sink, struct eif_measures *ret, struct err *err);
/* -EBADMSG with EIF_BAD_CRC. */
int eif_file_refuse_crc(struct eif_file *f, struct err *err);

/* --- writing ----------------------------------------------------------------------------- */

/* Sections are begun, fed and ended one after another, of any size that need not be known before; header, table and
 * checksum are written last. The result is checked like any image: what could not be read is not written. */
struct eif_writer {
	struct out_file out;
	struct eif eif;
	struct pcr_meter meter;
	uint32_t body_crc;                       /* of everything behind the header, ended sections only */
	uint32_t section_crc;                    /* of the payload of the open section */
	bool open;                               /* a section is */
	size_t ramdisks;
	uint64_t at;                             /* of the end of the file, buffered bytes counted */
	uint8_t *buf;                            /* owned; EIF_FILE_BUFFER bytes */
	size_t buffered;
	uint8_t head[EIF_KERNEL_HEAD];           /* of the open section */
	size_t head_n;
	enum eif_result refused;
};
#define EIF_WRITER_NONE ((struct eif_writer){ .out = { .fd = -1, .dir_fd = -1 } })

/* flags: 0 or EIF_FLAG_ARM64. Nothing appears at path before the commit. */
int eif_writer_open(struct eif_writer *w, const char *path, uint16_t flags, struct err *err);
int eif_writer_begin(struct eif_writer *w, enum eif_section_type type, struct err *err);
int eif_writer_put(struct eif_writer *w, struct bytes piece, struct err *err);
int eif_writer_end(struct eif_writer *w, struct err *err);
/* A whole section at once. */
int eif_writer_section(struct eif_writer *w, enum eif_section_type type, struct bytes payload, struct err *err);
/* The registers of what was written so far; for signing before the signature is written. */
int eif_writer_measure(const struct eif_writer *w, struct eif_measures *ret, struct err *err);
int eif_writer_commit(struct eif_writer *w, struct eif_measures *ret, struct err *err);
/* Releases; gives up what is not committed. */
void eif_writer_close(struct eif_writer *w);

#endif
