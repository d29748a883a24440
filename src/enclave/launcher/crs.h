/* The CRS files a recipe pins by SHA-256: looked at when the launcher starts, hashed once, before the first job's cell is
 * built, and known again each time one is shown to a job. A file that was replaced, written or touched in between is another one,
 * and no job gets it.
 *
 * What is distrusted here is a job that found a way to write them, and an image put together wrongly. */
#ifndef ENCLAVE_LAUNCHER_CRS_H
#define ENCLAVE_LAUNCHER_CRS_H

#include "base/fail.h"
#include "enclave/config.h"

#include <sys/stat.h>

/* As stat tells: enough to know an unchanged file again. */
struct crs_file { dev_t device; ino_t inode; off_t size; struct timespec modified, changed; };

struct crs { struct crs_file file[CONFIG_CRS_PINS_MAX]; };      /* in the order of the recipe's pins */

/* Looks at all pinned files. own_ids: jobs run as uid_base and the following, who must not be able to write
 * them. -errno: one is missing, no plain file or could be written by a job; err says which and what to do. */
int crs_look(const struct config *c, bool own_ids, struct crs *ret, struct err *err);

/* Hashes them. -errno: one is not the configured one, or not the one any more that crs_look() saw. */
int crs_check(const struct config *c, const struct crs *crs, struct err *err);

/* True when fd (an O_PATH one will do) is the file that was looked at, unchanged. */
bool crs_is_same(const struct crs_file *f, int fd);

/* The path of a pin: CONFIG_STRING_MAX + CONFIG_FILE_NAME_MAX bytes hold it. */
void crs_path(const struct config_recipe *r, uint32_t pin, char *ret, size_t cap);

#endif
