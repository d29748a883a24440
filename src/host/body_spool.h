/* Ciphertexts on their way to the enclave: whole in memory files, because only a whole one can be known to equal
 * another, wait for its turn, and cost the enclave nothing while its client is slow. All of them together have a
 * budget, which is charged for the bytes that came, never for what a client says will come. */
#ifndef HOST_BODY_SPOOL_H
#define HOST_BODY_SPOOL_H

#include "base/bytes.h"
#include "base/fail.h"

#include <sys/types.h>

struct hash;

struct body_spool_budget { uint64_t used, max; };

struct body_spool {
	struct body_spool_budget *budget;             /* NULL: not open */
	int fd;
	uint64_t size;
	struct hash *hash;
};

/* -errno. */
int body_spool_open(struct body_spool *s, struct body_spool_budget *budget);
/* -ENOSPC when the budget, or the system, has no room for data. */
int body_spool_add(struct body_spool *s, struct bytes data);
/* SHA-256 of all of it. */
bool body_spool_digest(const struct body_spool *s, uint8_t ret_sha256[32]);
/* Up to n bytes from offset at on; fewer only at the end. -errno. */
ssize_t body_spool_read(const struct body_spool *s, uint64_t at, void *to, size_t n);
/* Harmless on one that is not open. */
void body_spool_close(struct body_spool *s);

#endif
