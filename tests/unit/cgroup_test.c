/* The cgroup code over a made-up tree: this program plays the kernel: on a cgroup file system mkdir
 * and rmdir make and remove the control files as well. */
#include "base/cleanup.h"
#include "linux/cgroup.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <cmocka.h>

static char root[64];
static bool no_swap_files;               /* a kernel that does not count swap */
static int busy_removals;                /* the next n removals fail: somebody is still in there */
static int denied_creations;

static void put_at(int dir, const char *name, const char *text)
{
	CLEANUP(close_fd) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static const char *get_at(int dir, const char *name)
{
	static char buf[256];
	CLEANUP(close_fd) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	ssize_t n = read(fd, buf, sizeof buf - 1);
	buf[n < 0 ? 0 : n] = '\0';
	return buf;
}

static bool mentions(int dir, const char *name, const char *word)
{
	const char *text = get_at(dir, name);
	return text != NULL && strstr(text, word) != NULL;
}

/* What is written to cgroup.subtree_control adds to it. */
int openat(int dir, const char *name, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (strcmp(name, "cgroup.subtree_control") == 0 && (flags & (O_WRONLY | O_TRUNC)) == O_WRONLY)
		flags |= O_APPEND;
	return (int)syscall(SYS_openat, dir, name, flags, mode);
}

/* The kernel makes the files of a new group. */
int mkdirat(int parent, const char *name, mode_t mode)
{
	if (denied_creations > 0) {
		denied_creations--;
		errno = EACCES;
		return -1;
	}
	if (syscall(SYS_mkdirat, parent, name, mode) != 0)
		return -1;
	CLEANUP(close_fd) int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put_at(dir, "cgroup.procs", "");
	if (faccessat(parent, "cgroup.subtree_control", F_OK, 0) == 0) {
		bool memory = mentions(parent, "cgroup.subtree_control", "memory");
		bool pids = mentions(parent, "cgroup.subtree_control", "pids");
		bool cpu = mentions(parent, "cgroup.subtree_control", "cpu");
		if (cpu)
			put_at(dir, "cpu.weight", "100\n");
		put_at(dir, "cgroup.controllers", cpu && memory && pids ? "cpu memory pids\n" : memory && pids ? "memory pids\n" : memory ? "memory\n" : pids ? "pids\n" : "\n");
		put_at(dir, "cgroup.subtree_control", "");
		put_at(dir, "cgroup.kill", "");
		if (memory) {
			put_at(dir, "memory.max", "max\n");
			put_at(dir, "memory.peak", "123456\n");
			put_at(dir, "memory.oom.group", "0\n");
			put_at(dir, "memory.events", "low 0\nhigh 0\nmax 7\noom 5\noom_kill 3\noom_group_kill 9\n");
			if (!no_swap_files)
				put_at(dir, "memory.swap.max", "max\n");
		}
		if (pids)
			put_at(dir, "pids.max", "max\n");
	}
	if (faccessat(parent, "memory.limit_in_bytes", F_OK, 0) == 0) {
		put_at(dir, "memory.limit_in_bytes", "9223372036854771712\n");
		put_at(dir, "memory.max_usage_in_bytes", "654321\n");
		put_at(dir, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
		if (!no_swap_files)
			put_at(dir, "memory.memsw.limit_in_bytes", "9223372036854771712\n");
	}
	if (faccessat(parent, "cpu.shares", F_OK, 0) == 0)
		put_at(dir, "cpu.shares", "1024\n");
	if (faccessat(parent, "pids.events", F_OK, 0) == 0) {
		put_at(dir, "pids.events", "max 0\n");
		put_at(dir, "pids.max", "max\n");
	}
	return 0;
}

/* … and they go with it, when no other group is inside. */
int unlinkat(int parent, const char *name, int flags)
{
	if (busy_removals > 0) {
		busy_removals--;
		errno = EBUSY;
		return -1;
	}
	CLEANUP(close_fd) int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_dir) DIR *d = dir < 0 ? NULL : fdopendir(dup(dir));
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (e->d_type == DT_REG)
			syscall(SYS_unlinkat, dir, e->d_name, 0);
	return (int)syscall(SYS_unlinkat, parent, name, flags);
}

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

/* --- the tree ---------------------------------------------------------------------------------- */
static const char *at(const char *path)
{
	static char full[4][512];
	static unsigned turn;
	char *buf = full[turn++ % 4];
	snprintf(buf, 512, "%s/%s", root, path);
	return buf;
}

static void make_dirs(const char *path)
{
	char part[512];
	snprintf(part, sizeof part, "%s", at(path));
	for (char *slash = part + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
		*slash = '\0';
		syscall(SYS_mkdirat, AT_FDCWD, part, 0755);
	}
	syscall(SYS_mkdirat, AT_FDCWD, part, 0755);
}

static void put(const char *path, const char *text) { put_at(AT_FDCWD, at(path), text); }
static const char *get(const char *path) { return get_at(AT_FDCWD, at(path)); }
static bool exists(const char *path) { return access(at(path), F_OK) == 0; }

static int set_up(void **state)
{
	(void)state;
	strcpy(root, "/tmp/cgroup_test.XXXXXX");
	no_swap_files = false;
	busy_removals = denied_creations = 0;
	if (mkdtemp(root) == NULL)
		return -1;
	make_dirs("proc/self");
	return 0;
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", root);
	return system(command);
}

/* As on a machine of today: everything in one v2 tree. own: where this process is. */
static void make_v2(const char *own)
{
	char text[256];
	snprintf(text, sizeof text, "0::%s\n", own);
	put("proc/self/cgroup", text);
	put("proc/self/mountinfo", "22 27 0:21 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
	make_dirs("sys/fs/cgroup");
	put("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
	put("sys/fs/cgroup/cgroup.subtree_control", "cpu memory pids\n");
}

static void make_v1(void)
{
	put("proc/self/cgroup", "9:name=systemd:/\n8:pids:/svc\n4:cpu,memory:/a/b\n0::/\n");
	put("proc/self/mountinfo",
	    "33 32 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	    "36 31 0:33 / /sys/fs/cgroup/memory rw shared:9 master:2 - cgroup cgroup rw,cpu,memory\n"
	    "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
	    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	make_dirs("sys/fs/cgroup/memory/a/b");
	make_dirs("sys/fs/cgroup/pids/svc");
	put("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
	put("sys/fs/cgroup/pids/svc/pids.events", "max 0\n");
}

/* --- tests --------------------------------------------------------------------------------------- */
static void v2_in_the_root_group(void **state)
{
	(void)state;
	struct cgroup_homes h;
	struct cgroup g = CGROUP_INIT;
	struct err err;
	struct cgroup_procs procs;

	make_v2("/");
	cgroup_homes_open(&h, root, 42);
	assert_int_equal(h.memory.version, CGROUP_V2);
	assert_int_equal(h.pids.version, CGROUP_V2);
	assert_string_equal(h.memory.path, at("sys/fs/cgroup/tee-rex-42"));
	assert_int_equal(h.cpu.version, CGROUP_V2);
	assert_true(cgroup_homes_weigh(&h, 250));
	assert_string_equal(get("sys/fs/cgroup/tee-rex-42/cpu.weight"), "250\n");
	assert_true(exists("sys/fs/cgroup/tee-rex-42/cgroup.subtree_control"));
	assert_int_equal(cgroup_create(&g, &h, "slot-0", &err), 0);
	assert_int_equal(cgroup_set_memory(&g, 1 << 30, &err), 0);
	assert_int_equal(cgroup_set_pids(&g, 257, &err), 0);
	assert_string_equal(get("sys/fs/cgroup/tee-rex-42/slot-0/memory.max"), "1073741824");
	assert_string_equal(get("sys/fs/cgroup/tee-rex-42/slot-0/memory.swap.max"), "0ax\n");    /* "max" written over */
	assert_string_equal(get("sys/fs/cgroup/tee-rex-42/slot-0/memory.oom.group"), "1\n");
	assert_memory_equal(get("sys/fs/cgroup/tee-rex-42/slot-0/pids.max"), "257", 3);
	assert_true(cgroup_limits_swap(&g));
	assert_int_equal(cgroup_memory_peak(&g), 123456);
	assert_int_equal(cgroup_oom_kills(&g), 3);

	assert_int_equal(cgroup_open_procs(&g, &procs, &err), 0);
	assert_true(procs.memory >= 0);
	assert_true(procs.pids == -1 && procs.cpu == -1);        /* one group, one join */
	close(procs.memory);

	cgroup_kill(&g);
	assert_string_equal(get("sys/fs/cgroup/tee-rex-42/slot-0/cgroup.kill"), "1");
	busy_removals = 1;
	assert_int_equal(cgroup_remove(&g, &h), -EBUSY);
	assert_true(g.memory_fd >= 0);
	assert_int_equal(cgroup_remove(&g, &h), 0);
	assert_false(exists("sys/fs/cgroup/tee-rex-42/slot-0"));
	cgroup_homes_close(&h);
	assert_false(exists("sys/fs/cgroup/tee-rex-42"));
}

static void v2_beside_a_group_that_holds_processes(void **state)
{
	(void)state;
	struct cgroup_homes h;

	make_v2("/system.slice/x.service");
	make_dirs("sys/fs/cgroup/system.slice/x.service/cgroup.subtree_control");     /* cannot be written */
	put("sys/fs/cgroup/system.slice/x.service/cgroup.controllers", "memory pids\n");
	put("sys/fs/cgroup/system.slice/cgroup.controllers", "memory pids\n");
	put("sys/fs/cgroup/system.slice/cgroup.subtree_control", "");
	cgroup_homes_open(&h, root, 42);
	assert_int_equal(h.memory.version, CGROUP_V2);
	assert_string_equal(h.memory.path, at("sys/fs/cgroup/system.slice/tee-rex-42"));
	assert_string_equal(get("sys/fs/cgroup/system.slice/cgroup.subtree_control"), "+memory+pids");
	cgroup_homes_close(&h);
}

static void v2_climbs_to_where_it_is_let_in_but_not_further(void **state)
{
	(void)state;
	struct cgroup_homes h;

	make_v2("/user.slice/me");
	make_dirs("sys/fs/cgroup/user.slice/me");
	put("sys/fs/cgroup/user.slice/me/cgroup.controllers", "memory\n");
	put("sys/fs/cgroup/user.slice/me/cgroup.subtree_control", "memory\n");
	put("sys/fs/cgroup/user.slice/cgroup.controllers", "memory\n");
	put("sys/fs/cgroup/user.slice/cgroup.subtree_control", "memory\n");
	denied_creations = 1;
	cgroup_homes_open(&h, root, 42);
	assert_string_equal(h.memory.path, at("sys/fs/cgroup/user.slice/tee-rex-42"));
	assert_int_equal(h.pids.version, CGROUP_NONE);
	cgroup_homes_close(&h);

	denied_creations = 3;                    /* nowhere, the root included */
	cgroup_homes_open(&h, root, 42);
	assert_int_equal(h.memory.version, CGROUP_NONE);
	assert_non_null(strstr(h.why.text, "sys/fs/cgroup: Permission denied"));
	cgroup_homes_close(&h);
	assert_false(exists("tee-rex-42"));
	assert_false(exists("sys/fs/tee-rex-42"));
}

static void v2_without_a_memory_controller_is_none(void **state)
{
	(void)state;
	struct cgroup_homes h;
	struct cgroup g = CGROUP_INIT;
	struct err err;
	struct cgroup_procs procs = { 0, 0, 0 };

	/* the reason of the last place tried is kept */
	make_v2("/");
	make_dirs("sys/fs/cgroup/x");
	put("sys/fs/cgroup/x/cgroup.controllers", "memory");
	make_dirs("sys/fs/cgroup/x/cgroup.subtree_control");
	put("proc/self/cgroup", "0::/x\n");
	put("sys/fs/cgroup/cgroup.controllers", "cpu memory_recursiveprot pids\n");
	cgroup_homes_open(&h, root, 42);
	assert_int_equal(h.memory.version, CGROUP_NONE);
	assert_non_null(strstr(h.why.text, "no memory controller"));
	/* a job without groups: everything is harmless */
	assert_int_equal(cgroup_create(&g, &h, "slot-0", &err), 0);
	assert_int_equal(cgroup_set_memory(&g, 1, &err), 0);
	assert_int_equal(cgroup_set_pids(&g, 1, &err), 0);
	assert_int_equal(cgroup_open_procs(&g, &procs, &err), 0);
	assert_true(procs.memory == -1 && procs.pids == -1 && procs.cpu == -1);
	assert_false(cgroup_homes_weigh(&h, 50));
	assert_int_equal(cgroup_memory_peak(&g), 0);
	assert_int_equal(cgroup_oom_kills(&g), 0);
	assert_false(cgroup_limits_swap(&g));
	cgroup_kill(&g);
	assert_int_equal(cgroup_remove(&g, &h), 0);
	cgroup_homes_close(&h);
}

static void v1_in_two_trees(void **state)
{
	(void)state;
	struct cgroup_homes h;
	struct cgroup g = CGROUP_INIT;
	struct err err;
	struct cgroup_procs procs;

	make_v1();
	cgroup_homes_open(&h, root, 7);
	assert_int_equal(h.memory.version, CGROUP_V1);
	assert_int_equal(h.pids.version, CGROUP_V1);
	assert_string_equal(h.memory.path, at("sys/fs/cgroup/memory/a/b/tee-rex-7"));
	assert_string_equal(h.pids.path, at("sys/fs/cgroup/pids/svc/tee-rex-7"));
	/* the kernel would have given these to the home as well */
	put("sys/fs/cgroup/memory/a/b/tee-rex-7/memory.limit_in_bytes", "x");
	put("sys/fs/cgroup/pids/svc/tee-rex-7/pids.events", "x");
	assert_int_equal(cgroup_create(&g, &h, "slot-3", &err), 0);
	assert_int_equal(cgroup_set_memory(&g, 64 << 20, &err), 0);
	assert_int_equal(cgroup_set_pids(&g, 5, &err), 0);
	assert_memory_equal(get("sys/fs/cgroup/memory/a/b/tee-rex-7/slot-3/memory.limit_in_bytes"), "67108864", 8);
	assert_memory_equal(get("sys/fs/cgroup/memory/a/b/tee-rex-7/slot-3/memory.memsw.limit_in_bytes"), "67108864", 8);
	assert_memory_equal(get("sys/fs/cgroup/pids/svc/tee-rex-7/slot-3/pids.max"), "5", 1);
	assert_int_equal(cgroup_memory_peak(&g), 654321);
	assert_int_equal(cgroup_oom_kills(&g), 2);
	assert_true(cgroup_limits_swap(&g));
	assert_int_equal(cgroup_open_procs(&g, &procs, &err), 0);
	assert_true(procs.memory >= 0 && procs.pids >= 0 && procs.cpu == -1);
	close(procs.memory), close(procs.pids);
	assert_false(cgroup_homes_weigh(&h, 50));               /* the cpu tree has no group of ours */
	assert_int_equal(cgroup_remove(&g, &h), 0);
	assert_false(exists("sys/fs/cgroup/memory/a/b/tee-rex-7/slot-3"));
	assert_false(exists("sys/fs/cgroup/pids/svc/tee-rex-7/slot-3"));
	cgroup_homes_close(&h);
	assert_false(exists("sys/fs/cgroup/memory/a/b/tee-rex-7"));
	assert_false(exists("sys/fs/cgroup/pids/svc/tee-rex-7"));
}

static void v1_cpu_time_weighs_in_a_tree_of_its_own(void **state)
{
	(void)state;
	struct cgroup_homes h;
	struct cgroup g = CGROUP_INIT;
	struct cgroup_procs procs;
	struct err err;

	make_v1();
	make_dirs("sys/fs/cgroup/cpu/a/b");
	put("sys/fs/cgroup/cpu/a/b/cpu.shares", "1024\n");
	cgroup_homes_open(&h, root, 7);
	assert_int_equal(h.cpu.version, CGROUP_V1);
	assert_true(cgroup_homes_weigh(&h, 50));
	assert_string_equal(get("sys/fs/cgroup/cpu/a/b/tee-rex-7/cpu.shares"), "5124\n");       /* "512" over "1024" */
	assert_true(cgroup_homes_weigh(&h, 100));
	assert_string_equal(get("sys/fs/cgroup/cpu/a/b/tee-rex-7/cpu.shares"), "1024\n");
	assert_int_equal(cgroup_create(&g, &h, "slot-3", &err), 0);
	assert_string_equal(get("sys/fs/cgroup/cpu/a/b/tee-rex-7/slot-3/cpu.shares"), "1024\n");
	assert_int_equal(cgroup_open_procs(&g, &procs, &err), 0);
	assert_true(procs.cpu >= 0);
	close(procs.memory), close(procs.pids), close(procs.cpu);
	busy_removals = 1;
	assert_int_equal(cgroup_remove(&g, &h), -EBUSY);
	assert_true(g.cpu_fd >= 0);
	assert_int_equal(cgroup_remove(&g, &h), 0);
	assert_false(exists("sys/fs/cgroup/cpu/a/b/tee-rex-7/slot-3"));
	cgroup_homes_close(&h);
	assert_false(exists("sys/fs/cgroup/cpu/a/b/tee-rex-7"));
}

static void swap_that_is_not_counted_is_no_error(void **state)
{
	(void)state;
	struct cgroup_homes h;
	struct cgroup g = CGROUP_INIT;
	struct err err;

	no_swap_files = true;
	make_v2("/");
	cgroup_homes_open(&h, root, 42);
	assert_int_equal(cgroup_create(&g, &h, "slot-0", &err), 0);
	assert_int_equal(cgroup_set_memory(&g, 1 << 30, &err), 0);
	assert_false(cgroup_limits_swap(&g));
	assert_int_equal(cgroup_remove(&g, &h), 0);
	cgroup_homes_close(&h);
}

static void a_limit_that_cannot_be_set_is_an_error(void **state)
{
	(void)state;
	struct cgroup_homes h;
	struct cgroup g = CGROUP_INIT;
	struct err err;

	make_v2("/");
	cgroup_homes_open(&h, root, 42);
	assert_int_equal(cgroup_create(&g, &h, "slot-0", &err), 0);
	syscall(SYS_unlinkat, AT_FDCWD, at("sys/fs/cgroup/tee-rex-42/slot-0/memory.max"), 0);
	assert_int_equal(cgroup_set_memory(&g, 1 << 30, &err), -ENOENT);
	assert_string_equal(err.text, "limit the job's memory to 1073741824 bytes: No such file or directory");
	assert_int_equal(cgroup_remove(&g, &h), 0);
	cgroup_homes_close(&h);
}

static void a_container_sees_part_of_the_tree(void **state)
{
	(void)state;
	struct cgroup_homes h;
	make_v1();
	make_dirs("sys/fs/cgroup/memory/b");
	put("sys/fs/cgroup/memory/b/memory.limit_in_bytes", "1\n");
	put("proc/self/mountinfo", "36 31 0:33 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
	cgroup_homes_open(&h, root, 7);
	assert_string_equal(h.memory.path, at("sys/fs/cgroup/memory/b/tee-rex-7"));
	assert_int_equal(h.pids.version, CGROUP_NONE);
	cgroup_homes_close(&h);
}

static void the_own_limit_is_the_least_on_the_way_up(void **state)
{
	(void)state;
	assert_int_equal(cgroup_own_memory_limit(root), 0);      /* no tables at all */
	make_v2("/a/b");
	make_dirs("sys/fs/cgroup/a/b");
	assert_int_equal(cgroup_own_memory_limit(root), 0);
	put("sys/fs/cgroup/a/b/memory.max", "max\n");
	put("sys/fs/cgroup/a/memory.max", "1073741824\n");
	assert_int_equal(cgroup_own_memory_limit(root), 1 << 30);
	put("sys/fs/cgroup/a/b/memory.max", "4194304\n");
	assert_int_equal(cgroup_own_memory_limit(root), 4 << 20);
	put("proc/self/cgroup", "0::/a\n");
	assert_int_equal(cgroup_own_memory_limit(root), 1 << 30);
	make_v1();
	assert_int_equal(cgroup_own_memory_limit(root), 0);      /* v1's word for none */
	put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "8388608\n");
	assert_int_equal(cgroup_own_memory_limit(root), 8 << 20);
}

static void malformed_tables_mean_nothing_is_there(void **state)
{
	(void)state;
	static const char *const tables[] = { "", "\n", ":", "::", "0:", "4:memory", "4:memory:/a\\x", "- - -", " - ", "a b c d e - cgroup2",
	                                      "1 2 3 / - cgroup2 x rw", "\xff\xff:\xff:\xff\n" };
	struct cgroup_homes h;
	make_v2("/");
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		put("proc/self/cgroup", tables[i]);
		cgroup_homes_open(&h, root, 7);
		assert_int_equal(h.memory.version, CGROUP_NONE);
		assert_true(h.why.text[0] != '\0');
		cgroup_homes_close(&h);
	}
	put("proc/self/cgroup", "0::/\n");
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		put("proc/self/mountinfo", tables[i]);
		cgroup_homes_open(&h, root, 7);
		assert_int_equal(h.memory.version, CGROUP_NONE);
		cgroup_homes_close(&h);
	}
}

static void homes_of_the_dead_are_swept_and_only_those(void **state)
{
	(void)state;
	struct cgroup_homes h;
	make_v2("/");
	CLEANUP(close_fd) int top = open(at("sys/fs/cgroup"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	static const char *const names[] = { "tee-rex-1", "tee-rex-2", "other-3" };
	for (size_t i = 0; i < 3; i++) {
		char job[64];
		snprintf(job, sizeof job, "%s/slot-0", names[i]);
		assert_int_equal(mkdirat(top, names[i], 0755), 0);
		assert_int_equal(mkdirat(top, job, 0755), 0);
	}
	/* number 2 lives: it holds its lock */
	CLEANUP(close_fd) int living = openat(top, "tee-rex-2", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(living, LOCK_EX), 0);
	busy_removals = 2;                       /* its processes take a moment to go */
	cgroup_homes_open(&h, root, 42);
	assert_false(exists("sys/fs/cgroup/tee-rex-1"));
	assert_true(exists("sys/fs/cgroup/tee-rex-2/slot-0"));
	assert_true(exists("sys/fs/cgroup/other-3/slot-0"));
	assert_true(exists("sys/fs/cgroup/tee-rex-42"));

	/* ours is locked too: another launcher leaves it alone */
	struct cgroup_homes second;
	cgroup_homes_open(&second, root, 43);
	assert_true(exists("sys/fs/cgroup/tee-rex-42"));
	cgroup_homes_close(&second);
	cgroup_homes_close(&h);
}

static void make_dead_home(const char *path)
{
	char job[256];
	snprintf(job, sizeof job, "%s/tee-rex-1/slot-0", path);
	make_dirs(job);
}

/* In the trees and at the heights where a launcher may have made them. */
static void who_started_launchers_can_sweep(void **state)
{
	(void)state;
	static const char *const v1[] = { "sys/fs/cgroup/memory/a/b", "sys/fs/cgroup/pids/svc" };
	static const char *const v2[] = { "sys/fs/cgroup/one/two", "sys/fs/cgroup/one", "sys/fs/cgroup" };
	make_v1();
	for (size_t i = 0; i < sizeof v1 / sizeof v1[0]; i++)
		make_dead_home(v1[i]);
	make_dirs("sys/fs/cgroup/memory/a/tee-rex-1");           /* above: not of launchers that were started here */
	make_dirs("sys/fs/cgroup/memory/a/b/others");
	cgroup_homes_sweep(root);
	assert_false(exists("sys/fs/cgroup/memory/a/b/tee-rex-1"));
	assert_false(exists("sys/fs/cgroup/pids/svc/tee-rex-1"));
	assert_true(exists("sys/fs/cgroup/memory/a/tee-rex-1"));
	assert_true(exists("sys/fs/cgroup/memory/a/b/others"));

	make_v2("/one/two");
	for (size_t i = 0; i < sizeof v2 / sizeof v2[0]; i++)
		make_dead_home(v2[i]);
	CLEANUP(close_fd) int living = open(at("sys/fs/cgroup/one/tee-rex-1"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(living, LOCK_EX), 0);
	cgroup_homes_sweep(root);
	assert_false(exists("sys/fs/cgroup/one/two/tee-rex-1"));
	assert_false(exists("sys/fs/cgroup/tee-rex-1"));
	assert_true(exists("sys/fs/cgroup/one/tee-rex-1/slot-0"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(v2_in_the_root_group),
		TEST(v2_beside_a_group_that_holds_processes),
		TEST(v2_climbs_to_where_it_is_let_in_but_not_further),
		TEST(v2_without_a_memory_controller_is_none),
		TEST(v1_in_two_trees),
		TEST(v1_cpu_time_weighs_in_a_tree_of_its_own),
		TEST(swap_that_is_not_counted_is_no_error),
		TEST(a_limit_that_cannot_be_set_is_an_error),
		TEST(a_container_sees_part_of_the_tree),
		TEST(the_own_limit_is_the_least_on_the_way_up),
		TEST(malformed_tables_mean_nothing_is_there),
		TEST(homes_of_the_dead_are_swept_and_only_those),
		TEST(who_started_launchers_can_sweep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
