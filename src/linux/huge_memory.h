/* Memory made of huge pages, page by page under control: taken from one NUMA node's pool without a fault that could kill
 * (a pool that turns out empty is an error, not a SIGBUS), and mapped in an order of the caller's choice.
 *
 * Functions return 0 or -errno with a sentence in err. */
#ifndef LINUX_HUGE_MEMORY_H
#define LINUX_HUGE_MEMORY_H

#include "linux/hugepages.h"

#include <stddef.h>

/* An unnamed file that holds so many pages, taken from the pool now. node -1: from any. -ENOSPC: the pool has not so many. */
int huge_file_make(enum huge_size size, uint64_t pages, int node, int *ret_fd, struct err *err);
/* The physical addresses of a mapping's pages; zeros where the kernel does not tell (it takes CAP_SYS_ADMIN). */
int huge_frames(const void *addr, uint64_t page_bytes, size_t pages, uint64_t *ret_frames, struct err *err);

/* A range of addresses without memory, on a multiple of align (a power of 2). Given back by munmap(). */
int address_reserve(size_t bytes, size_t align, void **ret, struct err *err);
/* Puts bytes of the file at addr, in place of what was there: readable, writable, never inherited by a child or dumped. */
int huge_map(int fd, uint64_t offset, uint64_t bytes, void *addr, struct err *err);

#endif
