/* Writes a whole file or nothing: a temporary file beside it, fsync, rename. */
#ifndef CLI_SAVE_FILE_H
#define CLI_SAVE_FILE_H

#include "base/bytes.h"
#include "base/fail.h"

/* path "-": standard output. Replaces what was there. -errno. */
int save_file(const char *path, struct bytes content, struct err *err);
/* Whether save_file could make a file there, asked before work is spent on its content. */
int save_file_check(const char *path, struct err *err);

#endif
