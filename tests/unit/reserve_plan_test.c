/* The planner over hosts made up in memory: one row for each rule, refused and kept. */
#include "host/reserve_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct host_state host;
static struct reserve_plan plan;

/* A host of nodes with this much memory and as many cores each; CPU numbers as x86 instances have them: siblings count apart. */
static void make_host(size_t nodes, uint64_t node_mib, uint64_t available_mib, unsigned cores, unsigned threads)
{
	memset(&host, 0, sizeof host);
	host.node_count = nodes;
	host.threads = threads;
	host.driver = true;
	for (size_t i = 0; i < nodes; i++) {
		host.node[i] = (struct host_node){ .id = (int)i, .total_kib = node_mib << 10, .available_kib = available_mib << 10 };
		host.node[i].pool[HUGE_1G].there = host.node[i].pool[HUGE_2M].there = true;
		host.total_kib += node_mib << 10;
		host.available_kib += available_mib << 10;
		for (unsigned c = 0; c < cores; c++) {
			unsigned cpu = (unsigned)i * cores + c;
			struct host_core *core = &host.core[host.core_count++];
			core->node = (int)i;
			for (unsigned t = 0; t < threads; t++)
				cpu_set_add(&core->cpus, cpu + t * cores * (unsigned)nodes);
			cpu_set_join(&host.online, &core->cpus);
		}
	}
}

/* Takes CPUs into the pool, as the driver does: offline. */
static void pool(const char *list)
{
	assert_true(cpulist_parse(bytes_str(list), &host.pool));
	cpu_set_remove(&host.online, &host.pool);
	for (size_t i = 0; i < host.core_count; i++)
		host.core[i].pooled = cpu_set_within(&host.core[i].cpus, &host.pool);
}

static struct reserve_request ask(uint64_t mib, uint64_t cpus) { return (struct reserve_request){ .enclaves = mib > 0, .enclave_mib = { mib }, .cpus = cpus, .node = -1 }; }

static const char *list_of(const struct cpu_set *s)
{
	static char text[CPULIST_TEXT_MAX];
	return cpulist_text(s, text);
}

static void expect(const struct reserve_request *q, enum reserve_code code)
{
	reserve_plan_make(q, &host, &plan);
	if (plan.code != code)
		fail_msg("%s instead of %s:\n%s", reserve_code_name(plan.code), reserve_code_name(code), plan.reasons);
	assert_true(strlen(plan.reasons) > 0);
	assert_true((code == RESERVE_OK) == (plan.refusal.text[0] == '\0'));
}

static void mixes(void **state)
{
	(void)state;
	static const struct { uint64_t mib, regions; bool large, small, only_small; uint64_t want_1g, want_2m; enum reserve_code code; } rows[] = {
		{ 64, 0, true, true, false, 0, 32, RESERVE_OK },
		{ 448, 0, true, true, false, 0, 224, RESERVE_OK },
		{ 449, 0, true, true, false, 0, 225, RESERVE_OK },         /* half a page is a page */
		{ 1024, 0, true, true, false, 1, 0, RESERVE_OK },
		{ 1026, 0, true, true, false, 1, 1, RESERVE_OK },
		{ 4096 + 100, 0, true, true, false, 4, 50, RESERVE_OK },
		{ 1023, 0, true, true, false, 1, 0, RESERVE_OK },          /* 512 runs may be too many, and 1 GiB wastes 1 MiB */
		{ 2047, 0, true, true, false, 2, 0, RESERVE_OK },
		{ 700, 0, true, true, false, 0, 350, RESERVE_OK },         /* too many at worst, but 324 MiB more is too much waste */
		{ 700, 512, true, true, false, 0, 350, RESERVE_OK },
		{ 7000, 300, true, true, false, 7, 0, RESERVE_OK },        /* 434 at worst; 168 MiB more is within an eighth */
		{ 7000, 0, true, true, true, 0, 3500, RESERVE_OK },
		{ 2048, 0, false, true, false, 0, 1024, RESERVE_OK },      /* a processor without 1 GiB pages */
		{ 2048, 0, true, false, false, 2, 0, RESERVE_OK },
		{ 2050, 0, true, false, false, 3, 0, RESERVE_OK },
		{ 2048, 0, false, false, false, 0, 0, RESERVE_NO_HUGE_PAGES },
		{ 2048, 0, true, false, true, 0, 0, RESERVE_NO_HUGE_PAGES },
		{ 8192, 4, true, true, false, 0, 0, RESERVE_REGIONS },
		{ 63, 0, true, true, false, 0, 0, RESERVE_TOO_SMALL },
		{ UINT64_MAX, 0, true, true, false, 0, 0, RESERVE_TOO_SMALL },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		make_host(1, 65536, 60000, 8, 2);
		host.node[0].pool[HUGE_1G].there = rows[i].large;
		host.node[0].pool[HUGE_2M].there = rows[i].small;
		struct reserve_request q = ask(rows[i].mib, 2);
		q.regions_max = rows[i].regions;
		q.small_pages = rows[i].only_small;
		expect(&q, rows[i].code);
		if (rows[i].code == RESERVE_OK && (plan.pages[HUGE_1G] != rows[i].want_1g || plan.pages[HUGE_2M] != rows[i].want_2m))
			fail_msg("%llu MiB: %llu + %llu pages", (unsigned long long)rows[i].mib, (unsigned long long)plan.pages[HUGE_1G], (unsigned long long)plan.pages[HUGE_2M]);
	}
}

static void host_reserve(void **state)
{
	(void)state;
	static const struct { uint64_t total, available, mib, reserve; enum reserve_code code; } rows[] = {
		{ 16384, 15000, 8192, 0, RESERVE_OK },                     /* keeps 1024 */
		{ 16384, 9216, 8192, 0, RESERVE_OK },                      /* exactly */
		{ 16384, 9215, 8192, 0, RESERVE_HOST_STARVES },
		{ 16384, 8000, 8192, 0, RESERVE_HOST_STARVES },            /* more than there is */
		{ 16384, 100, 64, 0, RESERVE_HOST_STARVES },
		{ 4096, 3800, 3072, 0, RESERVE_OK },                       /* at least 512 */
		{ 4096, 3583, 3072, 0, RESERVE_HOST_STARVES },
		{ 4096, 3583, 3072, 256, RESERVE_OK },
		{ 262144, 200000, 195904, 0, RESERVE_OK },                 /* at most 4096 */
		{ 262144, 200000, 195906, 0, RESERVE_HOST_STARVES },
		{ 16384, 15000, 8192, 9000, RESERVE_HOST_STARVES },
		{ 16384, 15000, 64, UINT64_C(1) << 40, RESERVE_HOST_STARVES },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		make_host(1, rows[i].total, rows[i].available, 4, 2);
		struct reserve_request q = ask(rows[i].mib, 0);
		q.host_reserve_mib = rows[i].reserve;
		q.regions_max = 100000;
		expect(&q, rows[i].code);
		if (rows[i].code == RESERVE_OK)
			assert_true(plan.left_kib >= plan.host_reserve_kib);
	}
}

static void what_is_there_counts(void **state)
{
	(void)state;
	make_host(1, 16384, 3000, 4, 2);                                   /* 8 GiB are huge pages already */
	host.node[0].pool[HUGE_1G] = (struct huge_pool){ .there = true, .total = 8, .free = 8 };
	struct reserve_request q = ask(8192, 0);
	expect(&q, RESERVE_OK);
	assert_int_equal(plan.takes_kib, 0);
	q = ask(9216, 0);
	expect(&q, RESERVE_OK);
	assert_int_equal(plan.takes_kib, 1 << 20);
	q = ask(12288, 0);
	expect(&q, RESERVE_HOST_STARVES);
	q = ask(4096, 0);
	expect(&q, RESERVE_OK);
	assert_int_equal(plan.gives_kib, 4 << 20);
	/* an enclave has five of them */
	host.node[0].pool[HUGE_1G].free = 3;
	expect(&q, RESERVE_PAGES_IN_USE);
	q = ask(5120, 0);
	expect(&q, RESERVE_OK);
	/* a host below its reserve may still be given memory back */
	host.available_kib = host.node[0].available_kib = 100 << 10;
	expect(&q, RESERVE_OK);
	/* a large page that came as 512 small ones stays that way, in use or not */
	make_host(1, 16384, 10000, 4, 2);
	host.node[0].pool[HUGE_1G].total = host.node[0].pool[HUGE_1G].free = 1;
	host.node[0].pool[HUGE_2M] = (struct huge_pool){ .there = true, .total = 512 + 10, .free = 0 };
	q = ask(2048 + 20, 0);
	expect(&q, RESERVE_OK);
	assert_int_equal(plan.pages[HUGE_1G], 1);
	assert_int_equal(plan.pages[HUGE_2M], 522);
	assert_int_equal(plan.takes_kib, 0);
}

static void several_enclaves(void **state)
{
	(void)state;
	make_host(1, 65536, 60000, 8, 2);
	struct reserve_request q = { .enclaves = 4, .enclave_mib = { 1536, 1536, 448, 64 }, .node = -1 };
	expect(&q, RESERVE_OK);
	assert_int_equal(plan.pages[HUGE_1G], 2);
	assert_int_equal(plan.pages[HUGE_2M], 256 + 256 + 224 + 32);
	assert_int_equal(cpu_set_count(&plan.pool), 8);                    /* a core for each */
	q.cpus = 4;
	expect(&q, RESERVE_OK);
	assert_non_null(strstr(plan.reasons, "not all can run at once"));
	q.enclaves = 5;
	expect(&q, RESERVE_TOO_MANY_ENCLAVES);
	q.enclaves = 0;
	expect(&q, RESERVE_NOTHING_ASKED);
}

static void cpus(void **state)
{
	(void)state;
	/* 4 cores: (0,4) (1,5) (2,6) (3,7) */
	static const struct { const char *pool; uint64_t cpus; const char *list, *want; enum reserve_code code; } rows[] = {
		{ "", 2, NULL, "3,7", RESERVE_OK },
		{ "", 3, NULL, "2-3,6-7", RESERVE_OK },                    /* whole cores */
		{ "", 6, NULL, "1-3,5-7", RESERVE_OK },
		{ "", 7, NULL, NULL, RESERVE_TOO_FEW_CPUS },               /* core 0 stays */
		{ "", 0, NULL, "3,7", RESERVE_OK },
		{ "1,5", 0, NULL, "1,5", RESERVE_OK },                     /* as it is */
		{ "1,5", 2, NULL, "1,5", RESERVE_OK },
		{ "1,5", 4, NULL, "1,3,5,7", RESERVE_OK },                 /* keeps what it has */
		{ "1-3,5-7", 2, NULL, "3,7", RESERVE_OK },
		{ "", 0, "2,6", "2,6", RESERVE_OK },
		{ "2,6", 0, "2,6", "2,6", RESERVE_OK },
		{ "", 0, "0,4", NULL, RESERVE_CPU_ZERO },
		{ "", 0, "4", NULL, RESERVE_CPU_ZERO },                    /* CPU 0's sibling */
		{ "", 0, "2", NULL, RESERVE_PARTIAL_CORE },
		{ "", 0, "2-3,6", NULL, RESERVE_PARTIAL_CORE },
		{ "", 0, "2,6,9", NULL, RESERVE_CPU_ABSENT },
		{ "", 0, "500", NULL, RESERVE_CPU_ABSENT },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		make_host(1, 16384, 15000, 4, 2);
		pool(rows[i].pool);
		struct reserve_request q = ask(1024, rows[i].cpus);
		q.has_cpu_list = rows[i].list != NULL;
		if (q.has_cpu_list)
			assert_true(cpulist_parse(bytes_str(rows[i].list), &q.cpu_list));
		expect(&q, rows[i].code);
		if (rows[i].want != NULL) {
			assert_string_equal(list_of(&plan.pool), rows[i].want);
			assert_int_equal(plan.pool_changes, !cpu_set_equal(&plan.pool, &host.pool));
		}
	}
	make_host(1, 16384, 15000, 4, 1);                                  /* no siblings */
	struct reserve_request q = ask(1024, 3);
	expect(&q, RESERVE_OK);
	assert_string_equal(list_of(&plan.pool), "1-3");
	host.driver = false;
	expect(&q, RESERVE_NO_DRIVER);
	q.cpus = 0;
	expect(&q, RESERVE_OK);
	assert_false(plan.sets_pool);
	/* cores of which only a part is online are no good */
	make_host(1, 16384, 15000, 4, 2);
	memset(&host.core[3].cpus, 0, sizeof host.core[3].cpus);
	cpu_set_add(&host.core[3].cpus, 3);
	q = ask(1024, 2);
	expect(&q, RESERVE_OK);
	assert_string_equal(list_of(&plan.pool), "2,6");
}

static void unclear_pool(void **state)
{
	(void)state;
	make_host(1, 16384, 15000, 4, 2);
	pool("3,7");
	host.core_count = 3;
	host.pool_unclear = true;
	struct reserve_request q = ask(1024, 2);
	expect(&q, RESERVE_OK);                                            /* nothing to change: nothing to know */
	assert_false(plan.pool_changes);
	q.cpus = 4;
	expect(&q, RESERVE_POOL_UNCLEAR);
}

static void nodes(void **state)
{
	(void)state;
	/* node 0: cores (0,8)…(3,11), node 1: (4,12)…(7,15) */
	make_host(2, 16384, 15000, 4, 2);
	host.node[1].available_kib += 500 << 10;
	struct reserve_request q = ask(4096, 4);
	expect(&q, RESERVE_OK);
	assert_int_equal(plan.node, 1);                                    /* more room */
	assert_string_equal(list_of(&plan.pool), "6-7,14-15");
	q.node = 0;
	expect(&q, RESERVE_OK);
	assert_string_equal(list_of(&plan.pool), "2-3,10-11");
	q.node = 2;
	expect(&q, RESERVE_NO_NODE);
	/* what fits into both nodes together fits into no enclave */
	q = ask(20000, 2);
	expect(&q, RESERVE_HOST_STARVES);
	/* the pool is on node 0, and so goes the memory */
	pool("2,10");
	q = ask(4096, 0);
	expect(&q, RESERVE_OK);
	assert_int_equal(plan.node, 0);
	/* unless it does not fit there */
	host.node[0].available_kib = 1000 << 10;
	q = ask(4096, 2);
	expect(&q, RESERVE_OK);
	assert_int_equal(plan.node, 1);
	q = ask(4096, 0);
	q.node = 1;
	expect(&q, RESERVE_CPU_TWO_NODES);
	/* pages someone left on the other node are mentioned */
	make_host(2, 16384, 15000, 4, 2);
	host.node[0].pool[HUGE_2M].total = 100;
	q.node = 1;
	expect(&q, RESERVE_OK);
	assert_non_null(strstr(plan.reasons, "node 0 has 200 MiB"));
	/* the node's own share of the reserve */
	make_host(2, 16384, 5000, 4, 2);
	q = ask(4096, 2);
	expect(&q, RESERVE_HOST_STARVES);
	host.node[1].available_kib = 5200 << 10;
	expect(&q, RESERVE_OK);
}

static void command_line(void **state)
{
	(void)state;
	char text[256];
	make_host(1, 65536, 60000, 8, 2);
	struct reserve_request q = ask(1024 + 448, 2);
	expect(&q, RESERVE_OK);
	struct writer w = writer_of(text, sizeof text);
	put_reserve_cmdline(&w, &plan, 1);
	put_u8(&w, 0);
	assert_string_equal(text, "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=224");
	plan.pages[HUGE_1G] = 0;
	plan.node = 1;
	w = writer_of(text, sizeof text);
	put_reserve_cmdline(&w, &plan, 2);
	put_u8(&w, 0);
	assert_string_equal(text, "hugepagesz=2M hugepages=1:224");
}

static void names(void **state)
{
	(void)state;
	for (enum reserve_code c = 0; c < RESERVE_CODE_COUNT; c++)
		assert_non_null(reserve_code_name(c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mixes), cmocka_unit_test(host_reserve), cmocka_unit_test(what_is_there_counts), cmocka_unit_test(several_enclaves),
		cmocka_unit_test(cpus), cmocka_unit_test(unclear_pool), cmocka_unit_test(nodes), cmocka_unit_test(command_line), cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
