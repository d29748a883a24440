/* What a parent instance has to give to enclaves, as the kernel tells it: memory and huge pages of each NUMA node, cores with
 * their siblings, the driver's CPU pool. Only read; nothing here changes the host. */
#ifndef HOST_HOST_STATE_H
#define HOST_HOST_STATE_H

#include "format/cpulist.h"
#include "linux/hugepages.h"

enum { NODES_MAX = 16 };

#define NE_CPUS_PATH "/sys/module/nitro_enclaves/parameters/ne_cpus"

struct host_node {
	int id;
	uint64_t total_kib;
	uint64_t available_kib;                  /* what could be taken from it without swapping */
	struct huge_pool pool[HUGE_SIZES];
};

struct host_core {
	struct cpu_set cpus;                     /* all its hardware threads that are online or in the pool */
	int node;                                /* -1: not known */
	bool pooled;                             /* its CPUs are in the driver's pool, hence offline here */
};

struct host_state {
	uint64_t total_kib, available_kib;       /* MemTotal, MemAvailable */
	size_t node_count;
	struct host_node node[NODES_MAX];
	size_t core_count;
	struct host_core core[CPU_MAX];
	struct cpu_set online;
	unsigned threads;                        /* of a core */
	bool driver;                             /* the pool's parameter is there */
	struct cpu_set pool;
	bool pool_unclear;                       /* the pool's CPUs could not be told into cores */
	uint64_t kernel_cmdline_pages;           /* huge pages asked for on the kernel command line; 0 also when absent */
};

/* -errno: not even memory or CPUs can be told. About 150 KiB: best static or allocated. */
int host_state_read(const char *root, struct host_state *ret, struct err *err);

/* NULL: no such node. */
const struct host_node *host_node_find(const struct host_state *h, int id);
/* Huge page memory of a node, in KiB. */
uint64_t host_node_pool_kib(const struct host_node *n);

#endif
