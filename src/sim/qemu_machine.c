#include "sim/qemu_machine.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "host/run_dir.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>

enum { PROBE_MS = 4000 };

/* --- KVM ------------------------------------------------------------------------------------------------------ */

static void read_line(const char *path, char *buf, size_t cap)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, cap - 1);
	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
}

static bool try_kvm(const struct qemu_program *q, int kernel_fd)
{
	const char *argv[QEMU_ARGS_MAX];
	char text[QEMU_TEXT_MAX], said[1];
	struct err err;
	struct qemu_machine m = {
		.program = q->path, .kvm = true, .memory_mib = 128, .cpus = 1, .cmdline = "panic=-1 reboot=t", .kernel = 3, .initrd = -1,
		.vsock = -1, .console = -1,
	};
	log_info("finding out whether KVM runs a guest here (at most %d s; remembered until this machine boots again)", PROBE_MS / 1000);
	return qemu_argv(&m, argv, text, &err) == 0 && qemu_run_briefly(argv, kernel_fd, "", PROBE_MS, said, sizeof said) == 0;
}

bool qemu_kvm_works(const struct qemu_program *q, int kernel_fd)
{
	char base[RUN_DIR_MAX], path[RUN_DIR_MAX + 8], boot[64], known[160], line[160];
	struct stat st;
	if (access("/dev/kvm", R_OK | W_OK) != 0 || stat("/dev/kvm", &st) != 0)
		return false;
	read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
	if (run_dir_base(base, sizeof base, NULL) < 0)
		return false;
	snprintf(path, sizeof path, "%s/.kvm", base);
	read_line(path, known, sizeof known);
	/* what the verdict depends on, then the verdict */
	int n = snprintf(line, sizeof line, "%s %u:%u qemu %s works: ", boot, major(st.st_rdev), minor(st.st_rdev), q->version);
	if (n > 0 && strncmp(known, line, (size_t)n) == 0)
		return strcmp(known + n, "yes") == 0;
	bool works = try_kvm(q, kernel_fd);
	if (!works)
		log_warn("/dev/kvm is there but runs no guest: software emulation it is, which is slow");
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd >= 0)
		dprintf(fd, "%s%s\n", line, works ? "yes" : "no");
	return works;
}

/* --- time ------------------------------------------------------------------------------------------------------ */

#ifdef __x86_64__
#include <x86intrin.h>

struct instant { uint64_t ticks; int64_t ns; };

/* Both clocks at one moment: of several readings the one during which least time passed. */
static struct instant now(void)
{
	struct instant best = { 0, 0 };
	uint64_t least = UINT64_MAX;
	for (int i = 0; i < 100; i++) {
		struct timespec t;
		uint64_t before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC, &t);
		uint64_t after = __rdtsc();
		if (after - before < least) {
			least = after - before;
			best = (struct instant){ before + least / 2, t.tv_sec * INT64_C(1000000000) + t.tv_nsec };
		}
	}
	return best;
}

uint32_t qemu_tsc_khz(void)
{
	static const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
	struct instant a = now();
	nanosleep(&pause, NULL);
	struct instant b = now();
	return (uint32_t)((double)(b.ticks - a.ticks) * 1e6 / (double)(b.ns - a.ns));
}
#else
uint32_t qemu_tsc_khz(void) { return 0; }
#endif

/* --- the argument vector ----------------------------------------------------------------------------------------- */

/* A string with values in it, kept in w; where it begins. Too many make w full. */
__attribute__((format(printf, 2, 3)))
static const char *value(struct writer *w, const char *fmt, ...)
{
	char text[QEMU_TEXT_MAX];
	const char *begin = (const char *)w->p + w->at;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	put_bytes(w, bytes_of(text, strlen(text) + 1));
	return begin;
}

int qemu_argv(const struct qemu_machine *m, const char *ret_argv[QEMU_ARGS_MAX], char text[QEMU_TEXT_MAX], struct err *err)
{
	struct writer w = writer_of(text, QEMU_TEXT_MAX);
	/* Without a TSC deadline timer (software emulation has none) Linux calibrates the APIC timer against the PIT; on a busy
	 * host its own test of the PIT fails by chance. And the guest must be told the TSC's frequency. */
	const char *emulation = m->kvm ? "" : value(&w, " tsc_early_khz=%u tsc=reliable no_timer_check", (unsigned)m->tsc_khz);
	const struct { const char *option, *value; } table[] = {  /* without an option: not in this machine */
		{ "-machine", value(&w, "microvm,accel=%s,acpi=off,pit=on,pic=on,rtc=on,isa-serial=on,memory-backend=memory", m->kvm ? "kvm" : "tcg") },
		{ "-cpu", "max" },
		{ "-smp", value(&w, "%u", (unsigned)m->cpus) },
		{ "-m", value(&w, "%llu", (unsigned long long)m->memory_mib) },
		/* shared: the vsock device maps it; sealed (the default): it can trust the size */
		{ "-object", value(&w, "memory-backend-memfd,id=memory,size=%lluM,share=on", (unsigned long long)m->memory_mib) },
		{ "-kernel", value(&w, "/proc/self/fd/%d", m->kernel) },
		{ m->initrd < 0 ? NULL : "-initrd", value(&w, "/proc/self/fd/%d", m->initrd) },
		/* the image's own command line first: registers come from the image, not from what a machine appends */
		{ "-append", value(&w, "%s reboot=t%s", m->cmdline, emulation) },
		{ "-global", "virtio-mmio.force-legacy=false" },
		{ m->vsock < 0 ? NULL : "-chardev", value(&w, "socket,id=vsock,fd=%d", m->vsock) },
		{ m->vsock < 0 ? NULL : "-device", "vhost-user-vsock-device,chardev=vsock" },
		{ m->vsock < 0 ? NULL : "-device", "vhost-vdpa-device,vhostdev=/simulated/vhost-vdpa-nsm" },
		{ m->console < 0 ? NULL : "-chardev", value(&w, "socket,id=console,fd=%d", m->console) },
		{ "-serial", m->console < 0 ? "null" : "chardev:console" },
		{ "-display", "none" },
		{ "-nodefaults", NULL },
		{ "-no-user-config", NULL },
		{ "-no-reboot", NULL },
		{ "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" },
	};
	size_t n = 0;
	ret_argv[n++] = m->program;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (table[i].option == NULL)
			continue;
		ret_argv[n++] = table[i].option;
		if (table[i].value != NULL)
			ret_argv[n++] = table[i].value;
	}
	ret_argv[n] = NULL;
	return w.full ? fail(err, EMSGSIZE, "the command line for QEMU") : 0;
}
