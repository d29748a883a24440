/* Children by pidfd, optionally as the first process of new namespaces (clone3: Linux 5.3). */
#ifndef LINUX_SPAWN_H
#define LINUX_SPAWN_H

#include "base/fail.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Like fork(), with namespaces = CLONE_NEW… flags: 0 in the child, the pid in the parent, or -errno.
 * *ret_pidfd (parent only, close-on-exec) becomes readable when the child has ended; when it was the
 * first process of a pid namespace, everything in there has ended by then. For programs of one thread. */
pid_t spawn_clone(uint64_t namespaces, int *ret_pidfd, struct err *err);

/* In the first process of a user namespace: the outer ids are the only ids, and mean themselves. */
int spawn_map_ids(uid_t uid, gid_t gid, struct err *err);

/* In a child: default signals, none blocked, a session of its own, private files. */
void spawn_fresh(void);

/* In a child: of all its descriptors it keeps these two. Linux 5.9. */
void spawn_keep(int a, int b);

/* In a child: SIGKILL when the parent dies. Changing ids undoes it, so call it again after that. A
 * parent that died before the call goes unnoticed. */
int spawn_follow_parent(struct err *err);

void spawn_kill(int pidfd);

struct spawn_usage { uint32_t cpu_ms; uint64_t peak_rss_bytes; };  /* of the child and all it reaped */

/* Collects an ended child. *ret_status as by waitpid. -EAGAIN: it is still alive. */
int spawn_reap(pid_t pid, int *ret_status, struct spawn_usage *ret_usage);

#endif
