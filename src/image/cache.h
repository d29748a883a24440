/* Blobs that were fetched and verified, kept under their digests: DIR/blobs/<64 hex digits>.
 *
 * A blob appears whole or not at all (image/out_file.h), so two programs may fetch the same one at once. When a new blob
 * would exceed the limit, those used longest ago go first, as they do when the limit is lower than it was; one larger than
 * the limit is not kept. What is in the cache is checked again each time it is read, like any source. */
#ifndef IMAGE_CACHE_H
#define IMAGE_CACHE_H

#include "format/oci.h"
#include "image/code.h"
#include "image/out_file.h"

struct cache {
	bool on;                             /* false: blobs go to temporary files */
	uint64_t limit;                      /* bytes */
	char dir[PATH_MAX];                  /* of the blobs */
	const char *spill_dir;               /* borrowed; for temporary files */
};

/* dir NULL: $XDG_CACHE_HOME/tee-rex, /var/cache/tee-rex for root, ~/.cache/tee-rex; one of these that cannot be made
 * turns the cache off, a dir that was asked for is an error. limit 0 turns it off. */
enum image_code cache_open(const char *dir, uint64_t limit, const char *spill_dir, struct cache *ret, struct err *err);

/* A descriptor of the blob (and a note that it was used), or -1. */
int cache_find(const struct cache *c, const uint8_t sha256[OCI_SHA256_SIZE], uint64_t size);
/* Forgets a blob that turned out damaged. */
void cache_forget(const struct cache *c, const uint8_t sha256[OCI_SHA256_SIZE]);

struct cache_write { int fd; bool kept; struct out_file out; };         /* fd: write here; owned */
#define CACHE_WRITE_NONE ((struct cache_write){ .fd = -1, .out = OUT_FILE_NONE })
/* Begins a blob of that size. */
enum image_code cache_begin(const struct cache *c, const uint8_t sha256[OCI_SHA256_SIZE], uint64_t size,
                            struct cache_write *ret, struct err *err);
/* The blob is complete and verified. *ret_fd: to read it; stays readable whatever happens to the cache. */
enum image_code cache_commit(const struct cache *c, struct cache_write *w, int *ret_fd, struct err *err);
void cache_abort(struct cache_write *w);

#endif
