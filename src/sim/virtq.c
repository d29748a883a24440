#include "sim/virtq.h"

enum { DESC_SIZE = 16, USED_SIZE = 8, FLAG_NEXT = 1, FLAG_WRITE = 2, FLAG_INDIRECT = 4, AVAIL_NO_INTERRUPT = 1 };

uint8_t *guest_memory_at(const struct guest_memory *m, uint64_t address, uint64_t n)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct guest_region *r = &m->region[i];
		if (address >= r->address && address - r->address <= r->size && n <= r->size - (address - r->address))
			return r->p + (address - r->address);
	}
	return NULL;
}

/* The guest may write at any moment: each value is loaded once, as one access. x86 and arm64 are little-endian, as virtio is. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio's byte order");
static uint16_t load16(const uint8_t *p) { return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE); }
static void store16(uint8_t *p, uint16_t v) { __atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE); }

bool virtq_size_valid(uint32_t size) { return size > 0 && size <= VIRTQ_SIZE_MAX && (size & (size - 1)) == 0; }

bool virtq_start(struct virtq *q, const struct guest_memory *m, uint32_t size, uint64_t desc, uint64_t avail, uint64_t used,
                 uint16_t base)
{
	*q = (struct virtq){ .memory = m };
	if (!virtq_size_valid(size) || desc % 16 != 0 || avail % 2 != 0 || used % 4 != 0)
		return false;
	q->desc = guest_memory_at(m, desc, (uint64_t)DESC_SIZE * size);
	q->avail = guest_memory_at(m, avail, 4 + 2 * (uint64_t)size);
	q->used = guest_memory_at(m, used, 4 + USED_SIZE * (uint64_t)size);
	if (q->desc == NULL || q->avail == NULL || q->used == NULL ||
	    ((uintptr_t)q->desc | (uintptr_t)q->avail | (uintptr_t)q->used) % 2 != 0)
		return false;
	q->size = (uint16_t)size;
	q->next_avail = base;
	q->next_used = load16(q->used + 2);
	q->started = true;
	return true;
}

void virtq_stop(struct virtq *q)
{
	q->started = false;
	q->desc = q->avail = q->used = NULL;
}

static unsigned broken(struct virtq *q, const char *rule)
{
	q->broken = rule;
	return 0;
}

unsigned virtq_waiting(struct virtq *q)
{
	if (!q->started || q->broken != NULL)
		return 0;
	uint16_t n = (uint16_t)(load16(q->avail + 2) - q->next_avail);
	return n <= q->size ? n : broken(q, "more available than the queue has entries");
}

bool virtq_peek(struct virtq *q, struct virtq_chain *ret) { return virtq_peek_at(q, 0, ret); }

bool virtq_peek_at(struct virtq *q, unsigned ahead, struct virtq_chain *ret)
{
	if (virtq_waiting(q) <= ahead)
		return false;
	uint16_t at = load16(q->avail + 4 + 2 * (size_t)((q->next_avail + ahead) % q->size));
	ret->head = at;
	ret->readable = ret->writable = ret->readable_bytes = ret->writable_bytes = 0;
	for (;;) {
		struct { uint64_t address; uint32_t length; uint16_t flags, next; } d;
		size_t n = ret->readable + ret->writable;
		if (at >= q->size)
			return broken(q, "a descriptor index beyond the table");
		if (n == VIRTQ_PIECES_MAX)
			return broken(q, "a chain without an end");
		memcpy(&d, q->desc + DESC_SIZE * (size_t)at, DESC_SIZE);
		if (d.flags & FLAG_INDIRECT)
			return broken(q, "an indirect descriptor, which was not offered");
		if (!(d.flags & FLAG_WRITE) && ret->writable > 0)
			return broken(q, "a readable descriptor behind a writable one");
		uint8_t *p = guest_memory_at(q->memory, d.address, d.length);
		if (p == NULL)
			return broken(q, "a descriptor outside the guest's memory");
		ret->piece[n] = (struct iovec){ p, d.length };
		if (d.flags & FLAG_WRITE) {
			ret->writable++;
			ret->writable_bytes += d.length;
		} else {
			ret->readable++;
			ret->readable_bytes += d.length;
		}
		if (!(d.flags & FLAG_NEXT))
			return true;
		at = d.next;
	}
}

void virtq_take(struct virtq *q) { q->next_avail++; }

void virtq_put(struct virtq *q, uint16_t head, uint32_t written)
{
	if (!q->started || q->broken != NULL)
		return;
	struct { uint32_t id, length; } e = { head, written };
	memcpy(q->used + 4 + USED_SIZE * (size_t)(q->next_used % q->size), &e, sizeof e);
	store16(q->used + 2, ++q->next_used);
	q->dirty = true;
}

bool virtq_interrupt(struct virtq *q)
{
	bool was = q->dirty;
	q->dirty = false;
	if (!was || !q->started)
		return false;
	/* our store of the index before our load of the flag: the driver does both the other way round */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !(load16(q->avail) & AVAIL_NO_INTERRUPT);
}

/* The part of pieces[0 .. count) from offset on: calls for each stretch by the two users below. */
static size_t copy(const struct iovec *piece, size_t count, size_t offset, uint8_t *buf, const uint8_t *from, size_t n)
{
	size_t done = 0;
	for (size_t i = 0; i < count && done < n; i++) {
		if (offset >= piece[i].iov_len) {
			offset -= piece[i].iov_len;
			continue;
		}
		uint8_t *p = (uint8_t *)piece[i].iov_base + offset;
		size_t k = piece[i].iov_len - offset < n - done ? piece[i].iov_len - offset : n - done;
		if (from != NULL)
			memcpy(p, from + done, k);
		else
			memcpy(buf + done, p, k);
		done += k;
		offset = 0;
	}
	return done;
}

size_t virtq_read(const struct virtq_chain *c, size_t offset, void *to, size_t n)
{
	return copy(c->piece, c->readable, offset, to, NULL, n);
}

size_t virtq_write(const struct virtq_chain *c, size_t offset, struct bytes from)
{
	return from.n == 0 ? 0 : copy(c->piece + c->readable, c->writable, offset, NULL, from.p, from.n);
}
