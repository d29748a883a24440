/* What to reserve for enclaves and from where: a calculation on what host_state.h read, without side effects, that keeps a
 * record of its reasoning for people. host/reserve.h carries a plan out.
 *
 * Rules it keeps:
 *   - the host keeps its reserve: what is available now (so: beside all that runs) minus what the plan takes;
 *   - an enclave's memory and all CPUs of the pool are on one node;
 *   - CPUs come in whole cores, never CPU 0 or its siblings;
 *   - at most four enclaves, each of 64 MiB or more;
 *   - pages an enclave uses stay;
 *   - at most so many memory regions for each enclave, should no two pages lie side by side. */
#ifndef HOST_RESERVE_PLAN_H
#define HOST_RESERVE_PLAN_H

#include "host/host_state.h"

enum {
	RESERVE_ENCLAVES_MAX = 4, RESERVE_ENCLAVE_MIN_MIB = 64,
	RESERVE_REGIONS_DEFAULT = 256,           /* the hypervisor names its limit only when an enclave is created */
	RESERVE_REASONS_SIZE = 12288
};

struct reserve_request {
	size_t enclaves;
	uint64_t enclave_mib[RESERVE_ENCLAVES_MAX];
	uint64_t cpus;                           /* 0: one core for each enclave, or the pool as it is when there is one */
	bool has_cpu_list;
	struct cpu_set cpu_list;                 /* instead of cpus */
	uint64_t host_reserve_mib;               /* 0: reserve_default_mib() */
	int node;                                /* -1: the best */
	uint64_t regions_max;                    /* 0: RESERVE_REGIONS_DEFAULT */
	bool small_pages;                        /* 2 MiB pages only */
};

enum reserve_code {
	RESERVE_OK,
	RESERVE_NOTHING_ASKED,
	RESERVE_TOO_MANY_ENCLAVES,
	RESERVE_TOO_SMALL,
	RESERVE_NO_NODE,                         /* the node asked for is not there */
	RESERVE_NO_HUGE_PAGES,                   /* the kernel has none on any node */
	RESERVE_REGIONS,                         /* more regions than allowed even at best */
	RESERVE_HOST_STARVES,
	RESERVE_PAGES_IN_USE,
	RESERVE_NO_DRIVER,                       /* CPUs asked for, but there is no pool to put them in */
	RESERVE_CPU_ZERO,
	RESERVE_PARTIAL_CORE,
	RESERVE_CPU_ABSENT,                      /* listed, but not there or switched off by someone else */
	RESERVE_CPU_TWO_NODES,
	RESERVE_TOO_FEW_CPUS,
	RESERVE_POOL_UNCLEAR,
	RESERVE_CODE_COUNT
};

struct reserve_plan {
	enum reserve_code code;
	int node;
	uint64_t pages[HUGE_SIZES];              /* totals to have on that node */
	uint64_t takes_kib;                      /* from what is available now; 0 when it gives back */
	uint64_t gives_kib;
	uint64_t host_reserve_kib, left_kib;     /* to keep; would be left */
	uint64_t pool_kib;                       /* huge page memory on the node afterwards */
	uint64_t regions;                        /* of the largest enclave, at worst */
	uint64_t regions_max;
	bool sets_pool;                          /* the driver's pool is part of the plan */
	bool pool_changes;
	struct cpu_set pool;
	bool may_split;                          /* a 1 GiB page that is not to be had may become 2 MiB pages */
	struct err refusal;                      /* when code is not RESERVE_OK: what, why, what to do */
	char reasons[RESERVE_REASONS_SIZE];      /* one line each */
};

/* A sixteenth of the memory, at least 512 MiB, at most 4 GiB. */
uint64_t reserve_default_mib(uint64_t total_kib);
/* "ok", "host-starves" …; stable. */
const char *reserve_code_name(enum reserve_code c);
void reserve_plan_make(const struct reserve_request *q, const struct host_state *h, struct reserve_plan *ret);
/* What to put on the kernel command line to have these pages from the start, before memory is in pieces. */
void put_reserve_cmdline(struct writer *w, const struct reserve_plan *p, size_t node_count);

#endif
