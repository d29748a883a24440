/* The service of bench/layouts: says how much memory the enclave has left, reads files until so many bytes went by, says it again,
 * and stays. One line each time on standard error, which the service table lets out. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long left_kib;

static long meminfo(const char *key)
{
	char line[128];
	long value = -1;
	FILE *f = fopen("/proc/meminfo", "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtol(line + strlen(key), NULL, 10);
	if (f != NULL)
		fclose(f);
	return value;
}

/* Pages that were freed and wait in the processors' own lists: free, but in no total; after the boot ramdisk was given back there
 * are many, and they go back in half a minute. */
static long waiting_kib(void)
{
	char line[128];
	long pages = 0, n;
	FILE *f = fopen("/proc/zoneinfo", "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, " count: %ld", &n) == 1)
			pages += n;
	if (f != NULL)
		fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void say(const char *when)
{
	long waiting = waiting_kib();
	fprintf(stderr, "%s total=%ld free=%ld available=%ld cached=%ld\n", when, meminfo("MemTotal:"), meminfo("MemFree:") + waiting,
	        meminfo("MemAvailable:") + waiting, meminfo("Cached:"));
}

static int read_file(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	static char buf[1 << 16];
	ssize_t n;
	(void)st, (void)where;
	int fd = kind == FTW_F ? open(path, O_RDONLY) : -1;
	while (fd >= 0 && left_kib > 0 && (n = read(fd, buf, sizeof buf)) > 0)
		left_kib -= (n + 1023) / 1024;
	if (fd >= 0)
		close(fd);
	return left_kib <= 0;
}

int main(int argc, char **argv)
{
	left_kib = argc > 1 ? atol(argv[1]) : 0;
	say("booted");
	nftw("/data", read_file, 16, FTW_PHYS);
	say("read");
	for (;;)
		pause();
}
