#include "host/nitro_room.h"

#include "base/cleanup.h"
#include "linux/huge_memory.h"
#include "linux/ne_dev.h"

#include <sys/mman.h>

static uint64_t page_bytes(enum huge_size s) { return huge_kib(s) << 10; }

/* Notes where the pages are physically. Not being told is no error: then they stay in the order they came in. */
static void find_frames(struct nitro_page *pages, size_t count, const uint8_t *at)
{
	CLEANUP(free_ptr) uint64_t *frames = calloc(count, sizeof *frames);
	if (frames == NULL || huge_frames(at, pages->bytes, count, frames, NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		pages[i].frame = frames[i];
}

/* Maps in the order of pages; neighbours in the file go into one mapping. */
static int map_in_order(const struct nitro_page *pages, size_t count, int fd, uint8_t *at, struct err *err)
{
	int ret = 0;
	for (size_t i = 0, n; i < count && ret == 0; i += n) {
		for (n = 1; i + n < count && pages[i + n].offset == pages[i + n - 1].offset + pages->bytes; n++)
			;
		ret = huge_map(fd, pages[i].offset, n * pages->bytes, at + i * pages->bytes, err);
	}
	return ret;
}

/* The pages of one size, to r->p + done. */
static int take_size(struct nitro_room *r, enum huge_size size, uint64_t count, int node, size_t done, struct err *err)
{
	struct nitro_page *pages = r->pages + r->page_count;
	uint8_t *at = r->p + done;
	CLEANUP(close_fd) int fd = -1;
	int ret = huge_file_make(size, count, node, &fd, err);
	if (ret < 0)
		return ret;
	for (uint64_t i = 0; i < count; i++)
		pages[i] = (struct nitro_page){ .bytes = page_bytes(size), .offset = i * page_bytes(size) };
	r->page_count += count;
	ret = huge_map(fd, 0, count * page_bytes(size), at, err);
	if (ret < 0)
		return ret;
	find_frames(pages, count, at);
	nitro_pages_sort(pages, count);
	return map_in_order(pages, count, fd, at, err);
}

int nitro_room_take(struct nitro_room *r, const struct nitro_memory *way, bool bind, struct err *err)
{
	*r = (struct nitro_room){ 0 };
	void *p;
	size_t align = page_bytes(way->pages[HUGE_1G] > 0 ? HUGE_1G : HUGE_2M);
	int ret = address_reserve(way->bytes, align, &p, err);
	if (ret < 0)
		return ret;
	r->p = p;
	r->n = way->bytes;
	r->pages = calloc(way->pages[HUGE_1G] + way->pages[HUGE_2M], sizeof *r->pages);
	if (r->pages == NULL)
		return fail(err, ENOMEM, "plan the enclave's memory");
	size_t done = 0;
	for (enum huge_size s = 0; s < HUGE_SIZES && ret == 0; s++) {
		if (way->pages[s] == 0)
			continue;
		ret = take_size(r, s, way->pages[s], bind ? way->node : -1, done, err);
		done += way->pages[s] * page_bytes(s);
	}
	return ret;
}

int nitro_room_load(struct nitro_room *r, uint64_t offset, int fd, uint64_t size, const char *path, struct err *err)
{
	if (offset > r->n || size > r->n - offset)
		return fail(err, 0, "%s has %llu MiB and has to lie %llu MiB into the enclave's memory, which is %zu MiB; give it more: "
		            "--memory", path, (unsigned long long)((size + (1 << 20) - 1) >> 20), (unsigned long long)(offset >> 20),
		            r->n >> 20), -EFBIG;
	for (uint64_t done = 0; done < size;) {
		ssize_t got = pread(fd, r->p + offset + done, size - done, (off_t)done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(err, errno, "read %s", path);
		if (got == 0)
			return fail(err, EIO, "read %s: it was cut while it was read", path);
		done += (uint64_t)got;
	}
	return 0;
}

int nitro_room_give(struct nitro_room *r, int vm, bool *ret_nothing_given, struct err *err)
{
	uint8_t *at = r->p;
	*ret_nothing_given = true;
	for (size_t i = 0, n; i < r->page_count; i += n) {
		size_t bytes = 0;
		n = nitro_pages_call(r->pages, r->page_count, i);
		for (size_t k = i; k < i + n; k++)
			bytes += r->pages[k].bytes;
		int ret = ne_set_memory(vm, at, bytes, err);
		if (ret < 0)
			return ret;
		*ret_nothing_given = false;
		at += bytes;
	}
	return 0;
}

void nitro_room_seal(struct nitro_room *r)
{
	mprotect(r->p, r->n, PROT_NONE);
}

void nitro_room_release(struct nitro_room *r)
{
	if (r->p != NULL)
		munmap(r->p, r->n);
	free(r->pages);
	*r = (struct nitro_room){ 0 };
}
