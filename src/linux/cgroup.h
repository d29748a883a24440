/* Memory, pids and cpu cgroups for jobs, v2 or v1 (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/).
 *
 *     <where this process is, or the nearest ancestor that can be used>/
 *         tee-rex-<pid>/            the home of one launcher, locked by flock while it lives
 *             slot-3/               one job
 *
 * With v1 the controllers are trees of their own and each gets these directories; with v2 they are one. In
 * v2 a group that holds processes cannot hand controllers to children, so the home is then made
 * beside it, in its parent. Homes of dead launchers (nobody holds their lock) are swept when a new one
 * starts, or by who started them: their processes are killed and the directories removed.
 *
 * Nothing is created outside directories of ours, and no process is moved but by itself. */
#ifndef LINUX_CGROUP_H
#define LINUX_CGROUP_H

#include "base/fail.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum cgroup_version { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };
enum { CGROUP_PATH_MAX = 1024 };

/* Where one controller's groups go. */
struct cgroup_home { enum cgroup_version version; char path[CGROUP_PATH_MAX]; int fd; };

struct cgroup_homes {
	struct cgroup_home memory, pids, cpu;    /* with v2 all are the memory home, fd -1 in the others */
	struct err why;                          /* why memory.version is CGROUP_NONE */
};

/* Finds, sweeps and creates. Never fails: what there is not is CGROUP_NONE. root: "" for the running
 * system, or a directory with a tree like it (proc/self/cgroup, proc/self/mountinfo …) for tests. */
void cgroup_homes_open(struct cgroup_homes *ret, const char *root, pid_t self);
/* Removes what launchers that were killed have left, as the next one's start would: for who starts launchers from this
 * process's own groups. Waits, up to a second for each job, for processes that still die. */
void cgroup_homes_sweep(const char *root);
/* How much the CPU time of all jobs together counts against that of the service's other processes, 100 being as
 * much; among themselves jobs count alike, however many threads they make. False: nothing weighs here. */
bool cgroup_homes_weigh(const struct cgroup_homes *h, uint32_t weight);
/* Removes the directories (they must be empty) and closes. */
void cgroup_homes_close(struct cgroup_homes *h);

/* Bytes that this process's own memory group and those above it allow; 0: not limited, or not known. */
uint64_t cgroup_own_memory_limit(const char *root);

/* One job's groups. All descriptors -1: no groups. */
struct cgroup {
	enum cgroup_version version;             /* of the memory group */
	int memory_fd, pids_fd, cpu_fd;          /* cpu_fd: v1 only, and nothing is lost without it */
	bool pids_shared;                        /* v2: both are one directory */
	char name[32];
};
#define CGROUP_INIT { CGROUP_NONE, -1, -1, -1, false, "" }

/* Creates the job's groups in the homes that exist. -errno: none was left behind. */
int cgroup_create(struct cgroup *ret, const struct cgroup_homes *h, const char *name, struct err *err);

/* Limits the tree's memory, and its swap to none where swap is counted. The group may hold processes. */
int cgroup_set_memory(const struct cgroup *g, uint64_t bytes, struct err *err);
int cgroup_set_pids(const struct cgroup *g, uint32_t max, struct err *err);
/* True when the kernel counts swap and it was set to none by cgroup_set_memory (same kernel: ask any group). */
bool cgroup_limits_swap(const struct cgroup *g);

/* Descriptors a process joins by: write "0" to each. -1 where there is no group. */
struct cgroup_procs { int memory, pids, cpu; };
int cgroup_open_procs(const struct cgroup *g, struct cgroup_procs *ret, struct err *err);

uint64_t cgroup_memory_peak(const struct cgroup *g);     /* bytes; 0 = not known */
uint64_t cgroup_oom_kills(const struct cgroup *g);       /* processes killed so far */

/* SIGKILL to whatever is left in the groups. */
void cgroup_kill(const struct cgroup *g);
/* Removes the groups and closes. -EBUSY: a process is still in there, nothing was closed; call again.
 * Another -errno: closed, but a directory is left behind. */
int cgroup_remove(struct cgroup *g, const struct cgroup_homes *h);

#endif
