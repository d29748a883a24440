/* An enclave image taken apart for QEMU: kernel and ramdisks in memory files, the command line, the registers that the
 * hypervisor would set. The image is hostile: it is checked like any (image/eif_file.h), signature included. */
#ifndef SIM_QEMU_IMAGE_H
#define SIM_QEMU_IMAGE_H

#include "host/backend.h"
#include "host/enclave_need.h"
#include "image/eif_file.h"

struct qemu_image {
	int kernel, initrd;                      /* owned memfds; initrd: all ramdisks, one after another */
	uint64_t initrd_bytes;
	char cmdline[EIF_CMDLINE_MAX];
	struct enclave_need need;
};
#define QEMU_IMAGE_NONE ((struct qemu_image){ .kernel = -1, .initrd = -1 })

/* Says also what the image needs to boot, on hardware, so that a simulated enclave is not given less. Fills b->pcr[0, 1, 2, 8] and
 * b->pcr_known as well. */
int qemu_image_load(struct qemu_image *q, const char *path, struct backend *b, struct err *err);
void qemu_image_close(struct qemu_image *q);

#endif
