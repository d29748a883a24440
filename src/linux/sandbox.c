/* The filter is a list of refusals: what is not in it works. It stands beside the namespaces and the
 * empty capability set, which already take most of these calls' meaning away; what it adds is what
 * they leave open (AF_VSOCK ignores network namespaces, keyrings outlive a process, io_uring goes
 * around the filter itself). The job distrusted here is another tenant's prover. */
#include "linux/sandbox.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

/* --- identity --------------------------------------------------------------------------------- */
/* A job's files belong to its user in a directory closed to others (chown, dac_override), it gets that user's ids and no
 * capabilities (setgid, setuid, setpcap), it is killed (kill), and its namespaces and mounts are made (sys_admin). */
static const int needed[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_ADMIN };

bool sandbox_privileged(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct have[2];

	if (syscall(SYS_capget, &header, have) != 0)
		return false;
	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
		if (!(have[CAP_TO_INDEX(needed[i])].effective & CAP_TO_MASK(needed[i])))
			return false;
	return true;
}

static bool is_needed(unsigned long cap)
{
	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
		if ((unsigned long)needed[i] == cap)
			return true;
	return false;
}

/* From the bounding set: what execve could give back. */
static int drop_bounding(uint64_t keep, struct err *err)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(cap < 64 && keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			return fail(err, errno, "drop capability %lu from the bounding set", cap);
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ? fail(err, errno, "clear the ambient capabilities") : 0;
}

static int set_capabilities(uint64_t keep, struct err *err)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	const struct __user_cap_data_struct left[2] = {
		{ (uint32_t)keep, (uint32_t)keep, 0 }, { (uint32_t)(keep >> 32), (uint32_t)(keep >> 32), 0 }
	};
	return syscall(SYS_capset, &header, left) != 0 ? fail(err, errno, "drop capabilities") : 0;
}

int sandbox_keep_privileges(struct err *err)
{
	uint64_t keep = 0;
	for (unsigned cap = 0; cap < 64; cap++)
		keep |= is_needed(cap) ? 1ull << cap : 0;
	int bad = drop_bounding(keep, err);
	return bad != 0 ? bad : set_capabilities(keep, err);
}

static int change_user(uid_t uid, gid_t gid, const uint32_t *groups, size_t group_count, struct err *err)
{
	if (setgroups(group_count, groups) != 0)
		return fail(err, errno, "set the supplementary groups");
	if (setresgid(gid, gid, gid) != 0)
		return fail(err, errno, "become group %u", gid);
	return setresuid(uid, uid, uid) != 0 ? fail(err, errno, "become user %u", uid) : 0;
}

int sandbox_identity(bool change_ids, uid_t uid, gid_t gid, struct err *err)
{
	int bad = drop_bounding(0, err);
	if (bad == 0 && change_ids)
		bad = change_user(uid, gid, NULL, 0, err);
	return bad != 0 ? bad : set_capabilities(0, err);
}

int sandbox_become(uid_t uid, gid_t gid, const uint32_t *groups, size_t group_count, uint64_t keep, struct err *err)
{
	if (uid != 0)
		keep = 0;                        /* the kernel takes them with the user */
	int bad = drop_bounding(keep, err);
	if (bad == 0)
		bad = change_user(uid, gid, groups, group_count, err);
	return bad != 0 ? bad : set_capabilities(keep, err);
}

int sandbox_apart(uid_t uid, struct err *err)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct have[2];
	if (syscall(SYS_capget, &header, have) != 0)
		return fail(err, errno, "read the capabilities");
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setresuid(uid, uid, uid) != 0)
		return fail(err, errno, "become user %u", uid);
	have[0].effective = have[0].permitted;
	have[1].effective = have[1].permitted;
	if (syscall(SYS_capset, &header, have) != 0 || prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0)
		return fail(err, errno, "keep the capabilities as user %u", uid);
	/* else its files in /proc would be user 0's */
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 ? fail(err, errno, "keep the files in /proc as user %u", uid) : 0;
}

int sandbox_no_new_privs(struct err *err)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ? fail(err, errno, "set no_new_privs") : 0;
}

/* --- limits ------------------------------------------------------------------------------------ */
static int lower(int resource, const char *name, uint64_t wanted, struct err *err)
{
	struct rlimit now;
	if (getrlimit((__rlimit_resource_t)resource, &now) != 0)
		return fail(err, errno, "read RLIMIT_%s", name);
	rlim_t v = now.rlim_max < wanted ? now.rlim_max : wanted;
	struct rlimit new = { v, v };
	if (setrlimit((__rlimit_resource_t)resource, &new) != 0)
		return fail(err, errno, "set RLIMIT_%s to %llu", name, (unsigned long long)v);
	return 0;
}

int sandbox_limits(const struct sandbox_limits *l, struct err *err)
{
	const struct { int resource; const char *name; uint64_t wanted; bool wants; } all[] = {
		/* one byte: too little for any core file, and the one value at which the kernel does not
		 * start a core_pattern handler either (at 0 it does: core(5)) */
		{ RLIMIT_CORE, "CORE", 1, true },
		{ RLIMIT_MEMLOCK, "MEMLOCK", 0, true },
		{ RLIMIT_MSGQUEUE, "MSGQUEUE", 0, true },
		{ RLIMIT_NICE, "NICE", 0, true },
		{ RLIMIT_RTPRIO, "RTPRIO", 0, true },
		{ RLIMIT_NOFILE, "NOFILE", l->files, true },
		{ RLIMIT_STACK, "STACK", l->stack_bytes, true },
		{ RLIMIT_NPROC, "NPROC", l->tasks, l->tasks != 0 },
		{ RLIMIT_DATA, "DATA", l->data_bytes, l->data_bytes != 0 },
		{ RLIMIT_AS, "AS", l->address_bytes, l->address_bytes != 0 },
	};
	int bad = 0;
	for (size_t i = 0; i < sizeof all / sizeof *all && bad == 0; i++)
		if (all[i].wants)
			bad = lower(all[i].resource, all[i].name, all[i].wanted, err);
	return bad;
}

int sandbox_oom_first(struct err *err)
{
	CLEANUP(close_fd) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1000", 4) != 4)
		return fail(err, errno, "write /proc/self/oom_score_adj");
	return 0;
}

bool sandbox_counts_tasks_per_namespace(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;
	if (uname(&u) != 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return false;
	return major > 5 || (major == 5 && minor >= 14);
}

/* --- descriptors -------------------------------------------------------------------------------- */
int sandbox_close(unsigned first, bool at_exec, struct err *err)
{
	if (close_range(first, ~0u, at_exec ? CLOSE_RANGE_CLOEXEC : 0) != 0)
		return fail(err, errno, "close descriptors from %u on", first);
	return 0;
}

/* --- system calls -------------------------------------------------------------------------------- */
#if defined __x86_64__
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef FILTER_ARCH
static const unsigned refused[] = {
	/* ways out that namespaces do not close */
	SYS_socket,
	SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
	/* other processes */
	SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_process_madvise, SYS_kcmp, SYS_pidfd_getfd,
	/* state that outlives the job */
	SYS_add_key, SYS_request_key, SYS_keyctl,
	/* the kernel's large, rarely needed surfaces */
	SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_memfd_secret,
	SYS_fanotify_init, SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_quotactl, SYS_syslog, SYS_personality,
	/* the machine: all need capabilities a job has not */
	SYS_setns, SYS_chroot, SYS_fspick,
	SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot,
	SYS_swapon, SYS_swapoff, SYS_acct, SYS_settimeofday, SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex,
#ifdef __x86_64__
	SYS_iopl, SYS_ioperm, SYS_modify_ldt,
#endif
};
/* What a job's maker needs, and no job: namespaces, mounts, a pair of sockets. */
static const unsigned refused_to_jobs[] = {
	SYS_socketpair, SYS_unshare, SYS_mount, SYS_umount2, SYS_pivot_root,
	SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_mount_setattr,
};
enum {
	REFUSED_COUNT = sizeof refused / sizeof *refused, REFUSED_TO_JOBS_COUNT = sizeof refused_to_jobs / sizeof *refused_to_jobs,
	FIXED_MAX = 16
};

#define LOAD(field) (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(v) (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (v))
/* One instruction on when equal, over the next one when not: JUMP_IF then RETURN. */
#define IF_EQUAL(v) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), 0, 1)
#define IF_ABOVE(v) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (v), 0, 1)
#define IF_ANY_BIT(v) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (v), 0, 1)
#define ERROR(e) RETURN(SECCOMP_RET_ERRNO | (e))

/* to_job: the whole of it. */
static int seal(bool to_job, struct err *err)
{
	/* the kernel reads clone's flags as 64 bits, but namespaces are all in the low half */
	const unsigned new_namespace = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
	                               CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
	struct sock_filter code[2 * (REFUSED_COUNT + REFUSED_TO_JOBS_COUNT) + FIXED_MAX];
	unsigned short n = 0;

	code[n++] = LOAD(arch);
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
	code[n++] = RETURN(SECCOMP_RET_KILL_PROCESS);    /* 32-bit calls have other numbers */
	code[n++] = LOAD(nr);
	code[n++] = IF_ABOVE(0x3fffffff);                /* x32 */
	code[n++] = ERROR(ENOSYS);
	for (size_t i = 0; i < REFUSED_COUNT; i++) {
		code[n++] = IF_EQUAL(refused[i]);
		code[n++] = ERROR(EPERM);
	}
	for (size_t i = 0; i < REFUSED_TO_JOBS_COUNT && to_job; i++) {
		code[n++] = IF_EQUAL(refused_to_jobs[i]);
		code[n++] = ERROR(EPERM);
	}
	if (to_job) {
		code[n++] = IF_EQUAL(SYS_clone3);
		code[n++] = ERROR(ENOSYS);
		code[n++] = IF_EQUAL(SYS_clone);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 1);
		code[n++] = RETURN(SECCOMP_RET_ALLOW);
		code[n++] = LOAD(args[0]);               /* little-endian: the low half */
		code[n++] = IF_ANY_BIT(new_namespace);
		code[n++] = ERROR(EPERM);
	}
	code[n++] = RETURN(SECCOMP_RET_ALLOW);

	struct sock_fprog program = { .len = n, .filter = code };
	/* SPEC_ALLOW: a filter is no reason to slow the prover's memory accesses down */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) != 0)
		return fail(err, errno, "install the system call filter");
	return 0;
}
#else
static int seal(bool to_job, struct err *err)
{
	(void)to_job;
	return fail(err, ENOSYS, "there is no system call filter for this architecture");
}
#endif

int sandbox_seal(struct err *err) { return seal(true, err); }
int sandbox_seal_maker(struct err *err) { return seal(false, err); }
