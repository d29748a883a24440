#include "enclave/init/boot.h"

#include "base/cleanup.h"
#include "enclave/init/group.h"
#include "linux/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/random.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* --- mounts --------------------------------------------------------------------------------------- */
static int make_directory(const char *path, mode_t mode, struct err *err)
{
	return mkdir(path, mode) != 0 && errno != EEXIST ? fail(err, errno, "make the directory %s", path) : 0;
}

static int mount_at(const char *type, const char *path, unsigned long flags, const char *options, struct err *err)
{
	int bad = make_directory(path, 0755, err);
	if (bad == 0 && mount(type, path, type, flags, options) != 0)
		bad = fail(err, errno, "mount %s at %s", type, path);
	return bad;
}

int boot_mounts(struct err *err)
{
	const unsigned long inert = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	static const struct { const char *type, *path; unsigned long flags; const char *options; } all[] = {
		{ "proc", "/proc", inert, NULL },
		{ "sysfs", "/sys", inert, NULL },
		{ "devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=0755" },
		{ "tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755,size=1m" },
		{ "cgroup2", GROUP_ROOT, inert, NULL },
	};
	umask(022);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		/* /sys makes its own directories */
		int bad = mount_at(all[i].type, all[i].path, all[i].flags, all[i].options, err);
		if (bad != 0)
			return bad;
	}
	return groups_enable(err);
}

/* --- system --------------------------------------------------------------------------------------- */
static int loopback_up(struct err *err)
{
	struct ifreq r = { .ifr_name = "lo" };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	memcpy(&r.ifr_addr, &a, sizeof a);
	if (fd < 0 || ioctl(fd, SIOCSIFADDR, &r) != 0)
		return fail(err, errno, "give lo its address");
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &r) != 0 ? fail(err, errno, "bring lo up") : 0;
}

/* What a kernel does not have need not be set. */
static int set(const char *path, const char *value, struct err *err)
{
	int bad = small_file_write("", path, value, err);
	return bad == -ENOENT ? 0 : bad;
}

int boot_system(const struct service_table *t, struct err *err)
{
	/* nobody attaches to anybody; the kernel's end is the enclave's, at once; any service may have any TCP port, because
	 * nothing outside reaches them */
	static const char *const settings[][2] = {
		{ "/proc/sys/kernel/yama/ptrace_scope", "3" },
		{ "/proc/sys/kernel/panic", "-1" },
		{ "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0" },
	};
	int bad = loopback_up(err);
	for (size_t i = 0; i < sizeof settings / sizeof *settings && bad == 0; i++)
		bad = set(settings[i][0], settings[i][1], err);
	if (bad == 0 && sethostname(t->hostname, strlen(t->hostname)) != 0)
		bad = fail(err, errno, "set the host name %s", t->hostname);
	return bad;
}

/* --- the NSM's driver ------------------------------------------------------------------------------ */
int boot_module(struct err *err)
{
	CLEANUP(close_fd) int fd = open(BOOT_MODULE, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return fail(err, errno, "open " BOOT_MODULE);
	if (fd >= 0 && access("/dev/nsm", F_OK) != 0 && syscall(SYS_finit_module, fd, "", 0) != 0)
		return fail(err, errno, "load " BOOT_MODULE);
	if (fd >= 0 && unlink(BOOT_MODULE) != 0)
		return fail(err, errno, "remove " BOOT_MODULE);
	return set("/proc/sys/kernel/modules_disabled", "1", err);
}

/* --- entropy -------------------------------------------------------------------------------------- */
int boot_entropy(struct nsm *nsm, dev_t *ret_device, struct err *err)
{
	/* struct rand_pool_info with room behind it */
	struct { int bits, size; uint8_t bytes[NSM_RANDOM_SIZE]; } pool = { .bits = 8 * NSM_RANDOM_SIZE, .size = NSM_RANDOM_SIZE };
	struct stat st;
	CLEANUP(close_fd) int fd = open("/dev/random", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(err, errno, "open /dev/random");
	int bad = nsm_open_device(nsm, "/dev/nsm", err);
	if (bad == 0 && fstat(nsm->fd, &st) != 0)
		bad = fail(err, errno, "look at /dev/nsm");
	if (bad == 0)
		bad = nsm_random(nsm, pool.bytes, sizeof pool.bytes, err);
	if (bad == 0 && ioctl(fd, RNDADDENTROPY, &pool) != 0)
		bad = fail(err, errno, "credit the kernel with the NSM's random bytes");
	explicit_bzero(&pool, sizeof pool);
	if (bad == 0)
		*ret_device = st.st_rdev;
	return bad;
}

/* --- the application ------------------------------------------------------------------------------ */
/* A read-only loop device for file; its number's name into device. The device goes when the mount does. */
static int attach_loop(const char *file, char *device, size_t cap, struct err *err)
{
	CLEANUP(close_fd) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	if (number < 0)
		return fail(err, errno, "get a loop device");
	snprintf(device, cap, "/dev/loop%d", number);
	CLEANUP(close_fd) int image = open(file, O_RDONLY | O_CLOEXEC);
	if (image < 0)
		return fail(err, errno, "open %s", file);
	CLEANUP(close_fd) int loop = open(device, O_RDONLY | O_CLOEXEC);
	const struct loop_config c = { .fd = (uint32_t)image, .info = { .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR } };
	if (loop < 0 || ioctl(loop, LOOP_CONFIGURE, &c) != 0)
		return fail(err, errno, "attach %s to %s", file, device);
	/* the mount must hold it before this descriptor lets go */
	if (mount(device, BOOT_APP, "squashfs", MS_RDONLY | MS_NODEV, NULL) != 0)
		return fail(err, errno, "mount %s as squashfs", file);
	return 0;
}

/* Without devices: a node in the image would be a way to /dev/nsm or the console that no grant gave. */
static int mount_image(enum layout layout, struct err *err)
{
	char device[32];
	switch (layout) {
	case LAYOUT_PLAIN:
		return mount(BOOT_APP, BOOT_APP, NULL, MS_BIND, NULL) != 0 ? fail(err, errno, "mount " BOOT_APP) : 0;
	case LAYOUT_SQUASHFS:
		return attach_loop("/app.squashfs", device, sizeof device, err);
	}
	return fail(err, 0, "unknown layout");
}

/* BOOT_APP becomes an overlay over what is mounted there, its changes in a tmpfs. */
static int make_writable(uint32_t mib, struct err *err)
{
	char options[64];
	snprintf(options, sizeof options, "mode=0755,size=%um", mib);
	int bad = mount_at("tmpfs", "/run/app", 0, options, err);
	if (bad == 0)
		bad = make_directory("/run/app/upper", 0755, err);
	if (bad == 0)
		bad = make_directory("/run/app/work", 0755, err);
	if (bad == 0 && mount("overlay", BOOT_APP, "overlay", MS_NODEV, "lowerdir=" BOOT_APP ",upperdir=/run/app/upper,workdir=/run/app/work") != 0)
		bad = fail(err, errno, "mount an overlay over " BOOT_APP);
	return bad;
}

/* The directories that an application's root must have are made where it can be written to. */
static int mount_inside(const struct service_table *t, struct err *err)
{
	const unsigned long inert = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	char run[64], tmp[64];
	snprintf(run, sizeof run, "mode=0755,size=%um", t->tmp_mib);
	snprintf(tmp, sizeof tmp, "mode=1777,size=%um", t->tmp_mib);
	const struct { const char *type, *path; unsigned long flags; const char *options; } all[] = {
		{ "proc", BOOT_APP "/proc", inert, "hidepid=invisible" },
		{ "sysfs", BOOT_APP "/sys", inert | MS_RDONLY, NULL },
		{ "tmpfs", BOOT_APP "/run", MS_NOSUID | MS_NODEV, run },
		{ "tmpfs", BOOT_APP "/tmp", MS_NOSUID | MS_NODEV, tmp },
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct stat st;
		if (lstat(all[i].path, &st) != 0 || !S_ISDIR(st.st_mode))
			return fail(err, ENOTDIR, "%s: the application's root needs this directory to be there", all[i].path);
		int bad = mount_at(all[i].type, all[i].path, all[i].flags, all[i].options, err);
		if (bad != 0)
			return bad;
	}
	return 0;
}

int boot_application(const struct service_table *t, struct err *err)
{
	static const char *const needed[] = { "/dev", "/proc", "/sys", "/run", "/tmp" };
	char path[64];
	bool any = false;
	for (uint32_t i = 0; i < t->service_count; i++)
		any = any || t->service[i].root == SERVICE_ROOT_APP;
	if (!any)
		return 0;
	int bad = make_directory(BOOT_APP, 0755, err);
	if (bad == 0)
		bad = mount_image(t->layout, err);
	if (bad == 0 && t->writable_mib > 0)
		bad = make_writable(t->writable_mib, err);
	for (size_t i = 0; i < sizeof needed / sizeof *needed && bad == 0; i++) {
		snprintf(path, sizeof path, BOOT_APP "%s", needed[i]);
		mkdir(path, 0755);               /* there, or mount_inside() says what is missing */
	}
	if (bad == 0 && t->layout == LAYOUT_PLAIN && t->writable_mib == 0 &&
	    mount(NULL, BOOT_APP, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NODEV, NULL) != 0)
		bad = fail(err, errno, "make " BOOT_APP " read-only");
	return bad != 0 ? bad : mount_inside(t, err);
}
