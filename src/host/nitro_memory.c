#include "host/nitro_memory.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t page_bytes(enum huge_size s) { return huge_kib(s) << 10; }

/* Pages of node that make bytes, or false. Large ones as long as a whole one is needed; the rest from small ones,
 * or, where they do not suffice, from one more large one. */
static bool fit(const struct nitro_node *n, uint64_t bytes, struct nitro_memory *ret)
{
	uint64_t large = bytes / page_bytes(HUGE_1G);
	if (large > n->free[HUGE_1G])
		large = n->free[HUGE_1G];
	uint64_t rest = bytes - large * page_bytes(HUGE_1G);
	uint64_t small = rest / page_bytes(HUGE_2M) + (rest % page_bytes(HUGE_2M) != 0);
	if (small > n->free[HUGE_2M]) {
		if (large == n->free[HUGE_1G])
			return false;
		large++;                         /* there is one: so rest is under a large page */
		small = 0;
	}
	*ret = (struct nitro_memory){ .node = n->node, .pages = { [HUGE_1G] = large, [HUGE_2M] = small },
	                              .bytes = large * page_bytes(HUGE_1G) + small * page_bytes(HUGE_2M), .pieces_max = large + small };
	return true;
}

static int by_merit(const void *a, const void *b)
{
	const struct nitro_memory *x = a, *y = b;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? -1 : 1;
	if (x->pieces_max != y->pieces_max)
		return x->pieces_max < y->pieces_max ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

size_t nitro_memory_plan(const struct nitro_node *nodes, size_t count, uint64_t bytes,
                         struct nitro_memory ret[NITRO_NODES_MAX])
{
	size_t ways = 0;
	for (size_t i = 0; i < count && ways < NITRO_NODES_MAX; i++)
		if (bytes > 0 && fit(&nodes[i], bytes, &ret[ways]))
			ways++;
	qsort(ret, ways, sizeof *ret, by_merit);
	return ways;
}

static uint64_t mib(const struct nitro_node *n, bool free)
{
	const uint64_t *pages = free ? n->free : n->total;
	return pages[HUGE_1G] * (page_bytes(HUGE_1G) >> 20) + pages[HUGE_2M] * (page_bytes(HUGE_2M) >> 20);
}

int nitro_memory_refuse(const struct nitro_node *nodes, size_t count, uint64_t bytes, struct err *err)
{
	char text[320];
	struct writer w = writer_of(text, sizeof text - 1);
	uint64_t need = (bytes + (1 << 20) - 1) >> 20, all = 0;
	for (size_t i = 0; i < count && !w.full; i++) {
		put_fmt(&w, "%snode %d has %llu of %llu MiB free (%llu of 1 GiB, %llu of 2 MiB)", i > 0 ? ", " : "", nodes[i].node,
		        (unsigned long long)mib(&nodes[i], true), (unsigned long long)mib(&nodes[i], false),
		        (unsigned long long)nodes[i].free[HUGE_1G], (unsigned long long)nodes[i].free[HUGE_2M]);
		all += mib(&nodes[i], true);
	}
	text[writer_bytes(&w).n] = '\0';
	fail(err, 0, "%llu MiB of huge pages are needed on one NUMA node; %s%s. Reserve them: tee-rex reserve --memory %llu",
	     (unsigned long long)need, count == 0 ? "this machine has none" : text,
	     count > 1 && all >= need ? " (together enough, but an enclave's memory must be on one node)" : "",
	     (unsigned long long)need);
	return -ENOMEM;
}

static int by_frame(const void *a, const void *b)
{
	const struct nitro_page *x = a, *y = b;
	return x->frame < y->frame ? -1 : x->frame > y->frame;
}

void nitro_pages_sort(struct nitro_page *pages, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (pages[i].frame == 0)
			return;
	qsort(pages, count, sizeof *pages, by_frame);
}

static bool joins(const struct nitro_page *before, const struct nitro_page *p)
{
	return p->frame == before->frame + before->bytes;
}

size_t nitro_pages_runs(const struct nitro_page *pages, size_t count)
{
	size_t runs = 0;
	for (size_t i = 0; i < count; i++) {
		if (pages[i].frame == 0)
			return 0;
		runs += i == 0 || !joins(&pages[i - 1], &pages[i]);
	}
	return runs;
}

size_t nitro_pages_call(const struct nitro_page *pages, size_t count, size_t first)
{
	uint64_t bytes = 0;
	size_t i = first, cut = 0;
	for (; i < count && bytes + pages[i].bytes <= NITRO_CALL_MAX; i++) {
		if (i > first && !joins(&pages[i - 1], &pages[i]))
			cut = i;
		bytes += pages[i].bytes;
	}
	if (i == count || cut == 0 || !joins(&pages[i - 1], &pages[i]))
		return i - first;
	return cut - first;
}
