#include "enclave/init/group.h"

#include "base/text.h"
#include "linux/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

int groups_enable(struct err *err)
{
	return small_file_write(GROUP_ROOT, "/cgroup.subtree_control", "+memory +pids +cpu", err);
}

static int set_number(const char *path, const char *file, uint64_t v, struct err *err)
{
	char text[24], name[GROUP_PATH_MAX + 32];
	snprintf(text, sizeof text, "%llu", (unsigned long long)v);
	snprintf(name, sizeof name, "%s/%s", path, file);
	return small_file_write(GROUP_ROOT, name, text, err);
}

static int make_directory(const char *path, struct err *err)
{
	char name[ROOTED_PATH_MAX];
	if (mkdir(rooted_path(GROUP_ROOT, path, name), 0755) != 0 && errno != EEXIST)
		return fail(err, errno, "make the cgroup %s", name);
	return 0;
}

static int set_limits(const struct group *g, const struct service *s, struct err *err)
{
	int bad = 0;
	if (s->memory_mib > 0) {
		bad = set_number(g->path, "memory.max", (uint64_t)s->memory_mib << 20, err);
		/* there when the kernel has swap */
		set_number(g->path, "memory.swap.max", 0, NULL);
	}
	/* a service half killed is in no state that anybody has thought of */
	if (bad == 0)
		bad = set_number(g->path, "memory.oom.group", 1, err);
	if (bad == 0 && s->pids_max > 0)
		bad = set_number(g->path, "pids.max", s->pids_max, err);
	return bad != 0 ? bad : set_number(g->path, "cpu.weight", s->cpu_weight, err);
}

int group_open(struct group *g, const struct service *s, struct err *err)
{
	char name[ROOTED_PATH_MAX], leaf[GROUP_PATH_MAX + 32];
	bool delegated = s->grants & GRANT_ROOT_CAPABILITIES;
	*g = GROUP_NONE;
	snprintf(g->path, sizeof g->path, "/%s", s->name);
	int bad = make_directory(g->path, err);
	if (bad == 0)
		bad = set_limits(g, s, err);
	snprintf(leaf, sizeof leaf, "%s%s", g->path, delegated ? "/main" : "");
	if (bad == 0 && delegated)
		bad = make_directory(leaf, err);
	if (bad == 0 && delegated) {
		snprintf(name, sizeof name, "%s/cgroup.subtree_control", g->path);
		bad = small_file_write(GROUP_ROOT, name, "+memory +pids +cpu", err);
	}
	if (bad != 0)
		return bad;
	snprintf(name, sizeof name, GROUP_ROOT "%s/cgroup.procs", leaf);
	g->procs = open(name, O_WRONLY | O_CLOEXEC);
	return g->procs < 0 ? fail(err, errno, "open %s", name) : 0;
}

void group_kill(const struct group *g)
{
	if (g->path[0] != '\0')
		set_number(g->path, "cgroup.kill", 1, NULL);
}

uint64_t group_oom_kills(const char *path, bool local)
{
	char name[GROUP_PATH_MAX + 32], text[512];
	uint64_t v = 0;
	snprintf(name, sizeof name, "%s/memory.events%s", path, local ? ".local" : "");
	if (small_file_read(GROUP_ROOT, name, text, sizeof text) < 0 || !text_field_u64(text, "oom_kill", &v))
		return 0;
	return v;
}

uint64_t group_number(const char *path, const char *file)
{
	char name[GROUP_PATH_MAX + 32];
	uint64_t v = 0;
	snprintf(name, sizeof name, "%s/%s", path, file);
	return small_file_u64(GROUP_ROOT, name, &v) ? v : 0;
}
