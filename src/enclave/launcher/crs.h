/* The CRS files a recipe pins by SHA-256: hashed once, when the launcher starts, and known again each time one is
 * shown to a job. A file that was replaced, written or touched in between is another one, and no job gets it.
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

/* Hashes all pinned files. own_ids: jobs run as uid_base and the following, who must not be able to write
 * them. -errno: one is missing, differs or could be written by a job; err says which and what to do. */
int crs_check(const struct config *c, bool own_ids, struct crs *ret, struct err *err);

/* True when fd (an O_PATH one will do) is the file that was hashed, unchanged. */
bool crs_is_same(const struct crs_file *f, int fd);

/* The path of a pin: CONFIG_STRING_MAX + CONFIG_FILE_NAME_MAX bytes hold it. */
void crs_path(const struct config_recipe *r, uint32_t pin, char *ret, size_t cap);

#endif
