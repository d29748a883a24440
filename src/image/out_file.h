/* A file that appears whole or not at all. It has no name while it is being written (O_TMPFILE), so even a kill -9
 * leaves nothing; where the file system cannot do that it is written under a hidden name beside its place, and what a
 * killed run left is removed by the next one that writes the same file. Committing syncs it, then renames it into
 * place, then syncs the directory. */
#ifndef IMAGE_OUT_FILE_H
#define IMAGE_OUT_FILE_H

#include "base/fail.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct out_file {
	int fd;                                  /* owned; read and write; -1 when closed */
	int dir_fd;                              /* owned; of the directory it will be in */
	bool named;                              /* partial is its name in that directory */
	char name[NAME_MAX + 1], partial[NAME_MAX + 1];
	char path[PATH_MAX];                     /* as given, for messages */
};
#define OUT_FILE_NONE ((struct out_file){ .fd = -1, .dir_fd = -1 })

/* mode: as of open(); the umask applies. -errno. */
int out_file_open(struct out_file *f, const char *path, mode_t mode, struct err *err);
/* Puts it in place of whatever was there, and closes. -errno: nothing was replaced. */
int out_file_commit(struct out_file *f, struct err *err);
/* Removes what killed runs left in a directory under hidden names, of one file or (name NULL) of all. */
void out_file_sweep(int dir_fd, const char *name);
/* Forgets what is not committed. Harmless on OUT_FILE_NONE and after a commit. */
void out_file_close(struct out_file *f);

#endif
