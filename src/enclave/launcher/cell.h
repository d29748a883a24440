/* The cell: what a job runs in, seen from inside. Its keeper is the first process of the job's own
 * namespaces; it builds the cell, waits for the order to start, runs the prover program as its child
 * and says how that ended. When the keeper ends, for whatever reason, the kernel ends everything else
 * in the cell with it.
 *
 *     /            tmpfs, read-only, no devices, no programs
 *     /usr /lib …  the recipe's ro paths, read-only
 *     /crs         the CRS directory, or the files of it that are pinned, read-only
 *     /dev         null, zero, urandom
 *     /proc        this pid namespace, read-only, processes only
 *     /sys/devices/system/cpu/online
 *     /job         the slot's tmpfs, the one writable place: input, out/
 *
 * launcher -> keeper   struct cell_order + [program]          once, to start
 * keeper -> launcher   struct cell_report: READY + [tmpfs, input] or BROKEN;
 *                      after the order EXITED, or NOT_EXECUTED and EXITED */
#ifndef ENCLAVE_LAUNCHER_CELL_H
#define ENCLAVE_LAUNCHER_CELL_H

#include "enclave/launcher/crs.h"
#include "enclave/recipe.h"
#include "linux/cgroup.h"

#include <sys/types.h>

struct cell_plan {
	const struct config_recipe *recipe;
	struct recipe_command *command;
	const struct crs *crs;
	int control, output;             /* the keeper's ends: a SOCK_SEQPACKET socket, a pipe for stdout and stderr */
	struct cgroup_procs procs;       /* to join by, or -1 */
	bool own_ids;                    /* the job gets uid and gid; else it keeps these of the launcher's user */
	uid_t uid;
	gid_t gid;
	uint64_t tmpfs_bytes;
	uint32_t tasks;                  /* processes and threads, the keeper included; 0 = no rlimit */
};

struct cell_order { uint64_t data_bytes, address_bytes; };   /* rlimits of each process; 0 = none */

enum cell_report_kind { CELL_READY, CELL_BROKEN, CELL_NOT_EXECUTED, CELL_EXITED };

struct cell_report {
	enum cell_report_kind kind;
	bool has_proc, has_seccomp;      /* READY */
	int landlock_abi;                /* READY: 0 = not entered */
	int status;                      /* EXITED: as by waitpid */
	int error;                       /* NOT_EXECUTED, BROKEN: errno */
	char text[256];                  /* BROKEN: what failed */
};

/* Runs the keeper in the child of spawn_clone(CELL_NAMESPACES, and CLONE_NEWUSER without own_ids). */
_Noreturn void cell_keep(const struct cell_plan *plan);

extern const uint64_t cell_namespaces;

#endif
