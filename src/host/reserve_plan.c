/* Memory first: for each node that may be meant, the mix of pages and what would be left; the best of those that hold. Then CPUs
 * on that node. A node that has no room but the right CPUs is no use, and the reverse: so candidates are tried in order of
 * preference until one passes both, and the refusal that is shown is that of the most preferred. */
#include "host/reserve_plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

typedef unsigned long long ull;

static const char *const code_names[RESERVE_CODE_COUNT] = {
	[RESERVE_OK] = "ok", [RESERVE_NOTHING_ASKED] = "nothing-asked", [RESERVE_TOO_MANY_ENCLAVES] = "too-many-enclaves",
	[RESERVE_TOO_SMALL] = "enclave-too-small", [RESERVE_NO_NODE] = "no-such-node", [RESERVE_NO_HUGE_PAGES] = "no-huge-pages",
	[RESERVE_REGIONS] = "too-many-regions", [RESERVE_HOST_STARVES] = "host-starves", [RESERVE_PAGES_IN_USE] = "pages-in-use",
	[RESERVE_NO_DRIVER] = "no-driver", [RESERVE_CPU_ZERO] = "cpu-zero", [RESERVE_PARTIAL_CORE] = "partial-core",
	[RESERVE_CPU_ABSENT] = "cpu-absent", [RESERVE_CPU_TWO_NODES] = "cpus-on-two-nodes", [RESERVE_TOO_FEW_CPUS] = "too-few-cpus",
	[RESERVE_POOL_UNCLEAR] = "pool-unclear",
};

const char *reserve_code_name(enum reserve_code c) { return code_names[c]; }

uint64_t reserve_default_mib(uint64_t total_kib)
{
	uint64_t mib = total_kib / 1024 / 16;
	return mib < 512 ? 512 : mib > 4096 ? 4096 : mib;
}

__attribute__((format(printf, 2, 3))) static void because(struct reserve_plan *p, const char *fmt, ...)
{
	size_t at = strlen(p->reasons), left = sizeof p->reasons - at;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(p->reasons + at, left, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n + 1 >= left)
		p->reasons[at] = '\0';           /* no half lines */
	else
		strcpy(p->reasons + at + n, "\n");
}

__attribute__((format(printf, 3, 4))) static bool refuse(struct reserve_plan *p, enum reserve_code c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(p->refusal.text, sizeof p->refusal.text, fmt, ap);
	va_end(ap);
	p->code = c;
	because(p, "refused (%s): %s", code_names[c], p->refusal.text);
	return false;
}

/* --- what is asked --------------------------------------------------------------------------- */

static bool check_request(const struct reserve_request *q, struct reserve_plan *p)
{
	if (q->enclaves == 0)
		return refuse(p, RESERVE_NOTHING_ASKED, "no enclave's memory was given; --memory MIB, once for each enclave");
	if (q->enclaves > RESERVE_ENCLAVES_MAX)
		return refuse(p, RESERVE_TOO_MANY_ENCLAVES, "an instance runs at most %d enclaves, and memory for %zu was asked for", RESERVE_ENCLAVES_MAX, q->enclaves);
	for (size_t i = 0; i < q->enclaves; i++)
		if (q->enclave_mib[i] < RESERVE_ENCLAVE_MIN_MIB || q->enclave_mib[i] > UINT64_C(1) << 30)
			return refuse(p, RESERVE_TOO_SMALL, "an enclave of %llu MiB: the driver wants at least %d MiB (tee-rex size says what an image needs)",
			              (ull)q->enclave_mib[i], RESERVE_ENCLAVE_MIN_MIB);
	return true;
}

/* --- pages ----------------------------------------------------------------------------------- */

/* The pages of one enclave: whole GiB in large pages, the rest in small ones; where the rest may be more runs than there may be
 * regions, one more large page, unless that wastes more than an eighth. */
static bool mix_enclave(uint64_t mib, bool large, bool small, uint64_t regions_max, uint64_t pages[HUGE_SIZES])
{
	uint64_t whole = mib / 1024, rest = mib % 1024;
	pages[HUGE_1G] = large ? whole : 0;
	pages[HUGE_2M] = large ? (rest + 1) / 2 : (mib + 1) / 2;
	if (large && rest > 0) {
		uint64_t waste = 1024 - rest;
		bool too_many = pages[HUGE_1G] + pages[HUGE_2M] > regions_max;
		if (!small || (too_many && waste * 8 <= mib)) {
			pages[HUGE_1G] = whole + 1;
			pages[HUGE_2M] = 0;
		}
	}
	return large || small;
}

/* Where an earlier reservation had to take 512 small pages for a large one, that is kept: doing it over would take pages away from
 * whoever uses them, for nothing. */
static void keep_split(const struct host_node *n, struct reserve_plan *p)
{
	uint64_t moved = 0;
	while (p->may_split && p->pages[HUGE_1G] > n->pool[HUGE_1G].total && n->pool[HUGE_2M].total >= p->pages[HUGE_2M] + 512) {
		p->pages[HUGE_1G]--;
		p->pages[HUGE_2M] += 512;
		moved++;
	}
	if (moved > 0)
		because(p, "node %d already has %llu GiB of that in 2 MiB pages: kept as it is", n->id, (ull)moved);
}

static bool plan_pages(const struct reserve_request *q, const struct host_node *n, struct reserve_plan *p)
{
	bool large = n->pool[HUGE_1G].there && !q->small_pages, small = n->pool[HUGE_2M].there;
	for (size_t i = 0; i < q->enclaves; i++) {
		uint64_t one[HUGE_SIZES];
		if (!mix_enclave(q->enclave_mib[i], large, small, p->regions_max, one))
			return refuse(p, RESERVE_NO_HUGE_PAGES, "the kernel has no huge pages of 2 MiB or 1 GiB on node %d (CONFIG_HUGETLBFS, or hugepages=off)", n->id);
		uint64_t regions = one[HUGE_1G] + one[HUGE_2M];
		because(p, "enclave %zu, %llu MiB: %llu pages of 1 GiB, %llu of 2 MiB; at worst %llu memory regions of %llu", i + 1,
		        (ull)q->enclave_mib[i], (ull)one[HUGE_1G], (ull)one[HUGE_2M], (ull)regions, (ull)p->regions_max);
		if (one[HUGE_1G] > p->regions_max)
			return refuse(p, RESERVE_REGIONS, "an enclave of %llu MiB takes %llu regions even in 1 GiB pages, and %llu are allowed (--regions)",
			              (ull)q->enclave_mib[i], (ull)one[HUGE_1G], (ull)p->regions_max);
		if (regions > p->regions_max)
			because(p, "  more than allowed if no two pages lie side by side: reserve early, before memory is in pieces");
		if (regions > p->regions)
			p->regions = regions;
		for (enum huge_size s = 0; s < HUGE_SIZES; s++)
			p->pages[s] += one[s];
	}
	p->may_split = small;
	keep_split(n, p);
	return true;
}

static bool plan_change(const struct reserve_request *q, const struct host_state *h, const struct host_node *n, struct reserve_plan *p)
{
	for (enum huge_size s = 0; s < HUGE_SIZES; s++) {
		const struct huge_pool *now = &n->pool[s];
		uint64_t used = now->total - (now->free < now->total ? now->free : now->total);
		if (now->there)
			because(p, "node %d, %s pages: %llu there, %llu of them in use; %llu wanted", n->id, huge_name(s), (ull)now->total, (ull)used, (ull)p->pages[s]);
		if (p->pages[s] < used)
			return refuse(p, RESERVE_PAGES_IN_USE, "%llu pages of %s on node %d are in use, more than the %llu that the plan keeps; stop the enclave that has them "
			              "(tee-rex list; nitro-cli describe-enclaves), or ask for more memory", (ull)used, huge_name(s), n->id, (ull)p->pages[s]);
		if (p->pages[s] >= now->total)
			p->takes_kib += (p->pages[s] - now->total) * huge_kib(s);
		else
			p->gives_kib += (now->total - p->pages[s]) * huge_kib(s);
		p->pool_kib += p->pages[s] * huge_kib(s);
	}
	uint64_t both = p->takes_kib < p->gives_kib ? p->takes_kib : p->gives_kib;
	p->takes_kib -= both;
	p->gives_kib -= both;
	p->host_reserve_kib = (q->host_reserve_mib > 0 ? q->host_reserve_mib : reserve_default_mib(h->total_kib)) * 1024;
	return true;
}

/* Neither the host as a whole nor the node alone may come below its share of the reserve. A plan that takes nothing passes: it cannot
 * make anything worse. */
static bool check_host(const struct host_state *h, const struct host_node *n, struct reserve_plan *p)
{
	uint64_t have = h->available_kib + p->gives_kib;
	uint64_t left = have > p->takes_kib ? have - p->takes_kib : 0;
	uint64_t node_have = n->available_kib + p->gives_kib;
	uint64_t node_left = node_have > p->takes_kib ? node_have - p->takes_kib : 0;
	uint64_t node_reserve = h->total_kib > 0 && h->node_count > 1 ? (uint64_t)((double)p->host_reserve_kib * (double)n->total_kib / (double)h->total_kib)
	                                                              : p->host_reserve_kib;
	p->left_kib = left;
	because(p, "host: %llu MiB in all, %llu MiB available beside what runs now; the plan takes %llu MiB, gives back %llu; left %llu, to keep %llu MiB",
	        (ull)h->total_kib / 1024, (ull)h->available_kib / 1024, (ull)p->takes_kib / 1024, (ull)p->gives_kib / 1024, (ull)left / 1024,
	        (ull)p->host_reserve_kib / 1024);
	if (h->node_count > 1)
		because(p, "node %d: %llu MiB available; left %llu, to keep %llu MiB (its share)", n->id, (ull)n->available_kib / 1024, (ull)node_left / 1024, (ull)node_reserve / 1024);
	if (p->takes_kib == 0)
		return true;
	uint64_t room = have > p->host_reserve_kib ? have - p->host_reserve_kib : 0;
	uint64_t node_room = node_have > node_reserve ? node_have - node_reserve : 0;
	if (left < p->host_reserve_kib || have < p->takes_kib)
		return refuse(p, RESERVE_HOST_STARVES, "%llu MiB more are wanted, and the host can give %llu MiB: %llu available now, %llu of them its reserve (--host-reserve); "
		              "ask for less, stop something, or take a larger instance", (ull)p->takes_kib / 1024, (ull)room / 1024, (ull)have / 1024,
		              (ull)p->host_reserve_kib / 1024);
	if (node_left < node_reserve || node_have < p->takes_kib)
		return refuse(p, RESERVE_HOST_STARVES, "%llu MiB more are wanted on node %d, and it can give %llu MiB: an enclave's memory must be on one node",
		              (ull)p->takes_kib / 1024, n->id, (ull)node_room / 1024);
	return true;
}

/* --- CPUs -------------------------------------------------------------------------------------- */

static const struct host_core *core_of(const struct host_state *h, unsigned cpu)
{
	for (size_t i = 0; i < h->core_count; i++)
		if (cpu_set_has(&h->core[i].cpus, cpu))
			return &h->core[i];
	return NULL;
}

/* The driver's rules for a list, checked before it sees it: a refused one would leave the pool empty. */
static bool check_list(const struct host_state *h, int node, struct reserve_plan *p)
{
	for (unsigned cpu = cpu_set_next(&p->pool, 0); cpu < CPU_MAX; cpu = cpu_set_next(&p->pool, cpu + 1)) {
		const struct host_core *c = core_of(h, cpu);
		char list[CPULIST_TEXT_MAX];
		if (c == NULL)
			return refuse(p, RESERVE_CPU_ABSENT, "CPU %u is not there, or was switched off by someone else", cpu);
		if (cpu_set_has(&c->cpus, 0))
			return refuse(p, RESERVE_CPU_ZERO, "CPU %u is CPU 0 or its sibling, which stay with the host", cpu);
		if (!cpu_set_within(&c->cpus, &p->pool))
			return refuse(p, RESERVE_PARTIAL_CORE, "CPU %u shares a core with others (%.60s): an enclave gets whole cores", cpu, cpulist_text(&c->cpus, list));
		if (c->node >= 0 && c->node != node)
			return refuse(p, RESERVE_CPU_TWO_NODES, "CPU %u is on node %d and the memory on node %d: they must be on the same", cpu, c->node, node);
	}
	return true;
}

static bool usable(const struct host_state *h, const struct host_core *c, int node)
{
	return !cpu_set_has(&c->cpus, 0) && (c->node == node || (c->node < 0 && c->pooled)) && cpu_set_count(&c->cpus) == h->threads;
}

/* Cores already in the pool first, then from the top: the low ones are where the host's interrupts are. */
static uint64_t choose_cores(const struct host_state *h, int node, uint64_t want, struct cpu_set *ret)
{
	uint64_t n = 0;
	for (int pooled = 1; pooled >= 0; pooled--)
		for (size_t i = h->core_count; i-- > 0 && n < want;)
			if (h->core[i].pooled == (pooled == 1) && usable(h, &h->core[i], node)) {
				cpu_set_join(ret, &h->core[i].cpus);
				n += h->threads;
			}
	return n;
}

static bool pool_is_on(const struct host_state *h, int node)
{
	for (size_t i = 0; i < h->core_count; i++)
		if (h->core[i].pooled && h->core[i].node >= 0 && h->core[i].node != node)
			return false;
	return true;
}

static bool plan_cpus(const struct reserve_request *q, const struct host_state *h, struct reserve_plan *p)
{
	char list[CPULIST_TEXT_MAX], former[CPULIST_TEXT_MAX];
	bool asked = q->cpus > 0 || q->has_cpu_list;
	if (!h->driver) {
		if (asked)
			return refuse(p, RESERVE_NO_DRIVER, "there is no CPU pool: the nitro_enclaves driver is not loaded (modprobe nitro_enclaves; tee-rex doctor)");
		because(p, "CPUs: none, for there is no driver to give them to");
		return true;
	}
	p->sets_pool = true;
	uint64_t want = q->cpus > 0 ? q->cpus : q->enclaves * h->threads, got = 0;
	if (q->has_cpu_list) {
		p->pool = q->cpu_list;
	} else if (!asked && cpu_set_count(&h->pool) >= want) {
		p->pool = h->pool;
	} else if (q->cpus > 0 && cpu_set_count(&h->pool) == q->cpus && pool_is_on(h, p->node)) {
		p->pool = h->pool;
	} else if (h->pool_unclear) {
		return refuse(p, RESERVE_POOL_UNCLEAR, "the pool holds CPUs %.80s, and while they are offline their cores cannot be told; release them first (tee-rex release), or give --cpu-list",
		              cpulist_text(&h->pool, list));
	} else {
		if (want % h->threads != 0) {
			because(p, "CPUs: %llu asked for, rounded up to whole cores of %u", (ull)want, h->threads);
			want += h->threads - want % h->threads;
		}
		got = choose_cores(h, p->node, want, &p->pool);
		if (got < want)
			return refuse(p, RESERVE_TOO_FEW_CPUS, "%llu CPUs are wanted on node %d, and %llu can be had in whole cores besides CPU 0's", (ull)want, p->node, (ull)got);
	}
	bool same = cpu_set_equal(&p->pool, &h->pool);
	if (!(same && h->pool_unclear) && !check_list(h, p->node, p))
		return false;
	if (cpu_set_count(&p->pool) < q->enclaves * h->threads)
		because(p, "  fewer CPUs than one core for each of %zu enclaves: not all can run at once", q->enclaves);
	p->pool_changes = !same;
	struct cpu_set stay = h->online;
	cpu_set_remove(&stay, &p->pool);
	because(p, "CPU pool: %s now, %s wanted (cores of %u); the host keeps %zu CPUs", cpu_set_empty(&h->pool) ? "empty" : cpulist_text(&h->pool, former),
	        cpulist_text(&p->pool, list), h->threads, cpu_set_count(&stay));
	return true;
}

/* --- the plan ---------------------------------------------------------------------------------- */

static void plan_on(const struct reserve_request *q, const struct host_state *h, const struct host_node *n, struct reserve_plan *p)
{
	*p = (struct reserve_plan){ .node = n->id, .regions_max = q->regions_max > 0 ? q->regions_max : RESERVE_REGIONS_DEFAULT };
	if (!check_request(q, p) || !plan_pages(q, n, p) || !plan_change(q, h, n, p) || !check_host(h, n, p) || !plan_cpus(q, h, p))
		return;
	for (size_t i = 0; i < h->node_count; i++)
		if (&h->node[i] != n && host_node_pool_kib(&h->node[i]) > 0)
			because(p, "node %d has %llu MiB of huge pages that this plan neither uses nor touches", h->node[i].id, (ull)host_node_pool_kib(&h->node[i]) / 1024);
	if (h->kernel_cmdline_pages > 0)
		because(p, "the kernel command line asked for %llu huge pages at boot", (ull)h->kernel_cmdline_pages);
}

/* The node where the pool's CPUs are counts most, then pages already reserved, then room. */
static bool prefer(const struct host_state *h, const struct host_node *a, const struct host_node *b)
{
	int pool_node = -1;
	for (size_t i = 0; i < h->core_count; i++)
		if (h->core[i].pooled)
			pool_node = h->core[i].node;
	if ((a->id == pool_node) != (b->id == pool_node))
		return a->id == pool_node;
	uint64_t pool_a = host_node_pool_kib(a), pool_b = host_node_pool_kib(b);
	if (pool_a != pool_b)
		return pool_a > pool_b;
	return a->available_kib > b->available_kib;
}

void reserve_plan_make(const struct reserve_request *q, const struct host_state *h, struct reserve_plan *ret)
{
	*ret = (struct reserve_plan){ .node = q->node };
	const struct host_node *order[NODES_MAX];
	size_t n = 0;
	for (size_t i = 0; i < h->node_count; i++) {
		if (q->node >= 0 && h->node[i].id != q->node)
			continue;
		size_t at = n++;
		for (; at > 0 && prefer(h, &h->node[i], order[at - 1]); at--)
			order[at] = order[at - 1];
		order[at] = &h->node[i];
	}
	if (n == 0) {
		refuse(ret, RESERVE_NO_NODE, "there is no memory node %d; ls /sys/devices/system/node shows those there are", q->node);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		plan_on(q, h, order[i], ret);
		if (ret->code == RESERVE_OK)
			return;
	}
	if (n > 1)
		plan_on(q, h, order[0], ret);    /* its refusal says most */
}

void put_reserve_cmdline(struct writer *w, const struct reserve_plan *p, size_t node_count)
{
	const char *space = "";
	for (enum huge_size s = 0; s < HUGE_SIZES; s++)
		if (p->pages[s] > 0) {
			if (node_count > 1)      /* since Linux 5.16; older ones spread them over all nodes */
				put_fmt(w, "%shugepagesz=%s hugepages=%d:%llu", space, huge_name(s), p->node, (ull)p->pages[s]);
			else
				put_fmt(w, "%shugepagesz=%s hugepages=%llu", space, huge_name(s), (ull)p->pages[s]);
			space = " ";
		}
}
