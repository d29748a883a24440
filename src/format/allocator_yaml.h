/* /etc/nitro_enclaves/allocator.yaml as the stock allocator service reads it: a few lines, of which its parser wants a "---"
 * line and no key but these:
 *
 *     ---
 *     memory_mib: 3072
 *     cpu_count: 2          # or cpu_pool: 2,3,6-9     never both
 *
 * Read as strictly as the service does, so that what it would choke on is found before the next boot. */
#ifndef FORMAT_ALLOCATOR_YAML_H
#define FORMAT_ALLOCATOR_YAML_H

#include "format/cpulist.h"

#define ALLOCATOR_YAML_PATH "/etc/nitro_enclaves/allocator.yaml"

struct allocator_yaml {
	bool has_memory, has_count, has_pool;
	uint64_t memory_mib, cpu_count;
	struct cpu_set pool;
};

enum allocator_result {
	ALLOCATOR_OK,
	ALLOCATOR_NO_MARKER,                     /* no "---" line */
	ALLOCATOR_BAD_LINE,                      /* neither "key: value", comment nor blank */
	ALLOCATOR_UNKNOWN_KEY,
	ALLOCATOR_TWICE,
	ALLOCATOR_BAD_NUMBER,
	ALLOCATOR_BAD_POOL,
	ALLOCATOR_BOTH_CPU_KEYS,
	ALLOCATOR_NO_MEMORY,
	ALLOCATOR_NO_CPUS,
	ALLOCATOR_RESULT_COUNT
};

/* *ret_line: of the first thing that is wrong, from 1; 0 when it is about the whole file. *ret on ALLOCATOR_OK only. */
enum allocator_result allocator_yaml_parse(struct bytes text, struct allocator_yaml *ret, unsigned *ret_line);
/* What is wrong and what to do, without a full stop. */
const char *allocator_result_message(enum allocator_result r);
/* Whether both want the same memory and as many CPUs; where both list them, the same ones. */
bool allocator_yaml_agree(const struct allocator_yaml *a, const struct allocator_yaml *b);
void allocator_yaml_put(struct writer *w, const struct allocator_yaml *a);

#endif
