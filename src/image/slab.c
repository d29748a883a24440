#include "image/slab.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

void slab_pool_init(struct slab_pool *p, uint64_t memory_limit, const char *spill_dir)
{
	*p = (struct slab_pool){ .memory_limit = memory_limit, .spill_dir = spill_dir, .fd = -1 };
}

void slab_pool_close(struct slab_pool *p)
{
	close_fd(&p->fd);
}

void slab_init(struct slab *s, struct slab_pool *pool, uint32_t element_size)
{
	memset(s, 0, sizeof *s);
	s->pool = pool;
	s->element_size = element_size;
	s->per_segment = SLAB_SEGMENT_SIZE / element_size;
	s->count = 1;
}

void slab_close(struct slab *s)
{
	for (uint32_t i = 0; i < s->segment_count; i++)
		munmap(s->segment[i], SLAB_SEGMENT_SIZE);
	s->segment_count = 0;
}

int temporary_file(const char *dir, int *ret_fd, struct err *err)
{
	const char *from_environment = getenv("TMPDIR");
	if (dir == NULL)
		dir = from_environment != NULL && from_environment[0] == '/' ? from_environment : "/var/tmp";
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
		/* a file system without unnamed files */
		char path[4096];
		snprintf(path, sizeof path, "%s/tee-rex-XXXXXX", dir);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	if (fd < 0)
		return fail(err, errno, "make a temporary file in %s (set TMPDIR to a directory with room)", dir);
	*ret_fd = fd;
	return 0;
}

static enum image_code map_anonymous(struct slab *s, uint8_t **ret, struct err *err)
{
	void *p = mmap(NULL, SLAB_SEGMENT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return image_fail(err, IMAGE_IO, errno, "allocate memory for the file tree");
	s->pool->memory_used += SLAB_SEGMENT_SIZE;
	*ret = p;
	return IMAGE_OK;
}

static enum image_code map_spilled(struct slab *s, uint8_t **ret, struct err *err)
{
	struct slab_pool *pool = s->pool;
	if (pool->fd < 0 && temporary_file(pool->spill_dir, &pool->fd, err) < 0)
		return image_fail_in(err, IMAGE_IO, "the file tree outgrew its memory");
	/* posix_fallocate now, or a full disk would be a SIGBUS later */
	int e = posix_fallocate(pool->fd, (off_t)pool->spilled, SLAB_SEGMENT_SIZE);
	if (e != 0)
		return image_fail(err, IMAGE_IO, e, "grow the temporary file of the file tree");
	void *p = mmap(NULL, SLAB_SEGMENT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, pool->fd, (off_t)pool->spilled);
	if (p == MAP_FAILED)
		return image_fail(err, IMAGE_IO, errno, "map the temporary file of the file tree");
	pool->spilled += SLAB_SEGMENT_SIZE;
	*ret = p;
	return IMAGE_OK;
}

static enum image_code add_segment(struct slab *s, struct err *err)
{
	if (s->segment_count == SLAB_SEGMENTS_MAX)
		return image_fail(err, IMAGE_ENTRIES_LIMIT, 0, "the image has more files and names than can be held");
	bool in_file = s->pool->memory_used + SLAB_SEGMENT_SIZE > s->pool->memory_limit;
	uint8_t *p = NULL;
	enum image_code c = in_file ? map_spilled(s, &p, err) : map_anonymous(s, &p, err);
	if (c != IMAGE_OK)
		return c;
	s->in_file[s->segment_count] = in_file;
	s->segment[s->segment_count++] = p;
	return IMAGE_OK;
}

enum image_code slab_append(struct slab *s, uint32_t n, uint32_t *ret, struct err *err)
{
	uint32_t room = s->segment_count * s->per_segment - s->count;
	/* elements side by side do not cross into another segment */
	if (s->segment_count == 0 || n > room) {
		enum image_code c = add_segment(s, err);
		if (c != IMAGE_OK)
			return c;
		if (s->segment_count > 1)
			s->count = (s->segment_count - 1) * s->per_segment;
	}
	*ret = s->count;
	s->count += n;
	return IMAGE_OK;
}

void slab_trim(struct slab *s)
{
	for (uint32_t i = 0; i < s->segment_count; i++)
		if (s->in_file[i])
			madvise(s->segment[i], SLAB_SEGMENT_SIZE, MADV_DONTNEED);
}
