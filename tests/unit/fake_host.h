/* A parent instance made of files: nodes with memory and huge pages, cores, the driver's CPU pool. The test program plays the
 * kernel: it lets writes through and then does to the other files what the kernel would do. */
#ifndef TESTS_UNIT_FAKE_HOST_H
#define TESTS_UNIT_FAKE_HOST_H

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char fake_root[64];

__attribute__((format(printf, 2, 3))) static inline void fake_put(const char *path, const char *fmt, ...)
{
	char whole[512];
	snprintf(whole, sizeof whole, "%s%s", fake_root, path);
	for (char *slash = strchr(whole + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(whole, 0755);
		*slash = '/';
	}
	FILE *f = fopen(whole, "w");
	if (f == NULL)
		abort();
	va_list ap;
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

/* The text of a file, or "-" when there is none. */
static inline const char *fake_get(const char *path)
{
	static char text[4][16384];
	static unsigned next;
	char *buf = text[next++ % 4], whole[512];
	snprintf(whole, sizeof whole, "%s%s", fake_root, path);
	FILE *f = fopen(whole, "r");
	if (f == NULL)
		return "-";
	size_t n = fread(buf, 1, sizeof text[0] - 1, f);
	fclose(f);
	while (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return buf;
}

static inline uint64_t fake_number(const char *path) { return strtoull(fake_get(path), NULL, 10); }

static inline int fake_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}
static inline void fake_host_remove(void) { nftw(fake_root, fake_remove, 16, FTW_DEPTH | FTW_PHYS); }

static inline void fake_cpu(unsigned cpu, int node, const char *siblings)
{
	char path[128];
	snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
	fake_put(path, "%s\n", siblings);
	snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/node%d/there", cpu, node);
	fake_put(path, "\n");
}

/* One node, 16 GiB, most of it available; cores (0,4) (1,5) (2,6) (3,7); the driver, with an empty pool. */
static inline void fake_host_make(void)
{
	strcpy(fake_root, access("/dev/shm", W_OK) == 0 ? "/dev/shm/tee-rex-host-XXXXXX" : "/tmp/tee-rex-host-XXXXXX");
	if (mkdtemp(fake_root) == NULL)
		abort();
	fake_put("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:        15000000 kB\nMemAvailable:   15728640 kB\n");
	fake_put("/proc/cmdline", "root=/dev/xvda1 console=ttyS0\n");
	fake_put("/proc/sys/vm/drop_caches", "0\n");
	fake_put("/proc/sys/vm/compact_memory", "0\n");
	fake_put("/proc/sys/kernel/random/boot_id", "0a1b2c3d-0000-4000-8000-000000000001\n");
	fake_put("/sys/devices/system/node/online", "0\n");
	fake_put("/sys/devices/system/node/node0/compact", "0\n");
	fake_put("/sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:       16777216 kB\nNode 0 MemFree:        15000000 kB\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "0\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "0\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/surplus_hugepages", "0\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/free_hugepages", "0\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/surplus_hugepages", "0\n");
	fake_put("/sys/devices/system/cpu/online", "0-7\n");
	for (unsigned cpu = 0; cpu < 8; cpu++) {
		char siblings[16];
		snprintf(siblings, sizeof siblings, "%u,%u", cpu % 4, cpu % 4 + 4);
		fake_cpu(cpu, 0, siblings);
	}
	fake_put("/sys/module/nitro_enclaves/parameters/ne_cpus", "\n");
}

#endif
