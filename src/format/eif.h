/* Enclave image format, version 4, as the hypervisor reads it. All numbers are big-endian.
 *
 *        0  2e 65 69 66          magic ".eif"
 *        4  u16 version          4
 *        6  u16 flags            bit 0: arm64; the others 0
 *        8  u64 default_mem      bytes; nobody uses it
 *       16  u64 default_cpus     nobody uses it
 *       24  u16 reserved         0
 *       26  u16 num_sections
 *       28  u64 offsets[32]      of the sections' 12-byte headers
 *      284  u64 sizes[32]        of their payloads, without that header
 *      540  u32 unused           0
 *      544  u32 crc32            IEEE, of the whole file except these four bytes
 *      548  sections             u16 type | u16 flags (0) | u64 size | payload
 *
 * Accepted is what can mean one thing only: sections in file order, back to back from byte 548 to the end; one
 * kernel, then one command line, then one or more ramdisks; one metadata section and at most one signature
 * anywhere between. (What is measured is hashed in file order, so its order must be the defined one.)
 *
 * Parsing is in steps, so that a file is never needed whole: header, then each section's header, then
 * eif_check_sections(). What is inside kernel and command line is judged by functions of their own. */
#ifndef FORMAT_EIF_H
#define FORMAT_EIF_H

#include "base/bytes.h"

enum {
	EIF_HEADER_SIZE = 548, EIF_SECTION_HEADER_SIZE = 12, EIF_CRC_AT = 544,
	EIF_VERSION = 4, EIF_SECTIONS_MAX = 32,
	EIF_FLAG_ARM64 = 1,
	EIF_CMDLINE_MAX = 2048,                  /* COMMAND_LINE_SIZE of both kernels, with the final zero */
	EIF_METADATA_MAX = 1 << 20,              /* our limit; others write some kilobytes */
	EIF_SIGNATURE_MAX = 32768,               /* the hypervisor's limit */
	EIF_KERNEL_HEAD = 1024                   /* bytes of a kernel that eif_check_kernel() wants to see */
};

enum eif_section_type {
	EIF_KERNEL = 1, EIF_CMDLINE = 2, EIF_RAMDISK = 3, EIF_SIGNATURE = 4, EIF_METADATA = 5
};

struct eif {
	uint16_t flags;
	uint64_t default_mem, default_cpus;
	uint32_t crc32;                          /* as stored; see eif_parse() */
	size_t count;                            /* 1 … EIF_SECTIONS_MAX */
	struct eif_section {
		enum eif_section_type type;
		uint64_t offset;                 /* of the section's header */
		uint64_t size;                   /* of the payload, which begins 12 bytes after offset */
	} section[EIF_SECTIONS_MAX];
};

enum eif_result {
	EIF_OK,
	EIF_TRUNCATED,                           /* shorter than its header */
	EIF_BAD_MAGIC,
	EIF_BAD_VERSION,
	EIF_BAD_FLAGS,                           /* bits besides EIF_FLAG_ARM64 */
	EIF_BAD_RESERVED,                        /* a reserved field is not 0 */
	EIF_NO_SECTIONS,
	EIF_TOO_MANY_SECTIONS,
	EIF_BAD_SLOT,                            /* an offset or size beyond num_sections is not 0 */
	EIF_SECTION_IN_HEADER,                   /* begins inside the file's header */
	EIF_SECTIONS_UNSORTED,                   /* the table is not in file order */
	EIF_SECTIONS_OVERLAP,
	EIF_OUT_OF_RANGE,                        /* a section ends behind the end of the file */
	EIF_GAP,                                 /* bytes between sections that belong to none */
	EIF_TRAILING_BYTES,
	EIF_BAD_SECTION_TYPE,
	EIF_BAD_SECTION_FLAGS,
	EIF_SIZES_DISAGREE,                      /* section header and table */
	EIF_EMPTY_SECTION,                       /* only a command line may be empty */
	EIF_CMDLINE_TOO_LARGE,
	EIF_METADATA_TOO_LARGE,
	EIF_SIGNATURE_TOO_LARGE,
	EIF_TWO_KERNELS,
	EIF_TWO_CMDLINES,
	EIF_TWO_METADATA,
	EIF_TWO_SIGNATURES,
	EIF_WRONG_ORDER,                         /* kernel, command line, ramdisks: not in this order */
	EIF_NO_KERNEL,
	EIF_NO_CMDLINE,
	EIF_NO_RAMDISK,
	EIF_NO_METADATA,
	EIF_BAD_CMDLINE,                         /* holds a zero byte before its end */
	EIF_KERNEL_NOT_BZIMAGE,                  /* x86-64 */
	EIF_KERNEL_NOT_IMAGE,                    /* arm64: not a raw Image (compressed, EFI zboot, another machine's) */
	EIF_KERNEL_TEXT_OFFSET,                  /* arm64: not 2 MiB */
	EIF_BAD_CRC,
	EIF_RESULT_COUNT
};

/* "eif-bad-magic" …; stable, one for each result. */
const char *eif_result_name(enum eif_result r);
/* What is wrong and what to do, as a sentence without its full stop. */
const char *eif_result_message(enum eif_result r);
/* "kernel", "cmdline", "ramdisk", "signature", "metadata". */
const char *eif_section_name(enum eif_section_type type);

/* --- reading ----------------------------------------------------------------------------- */

/* header: the first EIF_HEADER_SIZE bytes of a file of file_size bytes (more is fine). Checks header and section
 * table; the types in *ret are not known yet. *ret is written on EIF_OK only. */
enum eif_result eif_parse_header(struct bytes header, uint64_t file_size, struct eif *ret);
/* The 12 bytes at e->section[i].offset: sets its type. */
enum eif_result eif_parse_section(struct bytes section_header, struct eif *e, size_t i);
/* Which sections there are, in which order and how large. Types must be set. */
enum eif_result eif_check_sections(const struct eif *e);
/* head: at least the first EIF_KERNEL_HEAD bytes of the kernel, or all of a shorter one. */
enum eif_result eif_check_kernel(uint16_t flags, struct bytes head);
enum eif_result eif_check_cmdline(struct bytes cmdline);
/* All of the above and the CRC, of a whole image in memory. *ret is written on EIF_OK only. */
enum eif_result eif_parse(struct bytes file, struct eif *ret);
/* The payload of section i of a file that eif_parse() accepted. */
static inline struct bytes eif_payload(struct bytes file, const struct eif *e, size_t i)
{
	return bytes_slice(file, (size_t)e->section[i].offset + EIF_SECTION_HEADER_SIZE, (size_t)e->section[i].size);
}

/* The architecture a kernel is for, as header flags: 0 or EIF_FLAG_ARM64; -1 when it is neither's. */
int eif_kernel_flags(struct bytes head);

/* --- writing ----------------------------------------------------------------------------- */

/* Computes the offsets from types and sizes; e is unchanged unless EIF_OK. *ret_size: of the whole file. */
enum eif_result eif_lay_out(struct eif *e, uint64_t *ret_size);
/* With e->crc32 as it is. */
void eif_put_header(const struct eif *e, uint8_t out[EIF_HEADER_SIZE]);
void eif_put_section(const struct eif_section *s, uint8_t out[EIF_SECTION_HEADER_SIZE]);

#endif
