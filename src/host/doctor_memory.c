/* Huge pages, the CPU pool, and everything that sets them. */
#include "host/doctor_checks.h"

#include "linux/small_file.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef unsigned long long ull;

static uint64_t pool_kib(const struct host_view *v)
{
	uint64_t kib = 0;
	for (size_t i = 0; v->state != NULL && i < v->state->node_count; i++)
		kib += host_node_pool_kib(&v->state->node[i]);
	return kib;
}

void look_unreadable(const struct host_view *v, struct findings *f)
{
	if (v->state == NULL)
		finding_add(f, "%s", v->state_why.text);
}

void look_no_pages(const struct host_view *v, struct findings *f)
{
	if (v->state != NULL && v->state->driver && !v->has_record && pool_kib(v) == 0)
		finding_add(f, "no huge pages are reserved on any node");
}

void look_short(const struct host_view *v, struct findings *f)
{
	const struct host_node *n = v->state != NULL && v->has_record ? host_node_find(v->state, v->record.taken.node) : NULL;
	for (enum huge_size s = 0; n != NULL && s < HUGE_SIZES; s++)
		if (n->pool[s].total < v->record.taken.pages[s])
			finding_add(f, "node %d has %llu pages of %s, and %llu were reserved", n->id, (ull)n->pool[s].total, huge_name(s), (ull)v->record.taken.pages[s]);
}

/* Half the reserve: what the plan left may be used, up to a point. */
void look_starved(const struct host_view *v, struct findings *f)
{
	if (v->state == NULL || pool_kib(v) == 0)
		return;
	uint64_t reserve_mib = v->has_record && v->record.request.host_reserve_mib > 0 ? v->record.request.host_reserve_mib : reserve_default_mib(v->state->total_kib);
	if (v->state->available_kib / 1024 < reserve_mib / 2)
		finding_add(f, "the host has %llu MiB available of %llu, with %llu MiB in huge pages; its reserve is %llu MiB", (ull)v->state->available_kib / 1024,
		            (ull)v->state->total_kib / 1024, (ull)pool_kib(v) / 1024, (ull)reserve_mib);
}

void look_unfinished(const struct host_view *v, struct findings *f)
{
	if (small_file_exists(v->root, RESERVE_JOURNAL_PATH))
		finding_add(f, "a reserve or release was interrupted: %s is there", RESERVE_JOURNAL_PATH);
}

static bool enabled_at_boot(const struct host_view *v, const char *unit)
{
	static const char *const targets[] = { "sysinit.target.wants", "basic.target.wants", "multi-user.target.wants" };
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
		char path[256], whole[ROOTED_PATH_MAX];
		struct stat st;
		snprintf(path, sizeof path, "/etc/systemd/system/%s/%s", targets[i], unit);
		if (lstat(rooted_path(v->root, path, whole), &st) == 0)
			return true;
	}
	return false;
}

void look_not_at_boot(const struct host_view *v, struct findings *f)
{
	bool command_line = v->state != NULL && v->state->kernel_cmdline_pages > 0;
	if (v->has_record && !command_line && !v->allocator.service_enabled && !enabled_at_boot(v, "tee-rex-reserve.service"))
		finding_add(f, "memory is reserved now, and nothing reserves it at boot");
}

void look_allocator_broken(const struct host_view *v, struct findings *f)
{
	if (v->allocator.standing == ALLOCATOR_BROKEN)
		finding_add(f, "%s, line %u: %s", ALLOCATOR_YAML_PATH, v->allocator.line, allocator_result_message(v->allocator.result));
}

void look_allocator_conflict(const struct host_view *v, struct findings *f)
{
	struct allocator_yaml ours;
	if (!v->has_record || v->state == NULL || (v->allocator.standing != ALLOCATOR_OTHERS && v->allocator.standing != ALLOCATOR_STOCK))
		return;
	allocator_yaml_of(&v->record.request, &v->record.taken, v->state->threads, &ours);
	if (!allocator_yaml_agree(&ours, &v->allocator.yaml))
		finding_add(f, "%s says memory_mib %llu, and tee-rex reserved %llu MiB: somebody has changed it since", ALLOCATOR_YAML_PATH,
		            (ull)v->allocator.yaml.memory_mib, (ull)ours.memory_mib);
}

void look_allocator_oversized(const struct host_view *v, struct findings *f)
{
	if (v->state == NULL || v->allocator.standing == ALLOCATOR_ABSENT || v->allocator.standing == ALLOCATOR_BROKEN)
		return;
	uint64_t total_mib = v->state->total_kib / 1024, reserve_mib = reserve_default_mib(v->state->total_kib);
	if (v->allocator.yaml.memory_mib + reserve_mib > total_mib)
		finding_add(f, "%s wants %llu MiB of %llu: at the next boot the host would have less than its reserve of %llu MiB", ALLOCATOR_YAML_PATH,
		            (ull)v->allocator.yaml.memory_mib, (ull)total_mib, (ull)reserve_mib);
}

void look_allocator_service(const struct host_view *v, struct findings *f)
{
	if (v->allocator.service_enabled && v->has_record)
		finding_add(f, "nitro-enclaves-allocator.service starts at boot, and tee-rex has a reservation of its own");
}

void look_sysctl(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->sysctls.n; i++) {
		const char *line = v->sysctls.at[i].text;
		for (; line != NULL; line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : NULL) {
			const char *key = line + strspn(line, " \t-");
			size_t n = strncmp(key, "vm.nr_hugepages", 15) == 0 || strncmp(key, "vm/nr_hugepages", 15) == 0 ? 15 : 0;
			if (n > 0 && (key[n] == '=' || isspace((unsigned char)key[n])))
				finding_add(f, "%s sets vm.nr_hugepages: \"%.*s\"", v->sysctls.at[i].name, (int)strcspn(key, "\n"), key);
		}
	}
}

/* --- CPUs ------------------------------------------------------------------------------------------- */

void look_pool_empty(const struct host_view *v, struct findings *f)
{
	if (v->state != NULL && v->state->driver && cpu_set_empty(&v->state->pool))
		finding_add(f, v->has_record && v->record.taken.has_pool && !cpu_set_empty(&v->record.taken.pool) ? "the CPU pool is empty, and CPUs had been reserved"
		                                                                                                : "the CPU pool is empty");
}

static int pool_node(const struct host_state *s)
{
	for (size_t i = 0; i < s->core_count; i++)
		if (s->core[i].pooled && s->core[i].node >= 0)
			return s->core[i].node;
	return -1;
}

void look_pool_node(const struct host_view *v, struct findings *f)
{
	int node = v->state != NULL ? pool_node(v->state) : -1;
	const struct host_node *n = node >= 0 ? host_node_find(v->state, node) : NULL;
	for (size_t i = 0; n != NULL && host_node_pool_kib(n) == 0 && i < v->state->node_count; i++)
		if (host_node_pool_kib(&v->state->node[i]) > 0)
			finding_add(f, "the CPU pool is on node %d, and the huge pages are on node %d", node, v->state->node[i].id);
}

void look_pool_cores(const struct host_view *v, struct findings *f)
{
	char list[CPULIST_TEXT_MAX];
	if (v->state == NULL || cpu_set_empty(&v->state->pool))
		return;
	if (cpu_set_has(&v->state->pool, 0))
		finding_add(f, "the CPU pool has CPU 0 in it");
	else if (v->state->pool_unclear && v->state->threads == 2)
		finding_add(f, "the CPU pool %.100s has a CPU without its sibling", cpulist_text(&v->state->pool, list));
}
