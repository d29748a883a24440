/* Which waiting job starts next. Jobs are packed by the memory reserved for each: where the first in the queue
 * does not fit beside those that run, a later one that does may start, but each job is overtaken only so
 * often; then everybody behind waits for it. Pure: no clock, no I/O. */
#ifndef ENCLAVE_PROVER_ADMISSION_H
#define ENCLAVE_PROVER_ADMISSION_H

#include <stddef.h>
#include <stdint.h>

enum admission_state {
	ADMISSION_NONE,                  /* no job, or one that neither waits nor runs */
	ADMISSION_WAITS,
	ADMISSION_RUNS                   /* or may still have processes: its memory is taken */
};

struct admission_job {
	enum admission_state state;
	uint64_t order;                  /* of arrival */
	uint64_t mib;                    /* reserved for it */
	uint32_t overtaken;              /* how often */
};

struct admission_limits {
	uint32_t jobs;                   /* that run at once */
	uint64_t budget_mib;             /* of all that run; 0 = only their number counts */
	uint32_t overtakes_max;
};

/* The job to start now, NULL for none; those it overtakes are counted. The caller makes it ADMISSION_RUNS. */
struct admission_job *admission_next(const struct admission_limits *l, struct admission_job *const *job, size_t n);

#endif
