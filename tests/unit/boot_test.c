/* From the kernel's hand-over to a machine for services, on a fake one: what is mounted and set, in which order, and what is said
 * when a step fails. */
#include "enclave/init/boot.h"

#include "enclave/init/group.h"
#include "fake_machine.h"

#include <setjmp.h>
#include <stddef.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

static struct err err;
static struct service_table table;
#define ALL "cpuset cpu io memory hugetlb pids"

static int set_up(void **state)
{
	static const char *const empty[] = { "/proc/x", "/dev/x", "/run/x", "/app/dev/x", "/app/proc/x", "/app/sys/x", "/app/run/x", "/app/tmp/x" };
	(void)state;
	machine_start();
	for (size_t i = 0; i < sizeof empty / sizeof *empty; i++)
		machine_file(empty[i], "");
	machine_file("/sys/fs/cgroup/cgroup.controllers", ALL "\n");
	machine_file("/sys/fs/cgroup/cgroup.subtree_control", "");
	machine_file("/app.squashfs", "image");
	table = (struct service_table){ .hostname = "tee-9", .tmp_mib = 16, .service_count = 1, .service[0] = { .name = "a", .root = SERVICE_ROOT_APP } };
	err.text[0] = '\0';
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	machine_stop();
	return 0;
}

static void story_is(const char *all) { assert_string_equal(machine_story, all); }

/* Each of these calls fails once; nothing after it is done, and the sentence says which it was. */
struct step { const char *call, *argument; int error; const char *says; };

/* --- mounts ------------------------------------------------------------------------------------------------- */
#define MOUNTS "mount proc proc /proc nosuid nodev noexec\n" "mount sysfs sysfs /sys nosuid nodev noexec\n" \
	"mount devtmpfs devtmpfs /dev nosuid noexec mode=0755\n" "mount tmpfs tmpfs /run nosuid nodev mode=0755,size=1m\n" \
	"mount cgroup2 cgroup2 /sys/fs/cgroup nosuid nodev noexec\n"

static void everything_is_mounted(void **state)
{
	(void)state;
	assert_int_equal(boot_mounts(&err), 0);
	story_is(MOUNTS);
	assert_string_equal(machine_read("/sys/fs/cgroup/cgroup.subtree_control"), "+memory +pids +cpu");
}

static void a_mount_that_fails(void **state)
{
	(void)state;
	static const struct step steps[] = {
		{ "mount", "proc ", EPERM, "mount proc at /proc: Operation not permitted" },
		{ "mount", "sysfs ", EBUSY, "mount sysfs at /sys: Device or resource busy" },
		{ "mount", "devtmpfs ", ENODEV, "mount devtmpfs at /dev: No such device" },
		{ "mount", "tmpfs tmpfs /run", ENOMEM, "mount tmpfs at /run: Cannot allocate memory" },
		{ "mount", "cgroup2 ", ENODEV, "mount cgroup2 at /sys/fs/cgroup: No such device" },
		{ "mkdir", "/run", EROFS, "make the directory /run: Read-only file system" },
		{ "open", "/sys/fs/cgroup/cgroup.subtree_control", EACCES, "open /sys/fs/cgroup/cgroup.subtree_control: Permission denied" },
	};
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		machine_fail(steps[i].call, steps[i].argument, steps[i].error);
		assert_int_equal(boot_mounts(&err), -steps[i].error);
		assert_string_equal(err.text, steps[i].says);
	}
}

/* Without limits of memory, processes and processor share nothing is run, and it is said what is not there. */
static void a_kernel_without_cgroups(void **state)
{
	(void)state;
	static const struct { const char *offers, *says; } cases[] = {
		{ "cpuset cpu io hugetlb pids", "has no memory controller (it has: cpuset cpu io hugetlb pids)" },
		{ "memory io cpu", "has no pids controller (it has: memory io cpu)" },
		{ "memory pids", "has no cpu controller (it has: memory pids)" },                /* Linux 4.14 */
		{ "memory pids cpuset", "has no cpu controller (it has: memory pids cpuset)" },
		{ "memory2 nomemory pids cpu", "has no memory controller (it has: memory2 nomemory pids cpu)" },
		{ "", "has no memory controller (it has: none)" },                       /* all of them are a version 1's */
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		machine_file("/sys/fs/cgroup/cgroup.controllers", cases[i].offers);
		assert_int_equal(groups_enable(&err), -ENOTSUP);
		assert_non_null(strstr(err.text, cases[i].says));
		assert_non_null(strstr(err.text, "Linux 5.14 or later with CONFIG_MEMCG, CONFIG_CGROUP_PIDS and CONFIG_FAIR_GROUP_SCHED"));
		assert_string_equal(machine_read("/sys/fs/cgroup/cgroup.subtree_control"), "");
	}
	machine_file("/sys/fs/cgroup/cgroup.controllers", "pids cpu memory");
	assert_int_equal(groups_enable(&err), 0);
	/* what is mounted there is no cgroup file system of version 2 */
	machine_fail("open", "cgroup.controllers", ENOENT);
	assert_int_equal(groups_enable(&err), -ENOENT);
	assert_non_null(strstr(err.text, "read /sys/fs/cgroup/cgroup.controllers; tee-rex-init needs Linux 5.14"));
}

/* --- system --------------------------------------------------------------------------------------------------- */
static void settings_and_names(void **state)
{
	(void)state;
	machine_file("/proc/sys/kernel/yama/ptrace_scope", "0");
	machine_file("/proc/sys/kernel/panic", "30");
	machine_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "1024");
	assert_int_equal(boot_system(&table, &err), 0);
	story_is("SIOCSIFADDR\nSIOCSIFFLAGS\nhostname tee-9\n");
	assert_string_equal(machine_read("/proc/sys/kernel/yama/ptrace_scope"), "3");
	assert_string_equal(machine_read("/proc/sys/kernel/panic"), "-1");
	assert_string_equal(machine_read("/proc/sys/net/ipv4/ip_unprivileged_port_start"), "0024");       /* over what was there: the kernel takes the write */
}

static void what_a_kernel_lacks_need_not_be_set(void **state)
{
	(void)state;
	assert_int_equal(boot_system(&table, &err), 0);
	story_is("SIOCSIFADDR\nSIOCSIFFLAGS\nhostname tee-9\n");
}

static void a_setting_that_fails(void **state)
{
	(void)state;
	static const struct step steps[] = {
		{ "ioctl", "SIOCSIFADDR", ENODEV, "give lo its address: No such device" },
		{ "ioctl", "SIOCSIFFLAGS", EPERM, "bring lo up: Operation not permitted" },
		{ "open", "ptrace_scope", EACCES, "open /proc/sys/kernel/yama/ptrace_scope: Permission denied" },
		{ "open", "panic", EROFS, "open /proc/sys/kernel/panic: Read-only file system" },
		{ "sethostname", "tee-9", EINVAL, "set the host name tee-9: Invalid argument" },
	};
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		machine_fail(steps[i].call, steps[i].argument, steps[i].error);
		assert_int_equal(boot_system(&table, &err), -steps[i].error);
		assert_string_equal(err.text, steps[i].says);
	}
}

/* --- entropy --------------------------------------------------------------------------------------------------- */
static void entropy_is_credited(void **state)
{
	(void)state;
	static const size_t answers[] = { 256, 255, 100, 1, 3000 };      /* one is enough, or several are, or one is too much */
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		struct nsm nsm = { .fd = -1 };
		dev_t device = 0;
		machine_story[0] = '\0';
		machine_random_bytes = answers[i];
		assert_int_equal(boot_entropy(&nsm, &device, &err), 0);
		story_is("RNDADDENTROPY 2048 bits of 256 bytes, from 5a to 5a\n");
		assert_int_equal(device, makedev(1, 3));         /* the null device's, which stands in */
		assert_true(nsm.fd >= 0);
		nsm_close(&nsm);
	}
}

static void entropy_that_is_refused(void **state)
{
	(void)state;
	static const struct { enum machine_nsm nsm; struct step step; } cases[] = {
		{ NSM_IS_FINE, { "open", "/dev/random", EACCES, "open /dev/random: Permission denied" } },
		{ NSM_IS_FINE, { "open", "/dev/nsm", ENOENT, "open the NSM device /dev/nsm (it exists only inside an enclave, for services that were "
		                 "granted it): No such file or directory" } },
		{ NSM_IS_FINE, { "ioctl", "RNDADDENTROPY", EPERM, "credit the kernel with the NSM's random bytes: Operation not permitted" } },
		{ NSM_REFUSES, { "", "", EREMOTEIO, "NSM GetRandom: refused with InternalError" } },
		{ NSM_IS_GARBAGE, { "", "", EBADMSG, "NSM GetRandom: the answer is " } },
		{ NSM_ANSWERS_SOMETHING_ELSE, { "", "", EBADMSG, "NSM GetRandom: the answer is one to Attestation" } },
		{ NSM_IS_BROKEN, { "", "", EIO, "NSM GetRandom: " } },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct nsm nsm = { .fd = -1 };
		dev_t device = 7;
		machine_story[0] = '\0';
		machine_nsm = cases[i].nsm;
		machine_fail(cases[i].step.call, cases[i].step.argument, cases[i].step.error);
		assert_int_equal(boot_entropy(&nsm, &device, &err), -cases[i].step.error);
		if (strncmp(err.text, cases[i].step.says, strlen(cases[i].step.says)) != 0)
			assert_string_equal(err.text, cases[i].step.says);
		story_is("");                            /* nothing was credited */
		assert_int_equal(device, 7);
		if (nsm.fd >= 0)
			nsm_close(&nsm);
	}
}

/* A file in the ramdisk is no NSM: it would give whatever random bytes the image's maker chose. */
static void an_nsm_that_is_a_file(void **state)
{
	(void)state;
	struct nsm nsm = { .fd = -1 };
	char path[128];
	machine_file("/dev/file", "not random");
	assert_int_equal(nsm_open_device(&nsm, "/dev/file", &err), -ENOTTY);
	snprintf(path, sizeof path, "/dev/file is not a character device, so it is not the NSM: %s", strerror(ENOTTY));
	assert_string_equal(err.text, path);
}

/* --- the application ---------------------------------------------------------------------------------------------- */
#define INSIDE "mount proc proc /app/proc nosuid nodev noexec hidepid=invisible\n" "mount sysfs sysfs /app/sys ro nosuid nodev noexec\n" \
	"mount tmpfs tmpfs /app/run nosuid nodev mode=0755,size=16m\n" "mount tmpfs tmpfs /app/tmp nosuid nodev mode=1777,size=16m\n"
#define ON_PLAIN "mount - /app /app bind\n"
#define ON_SQUASHFS "LOOP_CTL_GET_FREE\nLOOP_CONFIGURE\nmount squashfs /dev/loop0 /app ro nodev\n"
#define ON_WRITABLE "mount tmpfs tmpfs /run/app mode=0755,size=4m\n" \
	"mount overlay overlay /app nodev lowerdir=/app,upperdir=/run/app/upper,workdir=/run/app/work\n"

static void layouts(void **state)
{
	(void)state;
	static const struct { enum layout layout; uint32_t writable; const char *story; } cases[] = {
		{ LAYOUT_PLAIN, 0, ON_PLAIN "mount - - /app ro nodev bind remount\n" INSIDE },
		{ LAYOUT_PLAIN, 4, ON_PLAIN ON_WRITABLE INSIDE },
		{ LAYOUT_SQUASHFS, 0, ON_SQUASHFS INSIDE },
		{ LAYOUT_SQUASHFS, 4, ON_SQUASHFS ON_WRITABLE INSIDE },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		machine_story[0] = '\0';
		table.layout = cases[i].layout;
		table.writable_mib = cases[i].writable;
		assert_int_equal(boot_application(&table, &err), 0);
		story_is(cases[i].story);
	}
	/* where no service lives in it, it is not looked at */
	machine_story[0] = '\0';
	table.service[0].root = SERVICE_ROOT_BOOT;
	machine_fail("mount", "", EIO);
	assert_int_equal(boot_application(&table, &err), 0);
	story_is("");
}

static void an_application_that_cannot_be_mounted(void **state)
{
	(void)state;
	static const struct { enum layout layout; uint32_t writable; struct step step; } cases[] = {
		{ LAYOUT_PLAIN, 0, { "mount", "/app bind", EINVAL, "mount /app: Invalid argument" } },
		{ LAYOUT_PLAIN, 0, { "mount", "remount", EPERM, "make /app read-only: Operation not permitted" } },
		{ LAYOUT_SQUASHFS, 0, { "open", "/dev/loop-control", ENOENT, "get a loop device: No such file or directory" } },
		{ LAYOUT_SQUASHFS, 0, { "ioctl", "LOOP_CTL_GET_FREE", ENOSPC, "get a loop device: No space left on device" } },
		{ LAYOUT_SQUASHFS, 0, { "open", "/app.squashfs", ENOENT, "open /app.squashfs: No such file or directory" } },
		{ LAYOUT_SQUASHFS, 0, { "open", "/dev/loop0", ENXIO, "attach /app.squashfs to /dev/loop0: No such device or address" } },
		{ LAYOUT_SQUASHFS, 0, { "ioctl", "LOOP_CONFIGURE", ENOTTY, "attach /app.squashfs to /dev/loop0: Inappropriate ioctl for device" } },
		{ LAYOUT_SQUASHFS, 0, { "mount", "squashfs", ENODEV, "mount /app.squashfs as squashfs: No such device" } },
		{ LAYOUT_SQUASHFS, 0, { "mount", "squashfs", EINVAL, "mount /app.squashfs as squashfs: Invalid argument" } },     /* cut, or none */
		{ LAYOUT_SQUASHFS, 4, { "mount", "tmpfs /run/app", ENOMEM, "mount tmpfs at /run/app: Cannot allocate memory" } },
		{ LAYOUT_SQUASHFS, 4, { "mkdir", "upper", ENOSPC, "make the directory /run/app/upper: No space left on device" } },
		{ LAYOUT_SQUASHFS, 4, { "mkdir", "work", ENOSPC, "make the directory /run/app/work: No space left on device" } },
		{ LAYOUT_SQUASHFS, 4, { "mount", "overlay", ENODEV, "mount an overlay over /app: No such device" } },
		{ LAYOUT_SQUASHFS, 0, { "mount", "/app/sys", EPERM, "mount sysfs at /app/sys: Operation not permitted" } },
		{ LAYOUT_SQUASHFS, 0, { "mount", "/app/tmp", ENOMEM, "mount tmpfs at /app/tmp: Cannot allocate memory" } },
		{ (enum layout)99, 0, { "", "", 0, "unknown layout" } },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		table.layout = cases[i].layout;
		table.writable_mib = cases[i].writable;
		machine_fail(cases[i].step.call, cases[i].step.argument, cases[i].step.error);
		assert_true(boot_application(&table, &err) < 0);
		assert_string_equal(err.text, cases[i].step.says);
	}
}

/* What an image has in place of a directory must not become a mount somewhere else. */
static void places_that_are_no_directories(void **state)
{
	(void)state;
	char command[256];
	static const char *const name[] = { "proc", "run" }, *const how[] = { "ln -s /etc", "touch" };
	static const char *const says[] = {
		"/app/proc: the application's root needs this directory to be there: Not a directory",
		"/app/run: the application's root needs this directory to be there: Not a directory"
	};
	table.layout = LAYOUT_SQUASHFS;
	for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
		snprintf(command, sizeof command, "rm -rf %s/app/%s && %s %s/app/%s", machine_root, name[i], how[i], machine_root, name[i]);
		assert_int_equal(system(command), 0);
		machine_story[0] = '\0';
		assert_int_equal(boot_application(&table, &err), -ENOTDIR);
		assert_string_equal(err.text, says[i]);
		assert_null(strstr(machine_story, i == 0 ? "/app/proc" : "/app/run"));
		snprintf(command, sizeof command, "rm -rf %s/app/%s", machine_root, name[i]);
		assert_int_equal(system(command), 0);
	}
	/* one that is only missing is made, where that can be done */
	machine_story[0] = '\0';
	assert_int_equal(boot_application(&table, &err), 0);
	story_is(ON_SQUASHFS INSIDE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_is_mounted), TEST(a_mount_that_fails), TEST(a_kernel_without_cgroups), TEST(settings_and_names),
		TEST(what_a_kernel_lacks_need_not_be_set), TEST(a_setting_that_fails), TEST(entropy_is_credited), TEST(entropy_that_is_refused),
		TEST(an_nsm_that_is_a_file), TEST(layouts), TEST(an_application_that_cannot_be_mounted), TEST(places_that_are_no_directories),
	};
	return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
