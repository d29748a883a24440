/* Moves the kernel's huge page pools and the driver's CPU pool from one state to another, and back when that fails.
 *
 * The kernel gives pages as far as it can and reports success; the driver, given a list it does not like, empties its pool. So
 * whatever was asked for is read back, and the former state is written again rather than assumed. */
#ifndef HOST_RESERVE_KERNEL_H
#define HOST_RESERVE_KERNEL_H

#include "host/reserve_record.h"

/* root as in linux/small_file.h; say (may be NULL) gets one sentence at a time for people. */
struct reserve_host { const char *root; void (*say)(const char *sentence); };

enum { RESERVE_STEP_2M = 128, RESERVE_IDLE_ROUNDS = 6 };

/* The present state of a node and the pool. has_pool is false where the driver is not loaded. -errno. */
int reserve_kernel_read(const struct reserve_host *h, int node, struct reserve_kernel *ret, struct err *err);

/* Goes to *to in small steps: caches dropped, memory compacted, tried again while anything comes of it; never lets MemAvailable fall
 * below host_reserve_kib. With may_split, 1 GiB pages that are not to be had become 2 MiB pages, and to->pages says so afterwards.
 * On failure nothing is put back: reserve_kernel_restore(). -errno. */
int reserve_kernel_apply(const struct reserve_host *h, struct reserve_kernel *to, uint64_t host_reserve_kib, bool may_split, struct err *err);

/* Back to *former, every part tried even if another fails. -errno of the first failure. */
int reserve_kernel_restore(const struct reserve_host *h, const struct reserve_kernel *former, struct err *err);

#endif
