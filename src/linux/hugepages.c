#include "linux/hugepages.h"

#include "linux/small_file.h"

#include <stdio.h>
#include <unistd.h>

static bool read_number(const char *root, int node, enum huge_size size, const char *name, uint64_t *ret)
{
	char path[160];
	snprintf(path, sizeof path, "/sys/devices/system/node/node%d/hugepages/hugepages-%llukB/%s", node, (unsigned long long)huge_kib(size), name);
	return small_file_u64(root, path, ret);
}

void hugepages_read(const char *root, int node, enum huge_size size, struct huge_pool *ret)
{
	struct huge_pool p = { .there = true };
	if (!read_number(root, node, size, "nr_hugepages", &p.total) || !read_number(root, node, size, "free_hugepages", &p.free))
		p = (struct huge_pool){ .there = false };
	else
		(void)read_number(root, node, size, "surplus_hugepages", &p.surplus);
	*ret = p;
}

int hugepages_ask(const char *root, int node, enum huge_size size, uint64_t pages, struct err *err)
{
	char path[160], text[32];
	snprintf(path, sizeof path, "/sys/devices/system/node/node%d/hugepages/hugepages-%llukB/nr_hugepages", node, (unsigned long long)huge_kib(size));
	snprintf(text, sizeof text, "%llu\n", (unsigned long long)pages);
	return small_file_write(root, path, text, err);
}

int memory_drop_caches(const char *root, struct err *err)
{
	if (*root == '\0')
		sync();
	return small_file_write(root, "/proc/sys/vm/drop_caches", "3\n", err);
}

int memory_compact(const char *root, int node, struct err *err)
{
	char path[96];
	snprintf(path, sizeof path, "/sys/devices/system/node/node%d/compact", node);
	if (small_file_exists(root, path))
		return small_file_write(root, path, "1\n", err);
	return small_file_write(root, "/proc/sys/vm/compact_memory", "1\n", err);
}
