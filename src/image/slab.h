/* Append-only arrays whose elements never move, in memory up to a limit and in an unlinked temporary file
 * beyond it. A pool is shared by the arrays of one tree.
 *
 * The file is mapped: access looks the same, the kernel may write pages out and drop them at any time, and
 * slab_pool_trim() drops them from this process's resident set. Element 0 exists and means "none". */
#ifndef IMAGE_SLAB_H
#define IMAGE_SLAB_H

#include "image/code.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SLAB_SEGMENT_SIZE = 1 << 20, SLAB_SEGMENTS_MAX = 1024 };

struct slab_pool {
	uint64_t memory_limit;               /* bytes that stay anonymous memory */
	const char *spill_dir;               /* borrowed; where the temporary file is made */
	uint64_t memory_used, spilled;       /* bytes */
	int fd;                              /* -1: nothing spilled yet */
};
void slab_pool_init(struct slab_pool *p, uint64_t memory_limit, const char *spill_dir);
void slab_pool_close(struct slab_pool *p);

struct slab {
	struct slab_pool *pool;              /* borrowed */
	uint32_t element_size;               /* divides SLAB_SEGMENT_SIZE */
	uint32_t per_segment;
	uint32_t count;                      /* elements, element 0 included */
	uint32_t segment_count;
	uint8_t *segment[SLAB_SEGMENTS_MAX];
	bool in_file[SLAB_SEGMENTS_MAX];
};

void slab_init(struct slab *s, struct slab_pool *pool, uint32_t element_size);
void slab_close(struct slab *s);
/* n elements side by side, zeroed; *ret is the first one's number. n is at most per_segment. ENTRIES_LIMIT
 * when the array is full. */
enum image_code slab_append(struct slab *s, uint32_t n, uint32_t *ret, struct err *err);
/* i must be below count. */
static inline void *slab_at(const struct slab *s, uint32_t i)
{
	return s->segment[i / s->per_segment] + (size_t)(i % s->per_segment) * s->element_size;
}
/* Lets go of the resident pages of what was spilled; nothing is lost. */
void slab_trim(struct slab *s);

/* An unlinked file to hold what does not fit into memory. dir NULL: $TMPDIR, or /var/tmp. -errno. */
int temporary_file(const char *dir, int *ret_fd, struct err *err);

#endif
