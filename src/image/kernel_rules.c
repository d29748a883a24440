/* One pass over the text notes the value of each option that has a row; a second one over the rows judges. A row
 * that must be on wants =y: nothing loads modules in an enclave, nsm.ko at init's hand alone excepted. A row that
 * must be off accepts =m for the same reason (that modules can be loaded at all is a row of its own). */
#include "image/kernel_rules.h"

enum { BOTH = KERNEL_X86_64 | KERNEL_ARM64, X86 = KERNEL_X86_64 };

#define NEED(option, why) { option, NULL, true, true, BOTH, 0, why }
#define NEED_FOR(need, option, why) { option, NULL, true, false, BOTH, need, why }
#define WANT(option, why) { option, NULL, true, false, BOTH, 0, why }
#define WANT_X86(option, why) { option, NULL, true, false, X86, 0, why }
#define NEVER(option, why) { option, NULL, false, true, BOTH, 0, why }
#define RATHER_NOT(option, why) { option, NULL, false, false, BOTH, 0, why }

static const struct kernel_rule rules[] = {
	/* devices */
	NEED("VIRTIO_MMIO", "the hypervisor's devices are virtio-mmio"),
	NEED("VIRTIO_MMIO_CMDLINE_DEVICES", "the loader names the devices on the command line and nowhere else"),
	NEED("VSOCKETS", "vsock is the only way in and out"),
	NEED("VIRTIO_VSOCKETS", "vsock is the only way in and out"),
	NEED("NSM", "no attestation and no entropy without it (built in, or nsm.ko given with --module)"),
	WANT("SERIAL_8250_CONSOLE", "early boot failures are seen on the console only"),
	WANT_X86("KVM_GUEST", "without the paravirtual clock time comes from the TSC alone"),
	WANT_X86("X86_MPPARSE", "processors beyond the first are named by an MP table"),
	/* what init and the services stand on */
	NEED("BLK_DEV_INITRD", "the root file system is a ramdisk"),
	NEED_FOR(KERNEL_NEED_RD_GZIP, "RD_GZIP", "ramdisks compressed with gzip cannot be unpacked"),
	NEED_FOR(KERNEL_NEED_RD_ZSTD, "RD_ZSTD", "ramdisks compressed with zstd cannot be unpacked"),
	NEED_FOR(KERNEL_NEED_SQUASHFS, "OVERLAY_FS", "a read-only application root cannot be written over"),
	NEED_FOR(KERNEL_NEED_SQUASHFS, "SQUASHFS", "an application laid out as squashfs cannot be mounted"),
	NEED_FOR(KERNEL_NEED_SQUASHFS, "SQUASHFS_ZSTD", "a squashfs compressed with zstd cannot be read"),
	NEED_FOR(KERNEL_NEED_SQUASHFS, "BLK_DEV_LOOP", "squashfs cannot be mounted from a file of the ramdisk"),
	NEED("BINFMT_ELF", "programs are ELF"),
	NEED("MULTIUSER", "services and jobs have users of their own"),
	NEED("PROC_FS", "init and the launcher read /proc"),
	NEED("SYSFS", "init and the launcher read /sys"),
	NEED("DEVTMPFS", "/dev/nsm and /dev/vsock are made by the kernel"),
	NEED("TMPFS", "each job's files live in a size-limited tmpfs"),
	NEED("NET", "everything here talks over sockets"),
	NEED("UNIX", "the launcher and the prover talk over a unix socket"),
	NEED("INET", "services that speak TCP are bridged to loopback"),
	NEED("FUTEX", "threads cannot wait for each other"),
	NEED("EPOLL", "the event loops of init, launcher and prover"),
	NEED("SIGNALFD", "the event loops of init, launcher and prover"),
	NEED("EVENTFD", "the event loops of many services"),
	NEED("FILE_LOCKING", "the prover locks its reference string"),
	/* containment */
	NEED("CGROUPS", "jobs are held in cgroups"),
	NEED("MEMCG", "a job that runs out of memory would take the service with it"),
	NEED("CGROUP_PIDS", "init bounds the processes of each service by its cgroup"),
	NEED("CGROUP_SCHED", "init gives each service its share of the processors by its cgroup"),
	NEED("FAIR_GROUP_SCHED", "init gives each service its share of the processors by its cgroup"),
	NEED("NAMESPACES", "jobs live in namespaces of their own"),
	NEED("PID_NS", "a job is killed by killing its pid namespace"),
	NEED("IPC_NS", "a job would see other jobs' shared memory"),
	NEED("NET_NS", "a job would reach the services on loopback"),
	NEED("UTS_NS", "jobs live in namespaces of their own"),
	NEED("SECCOMP", "a job could open vsock: no namespace and no landlock covers it"),
	NEED("SECCOMP_FILTER", "a job could open vsock: no namespace and no landlock covers it"),
	WANT("CFS_BANDWIDTH", "a job's share of the processors cannot be limited"),
	WANT("PSI", "memory pressure is not reported before it kills"),
	WANT("SECURITY_LANDLOCK", "jobs see a read-only root but have no second fence around files"),
	{ "LSM", "landlock", true, false, BOTH, 0, "landlock is not started (add it to CONFIG_LSM or lsm=)" },
	WANT("IKCONFIG", "the running kernel cannot tell its configuration"),
	/* plaintext must not survive, leave or be looked at */
	WANT("INIT_ON_FREE_DEFAULT_ON", "freed memory keeps what was in it (init_on_free=1 on the command line does the same)"),
	NEVER("SWAP", "plaintext could be written out"),
	NEVER("ZRAM", "plaintext could be kept where no wipe reaches"),
	NEVER("HIBERNATION", "memory could be written out whole"),
	NEVER("COREDUMP", "a crash would copy plaintext into a file"),
	NEVER("ELF_CORE", "a crash would copy plaintext into a file"),
	NEVER("KEXEC", "another kernel could be started over this one's memory"),
	NEVER("KEXEC_FILE", "another kernel could be started over this one's memory"),
	NEVER("CRASH_DUMP", "memory outlives the kernel that owned it"),
	NEVER("PROC_VMCORE", "memory outlives the kernel that owned it"),
	NEVER("DEVMEM", "/dev/mem reads any memory"),
	NEVER("PROC_KCORE", "/proc/kcore reads any memory"),
	NEVER("MAGIC_SYSRQ", "the console, which is the host's, could command the kernel"),
	NEVER("IO_URING", "it does what seccomp forbids in other words"),
	NEVER("VSOCKETS_LOOPBACK", "a job could reach the service's port through CID 1"),
	NEVER("MODULES", "code could be added after the measurement"),
	RATHER_NOT("KSM", "equal pages of two jobs can be told by timing"),
	RATHER_NOT("USER_NS", "an unprivileged user could reach most of the kernel"),
	RATHER_NOT("BPF_SYSCALL", "kernel code that no service here uses"),
	RATHER_NOT("USERFAULTFD", "kernel code that no service here uses, and a help to exploits"),
	RATHER_NOT("DEBUG_FS", "the kernel's insides in files"),
	RATHER_NOT("KPROBES", "kernel code can be patched at run time"),
	RATHER_NOT("TRANSPARENT_HUGEPAGE", "keeps up to 5 % of memory free for itself"),
	/* hardening */
	WANT("PANIC_ON_OOPS", "a damaged kernel goes on holding keys"),
	WANT("RANDOMIZE_BASE", "the kernel's addresses are known"),
	WANT("STRICT_KERNEL_RWX", "kernel code can be written"),
	WANT("VMAP_STACK", "a kernel stack overflow writes on"),
	WANT("STACKPROTECTOR_STRONG", "kernel stack overflows go unseen"),
	WANT("FORTIFY_SOURCE", "overflows in kernel string functions go unseen"),
	WANT("HARDENED_USERCOPY", "copies to programs are not checked against their object"),
	WANT("SLAB_FREELIST_HARDENED", "free lists of kernel memory can be forged"),
	WANT_X86("CPU_MITIGATIONS", "a job could read the prover's memory through processor flaws"),
	WANT("SECURITY_DMESG_RESTRICT", "any process reads the kernel log"),
};
enum { RULES = sizeof rules / sizeof rules[0] };
_Static_assert(sizeof rules / sizeof rules[0] <= KERNEL_RULES_MAX, "struct kernel_report has room for every row");

const struct kernel_rule *kernel_rules(size_t *ret_n)
{
	*ret_n = RULES;
	return rules;
}

const char *kernel_verdict_name(enum kernel_verdict v)
{
	static const char *const names[] = { [KERNEL_MISSING] = "missing", [KERNEL_FORBIDDEN] = "forbidden",
	                                     [KERNEL_DEGRADED] = "degraded" };
	return names[v];
}

/* --- the text ----------------------------------------------------------------------------------- */

static bool is_name(struct bytes b)
{
	for (size_t i = 0; i < b.n; i++)
		if (!(b.p[i] == '_' || (b.p[i] >= '0' && b.p[i] <= '9') || (b.p[i] >= 'A' && b.p[i] <= 'Z') ||
		      (b.p[i] >= 'a' && b.p[i] <= 'z')))
			return false;
	return b.n > 0;
}

/* "CONFIG_NAME=value" or "# CONFIG_NAME is not set"; false when the line is neither, nor blank, nor a comment.
 * A line without an option has an empty *ret_name. */
static bool parse_line(struct bytes line, struct bytes *ret_name, struct bytes *ret_value)
{
	static const char set[] = "CONFIG_", unset[] = "# CONFIG_", unset_end[] = " is not set";
	const size_t end_n = sizeof unset_end - 1;
	*ret_name = *ret_value = BYTES_NONE;
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	if (line.n == 0)
		return true;
	if (line.p[0] == '#') {
		size_t head = sizeof unset - 1;
		if (line.n > head + end_n && memcmp(line.p, unset, head) == 0 &&
		    memcmp(line.p + line.n - end_n, unset_end, end_n) == 0) {
			struct bytes name = bytes_of(line.p + head, line.n - head - end_n);
			if (is_name(name))
				*ret_name = name;
		}
		return true;
	}
	const uint8_t *equals = memchr(line.p, '=', line.n);
	size_t head = sizeof set - 1;
	if (equals == NULL || line.n <= head || memcmp(line.p, set, head) != 0 || equals < line.p + head)
		return false;
	*ret_name = bytes_of(line.p + head, (size_t)(equals - line.p) - head);
	*ret_value = bytes_of(equals + 1, line.n - (size_t)(equals - line.p) - 1);
	return is_name(*ret_name) && ret_value->n > 0;
}

/* "a,b,c" in quotes has the word b. */
static bool list_has(struct bytes list, const char *word)
{
	size_t n = strlen(word);
	for (size_t i = 0; i + n <= list.n; i++) {
		bool starts = i == 0 || list.p[i - 1] == ',' || list.p[i - 1] == '"';
		bool ends = i + n == list.n || list.p[i + n] == ',' || list.p[i + n] == '"';
		if (starts && ends && memcmp(list.p + i, word, n) == 0)
			return true;
	}
	return false;
}

static char value_of(const struct kernel_rule *rule, struct bytes value)
{
	if (rule->word != NULL)
		return list_has(value, rule->word) ? 'y' : 'n';
	return value.n == 1 && (value.p[0] == 'y' || value.p[0] == 'm') ? (char)value.p[0] : 'n';
}

static enum kernel_code read_values(struct bytes config, char value[RULES], size_t *ret_bad_line)
{
	size_t line_number = 0, options = 0;
	for (size_t at = 0; at < config.n;) {
		const uint8_t *end = memchr(config.p + at, '\n', config.n - at);
		size_t n = end == NULL ? config.n - at : (size_t)(end - config.p) - at;
		struct bytes name, text;
		line_number++;
		if (!parse_line(bytes_of(config.p + at, n), &name, &text)) {
			*ret_bad_line = line_number;
			return KERNEL_BAD_CONFIG;
		}
		options += name.n > 0;
		for (size_t i = 0; name.n > 0 && i < RULES; i++)
			if (bytes_equal(name, bytes_str(rules[i].option)))
				value[i] = value_of(&rules[i], text);
		at += n + 1;
	}
	*ret_bad_line = 0;
	return options > 0 ? KERNEL_OK : KERNEL_BAD_CONFIG;
}

/* --- the verdict ---------------------------------------------------------------------------------- */

static bool is(const struct kernel_rule *rule, const char *option) { return strcmp(rule->option, option) == 0; }

/* True when the row is broken; then *ret is how badly. */
static bool judge(const struct kernel_rule *rule, char value, const struct kernel_want *want, enum kernel_verdict *ret)
{
	if (!(rule->arches & want->arch) || (want->nsm_module && is(rule, "NSM")))
		return false;
	if (want->nsm_module && is(rule, "MODULES")) {
		/* init loads the one and closes the door behind it: possible, and still worth saying */
		*ret = value == 'y' ? KERNEL_DEGRADED : KERNEL_MISSING;
		return true;
	}
	if ((value == 'y') == rule->on)
		return false;
	bool fatal = rule->fatal || (rule->need & want->needs) != 0;
	*ret = !fatal ? KERNEL_DEGRADED : rule->on ? KERNEL_MISSING : KERNEL_FORBIDDEN;
	return true;
}

enum kernel_code kernel_check_config(struct bytes config, const struct kernel_want *want, struct kernel_report *ret)
{
	char value[RULES];
	*ret = (struct kernel_report){ .n = 0 };
	memset(value, 'n', sizeof value);
	enum kernel_code code = read_values(config, value, &ret->bad_line);
	if (code != KERNEL_OK)
		return code;
	for (size_t i = 0; i < RULES; i++) {
		enum kernel_verdict verdict;
		if (!judge(&rules[i], value[i], want, &verdict))
			continue;
		ret->finding[ret->n++] = (struct kernel_finding){ &rules[i], verdict, value[i] == 'm' };
		ret->count[verdict]++;
	}
	return ret->count[KERNEL_MISSING] + ret->count[KERNEL_FORBIDDEN] > 0 ? KERNEL_UNFIT : KERNEL_OK;
}
