/* Pools of huge pages, one for each NUMA node and page size (Documentation/admin-guide/mm/hugetlbpage.rst), and what
 * helps the kernel to find room for them. */
#ifndef LINUX_HUGEPAGES_H
#define LINUX_HUGEPAGES_H

#include "base/fail.h"

#include <stdbool.h>
#include <stdint.h>

enum huge_size { HUGE_1G, HUGE_2M, HUGE_SIZES };         /* largest first */

static inline uint64_t huge_kib(enum huge_size s) { return s == HUGE_1G ? 1048576 : 2048; }
static inline const char *huge_name(enum huge_size s) { return s == HUGE_1G ? "1G" : "2M"; }

struct huge_pool {
	bool there;                              /* the kernel knows this size on this node */
	uint64_t total, free, surplus;           /* pages; surplus ones are in use beyond the total asked for */
};

/* What a node has. Never fails: an absent pool is all zero. root as in linux/small_file.h. */
void hugepages_read(const char *root, int node, enum huge_size size, struct huge_pool *ret);
/* Asks for a number of pages; the kernel gives what it can and says nothing, so read again. */
int hugepages_ask(const char *root, int node, enum huge_size size, uint64_t pages, struct err *err);

/* Writes out what is dirty, then gives up the page cache and what slabs can spare. */
int memory_drop_caches(const char *root, struct err *err);
/* Moves pages together, so that free ones lie side by side. -ENOENT: the kernel cannot. */
int memory_compact(const char *root, int node, struct err *err);

#endif
