/* Directories, made when they are missing. */
#ifndef BASE_MAKE_PATH_H
#define BASE_MAKE_PATH_H

#include "base/fail.h"

#include <sys/types.h>

/* path and every directory above it; what is made gets that mode. -errno, with the sentence in err. */
int make_path(const char *path, mode_t mode, struct err *err);
/* … but only the directories above it. */
int make_path_to(const char *path, mode_t mode, struct err *err);

#endif
