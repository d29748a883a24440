/* Whose memory was short: made-up cgroups, whose files change under init's eyes, and the events that it tells of that. */
#include "enclave/init/memory.h"

#include "fake_machine.h"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

static struct err err;
static struct service_table table;
static struct services services;
static struct memory memory;
static struct events events;
static struct loop loop;
#define CGROUPS "/sys/fs/cgroup"

/* The files of a group. kills and hits: its own; of those below it the caller counts them in. */
static void group(const char *path, int kills, int hits, int kills_below, int hits_below, const char *limit, const char *peak)
{
	char name[256], text[128];
	const struct { const char *file; int kills, hits; } files[] = {
		{ "memory.events.local", kills, hits }, { "memory.events", kills + kills_below, hits + hits_below }
	};
	for (size_t i = 0; i < 2; i++) {
		snprintf(name, sizeof name, CGROUPS "%s/%s", path, files[i].file);
		snprintf(text, sizeof text, "low 0\nhigh 0\nmax 7\noom %d\noom_kill %d\noom_group_kill 0\n", files[i].hits, files[i].kills);
		machine_file(name, text);
	}
	snprintf(name, sizeof name, CGROUPS "%s/memory.max", path);
	machine_file(name, limit);
	snprintf(name, sizeof name, CGROUPS "%s/memory.peak", path);
	machine_file(name, peak);
	snprintf(name, sizeof name, CGROUPS "%s/memory.current", path);
	machine_file(name, "4096\n");
}

/* Not removed: a number of a file may be used again here, that of a cgroup never is. */
static void gone(const char *path)
{
	static int removed;
	char command[300];
	snprintf(command, sizeof command, "mv %s" CGROUPS "%s %s/removed-%d", machine_root, path, machine_root, removed++);
	assert_int_equal(system(command), 0);
}

static int set_up(void **state)
{
	static const char *const names[] = { "app", "launcher" };
	(void)state;
	machine_start();
	table = (struct service_table){ .service_count = 2 };
	memset(&services, 0, sizeof services);
	memset(&memory, 0, sizeof memory);
	memset(&events, 0, sizeof events);
	services.table = &table;
	events_init(&events);
	for (uint32_t i = 0; i < 2; i++) {
		table.service[i].name = names[i];
		snprintf(services.process[i].group.path, sizeof services.process[i].group.path, "/%s", names[i]);
		group(services.process[i].group.path, 0, 0, 0, 0, "max\n", "0\n");
	}
	group("/launcher/main", 0, 0, 0, 0, "max\n", "1000\n");
	return loop_open(&loop, &err);
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < SERVICES_MAX; i++)
		if (memory.service[i].of != NULL && memory.service[i].watch.fd >= 0)
			close(memory.service[i].watch.fd);
	if (memory.loop != NULL && memory.pressure.fd >= 0)
		close(memory.pressure.fd);
	loop_close(&loop);
	machine_stop();
	return 0;
}

static void watch(void) { assert_int_equal(memory_open(&memory, &loop, &events, &services, &err), 0); }
static void look(uint32_t i) { memory.service[i].watch.on_event(&memory.service[i].watch, EPOLLPRI); }

/* The next event ends with this: what comes before is its number and time. */
static void told(const char *members)
{
	const char *line = machine_told(&events), *at = line == NULL ? NULL : strchr(strstr(line, "\"ms\":"), ',');
	if (at == NULL)
		fail_msg("nothing was told, but %s was expected", members);
	assert_string_equal(at + 1, members);
}
static void nothing_told(void) { assert_null(machine_told(&events)); }

/* --- kills ---------------------------------------------------------------------------------------------------- */
static void a_service_at_its_limit(void **state)
{
	(void)state;
	group("/app", 0, 0, 0, 0, "1048576\n", "4096\n");
	watch();
	nothing_told();
	group("/app", 0, 3, 0, 0, "1048576\n", "1048576\n");    /* pushed against it, nobody died */
	look(0);
	nothing_told();
	group("/app", 2, 4, 0, 0, "1048576\n", "1048576\n");
	look(0);
	told("\"owner\":\"app\",\"kills\":2,\"peak_bytes\":1048576,\"limit_bytes\":1048576}\n");
	look(0);                                 /* once */
	nothing_told();
	group("/app", 5, 5, 0, 0, "1048576\n", "1048576\n");
	look(0);
	told("\"owner\":\"app\",\"kills\":3,\"peak_bytes\":1048576,\"limit_bytes\":1048576}\n");
	nothing_told();
}

static void kills_before_boot_ended_are_told_once(void **state)
{
	(void)state;
	group("/app", 1, 1, 0, 0, "1048576\n", "1048576\n");
	watch();
	told("\"owner\":\"app\",\"kills\":1,\"peak_bytes\":1048576,\"limit_bytes\":1048576}\n");
	look(0);
	nothing_told();
}

static void a_job_is_told_as_itself(void **state)
{
	(void)state;
	watch();
	group("/launcher/cell", 0, 0, 0, 0, "max\n", "0\n");
	group("/launcher/cell/slot-1", 1, 1, 0, 0, "50331648\n", "50327552\n");
	group("/launcher/cell/slot-2", 0, 0, 0, 0, "50331648\n", "8192\n");
	group("/launcher", 0, 0, 1, 1, "max\n", "60000000\n");
	look(1);
	told("\"owner\":\"launcher/cell/slot-1\",\"kills\":1,\"peak_bytes\":50327552,\"limit_bytes\":50331648}\n");
	nothing_told();
	/* the next job in a group of the same name is another one */
	gone("/launcher/cell/slot-1");
	group("/launcher/cell/slot-1", 1, 1, 0, 0, "50331648\n", "50331648\n");
	group("/launcher", 0, 0, 2, 2, "max\n", "60000000\n");
	look(1);
	told("\"owner\":\"launcher/cell/slot-1\",\"kills\":1,\"peak_bytes\":50331648,\"limit_bytes\":50331648}\n");
	nothing_told();
}

/* Its group is gone before anybody looked; an earlier push against the limit had shown it. */
static void a_job_that_is_gone_already(void **state)
{
	(void)state;
	watch();
	group("/launcher/slot-3", 0, 4, 0, 0, "50331648\n", "50331648\n");
	group("/launcher", 0, 0, 0, 4, "max\n", "60000000\n");
	look(1);
	nothing_told();
	gone("/launcher/slot-3");
	group("/launcher", 0, 0, 1, 5, "max\n", "60000000\n");
	look(1);
	told("\"owner\":\"launcher/slot-3\",\"kills\":1,\"peak_bytes\":50331648,\"limit_bytes\":50331648}\n");
	/* and one that nobody ever saw is the service's, without numbers that nobody knows */
	group("/launcher", 0, 0, 3, 9, "max\n", "60000000\n");
	look(1);
	told("\"owner\":\"launcher\",\"kills\":2}\n");
	nothing_told();
}

/* No limit was in the way: the whole enclave was short. */
static void the_machine_s_own(void **state)
{
	(void)state;
	group("/app", 0, 2, 0, 0, "1048576\n", "1048576\n");
	watch();
	group("/app", 1, 2, 0, 0, "1048576\n", "1048576\n");
	look(0);
	told("\"owner\":\"app\",\"kills\":1,\"peak_bytes\":1048576,\"limit_bytes\":1048576}\n");         /* it had pushed, and nobody told */
	group("/app", 2, 2, 0, 0, "1048576\n", "1048576\n");
	look(0);
	told("\"owner\":\"app\",\"kills\":1,\"peak_bytes\":1048576,\"limit_bytes\":1048576,\"machine\":true}\n");
	/* the kernel counts the push first, and the kill when it comes: looked at in between it stays the limit's */
	group("/app", 2, 3, 0, 0, "1048576\n", "1048576\n");
	look(0);
	nothing_told();
	group("/app", 3, 3, 0, 0, "1048576\n", "1048576\n");
	look(0);
	told("\"owner\":\"app\",\"kills\":1,\"peak_bytes\":1048576,\"limit_bytes\":1048576}\n");
	/* a service without a limit */
	group("/launcher/main", 1, 0, 0, 0, "max\n", "90000000\n");
	group("/launcher", 0, 0, 1, 0, "max\n", "90000000\n");
	look(1);
	told("\"owner\":\"launcher/main\",\"kills\":1,\"peak_bytes\":90000000,\"machine\":true}\n");
	nothing_told();
}

/* A launcher that makes groups without end, deeper than anybody looks, or with names as long as there are. */
static void more_groups_than_there_is_room_for(void **state)
{
	(void)state;
	char path[GROUP_PATH_MAX + 64];
	watch();
	for (int i = 0; i < 2 * MEMORY_GROUPS_MAX; i++) {
		snprintf(path, sizeof path, "/launcher/g%d", i);
		group(path, 0, 1, 0, 0, "4096\n", "4096\n");
	}
	snprintf(path, sizeof path, "/launcher/%0200d", 1);
	group(path, 0, 1, 0, 0, "4096\n", "4096\n");
	strcat(path, "/this-one-has-a-name-that-does-not-fit-any-more-and-is-not-looked-at");
	group(path, 1, 1, 0, 0, "4096\n", "4096\n");
	group("/launcher/a/b/c/d/e", 1, 1, 0, 0, "4096\n", "4096\n");
	look(1);
	look(1);
	nothing_told();
	group("/launcher/g127", 1, 1, 0, 0, "4096\n", "4096\n");
	group("/launcher", 0, 0, 1, 1, "max\n", "0\n");
	look(1);
	told("\"owner\":\"launcher/g127\",\"kills\":1,\"peak_bytes\":4096,\"limit_bytes\":4096}\n");
	nothing_told();
}

static void absurd_numbers(void **state)
{
	(void)state;
	static const char *const contents[] = {
		"", "\n", "oom_kill", "oom_kill \n", "oom_kill -1\n", "oom_kill 99999999999999999999999\n", "oom_kill 1", "oom_killer 4\n", "oom 4\noom_kil",
		"xoom_kill 4\n", "max\n"
	};
	watch();
	for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
		machine_file(CGROUPS "/app/memory.events", contents[i]);
		machine_file(CGROUPS "/app/memory.events.local", contents[i]);
		machine_file(CGROUPS "/app/memory.max", contents[i]);
		machine_file(CGROUPS "/app/memory.peak", contents[i]);
		look(0);
		if (strcmp(contents[i], "oom_kill 1") == 0)
			told("\"owner\":\"app\",\"kills\":1,\"machine\":true}\n");
		nothing_told();
	}
	/* the largest there is; and back again, which is no kill */
	group("/app", 0, 0, 0, 0, "18446744073709551615\n", "18446744073709551615\n");
	machine_file(CGROUPS "/app/memory.events", "oom_kill 18446744073709551615\n");
	machine_file(CGROUPS "/app/memory.events.local", "oom_kill 18446744073709551615\n");
	look(0);
	told("\"owner\":\"app\",\"kills\":-2,\"peak_bytes\":-1,\"limit_bytes\":-1,\"machine\":true}\n");
	group("/app", 0, 0, 0, 0, "1\n", "1\n");
	look(0);
	nothing_told();
	gone("/app");
	look(0);
	nothing_told();
}

static void a_group_that_cannot_be_watched(void **state)
{
	(void)state;
	gone("/launcher");
	assert_int_equal(memory_open(&memory, &loop, &events, &services, &err), -ENOENT);
	assert_non_null(strstr(err.text, "watch /sys/fs/cgroup/launcher/memory.events: No such file or directory"));
}

/* --- pressure and reports ----------------------------------------------------------------------------------------- */
static void the_report(void **state)
{
	(void)state;
	watch();
	group("/app", 0, 0, 0, 0, "1048576\n", "8192\n");
	machine_file("/proc/meminfo", "MemTotal:     1000 kB\nMemFree: 5 kB\nMemAvailable:    600 kB\nSlab: 7 kB\nSUnreclaim: 3 kB\n");
	memory.report.on_expiry(&memory.report);
	told("\"total_bytes\":1024000,\"available_bytes\":614400,\"slab_bytes\":7168}\n");
	told("\"owner\":\"app\",\"owner_bytes\":4096,\"owner_peak_bytes\":8192,\"owner_limit_bytes\":1048576}\n");
	told("\"owner\":\"launcher\",\"owner_bytes\":4096,\"owner_peak_bytes\":0,\"owner_limit_bytes\":0}\n");
	assert_true(timer_armed(&memory.report));
	assert_in_range(memory.report.deadline_ms - clock_monotonic_ms(), (INIT_MEMORY_S - 1) * 1000, INIT_MEMORY_S * 1000);
	/* a kernel without these files: nothing is known, and that is what is said */
	machine_file("/proc/meminfo", "MemTotal\n");
	gone("/app");
	memory.report.on_expiry(&memory.report);
	told("\"total_bytes\":0,\"available_bytes\":0,\"slab_bytes\":0}\n");
	told("\"owner\":\"app\",\"owner_bytes\":0,\"owner_peak_bytes\":0,\"owner_limit_bytes\":0}\n");
	told("\"owner\":\"launcher\",\"owner_bytes\":4096,\"owner_peak_bytes\":0,\"owner_limit_bytes\":0}\n");
	nothing_told();
}

static void pressure(void **state)
{
	(void)state;
	machine_file("/proc/pressure/memory", "");
	watch();
	assert_true(memory.pressure.fd >= 0);
	assert_string_equal(machine_read("/proc/pressure/memory"), "some 200000 2000000");
	machine_file("/proc/pressure/memory", "some avg10=12.34 avg60=1.00 avg300=0.10 total=1\nfull avg10=0.07 avg60=0.00 avg300=0.00 total=1\n");
	memory.pressure.on_event(&memory.pressure, EPOLLPRI);
	told("\"resource\":\"memory\",\"some_avg10\":1234,\"full_avg10\":7}\n");
	for (int i = 0; i < 3; i++)
		assert_non_null(machine_told(&events));          /* and who has it */
	nothing_told();
	/* not more often than every ten seconds */
	for (int i = 0; i < 100; i++)
		memory.pressure.on_event(&memory.pressure, EPOLLPRI);
	nothing_told();
	machine_later_ms += 10001;
	machine_file("/proc/pressure/memory", "some avg10=99999999999999999.99\nfull\n");
	memory.pressure.on_event(&memory.pressure, EPOLLPRI);
	assert_non_null(strstr(machine_told(&events), "\"resource\":\"memory\",\"some_avg10\":"));
	for (int i = 0; i < 3; i++)
		assert_non_null(machine_told(&events));
	/* a file that cannot be read any more is no reason to be quiet on who has the memory */
	machine_later_ms += 10001;
	machine_fail("open", "/proc/pressure", EIO);
	memory.pressure.on_event(&memory.pressure, EPOLLPRI);
	assert_non_null(strstr(machine_told(&events), "\"total_bytes\""));
	/* the kernel gives it up */
	memory.pressure.on_event(&memory.pressure, EPOLLERR | EPOLLPRI);
	assert_int_equal(memory.pressure.fd, -1);
}

static void a_kernel_without_pressure(void **state)
{
	(void)state;
	watch();
	assert_int_equal(memory.pressure.fd, -1);
	nothing_told();
	/* or one where it is switched off (psi=0) */
	tear_down(state);
	assert_int_equal(set_up(state), 0);
	machine_fail("open", "/proc/pressure/memory", EOPNOTSUPP);
	watch();
	assert_int_equal(memory.pressure.fd, -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_service_at_its_limit), TEST(kills_before_boot_ended_are_told_once), TEST(a_job_is_told_as_itself), TEST(a_job_that_is_gone_already),
		TEST(the_machine_s_own), TEST(more_groups_than_there_is_room_for), TEST(absurd_numbers), TEST(a_group_that_cannot_be_watched),
		TEST(the_report), TEST(pressure), TEST(a_kernel_without_pressure),
	};
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
