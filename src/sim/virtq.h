/* A split virtqueue (virtio 1.2, §2.7) from the device's side, over memory that a guest writes while we read it.
 *
 *     descriptor 16 B   le64 address | le32 length | le16 flags (1 next, 2 writable, 4 indirect) | le16 next
 *     available         le16 flags | le16 idx | le16 ring[size]            driver → device
 *     used              le16 flags | le16 idx | { le32 id, le32 length } ring[size]     device → driver
 *
 * Driver and guest are hostile. Every address is looked up in the region table, every index compared with the size, every
 * chain has an end; what is checked is a copy of our own. A queue that breaks the rules is broken for good: nothing more is
 * read from it or written to it. Indirect descriptors and event indexes are not offered, so their use breaks a queue too. */
#ifndef SIM_VIRTQ_H
#define SIM_VIRTQ_H

#include "base/bytes.h"

#include <sys/uio.h>

enum { GUEST_REGIONS_MAX = 32, VIRTQ_SIZE_MAX = 1024, VIRTQ_PIECES_MAX = 64 };

/* Guest memory as we see it: p[0 .. size) is what the driver calls address .. address + size. */
struct guest_region { uint64_t address, size; uint8_t *p; };
struct guest_memory { struct guest_region region[GUEST_REGIONS_MAX]; size_t count; };

/* n bytes at that address, or NULL: not wholly inside one region. n may be 0. */
uint8_t *guest_memory_at(const struct guest_memory *m, uint64_t address, uint64_t n);

struct virtq {
	const struct guest_memory *memory;       /* borrowed */
	uint16_t size;                           /* a power of two */
	uint16_t next_avail, next_used;
	bool started;                            /* the three rings are mapped and enabled */
	uint8_t *desc, *avail, *used;            /* inside memory */
	const char *broken;                      /* NULL, or the rule that the driver broke; a static string */
	bool dirty;                              /* something was put since the last virtq_interrupt() */
};

/* 1 to VIRTQ_SIZE_MAX, a power of two. */
bool virtq_size_valid(uint32_t size);
/* Looks the rings up; false when one of them is not (aligned) in memory. Continues at entry base. */
bool virtq_start(struct virtq *q, const struct guest_memory *m, uint32_t size, uint64_t desc, uint64_t avail, uint64_t used,
                 uint16_t base);
void virtq_stop(struct virtq *q);

/* One request: readable pieces, then writable ones. They point into the guest's memory: read once, then judge. */
struct virtq_chain {
	uint16_t head;
	struct iovec piece[VIRTQ_PIECES_MAX];
	size_t readable, writable;               /* numbers of pieces; writable ones follow the readable */
	size_t readable_bytes, writable_bytes;
};

/* How many chains wait; 0 also when the queue is stopped or broken. */
unsigned virtq_waiting(struct virtq *q);
/* The chain that waits, left where it is; false when there is none, or the queue is broken (q->broken). */
bool virtq_peek(struct virtq *q, struct virtq_chain *ret);
/* The one after so many others. */
bool virtq_peek_at(struct virtq *q, unsigned ahead, struct virtq_chain *ret);
/* Takes the peeked chain away … */
void virtq_take(struct virtq *q);
/* … and gives a taken one back, with so many bytes written. */
void virtq_put(struct virtq *q, uint16_t head, uint32_t written);
/* True when the driver wants an interrupt for what was put. Resets dirty. */
bool virtq_interrupt(struct virtq *q);

/* Copies from the readable part (at most n bytes from offset), or to the writable part; returns how many. */
size_t virtq_read(const struct virtq_chain *c, size_t offset, void *to, size_t n);
size_t virtq_write(const struct virtq_chain *c, size_t offset, struct bytes from);

#endif
