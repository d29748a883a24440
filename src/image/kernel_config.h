/* The configuration that a kernel carries (CONFIG_IKCONFIG): gzip between "IKCFG_ST" and "IKCFG_ED" in the read-only
 * data of vmlinux, which itself is packed into the bzImage. */
#ifndef IMAGE_KERNEL_CONFIG_H
#define IMAGE_KERNEL_CONFIG_H

#include "image/kernel.h"

enum {
	KERNEL_CONFIG_MAX = 2 << 20,         /* bytes of text; the largest real ones have a fifth */
	KERNEL_UNPACKED_MAX = 512 << 20      /* bytes of vmlinux */
};

/* Finds and unpacks the configuration: *ret is malloc'ed text of *ret_n bytes, the caller's. NO_CONFIG,
 * UNKNOWN_PACKING, DAMAGED, BAD_CONFIG (found, but it does not unpack or is larger than KERNEL_CONFIG_MAX), NO_MEMORY.
 * vmlinux is never held whole: this takes KERNEL_CONFIG_MAX, and 8 MiB for LZ4 or the window of a zstd frame. */
enum kernel_code kernel_config_find(const struct kernel_image *k, char **ret, size_t *ret_n);

#endif
