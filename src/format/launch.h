/* Prover <-> launcher: fixed binary messages on an inherited SOCK_SEQPACKET pair, one message per
 * packet, descriptors by SCM_RIGHTS. The launcher (root) distrusts the prover: a message says which
 * slot and how much, never what to run as whom; argv, environment, uid and sandbox come from the
 * measured configuration.
 *
 *     prover -> launcher                            launcher -> prover
 *                                                   READY  once, first: jobs can be run; the guards they have
 *     OPEN  slot, payload_bytes                     OPENED slot + [input file, empty, O_RDWR]
 *                                                   or FAILED slot, code, text
 *     START slot, memory_bytes, deadline_ms         ENDED slot, how, … + [proof file] when ok
 *           + [sealed memfd of the prover program]
 *     CANCEL slot     (a running job)               ENDED slot, cancelled
 *     CLOSE slot      (ends a running job too)      CLOSED slot: process tree reaped, tmpfs gone
 *
 * Per slot: closed -OPEN-> open -START-> running -ENDED-> ended -CLOSE-> closed; CLOSE is taken in
 * any state. A message out of order is answered by FAILED and changes nothing. CANCEL of a job that
 * has just ended is ignored (the two cross on the wire). */
#ifndef FORMAT_LAUNCH_H
#define FORMAT_LAUNCH_H

#include "base/bytes.h"
#include "format/outcome.h"

enum { LAUNCH_MESSAGE_MAX = 512, LAUNCH_TEXT_MAX = 256, LAUNCH_SLOTS_MAX = 16 };

enum launch_kind {
	LAUNCH_OPEN = 1, LAUNCH_START, LAUNCH_CANCEL, LAUNCH_CLOSE,
	LAUNCH_OPENED, LAUNCH_FAILED, LAUNCH_ENDED, LAUNCH_CLOSED, LAUNCH_READY
};

struct launch_message {
	enum launch_kind kind;
	uint8_t slot;                    /* < LAUNCH_SLOTS_MAX */
	uint64_t payload_bytes;          /* OPEN: size of the input file to make room for */
	uint64_t memory_bytes;           /* START: limit; 0 = the configured one, which it may not exceed */
	uint32_t deadline_ms;            /* START: likewise */
	enum outcome how;                /* ENDED, FAILED */
	uint32_t signal, exit_code;      /* ENDED */
	uint64_t limit_bytes, peak_bytes;/* ENDED: memory; 0 = unknown */
	uint32_t wall_ms, cpu_ms;        /* ENDED */
	struct bytes text;               /* FAILED, ENDED, READY: the launcher's own words (never job output) */
};

/* False: not exactly one well-formed message. */
bool launch_parse(struct bytes packet, struct launch_message *ret);
void launch_put(struct writer *w, const struct launch_message *m);

#endif
