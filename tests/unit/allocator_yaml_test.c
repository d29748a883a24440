#include "format/allocator_yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void reads(void **state)
{
	(void)state;
	static const struct { const char *text; enum allocator_result result; unsigned line; } rows[] = {
		{ "---\nmemory_mib: 3072\ncpu_count: 2\n", ALLOCATOR_OK, 0 },
		{ "---\n# Enclave configuration file.\n#\nmemory_mib: 512\n\ncpu_count: 2\n#cpu_pool: 2,3,6-9", ALLOCATOR_OK, 0 },
		{ "# first\r\n---\r\nmemory_mib:   0 # none\r\ncpu_pool: '2,3,6-9'\r\n", ALLOCATOR_OK, 0 },
		{ "---\ncpu_pool: \"1\"\nmemory_mib: 64\n", ALLOCATOR_OK, 0 },
		{ "", ALLOCATOR_NO_MARKER, 0 },
		{ "memory_mib: 3072\ncpu_count: 2\n", ALLOCATOR_NO_MARKER, 0 },
		{ "---\nmemory_mib 3072\n", ALLOCATOR_BAD_LINE, 2 },
		{ "---\nmemory_mib:3072\n", ALLOCATOR_BAD_LINE, 2 },
		{ "---\n: 3072\n", ALLOCATOR_BAD_LINE, 2 },
		{ "---\nmemory_mib: 1\nmemory: 3072\n", ALLOCATOR_UNKNOWN_KEY, 3 },
		{ "---\nmemory_mib: 1\nmemory_mib: 1\n", ALLOCATOR_TWICE, 3 },
		{ "---\ncpu_count: 1\ncpu_count: 1\n", ALLOCATOR_TWICE, 3 },
		{ "---\ncpu_pool: 1\ncpu_pool: 1\n", ALLOCATOR_TWICE, 3 },
		{ "---\nmemory_mib: 3 GiB\n", ALLOCATOR_BAD_NUMBER, 2 },
		{ "---\nmemory_mib: -1\n", ALLOCATOR_BAD_NUMBER, 2 },
		{ "---\nmemory_mib:\n", ALLOCATOR_BAD_NUMBER, 2 },
		{ "---\nmemory_mib: 99999999999\n", ALLOCATOR_BAD_NUMBER, 2 },
		{ "---\ncpu_count: two\n", ALLOCATOR_BAD_NUMBER, 2 },
		{ "---\ncpu_pool: 2-\n", ALLOCATOR_BAD_POOL, 2 },
		{ "---\ncpu_pool:\n", ALLOCATOR_BAD_POOL, 2 },
		{ "---\nmemory_mib: 1\ncpu_count: 2\ncpu_pool: 2,3\n", ALLOCATOR_BOTH_CPU_KEYS, 0 },
		{ "---\ncpu_count: 2\n", ALLOCATOR_NO_MEMORY, 0 },
		{ "---\nmemory_mib: 2\n", ALLOCATOR_NO_CPUS, 0 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct allocator_yaml a;
		memset(&a, 0xa5, sizeof a);
		struct allocator_yaml before = a;
		unsigned line = 99;
		enum allocator_result r = allocator_yaml_parse(bytes_str(rows[i].text), &a, &line);
		if (r != rows[i].result || line != rows[i].line)
			fail_msg("row %zu: %d in line %u: %s", i, r, line, allocator_result_message(r));
		if (r != ALLOCATOR_OK)
			assert_memory_equal(&a, &before, sizeof a);
	}
	for (enum allocator_result r = 0; r < ALLOCATOR_RESULT_COUNT; r++)
		assert_non_null(allocator_result_message(r));
}

static void writes(void **state)
{
	(void)state;
	struct allocator_yaml a = { .has_memory = true, .memory_mib = 3072, .has_count = true, .cpu_count = 4 }, b;
	for (int i = 0; i < 2; i++) {
		char text[512];
		struct writer w = writer_of(text, sizeof text);
		unsigned line;
		allocator_yaml_put(&w, &a);
		assert_int_equal(allocator_yaml_parse(writer_bytes(&w), &b, &line), ALLOCATOR_OK);
		assert_true(allocator_yaml_agree(&a, &b) && a.has_pool == b.has_pool);
		a = (struct allocator_yaml){ .has_memory = true, .memory_mib = 0, .has_pool = true };
		assert_false(allocator_yaml_agree(&a, &b));
		assert_true(cpulist_parse(BYTES_LIT("2-3,6-7"), &a.pool));
	}
}

static void agrees(void **state)
{
	(void)state;
	struct allocator_yaml count = { .has_memory = true, .memory_mib = 64, .has_count = true, .cpu_count = 2 };
	struct allocator_yaml pool = { .has_memory = true, .memory_mib = 64, .has_pool = true }, other = pool;
	assert_true(cpulist_parse(BYTES_LIT("1,5"), &pool.pool) && cpulist_parse(BYTES_LIT("2,6"), &other.pool));
	assert_true(allocator_yaml_agree(&count, &pool) && allocator_yaml_agree(&other, &count) && allocator_yaml_agree(&pool, &pool));
	assert_false(allocator_yaml_agree(&other, &pool));
	count.cpu_count = 4;
	assert_false(allocator_yaml_agree(&count, &pool));
	other = pool;
	other.memory_mib = 66;
	assert_false(allocator_yaml_agree(&other, &pool));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(reads), cmocka_unit_test(writes), cmocka_unit_test(agrees) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
