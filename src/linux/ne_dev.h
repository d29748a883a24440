/* The Nitro Enclaves driver, /dev/nitro_enclaves (linux/nitro_enclaves.h): one function for each ioctl.
 *
 *     device fd ── NE_CREATE_VM ──> enclave fd ── memory, CPUs ──> NE_START_ENCLAVE ──> poll: POLLHUP
 *
 * The enclave lives as long as one duplicate of its descriptor does, and the descriptor outlives a dead enclave:
 * POLLHUP alone tells of its end. Memory and CPUs can only be given by the address space that created the enclave,
 * and only before the start.
 *
 * Functions return 0 or a negative number: -errno, or -NE_ERR_* (256 and up), which are the driver's own. err says
 * what was asked for, why it was refused and what to do. Outputs are written on success only. */
#ifndef LINUX_NE_DEV_H
#define LINUX_NE_DEV_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NE_DEVICE_PATH "/dev/nitro_enclaves"

enum {
	NE_MIN_MEMORY_MIB = 64,                  /* the driver's; an enclave needs more to be of use */
	NE_PARENT_CID = 3,                       /* the parent's, as enclaves see it */
	NE_CID_MIN = 4,                          /* 0 lets the hypervisor choose; 1 to 3 and 2^32-1 mean others */
	NE_REPLY_TIMEOUT_S = 120,                /* how long the driver waits for the hypervisor, in any of the calls */
	NE_ERROR_MIN = 256, NE_ERROR_MAX = 275   /* NE_ERR_*, without holes */
};
#define NE_CID_MAX UINT64_C(0xfffffffe)

int ne_open(const char *path, int *ret_fd, struct err *err);
/* The descriptor is close-on-exec from birth, by the driver. */
int ne_create_vm(int device, int *ret_fd, uint64_t *ret_slot, struct err *err);
/* Bytes into the enclave's memory at which an EIF has to begin. */
int ne_image_offset(int vm, uint64_t *ret_offset, struct err *err);
/* Gives size bytes at addr to the enclave: a multiple of 2 MiB of huge pages, on a page's start. Each run of
 * physically contiguous pages, in the order of their addresses, costs one of a limited number of regions. The
 * pages belong to the enclave from now on: whoever touches them afterwards dies. */
int ne_set_memory(int vm, const void *addr, size_t size, struct err *err);
/* cpu 0: the driver picks, and completes a core before it opens the next one. */
int ne_add_vcpu(int vm, uint32_t cpu, uint32_t *ret_cpu, struct err *err);
/* cid 0: the hypervisor picks. */
int ne_start(int vm, uint64_t cid, bool debug, uint64_t *ret_cid, struct err *err);

/* --- what its errors mean ---------------------------------------------------------------- */

enum ne_op { NE_OP_OPEN, NE_OP_CREATE, NE_OP_OFFSET, NE_OP_MEMORY, NE_OP_VCPU, NE_OP_START, NE_OP_COUNT };

struct ne_meaning {
	const char *name;                        /* "NE_ERR_MEM_MAX_REGIONS", "EIO"; NULL when it has none here */
	const char *why, *fix;                   /* sentences without their full stop */
};
/* errnum > 0. There always is one: what is not in the driver's source came from the hypervisor. */
struct ne_meaning ne_error_meaning(enum ne_op op, int errnum);

#endif
