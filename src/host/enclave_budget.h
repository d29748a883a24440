/* How much memory an enclave needs to do its work: what its image needs to boot (host/enclave_need.h), and beside what stays of that, the
 * service and its jobs. All sizes in bytes.
 *
 *     booting    kernel ─ ramdisks as they came ─ what they unpack to ─ the kernel's own
 *     working    kernel ─ what they unpacked to ─ the kernel's own ─ service ─ payloads ─ uploads ─ jobs
 *
 * A job's peak follows the largest circuit: 60 MiB + 1.75 KiB for each gate, at least 320 MiB, is above every peak measured for bb 5.0
 * (chonk: the larger of 240 MiB and 47 MiB + 1.52 KiB a gate; ultra_honk: 12 MiB + 1.35 KiB a gate, for some gates 1.9). */
#ifndef HOST_ENCLAVE_BUDGET_H
#define HOST_ENCLAVE_BUDGET_H

#include "host/enclave_need.h"

enum {
	BUDGET_JOB_LEAST_MIB = 320, BUDGET_JOB_BASE_MIB = 60, BUDGET_GATE_BYTES = 1792,
	BUDGET_SERVICE_MIB = 40,                 /* prover, launcher and init with their fixed buffers */
	BUDGET_PAYLOAD_MIB = 64                  /* of one job, as the measured configuration has it by default */
};

struct enclave_budget {
	struct enclave_need need;
	uint64_t jobs;                           /* at once */
	uint64_t service, payloads, uploads;
	uint64_t job;                            /* of one */
	uint64_t working;                        /* the sum while all jobs are at their peak */
	uint64_t total_mib;                      /* what to give: the larger moment, in whole huge pages, at least 64 */
	bool boots_larger;                       /* booting is the larger moment */
};

/* Peak of one job: gates of its largest circuit, 0: unknown, the least. */
uint64_t enclave_job_peak(uint64_t gates);
/* need: of the image. gates at most UINT64_MAX / 2^12; mebibytes at most 2^30. */
void enclave_budget_make(const struct enclave_need *need, uint64_t gates, uint64_t jobs, uint64_t payload_mib, uint64_t uploads_mib,
                         struct enclave_budget *ret);

#endif
