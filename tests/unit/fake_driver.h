/* A virtio driver for tests: a sealed memory file as the guest's memory, with up to three queues in it, and QEMU's side of
 * vhost-user. Nothing is checked, so that everything can be broken.
 *
 *     queue i at i * 0x8000: descriptors +0, available +0x4000, used +0x6000; buffers from FAKE_BUFFERS on */
#ifndef TESTS_FAKE_DRIVER_H
#define TESTS_FAKE_DRIVER_H

#include "sim/vhost_user.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FAKE_MEMORY = 1 << 20, FAKE_BUFFERS = 0x40000, FAKE_SIZE = 64, FAKE_NEXT = 1, FAKE_WRITE = 2 };
#define FAKE_GUEST UINT64_C(0x100000)            /* guest address of the memory's first byte */
#define FAKE_USER UINT64_C(0x7f0000000000)       /* and QEMU's own */

struct fake_driver {
	int memfd, kick[3], call[3];
	uint8_t *p;
	uint16_t seen[3];                        /* used entries taken back */
};

static inline int fake_memfd(size_t size, bool seal)
{
	int fd = memfd_create("guest", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	assert(!seal || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
	return fd;
}

static inline void fake_open(struct fake_driver *f)
{
	memset(f, 0, sizeof *f);
	f->memfd = fake_memfd(FAKE_MEMORY, true);
	f->p = mmap(NULL, FAKE_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd, 0);
	assert(f->p != MAP_FAILED);
	for (int i = 0; i < 3; i++) {
		f->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		f->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
}

static inline void fake_close(struct fake_driver *f)
{
	munmap(f->p, FAKE_MEMORY);
	close(f->memfd);
	for (int i = 0; i < 3; i++) {
		close(f->kick[i]);
		close(f->call[i]);
	}
}

static inline uint64_t fake_desc_at(unsigned q) { return (uint64_t)q * 0x8000; }
static inline uint64_t fake_avail_at(unsigned q) { return fake_desc_at(q) + 0x4000; }
static inline uint64_t fake_used_at(unsigned q) { return fake_desc_at(q) + 0x6000; }

static inline void fake_desc(struct fake_driver *f, unsigned q, unsigned i, uint64_t address, uint32_t length, uint16_t flags, uint16_t next)
{
	struct { uint64_t address; uint32_t length; uint16_t flags, next; } d = { address, length, flags, next };
	memcpy(f->p + fake_desc_at(q) + 16 * i, &d, sizeof d);
}

static inline uint16_t fake_get16(const struct fake_driver *f, uint64_t at)
{
	uint16_t v;
	memcpy(&v, f->p + at, sizeof v);
	return v;
}
static inline void fake_put16(struct fake_driver *f, uint64_t at, uint16_t v) { memcpy(f->p + at, &v, sizeof v); }
static inline uint16_t fake_avail_idx(const struct fake_driver *f, unsigned q) { return fake_get16(f, fake_avail_at(q) + 2); }
static inline void fake_set_avail_idx(struct fake_driver *f, unsigned q, uint16_t v) { fake_put16(f, fake_avail_at(q) + 2, v); }

static inline void fake_offer(struct fake_driver *f, unsigned q, uint16_t head)
{
	uint16_t idx = fake_avail_idx(f, q);
	fake_put16(f, fake_avail_at(q) + 4 + 2 * (uint64_t)(idx % FAKE_SIZE), head);
	fake_set_avail_idx(f, q, (uint16_t)(idx + 1));
}

/* The next used entry; false when there is none. */
static inline bool fake_used(struct fake_driver *f, unsigned q, uint32_t *ret_id, uint32_t *ret_length)
{
	if (fake_get16(f, fake_used_at(q) + 2) == f->seen[q])
		return false;
	uint64_t at = fake_used_at(q) + 4 + 8 * (uint64_t)(f->seen[q]++ % FAKE_SIZE);
	memcpy(ret_id, f->p + at, 4);
	memcpy(ret_length, f->p + at + 4, 4);
	return true;
}

static inline struct guest_memory fake_memory(const struct fake_driver *f)
{
	return (struct guest_memory){ .region = { { FAKE_GUEST, FAKE_MEMORY, f->p } }, .count = 1 };
}

/* The queue as a device that sees the memory directly starts it. */
static inline bool fake_start(struct virtq *q, const struct guest_memory *m, unsigned i)
{
	return virtq_start(q, m, FAKE_SIZE, FAKE_GUEST + fake_desc_at(i), FAKE_GUEST + fake_avail_at(i), FAKE_GUEST + fake_used_at(i), 0);
}

/* --- QEMU ------------------------------------------------------------------------------------------------------ */

/* One vhost-user message with a payload of words; what vhost_user_handle() says. fd -1: none; else a copy goes along. */
static inline int fake_message(struct vhost_user *v, uint32_t request, const void *payload, size_t n, int fd, struct writer *reply, struct err *err)
{
	int fds[1] = { fd < 0 ? -1 : dup(fd) };
	return vhost_user_handle(v, request, 1, bytes_of(payload, n), fds, fd < 0 ? 0 : 1, reply, err);
}

struct fake_table { uint32_t count, padding; uint64_t guest, size, user, offset; };
#define FAKE_TABLE ((struct fake_table){ 1, 0, FAKE_GUEST, FAKE_MEMORY, FAKE_USER, 0 })
struct fake_ring { uint32_t index, number; };
struct fake_address { uint32_t index, flags; uint64_t desc, used, avail, log; };
#define FAKE_ADDRESS(i) ((struct fake_address){ (uint32_t)(i), 0, FAKE_USER + fake_desc_at(i), FAKE_USER + fake_used_at(i), \
	FAKE_USER + fake_avail_at(i), 0 })

/* What QEMU does when a driver starts a device: all of it; the first error. */
static inline int fake_negotiate(struct fake_driver *f, struct vhost_user *v, struct err *err)
{
	uint8_t buf[1024];
	struct writer w = writer_of(buf, sizeof buf);
	uint64_t features = VIRTIO_F_VERSION_1_BIT | UINT64_C(1) << 30;
	const struct fake_table table = FAKE_TABLE;
	int ret = fake_message(v, 1, NULL, 0, -1, &w, err);
	if (ret == 0)
		ret = fake_message(v, 2, &features, 8, -1, &w, err);
	if (ret == 0)
		ret = fake_message(v, 5, &table, sizeof table, f->memfd, &w, err);
	for (uint32_t i = 0; ret == 0 && i < v->queues; i++) {
		const struct fake_ring size = { i, FAKE_SIZE }, base = { i, 0 }, on = { i, 1 };
		const struct fake_address address = FAKE_ADDRESS(i);
		uint64_t index = i;
		ret = fake_message(v, 8, &size, sizeof size, -1, &w, err);
		if (ret == 0)
			ret = fake_message(v, 10, &base, sizeof base, -1, &w, err);
		if (ret == 0)
			ret = fake_message(v, 9, &address, sizeof address, -1, &w, err);
		if (ret == 0)
			ret = fake_message(v, 13, &index, 8, f->call[i], &w, err);
		if (ret == 0)
			ret = fake_message(v, 12, &index, 8, f->kick[i], &w, err);
		if (ret == 0)
			ret = fake_message(v, 18, &on, sizeof on, -1, &w, err);
	}
	return ret;
}

#endif
