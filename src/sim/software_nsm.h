/* A Nitro Secure Module in software: the state and the rules of the real one, no I/O. A request goes
 * in, a response comes out; documents are real COSE documents signed under a local test root.
 *
 * Known from the public crate, its on-hardware test (nsm-test/src/bin/nsm-check.rs), the attestation
 * guide of the same repository and QEMU's device model (hw/virtio/virtio-nsm.c):
 * - 32 PCRs of SHA-384; 0-15 are locked from the start, 16-31 are zero and free until locked;
 * - ExtendPCR: new = SHA-384(old || data); data is not hashed first and is limited by the size of a
 *   request alone; ReadOnlyIndex on a locked PCR;
 * - LockPCR of a locked one is an error (ReadOnlyIndex), LockPCRs over locked ones is none;
 *   LockPCRs locks 0 .. range-1, and range 32 is the largest;
 * - an index of 32 or more is InvalidIndex, a request over 0x1000 bytes InputTooLarge;
 * - a document lists the PCRs that are locked; a state change is kept even where the answer no longer
 *   fits the caller's buffer (BufferTooSmall: "operation succeeded but …").
 *
 * Not documented, so chosen here: a request that does not parse is InvalidOperation (as in QEMU); an
 * empty public_key is InvalidArgument, since no valid document can carry one. user_data and nonce are
 * held to the 512 bytes that the guide allows a document; hardware has been seen to take 1,024. */
#ifndef SIM_SOFTWARE_NSM_H
#define SIM_SOFTWARE_NSM_H

#include "base/bytes.h"
#include "base/fail.h"
#include "format/nsm.h"
#include "sim/test_ca.h"

/* In every program that contains this module, stripped or not; enclave programs must not. */
extern const char software_nsm_label[];                  /* "SIMULATED NSM" */

struct software_nsm {
	const char *label;
	struct test_ca *ca;                      /* borrowed */
	char module_id[NSM_MODULE_ID_MAX + 1];
	uint8_t pcr[NSM_PCR_COUNT][NSM_PCR_SIZE];
	uint32_t locked;                         /* bit i: PCR i */
	uint64_t documents;                      /* signed so far */
	uint8_t payload[NSM_RESPONSE_MAX], tbs[NSM_RESPONSE_MAX], document[NSM_RESPONSE_MAX];
};

/* What the module was started with, as a host would measure it. */
struct software_nsm_boot {
	uint8_t pcr[NSM_PCR_LOCKED_AT_BOOT][NSM_PCR_SIZE];
	bool debug;                              /* a debug enclave: the image's PCRs (0, 1, 2, 8) read zero */
};

/* ca names the module and must outlive s. */
void software_nsm_init(struct software_nsm *s, const struct software_nsm_boot *boot, struct test_ca *ca);

/* Answers one request. now_ms: wall time since 1970. Always writes one whole response unless not even
 * an error fits; then out is full. */
void software_nsm_handle(struct software_nsm *s, struct bytes request, int64_t now_ms, struct writer *out);

#endif
