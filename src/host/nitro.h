/* The Nitro backend: an enclave of this instance's own, through /dev/nitro_enclaves (linux/ne_dev.h).
 *
 *     prepare   the image is read, checked and measured; what it needs is set against what it gets; pages and CPUs are planned
 *     start     create ─ where the image goes ─ huge pages, image copied ─ regions given ─ CPUs ─ start ─ its CID is known
 *     end       POLLHUP on the enclave's descriptor; closing the descriptor is what kills it
 *
 * This process is the only one that has the descriptor: it is close-on-exec, memory is not inherited, and nothing is forked
 * between create and start. So the enclave cannot outlive the process, however that ends. (A child between its fork and its
 * exec has a duplicate for that instant.)
 *
 * The calls into the driver block while the hypervisor works, which takes seconds for gigabytes; the driver itself gives up
 * after two minutes. */
#ifndef HOST_NITRO_H
#define HOST_NITRO_H

#include "host/backend.h"

struct nitro_options {
	const char *image;                       /* EIF */
	uint64_t memory_mib;                     /* 0: what the image needs to boot, and NITRO_WORK_MIB to work with */
	unsigned cpus;                           /* 0: one core */
	uint64_t cid;                            /* 0: the hypervisor picks */
	bool debug;                              /* zero registers in documents, and a console */
};

enum {
	NITRO_WORK_MIB = 512,                    /* a service and one proof of ordinary size */
	NITRO_MEMORY_MAX_MIB = 1 << 24
};

/* The one instance of this process. The options are borrowed until close. */
struct backend *nitro_backend_open(const struct nitro_options *o);

#endif
