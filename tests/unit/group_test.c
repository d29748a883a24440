/* A service's cgroup: what init writes where, and what it says when the kernel lacks one of the files. */
#include "enclave/init/group.h"

#include "fake_machine.h"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

static struct err err;
static struct group group;
static const struct service plain = { .name = "app", .memory_mib = 16, .pids_max = 9, .cpu_weight = 50 },
	free_one = { .name = "free", .cpu_weight = 100 },
	launcher = { .name = "launcher", .cpu_weight = 100, .pids_max = 1024, .grants = GRANT_ROOT_CAPABILITIES };

static int set_up(void **state)
{
	(void)state;
	machine_start();
	machine_file("/sys/fs/cgroup/cgroup.controllers", "memory pids cpu");
	machine_cgroup_lacks = NULL;
	group = GROUP_NONE;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (group.procs >= 0)
		close(group.procs);
	machine_stop();
	return 0;
}

static void has(const char *file, const char *text)
{
	char path[300];
	snprintf(path, sizeof path, "/sys/fs/cgroup%s", file);
	assert_string_equal(machine_read(path), text);
}

static void limits_are_written(void **state)
{
	(void)state;
	assert_int_equal(group_open(&group, &plain, &err), 0);
	assert_string_equal(group.path, "/app");
	assert_string_equal(group.own, "/app");
	has("/app/memory.max", "16777216");
	has("/app/pids.max", "9");
	has("/app/cpu.weight", "50");
	has("/app/memory.oom.group", "1");
	assert_int_equal(write(group.procs, "0", 1), 1);
	has("/app/cgroup.procs", "0");
	group_kill(&group);
	has("/app/cgroup.kill", "1");
}

static void without_limits(void **state)
{
	(void)state;
	assert_int_equal(group_open(&group, &free_one, &err), 0);
	has("/free/memory.max", "max");
	has("/free/pids.max", "max");
	has("/free/memory.oom.group", "1");
}

/* Its own processes are a group that dies whole; a job that dies must not take it along. */
static void a_launcher(void **state)
{
	(void)state;
	assert_int_equal(group_open(&group, &launcher, &err), 0);
	assert_string_equal(group.path, "/launcher");
	assert_string_equal(group.own, "/launcher/main");
	has("/launcher/memory.oom.group", "0");
	has("/launcher/main/memory.oom.group", "1");
	has("/launcher/cgroup.subtree_control", "+memory +pids +cpu");
	assert_int_equal(write(group.procs, "0", 1), 1);
	has("/launcher/main/cgroup.procs", "0");
	has("/launcher/cgroup.procs", "");
}

static void what_the_kernel_lacks_is_named(void **state)
{
	(void)state;
	static const char *const files[] = { "memory.max", "memory.oom.group", "pids.max", "cpu.weight", "cgroup.procs", "cgroup.kill" };
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		tear_down(state);
		set_up(state);
		machine_cgroup_lacks = files[i];
		assert_true(group_open(&group, &plain, &err) < 0);
		if (strcmp(files[i], "cgroup.kill") == 0)
			assert_non_null(strstr(err.text, "this kernel cannot kill a cgroup; tee-rex-init needs Linux 5.14"));
		else
			assert_non_null(strstr(err.text, files[i]));
		assert_int_equal(group.procs, -1);
	}
	tear_down(state);
	set_up(state);
	machine_fail("mkdir", "/launcher/main", ENOSPC);
	assert_int_equal(group_open(&group, &launcher, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "make the cgroup /sys/fs/cgroup/launcher/main"));
}

/* "oom" is not "oom_kill", whichever comes first. */
static void counters(void **state)
{
	(void)state;
	group_open(&group, &plain, &err);
	machine_file("/sys/fs/cgroup/app/memory.events", "oom_kill 5\noom 4\noom_group_kill 1\n");
	machine_file("/sys/fs/cgroup/app/memory.events.local", "oom 2\noom_kill 3\n");
	assert_int_equal(group_oom_kills("/app", false), 5);
	assert_int_equal(group_limit_hits("/app", false), 4);
	assert_int_equal(group_oom_kills("/app", true), 3);
	assert_int_equal(group_limit_hits("/app", true), 2);
	assert_int_equal(group_oom_kills("/nobody", true), 0);
	assert_int_equal(group_number("/app", "memory.max"), 16777216);
	assert_int_equal(group_number("/app", "nothing"), 0);
	/* and of nobody's group nobody is killed */
	struct group none = GROUP_NONE;
	group_kill(&none);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(limits_are_written), TEST(without_limits), TEST(a_launcher), TEST(what_the_kernel_lacks_is_named), TEST(counters),
	};
	return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
