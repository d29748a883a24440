#include "host/enclave_budget.h"

enum { LEAST_MIB = 64 };                         /* the driver's */
static const uint64_t mib = 1 << 20;

uint64_t enclave_job_peak(uint64_t gates)
{
	uint64_t peak = BUDGET_JOB_BASE_MIB * mib + gates * BUDGET_GATE_BYTES;
	return peak > BUDGET_JOB_LEAST_MIB * mib ? peak : BUDGET_JOB_LEAST_MIB * mib;
}

void enclave_budget_make(const struct enclave_need *need, uint64_t gates, uint64_t jobs, uint64_t payload_mib, uint64_t uploads_mib,
                         struct enclave_budget *ret)
{
	struct enclave_budget b = { .need = *need, .jobs = jobs };
	b.service = BUDGET_SERVICE_MIB * mib;
	b.payloads = jobs * payload_mib * mib;
	b.uploads = uploads_mib * mib;
	b.job = enclave_job_peak(gates);
	uint64_t held = need->kernel + need->unpacked + b.service + b.payloads + b.uploads + jobs * b.job;
	/* the kernel's share grows with the memory it manages: a sixty-fourth for page records */
	uint64_t system = need->system > held / 63 ? need->system : held / 63;
	b.working = held + system;
	b.boots_larger = need->total > b.working;
	uint64_t total = b.boots_larger ? need->total : b.working;
	b.total_mib = (total + 2 * mib - 1) / (2 * mib) * 2;
	if (b.total_mib < LEAST_MIB)
		b.total_mib = LEAST_MIB;
	*ret = b;
}
