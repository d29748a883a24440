/* Small files of the kernel (/proc, /sys) and of the system (/etc), below a root directory: "" is the running system, and a
 * directory with a tree like it serves tests and copies taken from other machines. Paths begin with '/'. */
#ifndef LINUX_SMALL_FILE_H
#define LINUX_SMALL_FILE_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SMALL_FILE_MAX = 65536, ROOTED_PATH_MAX = 1024 };

/* root and path together, in buf; what does not fit becomes a path that does not exist. */
char *rooted_path(const char *root, const char *path, char buf[ROOTED_PATH_MAX]);

/* The text up to cap - 1 bytes, zero-terminated, without line ends at its end. -errno. */
int small_file_read(const char *root, const char *path, char *buf, size_t cap);
/* A file whose first line is one whole number. False: not there, or something else. */
bool small_file_u64(const char *root, const char *path, uint64_t *ret);
/* One write to a file that is there: how one talks to the kernel. -errno, with the sentence in err. */
int small_file_write(const char *root, const char *path, const char *text, struct err *err);
bool small_file_exists(const char *root, const char *path);

/* The number after "NAME" and blanks at the start of a line of text, as in /proc/meminfo. False: no such line. */
bool text_field_u64(const char *text, const char *name, uint64_t *ret);

#endif
