#include "enclave/init/group.h"

#include "base/text.h"
#include "linux/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* A service's limits are this much of what it is: without them it is not run. */
#define CONTROLLERS "memory", "pids", "cpu"
#define ALL_ON "+memory +pids +cpu"
#define WHAT_IT_TAKES "tee-rex-init needs Linux 5.14 or later with CONFIG_MEMCG, CONFIG_CGROUP_PIDS and CONFIG_FAIR_GROUP_SCHED, and " \
	"cgroup version 2 has them only when version 1 does not (tee-rex kernel check)"

static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = text; (at = strstr(at, word)) != NULL; at += n)
		if ((at == text || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' '))
			return true;
	return false;
}

int groups_enable(struct err *err)
{
	static const char *const needed[] = { CONTROLLERS };
	char text[256];
	int bad = small_file_read(GROUP_ROOT, "/cgroup.controllers", text, sizeof text);
	if (bad != 0)
		return fail(err, -bad, "read " GROUP_ROOT "/cgroup.controllers; " WHAT_IT_TAKES);
	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
		if (!has_word(text, needed[i]))
			return fail(err, ENOTSUP, "this kernel's cgroup version 2 has no %s controller (it has: %.80s); " WHAT_IT_TAKES,
			            needed[i], text[0] != '\0' ? text : "none");
	return small_file_write(GROUP_ROOT, "/cgroup.subtree_control", ALL_ON, err);
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
	if (bad == 0 && s->pids_max > 0)
		bad = set_number(g->path, "pids.max", s->pids_max, err);
	return bad != 0 ? bad : set_number(g->path, "cpu.weight", s->cpu_weight, err);
}

int group_open(struct group *g, const struct service *s, struct err *err)
{
	char name[ROOTED_PATH_MAX];
	bool delegated = s->grants & GRANT_ROOT_CAPABILITIES;
	*g = GROUP_NONE;
	snprintf(g->path, sizeof g->path, "/%s", s->name);
	snprintf(g->own, sizeof g->own, "/%s%s", s->name, delegated ? "/main" : "");
	int bad = make_directory(g->path, err);
	if (bad == 0)
		bad = set_limits(g, s, err);
	if (bad == 0 && delegated)
		bad = make_directory(g->own, err);
	if (bad == 0 && delegated) {
		snprintf(name, sizeof name, "%s/cgroup.subtree_control", g->path);
		bad = small_file_write(GROUP_ROOT, name, ALL_ON, err);
	}
	/* a service half killed is in no state that anybody has thought of; jobs have groups of their own and end alone */
	if (bad == 0)
		bad = set_number(g->own, "memory.oom.group", 1, err);
	snprintf(name, sizeof name, "%s/cgroup.kill", g->path);
	if (bad == 0 && !small_file_exists(GROUP_ROOT, name))
		bad = fail(err, ENOTSUP, "this kernel cannot kill a cgroup; " WHAT_IT_TAKES);
	if (bad != 0)
		return bad;
	snprintf(name, sizeof name, GROUP_ROOT "%s/cgroup.procs", g->own);
	g->procs = open(name, O_WRONLY | O_CLOEXEC);
	return g->procs < 0 ? fail(err, errno, "open %s", name) : 0;
}

void group_kill(const struct group *g)
{
	if (g->path[0] != '\0')
		set_number(g->path, "cgroup.kill", 1, NULL);
}

static uint64_t memory_event(const char *path, const char *field, bool local)
{
	char name[GROUP_PATH_MAX + 32], text[512];
	uint64_t v = 0;
	snprintf(name, sizeof name, "%s/memory.events%s", path, local ? ".local" : "");
	if (small_file_read(GROUP_ROOT, name, text, sizeof text) < 0 || !text_field_u64(text, field, &v))
		return 0;
	return v;
}

uint64_t group_oom_kills(const char *path, bool local) { return memory_event(path, "oom_kill ", local); }
uint64_t group_limit_hits(const char *path, bool local) { return memory_event(path, "oom ", local); }

uint64_t group_number(const char *path, const char *file)
{
	char name[GROUP_PATH_MAX + 32];
	uint64_t v = 0;
	snprintf(name, sizeof name, "%s/%s", path, file);
	return small_file_u64(GROUP_ROOT, name, &v) ? v : 0;
}
