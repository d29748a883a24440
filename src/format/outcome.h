/* How a request can end: stable codes, the same word in frames, HTTP errors, logs and metrics.
 * Codes are never renamed or reused; new ones are added at the end. */
#ifndef FORMAT_OUTCOME_H
#define FORMAT_OUTCOME_H

#include "base/bytes.h"

enum outcome {
	OUTCOME_OK,
	OUTCOME_BAD_INPUT,           /* the ciphertext does not decrypt, or breaks the format */
	OUTCOME_OUT_OF_MEMORY,       /* the job hit its memory limit */
	OUTCOME_TIMED_OUT,           /* the job, or one stage of the exchange, hit its deadline */
	OUTCOME_CANCELLED,           /* the client left */
	OUTCOME_CRASHED,             /* the prover program died by a signal */
	OUTCOME_PROVER_ERROR,        /* the prover program exited non-zero or left no proof */
	OUTCOME_UNKNOWN_KEY,         /* encrypted to a key that is not loaded: attest again */
	OUTCOME_UNKNOWN_VERSION,     /* no such prover version is loaded */
	OUTCOME_VERSION_MISMATCH,    /* the message is bound to another prover binary */
	OUTCOME_BAD_REQUEST,         /* a frame or its map is malformed */
	OUTCOME_TOO_LARGE,           /* over a configured size */
	OUTCOME_BUSY,                /* no free slot or connection: come back later */
	OUTCOME_NOT_ALLOWED,         /* the binary's digest is not in the measured allow list */
	OUTCOME_DIGEST_MISMATCH,     /* an upload is not what it declared */
	OUTCOME_NO_SPACE,            /* a quota or the payload budget is used up */
	OUTCOME_UNAVAILABLE,         /* a part the request needs is away (launcher, NSM, enclave) */
	OUTCOME_INTERNAL,            /* our bug, or the system failed us */
	OUTCOME_COUNT
};

/* "ok", "bad-input", "out-of-memory" …; "internal" for a value out of range. */
const char *outcome_name(enum outcome o);
/* False (and *ret unchanged) for a word that is no code. */
bool outcome_parse(struct bytes name, enum outcome *ret);

#endif
