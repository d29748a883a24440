/* Which guards this machine and user give, found by building a cell; and what to do about the others. */
#ifndef ENCLAVE_LAUNCHER_PROBE_H
#define ENCLAVE_LAUNCHER_PROBE_H

#include "enclave/launcher/slot.h"

/* Builds and removes one cell in s (which must be closed, its host set up) and fills in *ret. A memory
 * group whose limit cannot be set is given up: the homes are closed. -errno: there can be no cell. */
int probe_guards(struct slot *s, struct guards *ret, struct err *err);

/* Says what is missing, one log line each. False when a missing guard is required. */
bool probe_accept(const struct guards *g, const struct config *c);

#endif
