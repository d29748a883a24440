/* A whole file as bytes, read when they are touched. */
#ifndef IMAGE_MAP_FILE_H
#define IMAGE_MAP_FILE_H

#include "base/bytes.h"
#include "base/fail.h"

/* -errno. *ret lives until unmap_file(); an empty file is BYTES_NONE. */
int map_file(const char *path, struct bytes *ret, struct err *err);
void unmap_file(struct bytes *file);             /* harmless on BYTES_NONE, which it leaves */

#endif
