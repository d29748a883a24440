/* Mounts by descriptor (fsopen, open_tree, move_mount: Linux 5.2; mount_setattr: 5.12).
 *
 * A tree is made detached, gets its attributes while nobody can reach it, and is attached last. A
 * detached tree whose descriptor closes is gone, so a failure half-way leaves nothing. All functions
 * need CAP_SYS_ADMIN in the user namespace of the caller's mount namespace. */
#ifndef LINUX_MOUNTS_H
#define LINUX_MOUNTS_H

#include "base/fail.h"

#include <stdint.h>
#include <sys/mount.h>
#include <sys/types.h>

/* Attributes for mounts that hold data only. */
#define MOUNTS_INERT (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

struct mounts_tmpfs { uint64_t bytes; uint32_t inodes; mode_t mode; uid_t uid; gid_t gid; };

/* A new tmpfs, detached, its pages kept out of swap where the kernel can (6.4). Returns its descriptor
 * (good for openat and the like), or -errno. */
int mounts_tmpfs(const struct mounts_tmpfs *t, uint64_t attributes, struct err *err);

/* A new proc of the caller's pid namespace with nothing but processes in it, detached. */
int mounts_proc(uint64_t attributes, struct err *err);

/* A detached copy of what is mounted at path and below (a directory or a file), attributes added
 * throughout. -ENOENT when there is no such path. */
int mounts_copy(const char *path, uint64_t attributes, struct err *err);

/* Puts a detached tree on the existing path below dir_fd; "" is dir_fd itself. */
int mounts_attach(int tree, int dir_fd, const char *path, struct err *err);

/* Nothing mounted from here on reaches another mount namespace, or comes from one. */
int mounts_isolate(struct err *err);

/* Makes the mounted tree root_fd the root directory and lets go of the old one; the working directory
 * is "/" afterwards. Everything not copied into the new root is out of reach. */
int mounts_enter(int root_fd, struct err *err);

/* Adds attributes to the mount that root_fd is on (not to those below it). */
int mounts_restrict(int fd, uint64_t attributes, struct err *err);

#endif
