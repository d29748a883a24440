#include "linux/mounts.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

static int set_string(int fs, const char *key, const char *value)
{
	return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int set_number(int fs, const char *key, uint64_t v)
{
	char text[32];
	snprintf(text, sizeof text, "%llu", (unsigned long long)v);
	return set_string(fs, key, text);
}

static int finish(int fs, uint64_t attributes, const char *what, struct err *err)
{
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
		return fail(err, errno, "create a %s", what);
	int tree = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attributes);
	return tree < 0 ? fail(err, errno, "mount a %s", what) : tree;
}

int mounts_tmpfs(const struct mounts_tmpfs *t, uint64_t attributes, struct err *err)
{
	CLEANUP(close_fd) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char mode[16];
	if (fs < 0)
		return fail(err, errno, "open a tmpfs");
	snprintf(mode, sizeof mode, "%o", t->mode);
	if (set_number(fs, "size", t->bytes) != 0 || set_number(fs, "nr_inodes", t->inodes) != 0 ||
	    set_string(fs, "mode", mode) != 0 || set_number(fs, "uid", t->uid) != 0 ||
	    set_number(fs, "gid", t->gid) != 0)
		return fail(err, errno, "configure a tmpfs of %llu bytes", (unsigned long long)t->bytes);
	/* refused by older kernels, and in a user namespace */
	fsconfig(fs, FSCONFIG_SET_FLAG, "noswap", NULL, 0);
	return finish(fs, attributes, "tmpfs", err);
}

int mounts_proc(uint64_t attributes, struct err *err)
{
	CLEANUP(close_fd) int fs = fsopen("proc", FSOPEN_CLOEXEC);
	if (fs < 0)
		return fail(err, errno, "open a proc");
	if (set_string(fs, "subset", "pid") != 0)
		return fail(err, errno, "configure a proc of processes only");
	return finish(fs, attributes, "proc", err);
}

static int set_attributes(int fd, unsigned flags, uint64_t attributes, uint64_t propagation)
{
	struct mount_attr a = { .attr_set = attributes, .propagation = propagation };
	return mount_setattr(fd, "", AT_EMPTY_PATH | flags, &a, sizeof a);
}

int mounts_copy(const char *path, uint64_t attributes, struct err *err)
{
	/* recursive: a copy without what is mounted below would show what those mounts hide, and a
	 * user namespace may not make one */
	CLEANUP(close_fd) int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		return fail(err, errno, "copy the mount %s", path);
	if (set_attributes(tree, AT_RECURSIVE, attributes, MS_PRIVATE) != 0)
		return fail(err, errno, "restrict the mount %s", path);
	return fd_steal(&tree);
}

int mounts_attach(int tree, int dir_fd, const char *path, struct err *err)
{
	unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*path == '\0' ? MOVE_MOUNT_T_EMPTY_PATH : 0);
	if (move_mount(tree, "", dir_fd, path, flags) != 0)
		return fail(err, errno, "attach the mount %s", *path == '\0' ? "to its place" : path);
	return 0;
}

int mounts_isolate(struct err *err)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return fail(err, errno, "make the mounts private");
	return 0;
}

int mounts_enter(int root_fd, struct err *err)
{
	if (fchdir(root_fd) != 0)
		return fail(err, errno, "enter the new root");
	/* pivot_root(2): with both arguments the same, the old root lies on top of the new one */
	if (syscall(SYS_pivot_root, ".", ".") != 0)
		return fail(err, errno, "pivot_root");
	if (umount2(".", MNT_DETACH) != 0)
		return fail(err, errno, "let go of the old root");
	return chdir("/") != 0 ? fail(err, errno, "enter the new root") : 0;
}

int mounts_restrict(int fd, uint64_t attributes, struct err *err)
{
	if (set_attributes(fd, 0, attributes, 0) != 0)
		return fail(err, errno, "restrict a mount");
	return 0;
}
