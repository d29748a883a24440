/* A directory of small files that are replaced whole: a reader sees the old file or the new one,
 * whenever the writer is killed. Whoever has it open holds its lock, so "read, and write when it is
 * missing" happens once however many start at the same time. Returns are 0 or -errno with a sentence. */
#ifndef SIM_STATE_DIR_H
#define SIM_STATE_DIR_H

#include "base/bytes.h"
#include "base/fail.h"

#include <sys/types.h>

enum { STATE_DIR_LOCK_MS = 10000 };

/* Opens path, made with mode 0755 when it is missing (its parent is not), and takes its lock, waiting up
 * to STATE_DIR_LOCK_MS. Refuses a directory that somebody else owns or may write to. Closing *ret_fd
 * releases the lock. */
int state_dir_open(const char *path, int *ret_fd, struct err *err);

/* Reads all of a regular file of ours. secret: refuses one that anybody else may read. -ENOENT when it
 * is not there, -EFBIG when it is longer than cap. */
int state_dir_read(int dir_fd, const char *name, bool secret, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err);

/* Replaces (or makes) the file, durably. mode is exact, whatever the umask. */
int state_dir_write(int dir_fd, const char *name, mode_t mode, struct bytes content, struct err *err);

#endif
