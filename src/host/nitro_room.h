/* The memory of an enclave as long as it is still ours: huge pages of one node in one range of addresses, largest first and
 * in physical order, with the image in its place. */
#ifndef HOST_NITRO_ROOM_H
#define HOST_NITRO_ROOM_H

#include "host/nitro_memory.h"

struct nitro_room {
	uint8_t *p;                              /* owned mapping */
	size_t n;
	struct nitro_page *pages;                /* owned; in the order of addresses */
	size_t page_count;
};

/* Takes the pages. bind: from way->node only (where there is one node, there is nothing to bind to). r must be released
 * in any case. */
int nitro_room_take(struct nitro_room *r, const struct nitro_memory *way, bool bind, struct err *err);
/* Reads size bytes of the file (from its beginning) to offset. -EFBIG, in numbers, when they do not fit. */
int nitro_room_load(struct nitro_room *r, uint64_t offset, int fd, uint64_t size, const char *path, struct err *err);
/* Gives all of it to the enclave. *ret_nothing_given: it failed before the enclave had any of it. */
int nitro_room_give(struct nitro_room *r, int vm, bool *ret_nothing_given, struct err *err);
/* It is the enclave's: from now on, who touches it by mistake gets a SIGSEGV. */
void nitro_room_seal(struct nitro_room *r);
/* The pages return to their pool, unless an enclave still has them. */
void nitro_room_release(struct nitro_room *r);

#endif
