/* The machine itself: what it is, its kernel, devices, clock and disks. */
#include "host/doctor_checks.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "linux/small_file.h"

#include <string.h>
#include <sys/statvfs.h>

#define DMI_VENDOR "/sys/devices/virtual/dmi/id/sys_vendor"
#define DRIVER "/sys/module/nitro_enclaves"

typedef unsigned long long ull;

static bool is_ec2(const struct host_view *v)
{
	char vendor[128];
	return small_file_read(v->root, DMI_VENDOR, vendor, sizeof vendor) == 0 && strcmp(vendor, "Amazon EC2") == 0;
}

static bool has_driver(const struct host_view *v) { return small_file_exists(v->root, DRIVER); }

void look_instance(const struct host_view *v, struct findings *f)
{
	char vendor[128], shown[256];
	if (!v->wants_nitro || is_ec2(v) || has_driver(v))
		return;
	if (small_file_read(v->root, DMI_VENDOR, vendor, sizeof vendor) != 0)
		finding_add(f, "this machine does not say what it is (no %s), and has no Nitro driver", DMI_VENDOR);
	else
		finding_add(f, "this machine is of \"%s\", not an EC2 instance", text_escape(bytes_str(vendor), shown, sizeof shown));
}

/* The hypervisor shows its enclave device as 1d0f:e4c1. */
static bool has_pci_device(const struct host_view *v)
{
	char path[ROOTED_PATH_MAX];
	CLEANUP(close_dir) DIR *d = opendir(rooted_path(v->root, "/sys/bus/pci/devices", path));
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char file[ROOTED_PATH_MAX], vendor[16], device[16];
		snprintf(file, sizeof file, "/sys/bus/pci/devices/%s/vendor", e->d_name);
		if (e->d_name[0] == '.' || small_file_read(v->root, file, vendor, sizeof vendor) != 0 || strcmp(vendor, "0x1d0f") != 0)
			continue;
		snprintf(file, sizeof file, "/sys/bus/pci/devices/%s/device", e->d_name);
		if (small_file_read(v->root, file, device, sizeof device) == 0 && strcmp(device, "0xe4c1") == 0)
			return true;
	}
	return false;
}

void look_option(const struct host_view *v, struct findings *f)
{
	if (v->wants_nitro && is_ec2(v) && !has_pci_device(v))
		finding_add(f, "this EC2 instance has no enclave device (PCI 1d0f:e4c1): the enclave option is off, or its type has none");
}

void look_driver(const struct host_view *v, struct findings *f)
{
	if (v->wants_nitro && is_ec2(v) && has_pci_device(v) && !has_driver(v))
		finding_add(f, "the enclave device is there, and the driver nitro_enclaves is not loaded");
}

void look_device(const struct host_view *v, struct findings *f)
{
	if (has_driver(v) && !small_file_exists(v->root, "/dev/nitro_enclaves"))
		finding_add(f, "the driver is loaded, and there is no /dev/nitro_enclaves");
}

void look_kernel(const struct host_view *v, struct findings *f)
{
	char release[128], shown[256];
	uint64_t major, minor;
	if (!v->wants_nitro || small_file_read(v->root, "/proc/sys/kernel/osrelease", release, sizeof release) != 0)
		return;
	size_t n = strspn(release, "0123456789"), m = release[n] == '.' ? strspn(release + n + 1, "0123456789") : 0;
	if (!text_to_u64(bytes_of(release, n), 1000, &major) || !text_to_u64(bytes_of(release + n + 1, m), 1000, &minor))
		return;
	if (major < 5 || (major == 5 && minor < 10))
		finding_add(f, "Linux %s is too old to have the driver", text_escape(bytes_str(release), shown, sizeof shown));
}

void look_cores(const struct host_view *v, struct findings *f)
{
	if (v->wants_nitro && v->state != NULL && has_driver(v) && !v->state->pool_unclear && v->state->core_count < 2)
		finding_add(f, "this instance has %zu core", v->state->core_count);
}

void look_vsock(const struct host_view *v, struct findings *f)
{
	if (v->wants_nitro && has_driver(v) && !small_file_exists(v->root, "/dev/vsock"))
		finding_add(f, "there is no /dev/vsock");
}

void look_vhost(const struct host_view *v, struct findings *f)
{
	if (has_driver(v) && small_file_exists(v->root, "/sys/module/vhost_vsock"))
		finding_add(f, "vhost_vsock is loaded on this parent instance; tee-rex asks for the host (VMADDR_FLAG_TO_HOST), nitro-cli and socat do not");
}

/* The hardware clock of EC2 runs in UTC; elsewhere it may run in local time, whose quarter hours are no skew. */
void look_clock(const struct host_view *v, struct findings *f)
{
	uint64_t rtc;
	if (!small_file_u64(v->root, "/sys/class/rtc/rtc0/since_epoch", &rtc) || rtc > INT64_MAX / 1000)
		return;
	int64_t skew_s = v->now_ms / 1000 - (int64_t)rtc, rest = ((skew_s % 900) + 900) % 900;
	bool zone = !is_ec2(v) && (skew_s > 890 || skew_s < -890) && skew_s < 15 * 3600 && skew_s > -15 * 3600 && (rest < 10 || rest > 890);
	if ((skew_s > 5 || skew_s < -5) && !zone)
		finding_add(f, "the system's clock is %lld s %s the hardware clock", (long long)(skew_s < 0 ? -skew_s : skew_s), skew_s < 0 ? "behind" : "ahead of");
}

void look_synchronised(const struct host_view *v, struct findings *f)
{
	static const char *const daemons[] = { "chronyd", "ntpd", "ntpsec", "systemd-timesyncd", "phc2sys", "ptp4l" };
	if (small_file_exists(v->root, "/run/systemd/timesync/synchronized"))
		return;
	for (size_t i = 0; i < v->process_count; i++) {
		const char *command = v->process[i].command;
		size_t n = strcspn(command, " ");
		for (size_t d = 0; d < sizeof daemons / sizeof *daemons; d++) {
			size_t m = strlen(daemons[d]);
			if (n >= m && memcmp(command + n - m, daemons[d], m) == 0)
				return;
		}
	}
	finding_add(f, "no program keeps this machine's clock right (chronyd, ntpd, systemd-timesyncd)");
}

/* The nearest directory that is there: what is missing will be made in it. */
static bool space(const struct host_view *v, const char *dir, struct statvfs *ret)
{
	char path[ROOTED_PATH_MAX], whole[ROOTED_PATH_MAX];
	snprintf(path, sizeof path, "%s", dir);
	for (;;) {
		if (statvfs(rooted_path(v->root, path, whole), ret) == 0)
			return true;
		char *slash = strrchr(path, '/');
		if (slash == NULL || slash == path)
			return false;
		*slash = '\0';
	}
}

void look_disk(const struct host_view *v, struct findings *f)
{
	static const char *const dirs[] = { "/var/lib/tee-rex", "/var/log", "/run", "/tmp" };
	unsigned long seen[sizeof dirs / sizeof *dirs];
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		struct statvfs s;
		bool again = false;
		if (!space(v, dirs[i], &s) || s.f_blocks == 0)
			continue;
		seen[i] = s.f_fsid;
		for (size_t k = 0; k < i; k++)
			again = again || seen[k] == s.f_fsid;
		uint64_t free_mib = (uint64_t)s.f_bavail * s.f_frsize >> 20, total_mib = (uint64_t)s.f_blocks * s.f_frsize >> 20;
		/* small file systems are small by intent */
		if (!again && free_mib < (i < 2 ? 512 : 16) && free_mib * 10 < total_mib)
			finding_add(f, "%s has %llu MiB free of %llu", dirs[i], (ull)free_mib, (ull)total_mib);
		else if (!again && s.f_files > 0 && s.f_favail < 1000 && s.f_favail * 10 < s.f_files)
			finding_add(f, "%s has room for %llu more files only", dirs[i], (ull)s.f_favail);
	}
}
