/* A service's cgroup (version 2, /sys/fs/cgroup/NAME): its limits, what is killed with it, and what the kernel counts.
 *
 * The launcher gets groups of its own below: its processes are in NAME/main, so that NAME may have more children, one per job.
 * memory.events counts what happens anywhere below, so one file per service tells of its jobs too. */
#ifndef ENCLAVE_INIT_GROUP_H
#define ENCLAVE_INIT_GROUP_H

#include "format/service_table.h"

#define GROUP_ROOT "/sys/fs/cgroup"
enum { GROUP_PATH_MAX = 256 };

struct group {
	char path[GROUP_PATH_MAX];               /* below GROUP_ROOT; empty: there is none */
	char own[GROUP_PATH_MAX];                /* where its own processes are: path, or path/main */
	int procs;                               /* owned: a process joins by writing "0"; -1 */
};
#define GROUP_NONE ((struct group){ .path = "", .own = "", .procs = -1 })

/* Hands the controllers to the groups of services. */
int groups_enable(struct err *err);
int group_open(struct group *g, const struct service *s, struct err *err);
/* SIGKILL to everything in it and below. */
void group_kill(const struct group *g);

/* Of memory.events (local: of this group alone, without those below); 0 when it cannot be read. Processes that were killed for want of
 * memory, and how often a limit was what was in the way: the machine as a whole has none. */
uint64_t group_oom_kills(const char *path, bool local);
uint64_t group_limit_hits(const char *path, bool local);
/* A file with one number; "max" and a missing file are 0. */
uint64_t group_number(const char *path, const char *file);

#endif
