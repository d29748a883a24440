/* The QEMU that is installed, and whether it can be the machine of a simulated enclave. It is asked itself, over its monitor:
 * device names and options have changed between versions before, and distributions leave parts out. */
#ifndef SIM_QEMU_PROGRAM_H
#define SIM_QEMU_PROGRAM_H

#include "base/fail.h"

#include <stddef.h>

enum { QEMU_MAJOR_MIN = 10 };                    /* older ones were never tried */

struct qemu_program {
	char path[256];
	char version[64];                        /* "10.0.2" */
};
/* Looks along PATH. An error says what to install: there is none, it is too old, or it lacks something, which is named. */
int qemu_find(struct qemu_program *ret, struct err *err);

/* Runs argv for at most timeout_ms; input (of at most a pipe's size) is all it reads, and its standard output goes to buf. keep:
 * a descriptor to inherit as number 3, or -1. The exit status, or -errno; -ETIMEDOUT after killing it. */
int qemu_run_briefly(const char *const *argv, int keep, const char *input, int timeout_ms, char *buf, size_t cap);

#endif
