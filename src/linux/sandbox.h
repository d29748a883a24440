/* A process gives up what it could do, in stages; none can be undone.
 *
 *     sandbox_identity   ids, groups, capabilities      needs the old ones; after all mounting
 *     sandbox_limits     rlimits, out-of-memory score   before the old /proc is out of reach
 *     sandbox_close      descriptors
 *     sandbox_seal       no_new_privs, system calls     last, just before execve
 *
 * Each is for a process of one thread. */
#ifndef LINUX_SANDBOX_H
#define LINUX_SANDBOX_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* True when this process may change ids and make namespaces without a user namespace. */
bool sandbox_privileged(void);

/* Only the capabilities of sandbox_privileged() are left, in the bounding set too; ids stay. */
int sandbox_keep_privileges(struct err *err);

/* No capabilities in any set, the bounding set included. With change_ids: no supplementary groups, and
 * uid and gid in all their forms; without it the ids stay (an ordinary user has no others to give). */
int sandbox_identity(bool change_ids, uid_t uid, gid_t gid, struct err *err);

/* The same for a service: its groups, and the capabilities of keep (bit n: capability n) if it stays root; none of them
 * can be had back. */
int sandbox_become(uid_t uid, gid_t gid, const uint32_t *groups, size_t group_count, uint64_t keep, struct err *err);

/* A user of its own with every capability that it has: whoever has user 0 without capabilities has no say over this process (signals,
 * limits, priorities, its files in /proc), which the kernel gives to equal users. */
int sandbox_apart(uid_t uid, struct err *err);

struct sandbox_limits {
	uint32_t tasks;              /* RLIMIT_NPROC: processes and threads of this uid; 0 = leave */
	uint32_t files;              /* RLIMIT_NOFILE */
	uint64_t stack_bytes;
	uint64_t data_bytes;         /* RLIMIT_DATA of each process; 0 = leave */
	uint64_t address_bytes;      /* RLIMIT_AS of each process; 0 = leave */
};
/* Also: no core dump (not even to a handler), no locked memory, no message queues, no real-time or
 * raised priority. Limits that are already lower stay. */
int sandbox_limits(const struct sandbox_limits *l, struct err *err);

/* First to be killed when memory runs out. */
int sandbox_oom_first(struct err *err);

/* Every descriptor from first on closes (now, or at execve). */
int sandbox_close(unsigned first, bool at_exec, struct err *err);

/* Execve can grant nothing any more. */
int sandbox_no_new_privs(struct err *err);

/* System calls a prover never makes fail: sockets of every family, io_uring, bpf, ptrace and reading
 * other processes, keys, modules, mounts and namespaces, and more (sandbox.c has the table). clone3
 * answers ENOSYS, so that libc falls back to clone, whose flags a filter can see. Call
 * sandbox_no_new_privs() first. -ENOSYS: not on this architecture. */
int sandbox_seal(struct err *err);

/* The same for whoever makes the jobs: without the refusals that stand in the way of making one (socketpair,
 * namespaces, mounts). Jobs inherit it. -ENOSYS as above. */
int sandbox_seal_maker(struct err *err);

/* Kernels before 5.14 count RLIMIT_NPROC for the user across all namespaces: useless in a namespace. */
bool sandbox_counts_tasks_per_namespace(void);

#endif
