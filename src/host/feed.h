/* The last so many bytes of a stream, and whoever follows it: log lines and console output for the operator. Memory is
 * fixed; the oldest bytes go first and are counted. A follower that does not read is dropped, never waited for. */
#ifndef HOST_FEED_H
#define HOST_FEED_H

#include "base/bytes.h"
#include "base/loop.h"

enum { FEED_SIZE = 256 << 10 };

struct feed {
	uint64_t end;                            /* bytes ever put in */
	bool lines;                              /* they are lines, and whoever begins to read begins with a whole one */
	uint8_t ring[FEED_SIZE];
};

void feed_put(struct feed *f, struct bytes b);
static inline uint64_t feed_begin(const struct feed *f) { return f->end > FEED_SIZE ? f->end - FEED_SIZE : 0; }
/* The longest piece that starts at position at, which is moved up to what is still there; empty at the end. A reader of lines that lost
 * some, at > 0, goes on with the end of line that his last one may lack. */
struct bytes feed_get(const struct feed *f, uint64_t *at);

#endif
