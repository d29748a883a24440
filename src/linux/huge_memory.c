#include "linux/huge_memory.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U                       /* Linux 6.3; some systems demand it (vm.memfd_noexec) */
#endif

/* linux/memfd.h, which does not go with <sys/mman.h>: the page size's logarithm in the upper bits */
#define PAGE_2M (21U << 26)
#define PAGE_1G (30U << 26)

enum { NODE_WORDS = 16, WORD_BITS = 8 * sizeof(unsigned long) };

static int make_file(enum huge_size size)
{
	unsigned flags = MFD_CLOEXEC | MFD_HUGETLB | (size == HUGE_1G ? PAGE_1G : PAGE_2M);
	int fd = memfd_create("tee-rex-enclave", flags | MFD_NOEXEC_SEAL);
	return fd >= 0 || errno != EINVAL ? fd : memfd_create("tee-rex-enclave", flags);
}

/* Pages come from where this thread may have memory from. */
static int bind_to(int node)
{
	unsigned long mask[NODE_WORDS] = { 0 };
	if (node < 0)
		return syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0) != 0 ? -errno : 0;
	if (node >= NODE_WORDS * WORD_BITS)
		return -EINVAL;
	mask[node / WORD_BITS] = 1UL << node % WORD_BITS;
	return syscall(SYS_set_mempolicy, MPOL_BIND, mask, NODE_WORDS * WORD_BITS + 1) != 0 ? -errno : 0;
}

static int fill(int fd, enum huge_size size, uint64_t pages, struct err *err)
{
	uint64_t bytes = pages * (huge_kib(size) << 10);
	if (ftruncate(fd, (off_t)bytes) != 0)
		return fail(err, errno, "make a file of %llu huge pages", (unsigned long long)pages);
	while (fallocate(fd, 0, 0, (off_t)bytes) != 0) {
		if (errno == EINTR)
			continue;
		if (errno == ENOSPC || errno == ENOMEM)
			return fail(err, 0, "take %llu huge pages of %s: they were free a moment ago, and somebody else took some; try "
			            "again", (unsigned long long)pages, huge_name(size)), -ENOSPC;
		return fail(err, errno, "take %llu huge pages of %s", (unsigned long long)pages, huge_name(size));
	}
	return 0;
}

int huge_file_make(enum huge_size size, uint64_t pages, int node, int *ret_fd, struct err *err)
{
	int ret = node >= 0 ? bind_to(node) : 0;
	if (ret < 0)
		return fail(err, -ret, "take memory from NUMA node %d", node);
	CLEANUP(close_fd) int fd = make_file(size);
	ret = fd < 0 ? fail(err, errno, "make a file of huge pages of %s", huge_name(size)) : fill(fd, size, pages, err);
	if (node >= 0)
		bind_to(-1);
	if (ret == 0)
		*ret_fd = fd_steal(&fd);
	return ret;
}

int huge_frames(const void *addr, uint64_t page_bytes, size_t pages, uint64_t *ret_frames, struct err *err)
{
	const uint64_t present = UINT64_C(1) << 63, frame_mask = (UINT64_C(1) << 55) - 1;
	const uint64_t base_page = (uint64_t)sysconf(_SC_PAGESIZE);
	CLEANUP(close_fd) int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(err, errno, "open /proc/self/pagemap");
	for (size_t i = 0; i < pages; i++) {
		uint64_t entry, at = ((uintptr_t)addr + i * page_bytes) / base_page * sizeof entry;
		if (pread(fd, &entry, sizeof entry, (off_t)at) != (ssize_t)sizeof entry)
			return fail(err, errno, "read /proc/self/pagemap");
		ret_frames[i] = entry & present ? (entry & frame_mask) * base_page : 0;
	}
	return 0;
}

int address_reserve(size_t bytes, size_t align, void **ret, struct err *err)
{
	uint8_t *p = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return fail(err, errno, "find room for %zu MiB of addresses", bytes >> 20);
	size_t before = -(uintptr_t)p & (align - 1);
	if (before > 0)
		munmap(p, before);
	munmap(p + before + bytes, align - before);
	*ret = p + before;
	return 0;
}

int huge_map(int fd, uint64_t offset, uint64_t bytes, void *addr, struct err *err)
{
	/* populated: pages are there already, and their physical addresses show only once they are mapped */
	void *p = mmap(addr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, (off_t)offset);
	if (p == MAP_FAILED)
		return fail(err, errno, "map %llu MiB of huge pages", (unsigned long long)(bytes >> 20));
	madvise(p, bytes, MADV_DONTFORK);
	madvise(p, bytes, MADV_DONTDUMP);
	return 0;
}
