/* Scope-bound release: CLEANUP(close_fd) int fd = -1;  …  *ret_fd = fd_steal(&fd); */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Closes *fd unless it is negative, keeps errno, leaves -1 behind. */
static inline void close_fd(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		close(*fd);
		errno = saved;
		*fd = -1;
	}
}

static inline int fd_steal(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

/* For any pointer made by malloc: CLEANUP(free_ptr) char *s = NULL; */
static inline void free_ptr(void *pointer_to_pointer) { free(*(void **)pointer_to_pointer); }
static inline void close_dir(DIR **d) { if (*d != NULL) closedir(*d); }
static inline void close_file(FILE **f) { if (*f != NULL) fclose(*f); }

#endif
