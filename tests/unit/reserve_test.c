/* Reserve and release over a made-up host whose kernel this program plays: it gives pages as it likes, refuses CPU lists as the driver
 * does. Then every single call that changes something is made to fail, and the program to die before and after it. */
#include "base/cleanup.h"
#include "fake_host.h"
#include "host/reserve.h"
#include "linux/small_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#define PAGES_1G "/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages"
#define PAGES_2M "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
#define RECORD RESERVE_RECORD_PATH

/* --- the kernel ---------------------------------------------------------------------------------- */
static struct {
	uint64_t most[HUGE_SIZES];               /* pages that can be had now */
	uint64_t after_compaction;               /* 2 MiB pages that each compaction makes possible */
	unsigned compactions, drops;
	bool enclave_exists;                     /* the pool cannot be changed */
	bool refuses_list;                       /* the driver likes no list but the former one */
	const char *former_list;
	bool unlimited_available;                /* MemAvailable does not follow the pages */
	uint64_t lowest_available_kib;
} kernel;

enum mode { COUNT, FAIL, DIE_BEFORE, DIE_AFTER };
static enum mode mode;
static unsigned changes, fault_at;               /* counted from 1; fault_at 0: never */

static void set_pages(const char *path, enum huge_size s, uint64_t want)
{
	uint64_t now = fake_number(path), got = want;
	if (want > now && want > kernel.most[s])
		got = now > kernel.most[s] ? now : kernel.most[s];
	char free_path[200];
	snprintf(free_path, sizeof free_path, "%.*sfree_hugepages", (int)(strlen(path) - strlen("nr_hugepages")), path);
	uint64_t used = now - fake_number(free_path);
	if (got < used)
		got = used;
	fake_put(path, "%llu\n", (unsigned long long)got);
	fake_put(free_path, "%llu\n", (unsigned long long)(got - used));
	if (kernel.unlimited_available)
		return;
	uint64_t available;
	assert_true(text_field_u64(fake_get("/proc/meminfo"), "MemAvailable:", &available));
	available += now * huge_kib(s);
	available -= got * huge_kib(s);
	if (available < kernel.lowest_available_kib)
		kernel.lowest_available_kib = available;
	fake_put("/proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:   %llu kB\n", (unsigned long long)available);
}

static int set_list(const char *text)
{
	struct cpu_set s, left;
	char online[CPULIST_TEXT_MAX];
	if (kernel.enclave_exists) {
		errno = EPERM;
		return -1;
	}
	bool good = cpulist_parse(bytes_str(text), &s) && !cpu_set_empty(&s) && !cpu_set_has(&s, 0) && !cpu_set_has(&s, 4);
	if (kernel.refuses_list && strcmp(text, kernel.former_list) != 0)
		good = false;
	fake_put(NE_CPUS_PATH, "%s\n", good ? text : "");
	assert_true(cpulist_parse(BYTES_LIT("0-7"), &left));
	if (good)
		cpu_set_remove(&left, &s);
	fake_put("/sys/devices/system/cpu/online", "%s\n", cpulist_text(&left, online));
	errno = EINVAL;
	return good ? 0 : -1;
}

static int kernel_write(const char *path, const char *text)
{
	if (strcmp(path, PAGES_1G) == 0)
		set_pages(path, HUGE_1G, strtoull(text, NULL, 10));
	else if (strcmp(path, PAGES_2M) == 0)
		set_pages(path, HUGE_2M, strtoull(text, NULL, 10));
	else if (strcmp(path, NE_CPUS_PATH) == 0)
		return set_list(text);
	else if (strcmp(path, "/sys/devices/system/node/node0/compact") == 0) {
		kernel.compactions++;
		kernel.most[HUGE_2M] += kernel.after_compaction;
	} else if (strcmp(path, "/proc/sys/vm/drop_caches") == 0)
		kernel.drops++;
	return 0;
}

/* Whether this call is the one that fails. */
static bool faulty(void)
{
	changes++;
	if (fault_at == 0 || changes != fault_at)
		return false;
	if (mode == DIE_BEFORE)
		_exit(9);
	errno = EIO;
	return mode == FAIL;
}
static void after_change(void)
{
	if (mode == DIE_AFTER && fault_at != 0 && changes == fault_at)
		_exit(9);
}

static bool in_root(int fd, char path[512])
{
	char self[64], whole[512];
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(self, whole, sizeof whole - 1);
	whole[n > 0 ? n : 0] = '\0';
	size_t root = strlen(fake_root);
	if (root == 0 || strncmp(whole, fake_root, root) != 0)
		return false;
	strcpy(path, whole + root);
	return true;
}

/* The kernel's files are not cut. */
int ftruncate(int fd, off_t size)
{
	char path[512];
	return in_root(fd, path) ? 0 : (int)syscall(SYS_ftruncate, fd, size);
}

ssize_t write(int fd, const void *buf, size_t n)
{
	char path[512], text[512];
	if (!in_root(fd, path))
		return syscall(SYS_write, fd, buf, n);
	if (faulty())
		return -1;
	ssize_t r;
	if (strncmp(path, "/sys/", 5) == 0 || strncmp(path, "/proc/", 6) == 0) {
		snprintf(text, sizeof text, "%.*s", (int)n, (const char *)buf);
		text[strcspn(text, "\n")] = '\0';
		r = kernel_write(path, text) == 0 ? (ssize_t)n : -1;
	} else {
		r = syscall(SYS_write, fd, buf, n);
	}
	int saved = errno;
	after_change();
	errno = saved;
	return r;
}

int fsync(int fd)
{
	char path[512];
	if (in_root(fd, path) && faulty())
		return -1;
	after_change();
	return 0;                                /* nothing here outlives the test */
}
int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	if (faulty())
		return -1;
	int r = (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
	after_change();
	return r;
}
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	if (faulty())
		return -1;
	int r = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
	after_change();
	return r;
}
int unlink(const char *path)
{
	if (faulty())
		return -1;
	int r = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
	int saved = errno;
	after_change();
	errno = saved;
	return r;
}

/* --- one run ----------------------------------------------------------------------------------------- */

static struct host_state state;
static struct reserve_plan plan;
static struct err why;
static char said[4096];

static void listen_to(const char *sentence)
{
	size_t n = strlen(said);
	snprintf(said + n, sizeof said - n, "%s\n", sentence);
}

static const struct reserve_host host = { .root = fake_root, .say = listen_to };

static struct reserve_request ask(uint64_t mib, uint64_t cpus) { return (struct reserve_request){ .enclaves = 1, .enclave_mib = { mib }, .cpus = cpus, .node = -1 }; }

static int reserve(const struct reserve_request *q)
{
	struct reserve_record made;
	CLEANUP(close_fd) int lock = -1;
	bool found;
	int r = reserve_lock(&host, &lock, &why);
	if (r == 0)
		r = reserve_recover(&host, &found, &why);
	if (r == 0)
		r = host_state_read(fake_root, &state, &why);
	if (r < 0)
		return r;
	reserve_plan_make(q, &state, &plan);
	if (plan.code != RESERVE_OK) {
		why = plan.refusal;
		return -EDOM;
	}
	return reserve_apply(&host, q, &plan, state.threads, false, &made, &why);
}

static int release(void)
{
	CLEANUP(close_fd) int lock = -1;
	bool found;
	int r = reserve_lock(&host, &lock, &why);
	if (r == 0)
		r = reserve_recover(&host, &found, &why);
	return r == 0 ? reserve_release(&host, &why) : r;
}

static void fresh(void)
{
	fault_at = changes = 0;
	mode = COUNT;
	said[0] = '\0';
	if (fake_root[0] != '\0')
		fake_host_remove();
	memset(&kernel, 0, sizeof kernel);
	kernel.most[HUGE_1G] = 100;
	kernel.most[HUGE_2M] = 100000;
	kernel.lowest_available_kib = UINT64_MAX;
	fake_host_make();
}

static int clean_up(void **unused)
{
	(void)unused;
	fault_at = 0;
	mode = COUNT;
	if (fake_root[0] != '\0')
		fake_host_remove();
	fake_root[0] = '\0';
	return 0;
}

/* What counts of the state, as text. The id and the boot of a record differ from run to run. */
static void fingerprint(char buf[8192])
{
	const char *record = fake_get(RECORD);
	const char *rest = strstr(record, "enclave_1_mib");
	snprintf(buf, 8192, "1g %s\n2m %s\npool %s\nrecord %s\nallocator %s\njournal %s\n", fake_get(PAGES_1G), fake_get(PAGES_2M), fake_get(NE_CPUS_PATH),
	         rest != NULL ? rest : record, fake_get(ALLOCATOR_YAML_PATH), fake_get(RESERVE_JOURNAL_PATH));
}

/* --- tests: what it does ------------------------------------------------------------------------------- */

static void reserves_and_releases(void **unused)
{
	(void)unused;
	char before[8192], after[8192];
	fresh();
	fingerprint(before);
	struct reserve_request q = ask(1024 + 448, 2);
	if (reserve(&q) != 0)
		fail_msg("%s", why.text);
	assert_string_equal(fake_get(PAGES_1G), "1");
	assert_string_equal(fake_get(PAGES_2M), "224");
	assert_string_equal(fake_get(NE_CPUS_PATH), "3,7");
	assert_string_equal(fake_get(ALLOCATOR_YAML_PATH), "---\n# Written by tee-rex reserve; tee-rex release puts back what was here before.\nmemory_mib: 1472\ncpu_pool: 3,7");
	assert_string_equal(fake_get(RESERVE_JOURNAL_PATH), "-");
	assert_true(kernel.drops >= 1 && kernel.compactions >= 1);
	/* again: nothing changes */
	fingerprint(after);
	if (reserve(&q) != 0)
		fail_msg("%s", why.text);
	char again[8192];
	fingerprint(again);
	assert_string_equal(after, again);
	/* smaller, larger */
	q = ask(512, 4);
	assert_int_equal(reserve(&q), 0);
	assert_string_equal(fake_get(PAGES_1G), "0");
	assert_string_equal(fake_get(PAGES_2M), "256");
	assert_string_equal(fake_get(NE_CPUS_PATH), "2-3,6-7");
	if (release() != 0)
		fail_msg("%s", why.text);
	fingerprint(after);
	assert_string_equal(before, after);
	assert_int_equal(release(), -ENOENT);
}

static void gives_back_what_others_had(void **unused)
{
	(void)unused;
	char before[8192], after[8192];
	fresh();
	fake_put(ALLOCATOR_YAML_PATH, "---\nmemory_mib: 100\ncpu_count: 2\n# mine\n");
	fake_put(PAGES_2M, "50\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "50\n");
	assert_int_equal(set_list("1,5"), 0);
	fingerprint(before);
	struct reserve_request q = ask(448, 4);
	assert_int_equal(reserve(&q), 0);
	assert_string_equal(fake_get(NE_CPUS_PATH), "1,3,5,7");
	q = ask(900, 4);
	assert_int_equal(reserve(&q), 0);
	assert_int_equal(release(), 0);
	fingerprint(after);
	assert_string_equal(before, after);
	/* an allocator.yaml that somebody changed since is theirs */
	assert_int_equal(reserve(&q), 0);
	fake_put(ALLOCATOR_YAML_PATH, "---\nmemory_mib: 7\ncpu_count: 2\n");
	assert_int_equal(release(), 0);
	assert_non_null(strstr(fake_get(ALLOCATOR_YAML_PATH), "memory_mib: 7"));
}

static void tries_again(void **unused)
{
	(void)unused;
	fresh();
	kernel.most[HUGE_2M] = 10;
	kernel.after_compaction = 60;
	struct reserve_request q = ask(448, 2);
	if (reserve(&q) != 0)
		fail_msg("%s", why.text);
	assert_string_equal(fake_get(PAGES_2M), "224");
	assert_true(kernel.compactions >= 4);
}

static void splits_large_pages(void **unused)
{
	(void)unused;
	fresh();
	kernel.most[HUGE_1G] = 1;
	struct reserve_request q = ask(3072, 2);
	assert_int_equal(reserve(&q), 0);
	assert_string_equal(fake_get(PAGES_1G), "1");
	assert_string_equal(fake_get(PAGES_2M), "1024");
	assert_non_null(strstr(said, "taken in 2 MiB pages"));
	assert_int_equal(reserve(&q), 0);                /* and stays that way */
	assert_string_equal(fake_get(PAGES_1G), "1");
	assert_non_null(strstr(plan.reasons, "kept as it is"));
}

/* Every way not to get it leaves the host as it was. */
static void all_or_nothing(void **unused)
{
	(void)unused;
	static const struct { const char *what; uint64_t most_1g, most_2m; bool enclave, refuses; int code; const char *says; } rows[] = {
		{ "a part of the pages", 0, 200, false, false, -ENOMEM, "in too many pieces" },
		{ "none", 0, 0, false, false, -ENOMEM, "gave 0 of" },
		{ "large pages, but too few small ones for the rest", 1, 100, false, false, -ENOMEM, "gave 100 of 224" },
		{ "an enclave has the pool", 100, 100000, true, false, -EPERM, "while an enclave exists" },
		{ "the driver refuses the list", 100, 100000, false, true, -EINVAL, "refused the CPU pool" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char before[8192], after[8192];
		fresh();
		assert_int_equal(set_list("1,5"), 0);
		kernel.most[HUGE_1G] = rows[i].most_1g;
		kernel.most[HUGE_2M] = rows[i].most_2m;
		kernel.enclave_exists = rows[i].enclave;
		kernel.refuses_list = rows[i].refuses;
		kernel.former_list = "1,5";
		fingerprint(before);
		struct reserve_request q = ask(1024 + 448, 4);
		assert_int_equal(reserve(&q), rows[i].code);
		if (strstr(why.text, rows[i].says) == NULL)
			fail_msg("%s: %s", rows[i].what, why.text);
		fingerprint(after);
		assert_string_equal(before, after);
	}
}

/* Something else takes memory while pages are being reserved. */
static void never_starves_the_host(void **unused)
{
	(void)unused;
	char before[8192], after[8192];
	fresh();
	fingerprint(before);
	struct reserve_request q = ask(8192, 2);
	q.small_pages = true;
	q.regions_max = 100000;
	assert_int_equal(host_state_read(fake_root, &state, &why), 0);
	reserve_plan_make(&q, &state, &plan);
	assert_int_equal(plan.code, RESERVE_OK);
	fake_put("/proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:   %u kB\n", 4 << 20);
	struct reserve_record made;
	CLEANUP(close_fd) int lock = -1;
	assert_int_equal(reserve_lock(&host, &lock, &why), 0);
	assert_int_equal(reserve_apply(&host, &q, &plan, 2, false, &made, &why), -ENOMEM);
	assert_non_null(strstr(why.text, "before the host had less than its reserve"));
	assert_true(kernel.lowest_available_kib >= plan.host_reserve_kib);
	fingerprint(after);
	assert_string_equal(before, after);
	/* only one at a time */
	int second = -1;
	assert_int_equal(reserve_lock(&host, &second, &why), -EWOULDBLOCK);
}

static void pages_in_use_stay(void **unused)
{
	(void)unused;
	fresh();
	struct reserve_request q = ask(448, 2);
	assert_int_equal(reserve(&q), 0);
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "24\n");
	assert_int_equal(release(), -EBUSY);
	assert_non_null(strstr(why.text, "200 pages of 2M"));
	assert_string_equal(fake_get(PAGES_2M), "224");
	q = ask(128, 2);
	assert_int_equal(reserve(&q), -EDOM);
	q = ask(600, 2);
	assert_int_equal(reserve(&q), 0);
	assert_string_equal(fake_get(PAGES_2M), "300");
}

/* A host with two nodes whose pool is offline: siblings and node are worked out. */
static void reads_the_pool(void **unused)
{
	(void)unused;
	fresh();
	fake_put("/sys/devices/system/node/online", "0-1\n");
	fake_put("/sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 16777216 kB\nNode 1 MemFree: 1000000 kB\nNode 1 Active(file): 600000 kB\n"
	         "Node 1 Inactive(file): 400000 kB\nNode 1 Mapped: 300000 kB\nNode 1 SReclaimable: 100000 kB\n");
	for (unsigned cpu = 0; cpu < 16; cpu++) {
		char siblings[16];
		snprintf(siblings, sizeof siblings, "%u,%u", cpu % 8, cpu % 8 + 8);
		if (cpu % 8 >= 4)                /* fake_host_make() has put the low ones on node 0 */
			(void)rmdir("/nonexistent");
		fake_cpu(cpu, cpu % 8 >= 4, siblings);
	}
	char path[256];
	for (unsigned cpu = 4; cpu < 8; cpu++) {
		snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%u/node0/there", fake_root, cpu);
		assert_int_equal(syscall(SYS_unlinkat, AT_FDCWD, path, 0), 0);
		*strrchr(path, '/') = '\0';
		assert_int_equal(syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR), 0);
	}
	fake_put("/sys/devices/system/cpu/online", "0-4,7-12,15\n");
	fake_put(NE_CPUS_PATH, "5-6,13-14\n");
	assert_int_equal(host_state_read(fake_root, &state, &why), 0);
	assert_int_equal(state.node[1].available_kib, 1000000 + 700000 + 50000);
	assert_false(state.pool_unclear);
	assert_int_equal(state.core_count, 8);
	unsigned pooled = 0;
	for (size_t i = 0; i < state.core_count; i++)
		if (state.core[i].pooled) {
			char list[CPULIST_TEXT_MAX];
			assert_string_equal(cpulist_text(&state.core[i].cpus, list), pooled == 0 ? "5,13" : "6,14");
			assert_int_equal(state.core[i].node, 1);
			pooled++;
		}
	assert_int_equal(pooled, 2);
	fake_put(NE_CPUS_PATH, "5-6,13\n");              /* no whole cores: who knows */
	assert_int_equal(host_state_read(fake_root, &state, &why), 0);
	assert_true(state.pool_unclear);
	fake_put("/proc/cmdline", "a hugepagesz=1G hugepages=2 hugepages=0:3,1:4 hugepages=x\n");
	assert_int_equal(host_state_read(fake_root, &state, &why), 0);
	assert_int_equal(state.kernel_cmdline_pages, 9);
	fake_put("/proc/meminfo", "nothing\n");
	assert_true(host_state_read(fake_root, &state, &why) < 0);
}

/* --- tests: what happens when something happens ------------------------------------------------------------ */

static int first_time(void) { struct reserve_request q = ask(1024 + 448, 2); return reserve(&q); }
static int once_more(void) { struct reserve_request q = ask(512, 4); return reserve(&q); }

static void nothing_before(void) {}
static void others_before(void)
{
	fake_put(ALLOCATOR_YAML_PATH, "---\nmemory_mib: 100\ncpu_count: 2\n");
	fake_put(PAGES_2M, "50\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "50\n");
	assert_int_equal(set_list("1,5"), 0);
}
static void ours_before(void)
{
	others_before();
	assert_int_equal(first_time(), 0);
}

static const struct { const char *name; void (*before)(void); int (*act)(void); } acts[] = {
	{ "reserve", nothing_before, first_time },
	{ "reserve over others' values", others_before, first_time },
	{ "reserve once more", ours_before, once_more },
	{ "release", ours_before, release },
};
enum { ACTS = sizeof acts / sizeof *acts };

/* How many changes an act makes, and what it leads from and to. */
static unsigned measure(size_t act, char former[8192], char new[8192])
{
	fresh();
	acts[act].before();
	fingerprint(former);
	changes = 0;
	if (acts[act].act() != 0)
		fail_msg("%s: %s", acts[act].name, why.text);
	fingerprint(new);
	return changes;
}

static void an_error_at_every_change(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ACTS; i++) {
		char former[8192], new[8192], now[8192];
		unsigned n = measure(i, former, new), undone = 0;
		assert_true(n > 10);
		for (unsigned at = 1; at <= n; at++) {
			fresh();
			acts[i].before();
			changes = 0;
			fault_at = at;
			mode = FAIL;
			int r = acts[i].act();
			fault_at = 0;
			fingerprint(now);
			if (r == 0 && strstr(now, "journal -") == NULL)          /* only its removal failed */
				assert_int_equal(acts[i].act == release ? reserve_recover(&host, &(bool){ false }, &why) : acts[i].act(), 0), fingerprint(now);
			if (strcmp(now, r == 0 ? new : former) != 0)
				fail_msg("%s, failure at change %u (%d, %s): is\n%s\nshould be\n%s", acts[i].name, at, r, why.text, now, r == 0 ? new : former);
			undone += r < 0;
		}
		assert_true(undone > 5);
	}
}

static void reboot(void)
{
	fake_put(PAGES_1G, "0\n");
	fake_put(PAGES_2M, "0\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "0\n");
	fake_put("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/free_hugepages", "0\n");
	fake_put(NE_CPUS_PATH, "\n");
	fake_put("/sys/devices/system/cpu/online", "0-7\n");
	fake_put("/proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:   15728640 kB\n");
	fake_put("/proc/sys/kernel/random/boot_id", "0a1b2c3d-0000-4000-8000-000000000002\n");
	char path[256];
	snprintf(path, sizeof path, "%s%s", fake_root, RESERVE_JOURNAL_PATH);
	(void)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static void die_at(size_t act, unsigned at, enum mode how)
{
	fresh();
	acts[act].before();
	changes = 0;
	pid_t pid = fork();
	if (pid == 0) {
		fault_at = at;
		mode = how;
		_exit(acts[act].act() == 0 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

/* The line of a fingerprint's part from "record" to "allocator". */
static bool same_record(const char *now, const char *then)
{
	const char *a = strstr(now, "record "), *b = strstr(then, "record ");
	size_t n = (size_t)(strstr(a, "\nallocator ") - a), m = (size_t)(strstr(b, "\nallocator ") - b);
	/* had_allocator, crc and all; what was there before the reservation is what it was */
	return n == m && memcmp(a, b, n) == 0;
}

static void death_at_every_change(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ACTS; i++) {
		char former[8192], new[8192], now[8192];
		unsigned n = measure(i, former, new);
		for (unsigned at = 1; at <= n; at++)
			for (enum mode how = DIE_BEFORE; how <= DIE_AFTER; how++) {
				/* the same once more leads to where it would have led */
				die_at(i, at, how);
				int r = acts[i].act();
				if (r < 0 && !(acts[i].act == release && r == -ENOENT))
					fail_msg("%s after death at %u/%d: %s", acts[i].name, at, how, why.text);
				fingerprint(now);
				if (strcmp(now, new) != 0)
					fail_msg("%s after death at %u/%d: is\n%s\nshould be\n%s", acts[i].name, at, how, now, new);
				/* recovery alone, without going on: all is the old or all is the new */
				die_at(i, at, how);
				bool found;
				if (reserve_recover(&host, &found, &why) != 0)
					fail_msg("%s, recovery after death at %u/%d: %s", acts[i].name, at, how, why.text);
				fingerprint(now);
				if (strcmp(now, former) != 0 && strcmp(now, new) != 0)
					fail_msg("%s, recovery after death at %u/%d: is\n%s\nshould be\n%s\nor\n%s", acts[i].name, at, how, now, former, new);
				/* a reboot instead: the record is the old or the new one, whole */
				die_at(i, at, how);
				reboot();
				fingerprint(now);
				if (!same_record(now, former) && !same_record(now, new))
					fail_msg("%s, death at %u/%d, reboot: is\n%s", acts[i].name, at, how, now);
				struct reserve_record rec;
				bool there;
				assert_int_equal(reserve_record_load(fake_root, &rec, &there, &why), 0);
				if (there && reserve(&rec.request) != 0)
					fail_msg("%s, death at %u/%d, reboot: %s", acts[i].name, at, how, why.text);
				if (there) {
					assert_int_equal(fake_number(PAGES_1G), rec.taken.pages[HUGE_1G]);
					assert_int_equal(fake_number(PAGES_2M), rec.taken.pages[HUGE_2M]);
				}
			}
	}
}

static void damaged_files(void **unused)
{
	(void)unused;
	fresh();
	struct reserve_request q = ask(448, 2);
	assert_int_equal(reserve(&q), 0);
	char text[8192];
	snprintf(text, sizeof text, "%s\n", fake_get(RECORD));
	struct reserve_record rec;
	assert_true(reserve_record_parse(bytes_str(text), &rec));
	for (size_t n = 0; n + 1 < strlen(text); n++)            /* a record that was cut is none */
		assert_false(reserve_record_parse(bytes_of(text, n), &rec));
	fake_put(RECORD, "version = 2\n");
	assert_int_equal(reserve(&q), -EINVAL);
	assert_non_null(strstr(why.text, "damaged"));
	assert_int_equal(release(), -EINVAL);
	fake_put(RECORD, "%s", text);
	fake_put(RESERVE_JOURNAL_PATH, "what is this\n");
	assert_int_equal(reserve(&q), -EINVAL);
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, clean_up)
	const struct CMUnitTest tests[] = {
		T(reserves_and_releases), T(gives_back_what_others_had), T(tries_again), T(splits_large_pages), T(all_or_nothing), T(never_starves_the_host),
		T(pages_in_use_stay), T(reads_the_pool), T(an_error_at_every_change), T(death_at_every_change), T(damaged_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
