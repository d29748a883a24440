/* Decompression of layers and archives: gzip (also of several members), zstd (also of several frames, and
 * skippable ones), or none. The first bytes decide, not the media type: both are under the same digest, and
 * the bytes cannot be wrong about themselves.
 *
 * What comes out is bounded three times: by a budget that all layers of an image share, by the ratio of output
 * to input once a stream has passed its grace, and by the memory that a zstd window may ask for. */
#ifndef IMAGE_EXPAND_H
#define IMAGE_EXPAND_H

#include "image/stream.h"

enum {
	EXPAND_WINDOW_LOG_MAX = 25           /* 32 MiB: what the strongest usual presets ask for */
};

struct expand_budget {
	uint64_t left;                       /* bytes that may still come out; shared, counted down */
	uint64_t grace;                      /* bytes that each stream may yield at any ratio */
	uint64_t ratio_max;                  /* output / input beyond the grace */
};

/* Takes inner, also when it fails. budget: borrowed, as long as the stream. name: for messages; borrowed. */
enum image_code stream_expanded(struct stream *inner, struct expand_budget *budget, const char *name,
                                struct stream **ret, struct err *err);

#endif
