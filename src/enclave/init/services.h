/* The services of the table as processes: what supervise.h decides is done here. One pidfd, one pipe for output, one for
 * what goes wrong before execve and one for readiness per service; all in init's loop. */
#ifndef ENCLAVE_INIT_SERVICES_H
#define ENCLAVE_INIT_SERVICES_H

#include "base/loop.h"
#include "enclave/init/events.h"
#include "enclave/init/group.h"
#include "enclave/init/links.h"
#include "enclave/init/supervise.h"

struct services;

struct process {
	struct services *of;
	uint32_t index;
	pid_t pid;                               /* 0: there is none */
	int pidfd;                               /* owned, as the descriptors of the watches */
	struct watch status, output, ready;
	struct timer timer, poll;                /* supervise's; tries of ready = accept */
	char why[200];                           /* read from status */
	size_t why_n;
	char line[CONTROL_TEXT_MAX];             /* of output, not ended yet */
	size_t line_n;
	int listener[SERVICE_LISTEN_MAX];        /* owned for ever */
	struct group group;
	uint64_t oom_kills, limit_hits;          /* of its own group, and of its limit, when it was started */
	bool forced, oom_before;                 /* init has killed it; the kernel had before */
};

struct services {
	struct loop *loop;                       /* borrowed, as the next two */
	struct events *events;
	const struct service_table *table;
	const char *app;                         /* where the application's root is mounted */
	dev_t nsm;
	void (*on_over)(struct services *s, const char *reason);
	struct supervise supervise;
	struct links links;
	struct process process[SERVICES_MAX];
};

/* The members up to on_over are set. Opens cgroups and listeners; nothing runs yet. */
int services_open(struct services *s, struct err *err);
void services_start(struct services *s);
void services_stop(struct services *s, const char *reason);
/* A child was reaped. False: it was no service's first process. */
bool services_reaped(struct services *s, pid_t pid, int status);

#endif
