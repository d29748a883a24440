#include "linux/seal.h"

#include "linux/landlock.h"
#include "linux/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- capabilities, limits -------------------------------------------------------------------------------- */

static int drop_capabilities(struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
		return fail(err, errno, "clear ambient capabilities");
	return syscall(SYS_capset, &head, none) != 0 ? fail(err, errno, "drop capabilities") : 0;
}

static int no_core_no_children(struct err *err)
{
	/* one byte: see sandbox_limits() */
	const struct rlimit core = { 1, 1 }, none = { 0, 0 };
	if (setrlimit(RLIMIT_CORE, &core) != 0 || setrlimit(RLIMIT_NPROC, &none) != 0)
		return fail(err, errno, "set resource limits");
	return 0;
}

/* --- landlock: every access handled and none allowed --------------------------------------------------------- */

int seal_landlock(bool *ret_given, struct err *err)
{
	int bad = landlock_enter(NULL, 0, err);
	*ret_given = bad == 0;
	return bad == -ENOSYS ? 0 : bad;
}

/* --- system calls -------------------------------------------------------------------------------------------- */

#if defined __x86_64__
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#endif

static const unsigned allowed[] = {
	/* descriptors it holds, gets by accept or SCM_RIGHTS, or makes in memory */
	SYS_read, SYS_write, SYS_pread64, SYS_close, SYS_fstat, SYS_newfstatat, SYS_lseek, SYS_fcntl, SYS_memfd_create,
	SYS_ftruncate, SYS_accept4, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_shutdown,
	/* waiting, time */
	SYS_epoll_ctl, SYS_epoll_pwait, SYS_ppoll, SYS_clock_gettime, SYS_gettimeofday, SYS_clock_nanosleep,
	SYS_restart_syscall, SYS_futex, SYS_sched_yield,
#ifdef __x86_64__
	SYS_epoll_wait, SYS_poll, SYS_time,
#endif
	/* memory */
	SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise, SYS_mprotect, SYS_mlock, SYS_mlock2, SYS_munlock,
	/* itself */
	SYS_getrandom, SYS_getpid, SYS_gettid, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_tgkill,
	SYS_exit, SYS_exit_group,
};
enum { ALLOWED_COUNT = sizeof allowed / sizeof allowed[0], FIXED_MAX = 16 };

/* The NSM's one request, _IOWR(0x0A, 0, two iovecs). */
enum { NSM_IOCTL = 0xc0200a00 };

static int filter(bool *ret_given, struct err *err)
{
#ifdef FILTER_ARCH
#define STATEMENT(code_, k_) (struct sock_filter)BPF_STMT((code_), (k_))
#define SKIP_UNLESS(v) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), 0, 1)
	const unsigned no = SECCOMP_RET_ERRNO | EPERM;
	struct sock_filter code[2 * ALLOWED_COUNT + FIXED_MAX];
	unsigned short n = 0;
	code[n++] = STATEMENT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
	code[n++] = STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code[n++] = STATEMENT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ALLOWED_COUNT; i++) {
		code[n++] = SKIP_UNLESS(allowed[i]);
		code[n++] = STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 1, 0);
	code[n++] = STATEMENT(BPF_RET | BPF_K, no);
	code[n++] = STATEMENT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
	code[n++] = SKIP_UNLESS((unsigned)NSM_IOCTL);
	code[n++] = STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n++] = STATEMENT(BPF_RET | BPF_K, no);
	struct sock_fprog program = { .len = n, .filter = code };
	*ret_given = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
	if (!*ret_given && errno != EINVAL && errno != ENOSYS)
		return fail(err, errno, "install the system call filter");
	return 0;
#else
	(void)err;
	*ret_given = false;
	return 0;
#endif
}

int seal_service(struct seal_report *ret, struct err *err)
{
	struct seal_report r = { false, false };
	int bad = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ? fail(err, errno, "set no_new_privs") : 0;
	if (bad == 0)
		bad = drop_capabilities(err);
	if (bad == 0)
		bad = no_core_no_children(err);
	if (bad == 0)
		bad = seal_landlock(&r.landlock, err);
	if (bad == 0)
		bad = filter(&r.seccomp, err);
	if (bad == 0)
		*ret = r;
	return bad;
}

/* --- the launcher's ------------------------------------------------------------------------------------------ */

int seal_launcher(bool *ret_seccomp, struct err *err)
{
	const struct rlimit core = { 1, 1 };
	const bool privileged = sandbox_privileged();
	int bad = sandbox_no_new_privs(err);

	if (bad == 0 && setrlimit(RLIMIT_CORE, &core) != 0)
		bad = fail(err, errno, "set resource limits");
	/* an ordinary user's keepers must be able to write their own id maps */
	if (bad == 0 && privileged && prctl(PR_SET_DUMPABLE, 0) != 0)
		bad = fail(err, errno, "make the process non-dumpable");
	if (bad == 0 && privileged)
		bad = sandbox_keep_privileges(err);
	if (bad == 0) {
		bad = sandbox_seal_maker(err);
		*ret_seccomp = bad == 0;
		bad = bad == -ENOSYS || bad == -EINVAL ? 0 : bad;
	}
	return bad;
}
