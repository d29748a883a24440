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

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>

enum { PROCESS_PCRS_MAX = 16 };

struct process_options {
	const char *program_dir;                 /* where tee-rex-prover and the others are */
	const char *self;                        /* path of tee-rex, for the gateway */
	const char *name;                        /* of the instance; names the runtime directory */
	const char *config;                      /* measured configuration; NULL: defaults */
	const char *state_dir;                   /* of the simulated NSM's test root */
	const char *listen;                      /* ADDR:PORT of the gateway; NULL: no gateway */
	const char *pcrs[PROCESS_PCRS_MAX];      /* "N=HEX" presets */
	size_t pcr_count;
	bool debug;                              /* zero PCRs, as a debug enclave has */
};

/* Runs until a signal or the end of a program. 0 after an orderly stop, else -errno and err. Says on
 * standard output when the service answers: one line, "ready …". */
int process_run(const struct process_options *o, struct err *err);

#endif
