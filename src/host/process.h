/* The process backend: the enclave's programs as plain processes on this machine, unix sockets for vsock, a
 * software NSM for the Nitro one. Nothing is isolated from the host here and every document is SIMULATED;
 * it is the same prover and launcher that run inside an enclave.
 *
 *     run ── tee-rex-sim-nsm      ⇐ "nsm" pair ⇒   tee-rex-prover ── service.sock ⇐ tee-rex gateway
 *         └─ tee-rex-launcher     ⇐ "launcher" pair ⇒      "
 *
 * One group: the first program that ends, ends all of it, with its cause as the result. */
#ifndef HOST_PROCESS_H
#define HOST_PROCESS_H

#include "host/backend.h"

struct process_options {
	const char *program_dir;                 /* where tee-rex-prover and the others are */
	const char *config;                      /* measured configuration; NULL: defaults */
	const char *state_dir;                   /* of the simulated NSM's test root */
	bool debug;                              /* zero PCRs, as a debug enclave has */
};

/* The one instance of this process. The options are borrowed until close; the caller fills its registers. */
struct backend *process_backend_open(const struct process_options *o);

#endif
