/* CPUs in the driver's pool are offline: the kernel shows neither their siblings nor their node. The pool holds whole cores
 * of one node (the driver refuses others), so both are worked out: siblings lie as far apart as CPU 0 and its
 * sibling do, and a core's node is that of the nearest cores still online, where those on both sides agree; the last core
 * has one side only, which counts unless a node is offline as a whole. */
#include "host/host_state.h"

#include "base/text.h"
#include "linux/small_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- memory --------------------------------------------------------------------------------- */

/* node's meminfo says "Node 0 MemFree:   123 kB". */
static uint64_t node_field(const char *text, int node, const char *name)
{
	char key[64];
	uint64_t v;
	snprintf(key, sizeof key, "Node %d %s:", node, name);
	return text_field_u64(text, key, &v) ? v : 0;
}

static void read_node(const char *root, int id, struct host_node *n)
{
	char path[96], text[8192];
	*n = (struct host_node){ .id = id };
	snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", id);
	if (small_file_read(root, path, text, sizeof text) == 0) {
		uint64_t mapped = node_field(text, id, "Mapped");
		uint64_t files = node_field(text, id, "Active(file)") + node_field(text, id, "Inactive(file)");
		n->total_kib = node_field(text, id, "MemTotal");
		/* the kernel has no MemAvailable for a node: free memory, file pages that no program has mapped, half the slabs */
		n->available_kib = node_field(text, id, "MemFree") + (files > mapped ? files - mapped : 0) +
		                   node_field(text, id, "SReclaimable") / 2;
	}
	for (enum huge_size s = 0; s < HUGE_SIZES; s++)
		hugepages_read(root, id, s, &n->pool[s]);
}

static int read_memory(const char *root, struct host_state *h, struct err *err)
{
	char text[8192];
	int ret = small_file_read(root, "/proc/meminfo", text, sizeof text);
	if (ret < 0)
		return fail(err, -ret, "read %s/proc/meminfo", root);
	if (!text_field_u64(text, "MemTotal:", &h->total_kib) || !text_field_u64(text, "MemAvailable:", &h->available_kib))
		return fail(err, ENODATA, "MemTotal or MemAvailable in %s/proc/meminfo", root);
	struct cpu_set nodes;                    /* a list of nodes has the same form */
	ret = small_file_read(root, "/sys/devices/system/node/online", text, sizeof text);
	if (ret < 0 || !cpulist_parse(bytes_str(text), &nodes))
		return fail(err, ret < 0 ? -ret : EINVAL, "read %s/sys/devices/system/node/online", root);
	for (unsigned id = cpu_set_next(&nodes, 0); id < CPU_MAX && h->node_count < NODES_MAX; id = cpu_set_next(&nodes, id + 1))
		read_node(root, (int)id, &h->node[h->node_count++]);
	/* one node has what the machine has; kernels that set up memory lazily show less of it in the node's own file */
	if (h->node_count == 1) {
		h->node[0].total_kib = h->total_kib;
		h->node[0].available_kib = h->available_kib;
	}
	for (size_t i = 0; i < h->node_count; i++)
		if (h->node[i].available_kib > h->available_kib)
			h->node[i].available_kib = h->available_kib;
	return 0;
}

/* --- cores ---------------------------------------------------------------------------------- */

static int node_of_cpu(const char *root, unsigned cpu, const struct host_state *h)
{
	for (size_t i = 0; i < h->node_count; i++) {
		char path[96];
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/node%d", cpu, h->node[i].id);
		if (small_file_exists(root, path))
			return h->node[i].id;
	}
	return h->node_count == 1 ? h->node[0].id : -1;
}

static void siblings_of(const char *root, unsigned cpu, struct cpu_set *ret)
{
	char path[96], text[CPULIST_TEXT_MAX];
	memset(ret, 0, sizeof *ret);
	snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
	if (small_file_read(root, path, text, sizeof text) != 0 || !cpulist_parse(bytes_str(text), ret))
		memset(ret, 0, sizeof *ret);
	cpu_set_add(ret, cpu);
}

static void read_online_cores(const char *root, struct host_state *h)
{
	struct cpu_set seen = { { 0 } };
	for (unsigned cpu = cpu_set_next(&h->online, 0); cpu < CPU_MAX; cpu = cpu_set_next(&h->online, cpu + 1)) {
		if (cpu_set_has(&seen, cpu))
			continue;
		struct host_core *c = &h->core[h->core_count++];
		*c = (struct host_core){ .node = node_of_cpu(root, cpu, h) };
		siblings_of(root, cpu, &c->cpus);
		cpu_set_join(&seen, &c->cpus);
		if (cpu_set_count(&c->cpus) > h->threads)
			h->threads = (unsigned)cpu_set_count(&c->cpus);
	}
}

static bool every_node_online(const struct host_state *h)
{
	for (size_t n = 0; n < h->node_count; n++) {
		bool found = false;
		for (size_t i = 0; i < h->core_count; i++)
			found = found || (!h->core[i].pooled && h->core[i].node == h->node[n].id);
		if (!found)
			return false;
	}
	return true;
}

/* The node on which the nearest online cores on both sides of cpu are. */
static int node_between(const struct host_state *h, unsigned cpu)
{
	unsigned below = 0, above = CPU_MAX;
	int below_node = -1, above_node = -1;
	for (size_t i = 0; i < h->core_count; i++) {
		unsigned first = cpu_set_next(&h->core[i].cpus, 0);
		if (h->core[i].pooled)
			continue;
		if (first < cpu && (below_node < 0 || first > below)) {
			below = first;
			below_node = h->core[i].node;
		}
		if (first > cpu && first < above) {
			above = first;
			above_node = h->core[i].node;
		}
	}
	if (h->node_count == 1)
		return h->node[0].id;
	if (above_node < 0)
		return every_node_online(h) ? below_node : -1;
	return below_node == above_node ? below_node : -1;
}

static void guess_pool_cores(struct host_state *h)
{
	unsigned stride = 0;
	if (h->threads == 2 && h->core_count > 0)
		stride = cpu_set_next(&h->core[0].cpus, 1);
	size_t online_cores = h->core_count;
	struct cpu_set left = h->pool;
	cpu_set_remove(&left, &h->online);
	while (!cpu_set_empty(&left)) {
		unsigned cpu = cpu_set_next(&left, 0);
		struct host_core c = { .pooled = true };
		cpu_set_add(&c.cpus, cpu);
		if (h->threads == 2)
			cpu_set_add(&c.cpus, cpu + stride);
		if (h->threads > 2 || (h->threads == 2 && stride >= CPU_MAX) || !cpu_set_within(&c.cpus, &left)) {
			h->core_count = online_cores;
			h->pool_unclear = true;
			return;
		}
		c.node = node_between(h, cpu);
		cpu_set_remove(&left, &c.cpus);
		h->core[h->core_count++] = c;
	}
	/* the pool is on one node: what is known of one core is known of all */
	int node = -1;
	for (size_t i = online_cores; i < h->core_count; i++)
		if (h->core[i].node >= 0)
			node = h->core[i].node;
	for (size_t i = online_cores; i < h->core_count; i++)
		h->core[i].node = node;
}

static int read_cpus(const char *root, struct host_state *h, struct err *err)
{
	char text[CPULIST_TEXT_MAX];
	int ret = small_file_read(root, "/sys/devices/system/cpu/online", text, sizeof text);
	if (ret < 0 || !cpulist_parse(bytes_str(text), &h->online))
		return fail(err, ret < 0 ? -ret : EINVAL, "read %s/sys/devices/system/cpu/online", root);
	h->threads = 1;
	read_online_cores(root, h);
	h->driver = small_file_read(root, NE_CPUS_PATH, text, sizeof text) == 0;
	if (h->driver && !cpulist_parse(bytes_str(text), &h->pool))
		return fail(err, EINVAL, "%s%s says \"%.80s\", which is no list of CPUs", root, NE_CPUS_PATH, text);
	guess_pool_cores(h);
	return 0;
}

/* --- the kernel command line ----------------------------------------------------------------- */

static void read_cmdline(const char *root, struct host_state *h)
{
	char text[4096], *save = NULL;
	if (small_file_read(root, "/proc/cmdline", text, sizeof text) != 0)
		return;
	for (char *word = strtok_r(text, " \n", &save); word != NULL; word = strtok_r(NULL, " \n", &save))
		if (strncmp(word, "hugepages=", 10) == 0) {
			/* "8", or "0:4,1:4" for nodes */
			char *entry_save = NULL;
			for (char *e = strtok_r(word + 10, ",", &entry_save); e != NULL; e = strtok_r(NULL, ",", &entry_save)) {
				const char *number = strchr(e, ':') != NULL ? strchr(e, ':') + 1 : e;
				uint64_t n;
				if (text_to_u64(bytes_str(number), UINT32_MAX, &n))
					h->kernel_cmdline_pages += n;
			}
		}
}

int host_state_read(const char *root, struct host_state *ret, struct err *err)
{
	memset(ret, 0, sizeof *ret);
	int r = read_memory(root, ret, err);
	if (r == 0)
		r = read_cpus(root, ret, err);
	if (r == 0)
		read_cmdline(root, ret);
	return r;
}

const struct host_node *host_node_find(const struct host_state *h, int id)
{
	for (size_t i = 0; i < h->node_count; i++)
		if (h->node[i].id == id)
			return &h->node[i];
	return NULL;
}

uint64_t host_node_pool_kib(const struct host_node *n)
{
	uint64_t kib = 0;
	for (enum huge_size s = 0; s < HUGE_SIZES; s++)
		kib += n->pool[s].total * huge_kib(s);
	return kib;
}
