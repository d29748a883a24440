/* How many CPUs an enclave gets. The driver picks which: asked for "any", it completes a core before it opens the next
 * one, so that a multiple of a core's threads is always whole cores. Pure. */
#ifndef HOST_NITRO_CPUS_H
#define HOST_NITRO_CPUS_H

#include "base/fail.h"
#include "format/cpulist.h"

/* pool: as /sys/module/nitro_enclaves/parameters/ne_cpus says it (CPUs of running enclaves included). threads: of one
 * core (> 0). wanted 0: one core. *ret: CPUs to ask for. -EINVAL or -ENOSPC, with the numbers. */
int nitro_cpus_plan(const struct cpu_set *pool, unsigned threads, unsigned wanted, unsigned *ret, struct err *err);

#endif
