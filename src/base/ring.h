/* A bounded queue of records that never refuses: when there is no room the oldest go, and every one that goes before
 * anybody took it is counted. Records are numbered from 0 and stay after they were taken, as long as there is room, so
 * that a reader who lost them can have them once more (ring_rewind).
 *
 *     produced = taken (once or more often) + dropped + still waiting        exactly, at every moment
 *
 * Memory is the caller's; nothing is allocated. */
#ifndef BASE_RING_H
#define BASE_RING_H

#include "base/bytes.h"

struct ring {
	uint8_t *p;                              /* borrowed */
	size_t cap, head, tail, used;            /* bytes: written at head, oldest at tail */
	uint64_t first, next;                    /* numbers of the oldest record and of the one to come */
	uint64_t cursor;                         /* number of the next one to take … */
	size_t cursor_at;                        /* … and where it is */
	uint64_t taken;                          /* every number below was taken or dropped */
	uint64_t dropped;
};

static inline void ring_init(struct ring *r, uint8_t *p, size_t cap) { *r = (struct ring){ .p = p, .cap = cap }; }
/* Appends; false (and nothing happens) when the record can never fit or has 64 KiB or more. */
bool ring_put(struct ring *r, struct bytes record);
/* How many were dropped between the last one taken and the next; told once. */
uint64_t ring_gap(struct ring *r);
/* Copies the next record into out and moves on. Returns its size, 0 when there is none or it is longer than cap. */
size_t ring_take(struct ring *r, uint8_t *out, size_t cap);
static inline bool ring_empty(const struct ring *r) { return r->cursor == r->next; }
/* The next to take is the oldest that is still here. */
static inline void ring_rewind(struct ring *r) { r->cursor = r->first; r->cursor_at = r->tail; }
/* What was taken came to nothing from that number on: it counts as waiting, or as dropped when it goes. */
static inline void ring_untake(struct ring *r, uint64_t from) { r->taken = from < r->taken ? from : r->taken; }

#endif
