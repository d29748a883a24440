/* Everything is a small file in a directory the kernel owns: read_word_after() and write_text() do all
 * the talking. Errors of the search are kept as a sentence for whoever asks why there is no group; what
 * is read from these files is the kernel's, so a malformed one only means "not known". */
#include "linux/cgroup.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define HOME_PREFIX "tee-rex-"
enum { SMALL_FILE_MAX = 4096, LINE_SIZE = 2048 };

/* --- small files ---------------------------------------------------------------------------- */
/* The file's text, zero-terminated; -errno. */
static int read_text(int dir, const char *name, char *buf, size_t cap)
{
	CLEANUP(close_fd) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buf, cap - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

static int write_text(int dir, const char *name, const char *text)
{
	CLEANUP(close_fd) int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int write_number(int dir, const char *name, uint64_t v)
{
	char text[24];
	snprintf(text, sizeof text, "%llu", (unsigned long long)v);
	return write_text(dir, name, text);
}

/* The number after "key " at the start of a line, or the first number for key "". 0 when absent. */
static uint64_t read_number(int dir, const char *name, const char *key)
{
	char buf[SMALL_FILE_MAX];
	size_t key_size = strlen(key);
	if (dir < 0 || read_text(dir, name, buf, sizeof buf) != 0)
		return 0;
	for (char *line = buf, *next; line != NULL; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		uint64_t v;
		if (strncmp(line, key, key_size) == 0 &&
		    text_to_u64(bytes_str(line + key_size), UINT64_MAX, &v))
			return v;
	}
	return 0;
}

/* True when word stands in text between spaces, commas or newlines. */
static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
		if ((at == text || strchr(" ,\n", at[-1]) != NULL) && (at[n] == '\0' || strchr(" ,\n", at[n]) != NULL))
			return true;
	return false;
}

static bool file_has_word(int dir, const char *name, const char *word)
{
	char buf[SMALL_FILE_MAX];
	return read_text(dir, name, buf, sizeof buf) == 0 && has_word(buf, word);
}

/* --- where this process is ------------------------------------------------------------------- */
/* The path of this process in the tree of a v1 controller, or in the v2 tree for "". */
static bool own_path(const char *root, const char *controller, char *ret, size_t cap)
{
	char file[CGROUP_PATH_MAX], line[LINE_SIZE];
	snprintf(file, sizeof file, "%s/proc/self/cgroup", root);
	CLEANUP(close_file) FILE *f = fopen(file, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		char *names = strchr(line, ':'), *path = names != NULL ? strchr(names + 1, ':') : NULL;
		if (path == NULL)
			continue;
		*names++ = '\0';
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		bool v2 = strcmp(line, "0") == 0 && *names == '\0';
		if (*controller == '\0' ? v2 : !v2 && has_word(names, controller))
			return (size_t)snprintf(ret, cap, "%s", path) < cap;
	}
	return false;
}

/* Where that tree is mounted, and which of its directories is the mount's root. */
static bool find_mount(const char *root, const char *controller, char *mount_point, char *mount_root, size_t cap)
{
	char file[CGROUP_PATH_MAX], line[LINE_SIZE];
	snprintf(file, sizeof file, "%s/proc/self/mountinfo", root);
	CLEANUP(close_file) FILE *f = fopen(file, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		char *field[5], *save = NULL, *tail = strstr(line, " - ");
		if (tail == NULL || strchr(line, '\\') != NULL)   /* no octal escapes in our paths */
			continue;
		*tail = '\0';
		char *type = strtok_r(tail + 3, " \n", &save);
		strtok_r(NULL, " \n", &save);
		char *options = strtok_r(NULL, " \n", &save);
		if (type == NULL || options == NULL)
			continue;
		bool wanted = *controller == '\0' ? strcmp(type, "cgroup2") == 0 :
		              strcmp(type, "cgroup") == 0 && has_word(options, controller);
		if (!wanted)
			continue;
		int n = 0;
		for (char *s = strtok_r(line, " ", &save); s != NULL && n < 5; s = strtok_r(NULL, " ", &save))
			field[n++] = s;
		if (n == 5 && (size_t)snprintf(mount_root, cap, "%s", field[3]) < cap &&
		    (size_t)snprintf(mount_point, cap, "%s%s", root, field[4]) < cap)
			return true;
	}
	return false;
}

/* The directory of this process's own group. ret_top: length of its mount point, the end of climbing. */
static bool own_directory(const char *root, const char *controller, char *ret, size_t cap, size_t *ret_top)
{
	char own[CGROUP_PATH_MAX], point[CGROUP_PATH_MAX], top[CGROUP_PATH_MAX];
	if (!own_path(root, controller, own, sizeof own) ||
	    !find_mount(root, controller, point, top, sizeof point))
		return false;
	size_t n = strcmp(top, "/") == 0 ? 0 : strlen(top);
	/* a container sees a part of the tree: own paths start with that part or are relative to it */
	const char *below = strncmp(own, top, n) == 0 && (own[n] == '/' || own[n] == '\0') ? own + n : own;
	if (strcmp(below, "/") == 0)
		below = "";
	*ret_top = strlen(point);
	return (size_t)snprintf(ret, cap, "%s%s", point, below) < cap;
}

uint64_t cgroup_own_memory_limit(const char *root)
{
	char dir_path[CGROUP_PATH_MAX];
	size_t top;
	uint64_t least = 0;
	const bool v1 = own_directory(root, "memory", dir_path, sizeof dir_path, &top);

	if (!v1 && !own_directory(root, "", dir_path, sizeof dir_path, &top))
		return 0;
	for (;;) {
		CLEANUP(close_fd) int dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* v2 says "max" where v1 says a number near 2^63 */
		uint64_t limit = read_number(dir, v1 ? "memory.limit_in_bytes" : "memory.max", "");
		if (limit != 0 && limit < INT64_MAX / 2 && (least == 0 || limit < least))
			least = limit;
		char *slash = strrchr(dir_path + top, '/');
		if (slash == NULL)
			return least;
		*slash = '\0';
	}
}

/* --- homes ----------------------------------------------------------------------------------- */
static void kill_members(int dir)
{
	char buf[SMALL_FILE_MAX], *save = NULL;
	if (write_text(dir, "cgroup.kill", "1") == 0)
		return;
	if (read_text(dir, "cgroup.procs", buf, sizeof buf) != 0)
		return;
	/* a list cut in the middle of a number must not kill a stranger */
	char *end = strrchr(buf, '\n');
	if (end == NULL)
		return;
	*end = '\0';
	for (char *s = strtok_r(buf, "\n", &save); s != NULL; s = strtok_r(NULL, "\n", &save)) {
		uint64_t pid;
		if (text_to_u64(bytes_str(s), INT32_MAX, &pid) && pid > 1)
			kill((pid_t)pid, SIGKILL);
	}
}

static void sweep_home(int parent, const char *name)
{
	CLEANUP(close_fd) int home = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (home < 0 || flock(home, LOCK_EX | LOCK_NB) != 0)
		return;                          /* its launcher lives */
	CLEANUP(close_dir) DIR *d = fdopendir(dup(home));
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		CLEANUP(close_fd) int job = openat(home, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (job < 0)
			continue;
		kill_members(job);
		/* the kernel takes a moment to bury them */
		for (int tries = 0; unlinkat(home, e->d_name, AT_REMOVEDIR) != 0 && errno == EBUSY && tries < 100; tries++)
			usleep(10000);
	}
	unlinkat(parent, name, AT_REMOVEDIR);
}

/* Removes the homes of dead launchers in this directory. */
static void sweep(int parent)
{
	CLEANUP(close_fd) int again = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_dir) DIR *d = again < 0 ? NULL : fdopendir(again);
	if (d == NULL)
		return;
	again = -1;                              /* the stream's now */
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (e->d_type == DT_DIR && strncmp(e->d_name, HOME_PREFIX, strlen(HOME_PREFIX)) == 0)
			sweep_home(parent, e->d_name);
}

/* Makes parent/tee-rex-<pid>, locked. -errno. */
static int make_home(const char *parent_path, pid_t self, struct cgroup_home *ret)
{
	char name[32];
	CLEANUP(close_fd) int parent = open(parent_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return -errno;
	snprintf(name, sizeof name, HOME_PREFIX "%ld", (long)self);
	if ((size_t)snprintf(ret->path, sizeof ret->path, "%s/%s", parent_path, name) >= sizeof ret->path)
		return -ENAMETOOLONG;
	sweep(parent);
	for (int tries = 0; tries < 3; tries++) {
		if (mkdirat(parent, name, 0755) != 0)
			return -errno;
		CLEANUP(close_fd) int home = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* another launcher's sweep may have come between mkdir and flock: then it is gone */
		if (home >= 0 && flock(home, LOCK_EX | LOCK_NB) == 0 && faccessat(parent, name, F_OK, 0) == 0) {
			ret->fd = fd_steal(&home);
			return 0;
		}
	}
	return -EBUSY;
}

static void drop_home(struct cgroup_home *h)
{
	if (h->version == CGROUP_NONE || h->fd < 0)
		return;
	rmdir(h->path);
	close_fd(&h->fd);
	h->version = CGROUP_NONE;
}

/* v1: below the own group. */
static int open_v1(const char *root, const char *controller, pid_t self, struct cgroup_home *ret, struct err *why)
{
	char dir[CGROUP_PATH_MAX];
	size_t top;
	if (!own_directory(root, controller, dir, sizeof dir, &top))
		return fail(why, ENOENT, "no v1 %s controller", controller);
	int bad = make_home(dir, self, ret);
	if (bad != 0)
		return fail(why, -bad, "make a group in %s", dir);
	ret->version = CGROUP_V1;
	return 0;
}

/* 0 when groups in dir get the controller, switching it on if need be. */
static int hand_down(const char *dir_path, const char *controller, struct err *why)
{
	char on[32];
	CLEANUP(close_fd) int dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fail(why, errno, "open %s", dir_path);
	if (!file_has_word(dir, "cgroup.controllers", controller))
		return fail(why, ENOENT, "the cgroup v2 tree offers no %s controller in %s", controller, dir_path);
	if (file_has_word(dir, "cgroup.subtree_control", controller))
		return 0;
	snprintf(on, sizeof on, "+%s", controller);
	int bad = write_text(dir, "cgroup.subtree_control", on);
	return bad != 0 ? fail(why, -bad, "hand the %s controller down from %s", controller, dir_path) : 0;
}

/* v2: below the own group, or the nearest ancestor that hands memory down and lets us in. */
static int open_v2(const char *root, pid_t self, struct cgroup_homes *h)
{
	char dir[CGROUP_PATH_MAX];
	size_t top;
	if (!own_directory(root, "", dir, sizeof dir, &top))
		return fail(&h->why, ENOENT, "no cgroup v2 tree is mounted");
	for (;;) {
		int bad = hand_down(dir, "memory", &h->why);
		if (bad == 0) {
			hand_down(dir, "pids", NULL);
			hand_down(dir, "cpu", NULL);
			bad = make_home(dir, self, &h->memory);
			if (bad == 0)
				break;
			fail(&h->why, -bad, "make a group in %s", dir);
		}
		char *slash = strrchr(dir + top, '/');
		if (slash == NULL)
			return bad;
		*slash = '\0';
	}
	h->memory.version = CGROUP_V2;
	int bad = hand_down(h->memory.path, "memory", &h->why);
	if (bad != 0) {
		drop_home(&h->memory);
		return bad;
	}
	if (hand_down(h->memory.path, "pids", NULL) == 0) {
		h->pids = h->memory;
		h->pids.fd = -1;
	}
	if (hand_down(h->memory.path, "cpu", NULL) == 0) {
		h->cpu = h->memory;
		h->cpu.fd = -1;
	}
	return 0;
}

void cgroup_homes_open(struct cgroup_homes *ret, const char *root, pid_t self)
{
	struct err why;
	*ret = (struct cgroup_homes){ .memory.fd = -1, .pids.fd = -1, .cpu.fd = -1 };
	/* a controller lives in one tree only: where memory is a v1 one, v2 has none */
	if (open_v1(root, "memory", self, &ret->memory, &ret->why) == -ENOENT)
		open_v2(root, self, ret);
	if (ret->pids.version == CGROUP_NONE)
		open_v1(root, "pids", self, &ret->pids, &why);
	if (ret->cpu.version == CGROUP_NONE)
		open_v1(root, "cpu", self, &ret->cpu, &why);
}

static void sweep_path(const char *path)
{
	CLEANUP(close_fd) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0)
		sweep(dir);
}

void cgroup_homes_sweep(const char *root)
{
	static const char *const v1[] = { "memory", "pids", "cpu" };
	char dir[CGROUP_PATH_MAX];
	size_t top;
	for (size_t i = 0; i < sizeof v1 / sizeof v1[0]; i++)
		if (own_directory(root, v1[i], dir, sizeof dir, &top))
			sweep_path(dir);
	if (!own_directory(root, "", dir, sizeof dir, &top))
		return;
	for (char *slash = dir; slash != NULL;) {        /* v2: wherever open_v2() may have made it */
		sweep_path(dir);
		slash = strrchr(dir + top, '/');
		if (slash != NULL)
			*slash = '\0';
	}
}

bool cgroup_homes_weigh(const struct cgroup_homes *h, uint32_t weight)
{
	/* the kernel's own scales: 1024 shares (at least 2), or a weight of 100 */
	uint64_t shares = (uint64_t)weight * 1024 / 100;
	switch (h->cpu.version) {
	case CGROUP_V1: return write_number(h->cpu.fd, "cpu.shares", shares < 2 ? 2 : shares) == 0;
	case CGROUP_V2: return write_number(h->memory.fd, "cpu.weight", weight) == 0;
	default: return false;
	}
}

void cgroup_homes_close(struct cgroup_homes *h)
{
	drop_home(&h->cpu);
	drop_home(&h->pids);
	drop_home(&h->memory);
}

/* --- one job ---------------------------------------------------------------------------------- */
static int make_group(const struct cgroup_home *h, const char *name, int *ret_fd, struct err *err)
{
	if (h->fd < 0)
		return 0;
	if (mkdirat(h->fd, name, 0755) != 0)
		return fail(err, errno, "create group %s/%s", h->path, name);
	*ret_fd = openat(h->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd >= 0)
		return 0;
	int bad = fail(err, errno, "open group %s/%s", h->path, name);
	unlinkat(h->fd, name, AT_REMOVEDIR);
	return bad;
}

int cgroup_create(struct cgroup *ret, const struct cgroup_homes *h, const char *name, struct err *err)
{
	struct cgroup g = CGROUP_INIT;
	snprintf(g.name, sizeof g.name, "%s", name);
	g.version = h->memory.version;
	int bad = make_group(&h->memory, name, &g.memory_fd, err);
	if (bad == 0)
		bad = make_group(&h->pids, name, &g.pids_fd, err);
	if (bad == 0)
		make_group(&h->cpu, name, &g.cpu_fd, NULL);
	if (bad == 0 && h->pids.version == CGROUP_V2) {
		g.pids_shared = true;
		g.pids_fd = fcntl(g.memory_fd, F_DUPFD_CLOEXEC, 0);
		if (g.pids_fd < 0)
			bad = fail(err, errno, "duplicate the group's descriptor");
	}
	if (bad != 0) {
		cgroup_remove(&g, h);
		return bad;
	}
	*ret = g;
	return 0;
}

int cgroup_set_memory(const struct cgroup *g, uint64_t bytes, struct err *err)
{
	if (g->version == CGROUP_NONE)
		return 0;
	bool v1 = g->version == CGROUP_V1;
	int bad = write_number(g->memory_fd, v1 ? "memory.limit_in_bytes" : "memory.max", bytes);
	if (bad != 0)
		return fail(err, -bad, "limit the job's memory to %llu bytes", (unsigned long long)bytes);
	/* absent where the kernel does not count swap: cgroup_limits_swap() knows */
	bad = v1 ? write_number(g->memory_fd, "memory.memsw.limit_in_bytes", bytes) :
	           write_number(g->memory_fd, "memory.swap.max", 0);
	if (bad != 0 && bad != -ENOENT)
		return fail(err, -bad, "keep the job's memory out of swap");
	if (!v1)
		write_text(g->memory_fd, "memory.oom.group", "1");   /* Linux 4.19; without it one process dies */
	return 0;
}

int cgroup_set_pids(const struct cgroup *g, uint32_t max, struct err *err)
{
	if (g->pids_fd < 0)
		return 0;
	int bad = write_number(g->pids_fd, "pids.max", max);
	return bad != 0 ? fail(err, -bad, "limit the job to %u processes", max) : 0;
}

bool cgroup_limits_swap(const struct cgroup *g)
{
	return g->memory_fd >= 0 && faccessat(g->memory_fd, g->version == CGROUP_V1 ?
	       "memory.memsw.limit_in_bytes" : "memory.swap.max", F_OK, 0) == 0;
}

int cgroup_open_procs(const struct cgroup *g, struct cgroup_procs *ret, struct err *err)
{
	CLEANUP(close_fd) int memory = -1;
	CLEANUP(close_fd) int pids = -1;
	if (g->memory_fd >= 0 && (memory = openat(g->memory_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC)) < 0)
		return fail(err, errno, "open the job's cgroup.procs");
	if (g->pids_fd >= 0 && !g->pids_shared &&
	    (pids = openat(g->pids_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC)) < 0)
		return fail(err, errno, "open the job's cgroup.procs (pids)");
	ret->memory = fd_steal(&memory);
	ret->pids = fd_steal(&pids);
	ret->cpu = g->cpu_fd < 0 ? -1 : openat(g->cpu_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	return 0;
}

uint64_t cgroup_memory_peak(const struct cgroup *g)
{
	return read_number(g->memory_fd, g->version == CGROUP_V1 ? "memory.max_usage_in_bytes" : "memory.peak", "");
}

uint64_t cgroup_oom_kills(const struct cgroup *g)
{
	return read_number(g->memory_fd, g->version == CGROUP_V1 ? "memory.oom_control" : "memory.events", "oom_kill ");
}

void cgroup_kill(const struct cgroup *g)
{
	if (g->memory_fd >= 0)
		kill_members(g->memory_fd);
	if (g->pids_fd >= 0)
		kill_members(g->pids_fd);
	if (g->cpu_fd >= 0)
		kill_members(g->cpu_fd);
}

int cgroup_remove(struct cgroup *g, const struct cgroup_homes *h)
{
	int bad = 0;
	if (g->memory_fd >= 0 && unlinkat(h->memory.fd, g->name, AT_REMOVEDIR) != 0 && errno != ENOENT)
		bad = -errno;
	if (g->pids_fd >= 0 && !g->pids_shared && unlinkat(h->pids.fd, g->name, AT_REMOVEDIR) != 0 && errno != ENOENT)
		bad = -errno;
	if (g->cpu_fd >= 0 && unlinkat(h->cpu.fd, g->name, AT_REMOVEDIR) != 0 && errno != ENOENT)
		bad = -errno;
	if (bad == -EBUSY)
		return bad;
	close_fd(&g->memory_fd);
	close_fd(&g->pids_fd);
	close_fd(&g->cpu_fd);
	g->version = CGROUP_NONE;
	return bad;
}
