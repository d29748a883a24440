/* The service's key pairs: the current one, and predecessors that clients may still hold a document
 * for. A pair that a job uses stays until the job lets go of it, because the result is signed by the
 * key that the client attested. */
#ifndef ENCLAVE_PROVER_KEYRING_H
#define ENCLAVE_PROVER_KEYRING_H

#include "base/fail.h"
#include "format/frame.h"
#include "openpgp/key.h"

/* The current key, one predecessor within its keeping time, and those only a job holds. */
enum { KEYRING_MAX = 4 };

struct keyring_entry {
	bool used;
	struct pgp_key key;
	char armored[FRAME_KEY_MAX + 1];         /* the certificate to publish */
	int64_t expires_ms;                      /* monotonic; accepted until then; 0 while current */
	unsigned refs;                           /* by jobs */
};

struct keyring {
	struct keyring_entry entry[KEYRING_MAX];
	struct keyring_entry *current;
	uint64_t generation;                     /* grows with every rotation */
};

/* Makes the first key. -errno when that fails. */
int keyring_init(struct keyring *r, struct err *err);
/* Makes a new current key; the old one is accepted for keep_ms more. On failure nothing changes and the
 * current key goes on. -EBUSY when jobs hold every older key: try again later. */
int keyring_rotate(struct keyring *r, int64_t keep_ms, struct err *err);
/* Wipes what has expired and no job holds. */
void keyring_expire(struct keyring *r);
/* The keys that decrypt now, current first; returns how many. */
size_t keyring_accepted(struct keyring *r, struct keyring_entry *ret[KEYRING_MAX]);
void keyring_close(struct keyring *r);

#endif
