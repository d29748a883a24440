/* The service's own cell, entered when it has everything it will ever need: no capability, no file by name
 * (landlock), and only the system calls of a loop over descriptors it holds (seccomp). Whoever takes over the
 * parser of hostile bytes finds keys to misuse while it lives, and no way further.
 *
 * What is not on the filter's list answers EPERM: open, execve, fork, socket, ptrace, kill, every ioctl but the
 * NSM's. Landlock stands behind it: no file can be opened (EACCES) even if a call slipped through.
 *
 * For a process of one thread; none of it can be undone. */
#ifndef LINUX_SEAL_H
#define LINUX_SEAL_H

#include "base/fail.h"

#include <stdbool.h>

struct seal_report { bool landlock, seccomp; };          /* what the kernel gave */

/* The landlock part alone: *ret_given is false where the kernel has none. Needs no_new_privs. */
int seal_landlock(bool *ret_given, struct err *err);

/* The launcher's: root, because it makes mounts, namespaces and users, and nothing that this does not need: seven
 * capabilities, no core dumps, no way to open a socket, trace, load a module or tune the kernel (sandbox_seal_maker). No
 * landlock: a domain that knows files forbids mounts, and one that does not still forbids jobs to rename between
 * directories. An ordinary user's launcher has no capabilities to give up. *ret_seccomp is false where the kernel has
 * none. */
int seal_launcher(bool *ret_seccomp, struct err *err);

/* -errno when something that the kernel has could not be entered; what it lacks is only missing from *ret. */
int seal_service(struct seal_report *ret, struct err *err);

#endif
