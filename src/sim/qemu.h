/* The qemu backend: an enclave image, unmodified, in stock QEMU on this machine. The vsock device and the NSM are ours
 * (sim/vsock_device.h, sim/vdpa_nsm.c with a software NSM behind it), the registers are preset from the image as the hypervisor
 * would, and every document is SIMULATED.
 *
 *     run ── tee-rex-sim-nsm    ⇐ packets ⇒      QEMU (libteerex-sim-nsm.so preloaded)
 *         ├─ tee-rex-sim-vsock  ⇐ vhost-user ⇒    "        service.sock, dial.sock, vsock_PORT in the runtime directory
 *         └─ QEMU
 *
 * The three end together: QEMU's end is the enclave's. */
#ifndef SIM_QEMU_H
#define SIM_QEMU_H

#include "host/backend.h"

enum { QEMU_CID = 16, QEMU_MEMORY_MIN_MIB = 64, QEMU_MEMORY_MAX_MIB = 1 << 20, QEMU_CPUS_MAX = 64 };

enum qemu_accel { QEMU_AUTO, QEMU_KVM, QEMU_TCG };
enum qemu_console {
	QEMU_CONSOLE_AUTO,                       /* kept for the operator in debug mode, else thrown away, as on hardware */
	QEMU_CONSOLE_STUCK                       /* attached to a reader that never reads */
};

struct qemu_options {
	const char *program_dir;                 /* where tee-rex-sim-vsock and the others are */
	const char *image;                       /* EIF */
	const char *state_dir;                   /* of the simulated NSM's test root */
	const char *role_arn, *instance_id;      /* for PCR3 and PCR4; NULL: zeros */
	uint64_t memory_mib, cpus;               /* memory 0: what the image needs to boot */
	uint32_t cid;                            /* 0: QEMU_CID */
	enum qemu_accel accel;
	enum qemu_console console;
	bool push_back;                          /* the vsock device as a parent with Linux's own driver */
	bool debug;
};

/* The one instance of this process. The options are borrowed until close. */
struct backend *qemu_backend_open(const struct qemu_options *o);

#endif
