/* The way of a service from init's fork to its own program: its cgroup, its view of the files, its descriptors, its
 * limits, its user. Runs in the child only; what goes wrong is one sentence on the status pipe, and exit. */
#ifndef ENCLAVE_INIT_CHILD_H
#define ENCLAVE_INIT_CHILD_H

#include "format/service_table.h"

#include <sys/types.h>

struct child_plan {
	const struct service *service;
	const char *app;                         /* where the application's root is mounted */
	uint32_t tmp_mib;                        /* of its /dev/shm */
	dev_t nsm;                               /* device number of /dev/nsm; 0: there is none */
	int procs;                               /* cgroup.procs to join; -1: none */
	int output;                              /* stdout and stderr; -1: /dev/null */
	int status;                              /* a sentence, or closed by execve */
	int fd[SERVICE_FDS_MAX + 1];             /* to hand down … */
	const char *fd_name[SERVICE_FDS_MAX + 1];        /* … under these names */
	size_t fd_count;
};

/* The child is in a mount namespace of its own. */
__attribute__((noreturn)) void child_run(const struct child_plan *p);

#endif
