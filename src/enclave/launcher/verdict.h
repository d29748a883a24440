/* How a job ended, from everything the launcher saw: pure, so that every case can be tested. */
#ifndef ENCLAVE_LAUNCHER_VERDICT_H
#define ENCLAVE_LAUNCHER_VERDICT_H

#include "base/fail.h"
#include "format/outcome.h"

/* Why the launcher itself ended the job, if it did. */
enum doom { DOOM_NONE, DOOM_CANCELLED, DOOM_DEADLINE, DOOM_MEMORY };

struct ending {
	enum doom doom;
	bool program_ended;              /* the keeper told how: */
	int program_status;              /*   as by waitpid */
	int exec_error;                  /* errno: the program could not be executed; 0 = it was */
	const char *broken;              /* what failed before the program could be made; NULL = nothing */
	int keeper_status;               /* as by waitpid */
	uint64_t oom_kills;              /* by the memory cgroup; 0 without one */
	bool rlimit_memory;              /* memory was limited by rlimits only */
	bool said_no_memory;             /* the job's output holds a failed allocation's message */
	int proof_error;                 /* 0: there is a proof; else what proof_text says */
	const char *proof_text;
};

struct verdict { enum outcome how; uint32_t signal, exit_code; struct err text; };

/* text: a sentence of our own, empty for a plain OK. */
void verdict_reach(const struct ending *e, struct verdict *ret);

#endif
