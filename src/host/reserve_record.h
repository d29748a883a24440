/* What reserving leaves on disk, as "key = value" lines.
 *
 * The record (/var/lib/tee-rex/reserve) is the reservation: what was asked for, what was taken, what was there before. It survives
 * reboots; at boot the reservation is made anew from it. The journal (/run/tee-rex/reserve.journal) is there while a
 * change is under way and says what was before it; like the kernel's state it describes, it does not survive a reboot. */
#ifndef HOST_RESERVE_RECORD_H
#define HOST_RESERVE_RECORD_H

#include "host/reserve_plan.h"

#define RESERVE_RECORD_PATH "/var/lib/tee-rex/reserve"
#define RESERVE_JOURNAL_PATH "/run/tee-rex/reserve.journal"
#define RESERVE_LOCK_PATH "/run/tee-rex/reserve.lock"
/* The allocator.yaml that was there before ours. */
#define RESERVE_BACKUP_PATH "/var/lib/tee-rex/allocator.yaml.before"

enum { RESERVE_TEXT_MAX = 16384, RESERVE_ID_MAX = 64 };

/* What is set in the kernel. */
struct reserve_kernel {
	int node;
	uint64_t pages[HUGE_SIZES];
	bool has_pool;                           /* the pool is meant as well */
	struct cpu_set pool;
};

struct reserve_record {
	char id[RESERVE_ID_MAX];                 /* of the change that made it */
	char boot[RESERVE_ID_MAX];               /* boot_id of the boot on which "before" was seen */
	struct reserve_request request;
	struct reserve_kernel taken, before;
	uint64_t allocator_crc;                  /* of the allocator.yaml we wrote */
	uint64_t replaced_crc;                   /* of the one that was there at that moment; 0: none */
	bool had_allocator;                      /* there was one before ours */
};

struct reserve_journal {
	char id[RESERVE_ID_MAX];
	bool release;                            /* else: reserve */
	struct reserve_kernel former;
};

void reserve_record_put(struct writer *w, const struct reserve_record *r);
void reserve_journal_put(struct writer *w, const struct reserve_journal *j);
/* False: damaged, or written by a later version. */
bool reserve_record_parse(struct bytes text, struct reserve_record *ret);
bool reserve_journal_parse(struct bytes text, struct reserve_journal *ret);

/* *ret_there: whether there is one. -errno when it cannot be read or understood. root as in linux/small_file.h. */
int reserve_record_load(const char *root, struct reserve_record *ret, bool *ret_there, struct err *err);

#endif
