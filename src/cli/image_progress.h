/* One line on a terminal while an image is fetched, read, packed and measured: which step, which layer, how much of it,
 * how fast. The first line of a step is shown at once, the next ones five times a second. */
#ifndef CLI_IMAGE_PROGRESS_H
#define CLI_IMAGE_PROGRESS_H

#include "image/source.h"

struct image_progress_line {
	struct image_progress progress;          /* give this one to the source */
	const char *what;                        /* the step */
	size_t layer;
	uint64_t done;                           /* of the current blob */
	uint64_t earlier;                        /* bytes of the step's blobs before it */
	int64_t started_ms, shown_ms;            /* of the step; of the line */
	unsigned width;                          /* of the line that is there */
};

/* The progress to hand over, or NULL when nobody looks at standard error. */
struct image_progress *image_progress_start(struct image_progress_line *l);
/* Takes the line away. */
void image_progress_end(struct image_progress_line *l);

#endif
