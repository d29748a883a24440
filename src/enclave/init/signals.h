/* What comes to PID 1 as a signal. Children that have ended: they are reaped, so many a turn, for a service can leave thousands at
 * once. What processes inside send: nothing of that is done, whoever they are; the parent alone has something to say (parent.h).
 * Those are counted, told at once the first time, and then once in INIT_REFUSED_S seconds. Faults and the alarm are bug.h's. */
#ifndef ENCLAVE_INIT_SIGNALS_H
#define ENCLAVE_INIT_SIGNALS_H

#include "base/loop.h"
#include "enclave/init/events.h"

#include <signal.h>
#include <sys/types.h>

struct signals {
	struct loop *loop;                       /* borrowed */
	struct events *events;
	void (*on_reaped)(struct signals *s, pid_t pid, int status);
	struct watch watch;                      /* descriptor owned */
	struct timer more, again;                /* children that are left for the next turn; the next report */
	uint64_t refused, told;
	int last_signal;                         /* … refused */
	pid_t last_pid;
};

/* Everything blocked but faults and the alarm. The members up to on_reaped are set. */
int signals_open(struct signals *s, struct err *err);
/* count signals that processes inside sent; the last of them. */
void signals_refuse(struct signals *s, uint64_t count, int signal, pid_t pid);

/* Whether a signal is the kernel's own or this process's, and not what another one sent: the kernel lets nobody give another process a
 * si_code above 0, nor SI_TKILL with a foreign si_pid. */
bool signals_genuine(const siginfo_t *info);

#endif
