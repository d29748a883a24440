/* How much memory an image needs to boot: counted from what is in it, not guessed from its size. Memory is fullest at
 * one of two moments:
 *
 *     loading     offset ─ the image where the parent put it ─ and beside it the kernel and the ramdisks in their places
 *     unpacking   the running kernel ─ the ramdisks as they came ─ and what they unpack to, in pages of 4 KiB
 *
 * What a service needs once it runs comes on top and is not in here. */
#ifndef HOST_ENCLAVE_NEED_H
#define HOST_ENCLAVE_NEED_H

#include "image/eif_file.h"

struct enclave_need {
	uint64_t image;                          /* bytes of the file */
	uint64_t kernel;                         /* that the kernel occupies while it starts */
	uint64_t ramdisks;                       /* as they came */
	uint64_t unpacked;                       /* pages of files and inodes, as the kernel keeps them */
	uint64_t system;                         /* the kernel's own: page records, slabs, init */
	uint64_t loading, booting;               /* the two moments */
	uint64_t total;                          /* the larger one, in whole MiB */
	bool exact;                              /* false: a ramdisk is packed in a way not read here; only its size is counted */
};

/* offset: where the image lies in memory. Reads the whole file. */
int enclave_need(const struct eif_file *f, uint64_t offset, struct enclave_need *ret, struct err *err);
/* "… MiB: … for the kernel, …": the sum in words. cap 200 suffices. */
char *enclave_need_text(const struct enclave_need *n, char *buf, size_t cap);

#endif
