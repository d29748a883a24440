#include "image/map_file.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

int map_file(const char *path, struct bytes *ret, struct err *err)
{
	struct stat st;
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, 0, "%s is not a file", path);
	*ret = BYTES_NONE;
	if (st.st_size == 0)
		return 0;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return fail(err, errno, "map %s", path);
	*ret = bytes_of(p, (size_t)st.st_size);
	return 0;
}

void unmap_file(struct bytes *file)
{
	if (file->n > 0)
		munmap((void *)(uintptr_t)file->p, file->n);
	*file = BYTES_NONE;
}
