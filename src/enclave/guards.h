/* What keeps a job in its cell, as far as kernels and users differ. What is not listed here is never
 * done without: own pid, mount, ipc, uts and network namespaces, a pivoted read-only root, no
 * capabilities, no_new_privs, closed descriptors, no core dumps, bounded rlimits. */
#ifndef ENCLAVE_GUARDS_H
#define ENCLAVE_GUARDS_H

#include "base/bytes.h"

enum guard {
	GUARD_UID,           /* a user id of the job's own */
	GUARD_MEMORY,        /* a memory cgroup for the job's whole tree */
	GUARD_SWAP,          /* its memory cannot reach a swap device */
	GUARD_PIDS,          /* a bound on processes and threads */
	GUARD_SECCOMP,       /* system calls a prover never makes are refused */
	GUARD_LANDLOCK,      /* files, once more: beside the read-only root */
	GUARD_COUNT
};

enum guard_policy { GUARD_REQUIRE, GUARD_DEGRADE };

enum { GUARD_HOW_MAX = 32, GUARD_WHY_MAX = 256 };

/* How a guard turned out. given: it holds in full. */
struct guard_state { bool given; char how[GUARD_HOW_MAX]; char why[GUARD_WHY_MAX]; };

struct guards {
	struct guard_state state[GUARD_COUNT];
	bool userns;         /* jobs run in a user namespace of their own */
	const char *crs;     /* how jobs see a CRS: "pinned", "unpinned" or "none" */
	bool proc;           /* jobs have a /proc (of their own pid namespace) */
};

/* The word of the configuration and of the report: "uid", "memory" … */
const char *guard_name(enum guard g);

void guard_set(struct guards *g, enum guard which, bool given, const char *how, const char *why);

/* One line: "uid=64000+ memory=cgroup-v1 … userns=no proc=own crs=pinned missing=swap". */
void guards_line(const struct guards *g, struct writer *w);

#endif
