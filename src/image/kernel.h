/* The guest kernel, seen from outside: what kind of file it is, which release, and the module that may go with it.
 *
 * x86-64 kernels are bzImages (Linux boot protocol 2.12 or later, Documentation/arch/x86/boot.rst), arm64 kernels
 * are raw Images (Documentation/arch/arm64/booting.rst). Integers in both are little-endian. Nothing here allocates;
 * whatever a result points at is borrowed from the input. */
#ifndef IMAGE_KERNEL_H
#define IMAGE_KERNEL_H

#include "base/bytes.h"

#define KERNEL_CODES(X) \
	X(OK, "ok", "fits") \
	X(NOT_A_KERNEL, "not-a-kernel", \
	  "is neither an x86-64 bzImage nor an arm64 Image (a vmlinux in ELF does not boot here)") \
	X(TRUNCATED, "truncated", "ends before its header says") \
	X(TOO_OLD, "too-old", \
	  "is older than Linux 5.14: init needs cgroups of version 2 with all controllers, and to kill one whole (cgroup.kill)") \
	X(NOT_64_BIT, "not-64-bit", "is a 32-bit kernel") \
	X(COMPRESSED_FILE, "compressed-file", \
	  "is a compressed file; the loader wants the bzImage or the raw arm64 Image inside: unpack it first") \
	X(BIG_ENDIAN, "big-endian", "is a big-endian arm64 kernel") \
	X(BAD_TEXT_OFFSET, "bad-text-offset", \
	  "leaves its load address to the loader (text_offset 0), and Nitro's loads it at 0: write 2 MiB " \
	  "(00 00 20 00 00 00 00 00) at byte 8") \
	X(UNKNOWN_PACKING, "unknown-packing", \
	  "is packed in a way that is not read here (gzip, lz4, zstd are); give its configuration with --config FILE") \
	X(DAMAGED, "damaged", "does not unpack") \
	X(NO_CONFIG, "no-config", \
	  "carries no configuration (CONFIG_IKCONFIG); give it with --config FILE (on Debian: /boot/config-RELEASE)") \
	X(BAD_CONFIG, "bad-config", "has a configuration that is none") \
	X(NOT_A_MODULE, "not-a-module", "is no kernel module") \
	X(MODULE_NOT_NSM, "module-not-nsm", "is a module, but not nsm") \
	X(MODULE_MISMATCH, "module-mismatch", "is a module for another kernel") \
	X(UNFIT, "unfit", "lacks what an enclave needs, or has what must not be in one") \
	X(NO_MEMORY, "no-memory", "needs more memory than there is")

#define KERNEL_CODE_ENUM(id, name, text) KERNEL_##id,
enum kernel_code { KERNEL_CODES(KERNEL_CODE_ENUM) KERNEL_CODE_COUNT };

/* Stable, for scripts: "no-config". */
const char *kernel_code_name(enum kernel_code c);
/* What to say after the file's name: "carries no configuration (…". */
const char *kernel_code_text(enum kernel_code c);

enum kernel_arch { KERNEL_X86_64 = 1, KERNEL_ARM64 = 2 };        /* bits, for masks */
enum kernel_packing { KERNEL_PLAIN, KERNEL_GZIP, KERNEL_LZ4, KERNEL_ZSTD, KERNEL_OTHER_PACKING };

struct kernel_image {
	enum kernel_arch arch;
	enum kernel_packing packing;         /* of payload; arm64 Images are plain */
	struct bytes payload;                /* vmlinux, as it is packed */
	struct bytes release;                /* "6.12.95-enclave", as uname -r; empty when it is not told */
	uint64_t start_size;                 /* bytes of memory, from its load address on, that it writes to while it starts */
	uint64_t text_offset;                /* arm64: where from the start of memory it wants to be */
};

enum kernel_code kernel_parse(struct bytes file, struct kernel_image *ret);
const char *kernel_arch_name(enum kernel_arch a);            /* "x86_64", "arm64" */
const char *kernel_packing_name(enum kernel_packing p);

/* nsm.ko for a kernel that has the NSM driver as a module: refused unless it is a 64-bit ELF module of the same
 * architecture, named nsm, whose vermagic starts with the kernel's release (not compared when that is empty). */
enum kernel_code kernel_check_module(struct bytes file, const struct kernel_image *k);

#endif
