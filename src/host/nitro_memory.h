/* Which huge pages an enclave gets: decided from what is free, before anything is taken.
 *
 * The driver wants all memory from the NUMA node of the CPU pool, and hands each physically contiguous run of pages
 * to the hypervisor as a region of its own, of which an enclave may have a limited number (how many, no source
 * tells; the driver's answer is NE_ERR_MEM_MAX_REGIONS). Therefore: large pages before small ones, and within a size
 * in the order of physical addresses, because only neighbours that come one after the other are joined.
 *
 *     enclave memory   | 1 GiB | 1 GiB | 2 MiB 2 MiB 2 MiB …      as one range of addresses, largest pages first
 *                      0    ^8 MiB: the image, across as many pages as it takes
 *
 * Pure functions: no file is read and no page touched here. */
#ifndef HOST_NITRO_MEMORY_H
#define HOST_NITRO_MEMORY_H

#include "base/fail.h"
#include "linux/hugepages.h"

#include <stddef.h>

enum { NITRO_NODES_MAX = 64 };

struct nitro_node {
	int node;
	uint64_t free[HUGE_SIZES];               /* pages that nobody uses or was promised */
	uint64_t total[HUGE_SIZES];
};

struct nitro_memory {
	int node;
	uint64_t pages[HUGE_SIZES];
	uint64_t bytes;                          /* of all of them: at least what was asked for */
	uint64_t pieces_max;                     /* regions, if no two pages are neighbours */
};

/* The ways to get bytes (> 0) from one node, best first: least given beyond what was asked for, then fewest pieces. At most
 * one for each node; 0: nowhere. Only the pool's node will do, and only the driver knows which that is: whoever
 * gets NE_ERR_MEM_DIFFERENT_NUMA_NODE goes on to the next way. */
size_t nitro_memory_plan(const struct nitro_node *nodes, size_t count, uint64_t bytes,
                         struct nitro_memory ret[NITRO_NODES_MAX]);
/* Says in numbers why there is no way. -ENOMEM. */
int nitro_memory_refuse(const struct nitro_node *nodes, size_t count, uint64_t bytes, struct err *err);

/* --- the order of pages ------------------------------------------------------------------ */

struct nitro_page {
	uint64_t frame;                          /* physical address; 0: not known */
	uint64_t bytes;                          /* its size */
	uint64_t offset;                         /* in the file that holds the pages of its size */
};
/* Pages of one size by physical address. Leaves the order as it is unless all addresses are known. */
void nitro_pages_sort(struct nitro_page *pages, size_t count);
/* Runs of neighbours, as the driver would count them; 0: not known. */
size_t nitro_pages_runs(const struct nitro_page *pages, size_t count);
/* How many of the pages from first on to give in one call: up to NITRO_CALL_MAX bytes, for which the driver needs
 * records of a size that a kernel always finds memory for, and up to the end of a run where that is known: a run that
 * is cut costs a region more. */
#define NITRO_CALL_MAX (UINT64_C(4) << 30)
size_t nitro_pages_call(const struct nitro_page *pages, size_t count, size_t first);

#endif
