/* Descriptors inherited by name: the LISTEN_FDS convention (sd_listen_fds(3)).
 *
 *     LISTEN_PID=<pid of the receiver>  LISTEN_FDS=<count>  LISTEN_FDNAMES=<name>:<name>…
 *     descriptors 3 … 3+count-1
 *
 * Names used here: "service" (the prover's listening socket), "launcher" (the prover's end towards
 * the launcher), "prover" (the launcher's end), "nsm" (a socket to a software NSM). */
#ifndef LINUX_LISTEN_FDS_H
#define LINUX_LISTEN_FDS_H

#include "base/fail.h"

#include <stddef.h>

enum { LISTEN_FDS_START = 3, LISTEN_FDS_MAX = 8, LISTEN_FD_NAME_MAX = 32 };

struct listen_fds {
	struct { int fd; char name[LISTEN_FD_NAME_MAX]; } entry[LISTEN_FDS_MAX];
	size_t count;
};

/* Takes what this process was given: close-on-exec is set and the three variables are removed, so
 * nothing is inherited further. Absent variables, or a LISTEN_PID of somebody else, mean none.
 * -errno: malformed, too many, two of one name, or not open. */
int listen_fds_take(struct listen_fds *ret, struct err *err);

/* The same, but several may have one name: a socket unit gives all its sockets the same. */
int listen_fds_take_all(struct listen_fds *ret, struct err *err);

/* The descriptor of that name, or -1. Still owned by the table. */
int listen_fds_find(const struct listen_fds *l, const char *name);

/* The giving side, between fork and exec: moves the descriptors to 3, 4, … (whatever was there is
 * closed), clears close-on-exec and sets the variables for this process. Names hold no ':'. */
int listen_fds_give(const int *fds, const char *const *names, size_t count, struct err *err);

#endif
