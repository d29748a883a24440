/* Who is short of memory: the kernel's out-of-memory kills with owner, peak and limit, as soon as they happen; pressure; and
 * from time to time what everybody has. Jobs are cgroups below their launcher's, so they are seen like services. */
#ifndef ENCLAVE_INIT_MEMORY_H
#define ENCLAVE_INIT_MEMORY_H

#include "enclave/init/services.h"

enum { MEMORY_GROUPS_MAX = 64, MEMORY_DEPTH = 3 };

/* A cgroup that was seen, to tell of its kills once, and of them still when it is gone already. */
struct memory_group {
	uint64_t inode, kills, peak_bytes, limit_bytes;
	char path[GROUP_PATH_MAX];               /* empty: unused */
	bool there;                              /* in the walk under way */
	uint64_t seen;                           /* number of the walk that saw it last */
};

struct memory;
struct memory_service { struct memory *of; struct watch watch; uint32_t index; uint64_t kills, limit_hits; };

struct memory {
	struct loop *loop;                       /* borrowed, as the next two */
	struct events *events;
	struct services *services;
	struct memory_service service[SERVICES_MAX];     /* descriptors owned */
	struct watch pressure;
	struct timer report;
	int64_t pressure_told_ms;
	struct memory_group group[MEMORY_GROUPS_MAX];
	uint64_t walks;
	bool machine;                            /* the walk under way: kills for want of the whole enclave's memory, not of a group's */
};

int memory_open(struct memory *m, struct loop *loop, struct events *events, struct services *services, struct err *err);

#endif
