/* Carries a plan out as a transaction: the kernel's pools, our record, and the allocator.yaml that we share with the stock allocator
 * change together or not at all.
 *
 *     lock -> journal (what was) -> kernel -> record (the commit) -> allocator.yaml -> journal gone
 *
 * A failure undoes what was done. A kill leaves the journal; the next reserve or release, under the same lock, first undoes what it
 * speaks of, or finishes it if the record had been written. A reboot in between takes journal and pages with it, and the
 * record, old or new, makes them anew. */
#ifndef HOST_RESERVE_H
#define HOST_RESERVE_H

#include "format/allocator_yaml.h"
#include "host/reserve_kernel.h"

enum allocator_standing {
	ALLOCATOR_ABSENT,
	ALLOCATOR_STOCK,                         /* as the stock package brings it: 512 MiB, 2 CPUs */
	ALLOCATOR_OURS,                          /* as our record says we wrote it */
	ALLOCATOR_OTHERS,                        /* somebody's values */
	ALLOCATOR_BROKEN                         /* the stock allocator could not read it */
};

struct allocator_view {
	enum allocator_standing standing;
	struct allocator_yaml yaml;              /* except when absent or broken */
	enum allocator_result result;
	unsigned line;                           /* of what is broken */
	bool service_enabled;                    /* nitro-enclaves-allocator.service starts at boot */
};

/* record: NULL when there is none. */
void allocator_view_read(const char *root, const struct reserve_record *record, struct allocator_view *ret);
/* What the stock allocator has to write down for this plan to be the same to it. */
void allocator_yaml_of(const struct reserve_request *q, const struct reserve_kernel *k, unsigned threads, struct allocator_yaml *ret);

/* The changes below are made under this lock, plans for them too. *ret_fd: to be closed when done. -errno; -EWOULDBLOCK:
 * another one is at work. */
int reserve_lock(const struct reserve_host *h, int *ret_fd, struct err *err);
/* Finishes or undoes what an interrupted run left. *ret_found: there was something. */
int reserve_recover(const struct reserve_host *h, bool *ret_found, struct err *err);
/* p: made for the present state, RESERVE_OK. keep_allocator: somebody else's allocator.yaml stays as it is. */
int reserve_apply(const struct reserve_host *h, const struct reserve_request *q, const struct reserve_plan *p, unsigned threads,
                  bool keep_allocator, struct reserve_record *ret, struct err *err);
/* Back to what was before the first reservation. -ENOENT: nothing is reserved. -EBUSY: pages are in use. */
int reserve_release(const struct reserve_host *h, struct err *err);

#endif
