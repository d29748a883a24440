#include "host/nitro_memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MIB(n) ((uint64_t)(n) << 20)
#define NODE(id, large, small) { .node = id, .free = { [HUGE_1G] = large, [HUGE_2M] = small }, \
                                 .total = { [HUGE_1G] = large, [HUGE_2M] = small } }

static void one_node(void **state)
{
	(void)state;
	static const struct { uint64_t free_1g, free_2m, need_mib; bool fits; uint64_t take_1g, take_2m; } cases[] = {
		{ 0, 256, 512, true, 0, 256 },           /* exactly all */
		{ 0, 255, 512, false, 0, 0 },            /* one page short */
		{ 0, 256, 511, true, 0, 256 },           /* odd: rounded up */
		{ 0, 256, 1, true, 0, 1 },
		{ 0, 0, 64, false, 0, 0 },
		{ 1, 0, 1024, true, 1, 0 },
		{ 1, 0, 64, true, 1, 0 },                /* wasteful, but there is nothing else */
		{ 1, 32, 64, true, 0, 32 },              /* small pages do: the large one stays for others */
		{ 1, 31, 64, true, 1, 0 },
		{ 2, 100, 1124, true, 1, 50 },           /* mixed */
		{ 2, 100, 1324, true, 2, 0 },            /* 300 MiB are not there in small pages: a second large one */
		{ 1, 100, 1224, true, 1, 100 },          /* mixed, exactly all */
		{ 1, 100, 1225, false, 0, 0 },
		{ 8, 1, 8192, true, 8, 0 },
		{ 8, 1, 8193, true, 8, 1 },
		{ 8, 0, 8193, false, 0, 0 },
		{ 3, 1000, 3500, true, 3, 214 },
		{ 1, 2000, 3500, true, 1, 1238 },        /* fewer large ones than would be taken */
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct nitro_node node = NODE(3, cases[i].free_1g, cases[i].free_2m);
		struct nitro_memory ways[NITRO_NODES_MAX];
		size_t n = nitro_memory_plan(&node, 1, MIB(cases[i].need_mib), ways);
		assert_int_equal(n, cases[i].fits);
		if (n == 0)
			continue;
		assert_int_equal(ways[0].node, 3);
		assert_int_equal(ways[0].pages[HUGE_1G], cases[i].take_1g);
		assert_int_equal(ways[0].pages[HUGE_2M], cases[i].take_2m);
		assert_int_equal(ways[0].bytes, MIB(cases[i].take_1g * 1024 + cases[i].take_2m * 2));
		assert_int_equal(ways[0].pieces_max, cases[i].take_1g + cases[i].take_2m);
		assert_true(ways[0].bytes >= MIB(cases[i].need_mib));
	}
}

static void the_better_node_comes_first(void **state)
{
	(void)state;
	const struct nitro_node nodes[] = { NODE(0, 4, 0), NODE(1, 0, 2000), NODE(2, 0, 10), NODE(3, 2, 600) };
	struct nitro_memory ways[NITRO_NODES_MAX];
	/* 1.5 GiB: node 0 wastes half a page, node 1 takes 768 small pages, node 3 one large and 256 small */
	assert_int_equal(nitro_memory_plan(nodes, 4, MIB(1536), ways), 3);
	assert_int_equal(ways[0].node, 3);
	assert_int_equal(ways[1].node, 1);
	assert_int_equal(ways[2].node, 0);
	assert_int_equal(ways[2].bytes, MIB(2048));
	/* equal in all: by number */
	const struct nitro_node same[] = { NODE(7, 1, 1), NODE(5, 1, 1) };
	assert_int_equal(nitro_memory_plan(same, 2, MIB(2), ways), 2);
	assert_int_equal(ways[0].node, 5);
	assert_int_equal(nitro_memory_plan(nodes, 4, 0, ways), 0);
	assert_int_equal(nitro_memory_plan(nodes, 0, MIB(64), ways), 0);
	assert_int_equal(nitro_memory_plan(nodes, 4, UINT64_MAX, ways), 0);
}

static void a_refusal_has_the_numbers(void **state)
{
	(void)state;
	struct err err;
	struct nitro_node nodes[] = { NODE(0, 0, 400), NODE(1, 0, 300) };
	nodes[0].total[HUGE_2M] = 500;
	assert_int_equal(nitro_memory_refuse(nodes, 2, MIB(1024), &err), -ENOMEM);
	assert_string_equal(err.text, "1024 MiB of huge pages are needed on one NUMA node; node 0 has 800 of 1000 MiB free "
	                    "(0 of 1 GiB, 400 of 2 MiB), node 1 has 600 of 600 MiB free (0 of 1 GiB, 300 of 2 MiB) (together enough, "
	                    "but an enclave's memory must be on one node). Reserve them: tee-rex reserve --memory 1024");
	assert_int_equal(nitro_memory_refuse(nodes, 1, MIB(1024) + 1, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "1025 MiB of huge pages"));
	assert_null(strstr(err.text, "together"));
	nitro_memory_refuse(NULL, 0, MIB(64), &err);
	assert_non_null(strstr(err.text, "this machine has none"));
	struct nitro_node many[NITRO_NODES_MAX];
	for (int i = 0; i < NITRO_NODES_MAX; i++)
		many[i] = (struct nitro_node){ .node = i };
	nitro_memory_refuse(many, NITRO_NODES_MAX, MIB(64), &err);       /* cut, not overrun */
	assert_true(strlen(err.text) < sizeof err.text);
}

static void pages_in_physical_order(void **state)
{
	(void)state;
	enum { P = 2 << 20 };
	/* as a pool gives them that was filled from above: neighbours, but in the wrong order */
	struct nitro_page pages[] = {
		{ 8 * P, P, 0 }, { 7 * P, P, P }, { 6 * P, P, 2 * P }, { 20 * P, P, 3 * P }, { 5 * P, P, 4 * P },
	};
	assert_int_equal(nitro_pages_runs(pages, 5), 5);
	nitro_pages_sort(pages, 5);
	assert_int_equal(nitro_pages_runs(pages, 5), 2);
	static const uint64_t offsets[] = { 4 * P, 2 * P, P, 0, 3 * P };
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(pages[i].offset, offsets[i]);
	/* one unknown address: nothing is known, nothing is moved */
	struct nitro_page hidden[] = { { 8 * P, P, 0 }, { 0, P, P }, { 6 * P, P, 2 * P } };
	nitro_pages_sort(hidden, 3);
	assert_int_equal(hidden[0].offset, 0);
	assert_int_equal(hidden[2].offset, 2 * P);
	assert_int_equal(nitro_pages_runs(hidden, 3), 0);
	assert_int_equal(nitro_pages_runs(pages, 0), 0);
}

static void calls_end_where_runs_do(void **state)
{
	(void)state;
	enum { COUNT = 5000 };
	const uint64_t p = 2 << 20, large = UINT64_C(1) << 30;
	static struct nitro_page pages[COUNT];
	for (size_t i = 0; i < COUNT; i++)
		pages[i] = (struct nitro_page){ .frame = large + i * p, .bytes = p };
	assert_int_equal(nitro_pages_call(pages, COUNT, 0), 2048);       /* one run, longer than a call */
	assert_int_equal(nitro_pages_call(pages, COUNT, 4096), 904);
	assert_int_equal(nitro_pages_call(pages, 100, 0), 100);
	for (size_t i = 2000; i < COUNT; i++)
		pages[i].frame += large;                                 /* two runs: the first call ends with the first */
	assert_int_equal(nitro_pages_call(pages, COUNT, 0), 2000);
	assert_int_equal(nitro_pages_call(pages, COUNT, 2000), 2048);
	assert_int_equal(nitro_pages_call(pages, 2001, 0), 2001);        /* all of it fits: nothing to cut */
	pages[2048].frame -= p;
	assert_int_equal(nitro_pages_call(pages, COUNT, 0), 2048);       /* the limit is the end of a run */
	for (size_t i = 0; i < COUNT; i++)
		pages[i].frame = 0;
	assert_int_equal(nitro_pages_call(pages, COUNT, 0), 2048);       /* not known: as much as goes */
	const struct nitro_page huge[] = { { large, large, 0 }, { 2 * large, large, 0 }, { 4 * large, large, 0 },
	                                   { 5 * large, large, 0 }, { 6 * large, large, 0 } };
	assert_int_equal(nitro_pages_call(huge, 5, 0), 2);
	assert_int_equal(nitro_pages_call(huge, 5, 2), 3);
	assert_int_equal(nitro_pages_runs(huge, 5), 2);
	/* every page is given exactly once, whatever the runs */
	srand(7);
	for (int round = 0; round < 50; round++) {
		uint64_t at = large;
		size_t done = 0;
		for (size_t i = 0; i < COUNT; i++, at += p)
			pages[i] = (struct nitro_page){ .frame = at += rand() % 300 == 0 ? p : 0, .bytes = p };
		while (done < COUNT) {
			size_t n = nitro_pages_call(pages, COUNT, done);
			assert_true(n > 0 && n <= 2048);
			done += n;
		}
		assert_int_equal(done, COUNT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_node), cmocka_unit_test(the_better_node_comes_first),
		cmocka_unit_test(a_refusal_has_the_numbers), cmocka_unit_test(pages_in_physical_order),
		cmocka_unit_test(calls_end_where_runs_do),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
