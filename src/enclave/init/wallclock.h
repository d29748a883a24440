/* The wall clock comes from the NSM, whose documents carry the time: an enclave's own clock starts anywhere, and drifts.
 *
 * Asking the NSM waits for the device, which init must not, so a short-lived child asks and writes both times into a pipe. It has that
 * pipe and the device, and no other descriptor of init's: a connection that init closes is closed.
 * A difference above INIT_CLOCK_STEP_MS is corrected; every one is told. Clocks for deadlines are monotonic and not touched. */
#ifndef ENCLAVE_INIT_WALLCLOCK_H
#define ENCLAVE_INIT_WALLCLOCK_H

#include "base/loop.h"
#include "enclave/init/events.h"
#include "linux/nsm_dev.h"

#include <sys/types.h>

struct wallclock {
	struct loop *loop;                       /* borrowed */
	struct events *events;
	struct nsm *nsm;
	struct timer due;
	struct watch answer;                     /* descriptor owned; -1: nobody was asked */
	pid_t child;                             /* 0: there is none */
	int pidfd;                               /* owned while there is one */
};

/* Part of the boot: asks and waits, then every INIT_CLOCK_S seconds without waiting. nsm->fd < 0: never. */
void wallclock_open(struct wallclock *c, struct loop *loop, struct events *events, struct nsm *nsm);
void wallclock_reaped(struct wallclock *c, pid_t pid);

#endif
