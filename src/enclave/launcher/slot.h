/* One slot: a cell, the job in it, and everything they hold. The cell is built when the slot opens, so
 * that a job only has to be started in it.
 *
 *     CLOSED -open-> OPENING -(keeper ready)-> OPEN -start-> RUNNING -(keeper ended)-> ENDED
 *        ^              |                        |              |                        |
 *        +-- CLOSING <--+------------------------+--- close ----+------------------------+
 *
 * CLOSING lasts until the process tree is reaped and the cgroup gone. The owner hears of it through
 * struct slot_handler, never from inside a call of its own but slot_close() of a slot with nothing
 * left to wait for. */
#ifndef ENCLAVE_LAUNCHER_SLOT_H
#define ENCLAVE_LAUNCHER_SLOT_H

#include "base/loop.h"
#include "enclave/config.h"
#include "enclave/launcher/crs.h"
#include "enclave/launcher/output.h"
#include "enclave/launcher/verdict.h"
#include "format/launch.h"
#include "linux/cgroup.h"

enum slot_state { SLOT_CLOSED, SLOT_OPENING, SLOT_OPEN, SLOT_RUNNING, SLOT_ENDED, SLOT_CLOSING, SLOT_STATE_COUNT };

struct slot;

struct slot_handler {
	void (*opened)(struct slot *s);                          /* s->input is there */
	void (*failed)(struct slot *s, const char *text);        /* it could not be opened, and is closed again */
	/* proof: descriptor when m->how is ok, else -1; the slot's, closed when this returns. m->text borrowed. */
	void (*ended)(struct slot *s, const struct launch_message *m, int proof);
	void (*closed)(struct slot *s);
};

/* What all slots share. */
struct slot_host {
	struct loop *loop;
	const struct config *config;
	struct cgroup_homes *homes;
	bool own_ids;                    /* jobs get uids of their own; else user namespaces are used */
	struct crs crs;                  /* as hashed at start */
	uint32_t threads;
	uint64_t memory_bytes;           /* limits of those that run, together */
	unsigned running;
	const struct slot_handler *handler;
};

struct slot {
	struct slot_host *host;
	uint8_t number;
	enum slot_state state;

	pid_t keeper;                    /* 0: reaped, or none */
	int pidfd, control;              /* of the keeper; our end of its socket */
	struct watch keeper_end;         /* on pidfd */
	struct watch keeper_says;        /* on control */
	struct output output;
	int tmpfs, input;                /* the slot's tmpfs and the input file in it */
	struct cgroup group;
	bool has_proc, has_seccomp;      /* as the keeper reported them */
	int landlock_abi;
	bool limits_tasks;               /* by RLIMIT_NPROC */

	struct timer deadline;           /* of the state the slot is in */
	struct timer tick;               /* look at the oom counter; try to remove the cgroup again */
	int64_t started_ms;
	uint64_t limit_bytes;
	struct ending ending;            /* so far */
	struct err broken;               /* OPENING, RUNNING: what the keeper said failed */
	int broken_error;                /* its errno */
	bool answer_failed, answer_closed;   /* CLOSING: what the owner is to hear at the end */
};

void slot_init(struct slot *s, uint8_t number, struct slot_host *host);

/* Starts to build the cell with room for a payload of that size. The state must be CLOSED. */
enum outcome slot_open(struct slot *s, uint64_t payload_bytes, struct err *err);
/* Runs the program (borrowed: a sealed memfd). memory, deadline: 0 = as configured. The state must be OPEN. */
enum outcome slot_start(struct slot *s, int program, uint64_t memory_bytes, uint32_t deadline_ms, struct err *err);
/* RUNNING: kills the job; ended() follows. */
void slot_cancel(struct slot *s);
/* Any state: kills, releases and then calls closed(). */
void slot_close(struct slot *s);

#endif
