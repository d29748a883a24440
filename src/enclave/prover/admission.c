#include "enclave/prover/admission.h"

/* The first to arrive of those that wait and arrived after that one. */
static struct admission_job *first_after(uint64_t order, struct admission_job *const *job, size_t n)
{
	struct admission_job *first = NULL;
	for (size_t i = 0; i < n; i++)
		if (job[i]->state == ADMISSION_WAITS && job[i]->order > order && (first == NULL || job[i]->order < first->order))
			first = job[i];
	return first;
}

struct admission_job *admission_next(const struct admission_limits *l, struct admission_job *const *job, size_t n)
{
	uint64_t taken = 0;
	uint32_t running = 0;

	for (size_t i = 0; i < n; i++)
		if (job[i]->state == ADMISSION_RUNS)
			taken += job[i]->mib, running++;
	if (running >= l->jobs)
		return NULL;
	for (struct admission_job *j = first_after(0, job, n); j != NULL; j = first_after(j->order, job, n)) {
		if (l->budget_mib == 0 || (taken <= l->budget_mib && j->mib <= l->budget_mib - taken)) {
			for (size_t i = 0; i < n; i++)
				if (job[i]->state == ADMISSION_WAITS && job[i]->order < j->order)
					job[i]->overtaken++;
			return j;
		}
		if (j->overtaken >= l->overtakes_max)
			return NULL;
	}
	return NULL;
}
