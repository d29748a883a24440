#include "host/nitro_cpus.h"

#include <errno.h>

int nitro_cpus_plan(const struct cpu_set *pool, unsigned threads, unsigned wanted, unsigned *ret, struct err *err)
{
	unsigned in_pool = (unsigned)cpu_set_count(pool);
	char list[CPULIST_TEXT_MAX];
	if (in_pool == 0)
		return fail(err, 0, "no CPU is set aside for enclaves; reserve some: tee-rex reserve --cpus %u",
		            wanted > 0 ? wanted : threads), -ENOSPC;
	if (wanted == 0)
		wanted = threads;
	if (wanted % threads != 0)
		return fail(err, 0, "%u CPUs are no whole cores: a core here has %u threads, and an enclave gets all of them; "
		            "ask for %u%s", wanted, threads, wanted + threads - wanted % threads,
		            wanted > threads ? " or fewer" : "");
	if (wanted > in_pool)
		return fail(err, 0, "%u CPUs are asked for, and %u are set aside for enclaves (%.200s); ask for fewer, or reserve "
		            "more: tee-rex reserve --cpus %u", wanted, in_pool, cpulist_text(pool, list), wanted), -ENOSPC;
	*ret = wanted;
	return 0;
}
