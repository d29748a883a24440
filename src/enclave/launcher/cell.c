/* Order matters and is all in build(): the cgroup first, so that nothing runs outside it; mounts while
 * there are capabilities; the old /proc while it can be reached; identity, then the seal. The program
 * comes in by descriptor, so it need not be visible anywhere in the cell.
 *
 * The keeper shares the job's uid. It cannot be killed from inside (signals from its own namespace do
 * not reach the first process) and, not being dumpable, cannot be traced; all it could lie about is
 * how its own job ended. */
#include "enclave/launcher/cell.h"

#include "base/cleanup.h"
#include "enclave/launcher/unsafe.h"
#include "linux/fdpass.h"
#include "linux/landlock.h"
#include "linux/mounts.h"
#include "linux/sandbox.h"
#include "linux/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The keeper's descriptors from the start; the cgroup ones are closed once joined. */
enum { CONTROL_FD = 3, PROGRAM_FD = 4, MEMORY_PROCS_FD = 4, PIDS_PROCS_FD = 5, CPU_PROCS_FD = 6, DESCRIPTORS = 7 };

const uint64_t cell_namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS;

/* What the launcher gets with READY. */
struct built { int tmpfs, input; bool has_proc, has_seccomp; int landlock_abi; };

/* Puts descriptors where they belong and closes all others. */
static int arrange_descriptors(const struct cell_plan *plan, struct err *err)
{
	CLEANUP(close_fd) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const int wanted[DESCRIPTORS] = {
		null, plan->output, plan->output,
		[CONTROL_FD] = plan->control, [MEMORY_PROCS_FD] = plan->procs.memory, [PIDS_PROCS_FD] = plan->procs.pids,
		[CPU_PROCS_FD] = plan->procs.cpu,
	};
	int high[DESCRIPTORS];

	/* out of the way first: any of them may be where another has to go */
	for (int i = 0; i < DESCRIPTORS; i++)
		if (wanted[i] >= 0 && (high[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, DESCRIPTORS)) < 0)
			return fail(err, errno, "arrange descriptors");
	for (int i = 0; i < DESCRIPTORS; i++) {
		if (wanted[i] < 0)
			close(i);
		else if (dup3(high[i], i, i >= CONTROL_FD ? O_CLOEXEC : 0) < 0)
			return fail(err, errno, "arrange descriptors");
	}
	null = -1;                               /* closed with all the others */
	return guard_off("descriptors") ? 0 : sandbox_close(DESCRIPTORS, false, err);
}

/* From its first moment everything the job uses is charged to the job. */
static int join_group(int procs, struct err *err)
{
	if (fcntl(procs, F_GETFD) < 0)
		return 0;                        /* there is no such group */
	CLEANUP(close_fd) int fd = procs;
	return write(fd, "0", 1) != 1 ? fail(err, errno, "join the job's cgroup") : 0;
}

/* --- the root -------------------------------------------------------------------------------- */
/* mkdir -p of path's directories below root; the last component is left to the caller. */
static int make_parents(int root, const char *path, struct err *err)
{
	char part[CONFIG_STRING_MAX];
	for (const char *at = path; (at = strchr(at, '/')) != NULL; at++) {
		snprintf(part, sizeof part, "%.*s", (int)(at - path), path);
		if (mkdirat(root, part, 0755) != 0 && errno != EEXIST)
			return fail(err, errno, "make /%s in the cell", part);
	}
	return 0;
}

/* Makes the place root/as of the kind st tells, to mount on. */
static int make_place(int root, const char *as, const struct stat *st, struct err *err)
{
	CLEANUP(close_fd) int file = -1;
	int bad = make_parents(root, as, err);
	if (bad != 0)
		return bad;
	if (S_ISDIR(st->st_mode))
		bad = mkdirat(root, as, 0755);
	else
		bad = (file = openat(root, as, O_CREAT | O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0644)) < 0 ? -1 : 0;
	return bad != 0 && errno != EEXIST ? fail(err, errno, "make /%s in the cell", as) : 0;
}

/* /lib is usr/lib: the same link does the same. */
static int show_link(int root, const char *path, const char *as, struct err *err)
{
	char target[CONFIG_STRING_MAX];
	ssize_t n = readlink(path, target, sizeof target - 1);
	if (n <= 0)
		return fail(err, errno, "read the link %s", path);
	target[n] = '\0';
	int bad = make_parents(root, as, err);
	if (bad != 0)
		return bad;
	return symlinkat(target, root, as) != 0 && errno != EEXIST ? fail(err, errno, "link /%s in the cell", as) : 0;
}

/* Shows what is at path as root/as. -ENOENT when there is nothing. */
static int show(int root, const char *path, const char *as, uint64_t attributes, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return fail(err, errno, "look at %s", path);
	if (S_ISLNK(st.st_mode))
		return show_link(root, path, as, err);
	int bad = make_place(root, as, &st, err);
	if (bad != 0)
		return bad;
	CLEANUP(close_fd) int tree = mounts_copy(path, attributes, err);
	return tree < 0 ? tree : mounts_attach(tree, root, as, err);
}

/* The attributes of a mount; without one of them where a test switched that guard off. */
static uint64_t unless_off(const char *guard, uint64_t attribute, uint64_t attributes)
{
	return guard_off(guard) ? attributes & ~attribute : attributes;
}

static int show_paths(int root, const struct config_recipe *recipe, struct err *err)
{
	const uint64_t attributes = unless_off("nosuid", MOUNT_ATTR_NOSUID, unless_off("read-only", MOUNT_ATTR_RDONLY,
		MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
	int bad = 0;
	for (uint32_t i = 0; i < recipe->ro_count && (bad == 0 || bad == -ENOENT); i++)
		bad = show(root, recipe->ro[i], recipe->ro[i] + 1, attributes, err);
	return bad == -ENOENT ? 0 : bad;
}

/* One file of the CRS, if it is still the one that was hashed. The mount is looked at, not the path, so that
 * what is compared is what the job gets. */
static int show_pinned(int root, const struct cell_plan *plan, uint32_t pin, uint64_t attributes, struct err *err)
{
	char path[CONFIG_STRING_MAX + CONFIG_FILE_NAME_MAX], as[sizeof RECIPE_CRS_NAME + CONFIG_FILE_NAME_MAX];
	crs_path(plan->recipe, pin, path, sizeof path);
	snprintf(as, sizeof as, RECIPE_CRS_NAME "/%s", plan->recipe->crs_pin[pin].file);

	CLEANUP(close_fd) int tree = mounts_copy(path, attributes, err);
	if (tree < 0)
		return tree;
	if (!guard_off("crs-hash") && !crs_is_same(&plan->crs->file[pin], tree)) {
		fail(err, 0, "%s is not the file any more that was hashed at start; no job gets it", path);
		return -ESTALE;
	}
	int bad = make_place(root, as, &(struct stat){ .st_mode = S_IFREG }, err);
	return bad != 0 ? bad : mounts_attach(tree, root, as, err);
}

static int show_crs(int root, const struct cell_plan *plan, struct err *err)
{
	const struct config_recipe *recipe = plan->recipe;
	const uint64_t attributes = unless_off("crs-read-only", MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY | MOUNTS_INERT);
	int bad = 0;

	if (recipe->crs[0] == '\0')
		return 0;
	for (uint32_t i = 0; i < recipe->crs_pin_count && bad == 0; i++)
		bad = show_pinned(root, plan, i, attributes, err);
	if (recipe->crs_pin_count == 0)
		bad = show(root, recipe->crs, RECIPE_CRS_NAME, attributes, err);
	return bad != 0 ? fail_in(err, bad, "[recipe] crs = %s (DIR, or \"none\" if the prover needs none)", recipe->crs) : 0;
}

static int show_devices(int root, struct err *err)
{
	static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/urandom" };
	if (guard_off("devices"))
		return show(root, "/dev", "dev", 0, err);
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		int bad = show(root, devices[i], devices[i] + 1, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
		if (bad != 0)
			return bad;
	}
	return 0;
}

static int show_system(int root, struct built *b, struct err *err)
{
	int bad = show_devices(root, err);
	if (bad != 0)
		return bad;
	/* absent in some containers; a program that asks for it then counts CPUs another way */
	show(root, "/sys/devices/system/cpu/online", "sys/devices/system/cpu/online", MOUNT_ATTR_RDONLY | MOUNTS_INERT, err);

	CLEANUP(close_fd) int proc = mounts_proc(unless_off("proc-read-only", MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY | MOUNTS_INERT), err);
	if (mkdirat(root, "proc", 0755) != 0)
		return fail(err, errno, "make /proc in the cell");
	b->has_proc = proc >= 0 && mounts_attach(proc, root, "proc", err) == 0;
	return 0;
}

/* The slot's tmpfs with its input file: the job's own, which it can read and replace but not write in place. */
static int make_job_directory(int root, const struct cell_plan *plan, struct built *b, struct err *err)
{
	struct mounts_tmpfs t = { plan->tmpfs_bytes, JOB_TMPFS_INODES, 0700, plan->uid, plan->gid };

	if (guard_off("disk"))
		t.bytes = t.inodes = 0;
	const uint64_t attributes = unless_off("noexec", MOUNT_ATTR_NOEXEC, MOUNTS_INERT);
	b->tmpfs = guard_off("job-tmpfs") ? unsafe_job_directory(attributes, err) : mounts_tmpfs(&t, attributes, err);
	if (b->tmpfs < 0)
		return b->tmpfs;
	if (mkdirat(root, RECIPE_JOB_NAME, 0755) != 0)
		return fail(err, errno, "make the job's directory");
	int bad = mounts_attach(b->tmpfs, root, RECIPE_JOB_NAME, err);
	if (bad != 0)
		return bad;
	b->input = openat(b->tmpfs, plan->recipe->input, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0400);
	if (b->input < 0 || fchown(b->input, plan->uid, plan->gid) != 0)
		return fail(err, errno, "make the input file");
	if (mkdirat(b->tmpfs, RECIPE_OUTPUT_DIR_NAME, 0700) != 0 ||
	    fchownat(b->tmpfs, RECIPE_OUTPUT_DIR_NAME, plan->uid, plan->gid, 0) != 0)
		return fail(err, errno, "make the output directory");
	return 0;
}

static int enter_root(const struct cell_plan *plan, struct built *b, struct err *err)
{
	uid_t owner = plan->own_ids ? 0 : plan->uid;
	gid_t group = plan->own_ids ? 0 : plan->gid;
	struct mounts_tmpfs t = { JOB_ROOT_BYTES, JOB_ROOT_INODES, 0755, owner, group };

	int bad = mounts_isolate(err);
	if (bad != 0)
		return bad;
	CLEANUP(close_fd) int root = mounts_tmpfs(&t, MOUNTS_INERT, err);
	if (root < 0)
		return root;
	/* on top of "/": absolute paths still mean the old root, which lies under it */
	bad = mounts_attach(root, AT_FDCWD, "/", err);
	mode_t mask = umask(022);
	if (bad == 0)
		bad = show_paths(root, plan->recipe, err);
	if (bad == 0)
		bad = show_crs(root, plan, err);
	if (bad == 0)
		bad = show_system(root, b, err);
	if (bad == 0)
		bad = make_job_directory(root, plan, b, err);
	for (unsigned n = 0; guard_off("root") && unsafe_host_name(n) != NULL; n++)
		if (faccessat(root, unsafe_host_name(n) + 1, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
			show(root, unsafe_host_name(n), unsafe_host_name(n) + 1, 0, NULL);
	umask(mask);
	if (bad == 0)
		bad = mounts_enter(root, err);
	if (bad == 0 && !guard_off("read-only"))
		bad = mounts_restrict(root, MOUNT_ATTR_RDONLY, err);
	if (bad == 0 && chdir(RECIPE_JOB_DIR) != 0)
		bad = fail(err, errno, "enter the job's directory");
	return bad;
}

/* The second belt, should the first one, the root made for this job, have a hole: no more than it is there for.
 * Where the kernel has none, *ret_abi is 0. */
static int enter_landlock(const struct config_recipe *recipe, int *ret_abi, struct err *err)
{
	struct landlock_place places[CONFIG_RO_MAX + 8];
	size_t n = 0;

	places[n++] = (struct landlock_place){ "/", LANDLOCK_READ_DIR };
	places[n++] = (struct landlock_place){ RECIPE_JOB_DIR, LANDLOCK_OWN };
	places[n++] = (struct landlock_place){ RECIPE_CRS_DIR, LANDLOCK_LOOK };
	places[n++] = (struct landlock_place){ "/proc", LANDLOCK_LOOK };
	places[n++] = (struct landlock_place){ "/sys", LANDLOCK_LOOK };
	places[n++] = (struct landlock_place){ "/dev/null", LANDLOCK_READ_FILE | LANDLOCK_WRITE_FILE };
	places[n++] = (struct landlock_place){ "/dev/zero", LANDLOCK_READ_FILE | LANDLOCK_WRITE_FILE };
	places[n++] = (struct landlock_place){ "/dev/urandom", LANDLOCK_READ_FILE };
	for (uint32_t i = 0; i < recipe->ro_count; i++)
		places[n++] = (struct landlock_place){ recipe->ro[i], LANDLOCK_LOOK | LANDLOCK_EXECUTE };
	int bad = landlock_enter(places, n, err);
	*ret_abi = bad == 0 ? landlock_abi() : 0;
	return bad == -ENOSYS ? 0 : bad;
}

static int take_identity(const struct cell_plan *plan, struct err *err)
{
	return guard_off("capabilities") ? unsafe_change_ids(plan->uid, plan->gid, err) :
	       sandbox_identity(plan->own_ids, plan->uid, plan->gid, err);
}

/* --- the keeper -------------------------------------------------------------------------------- */
static int build(const struct cell_plan *plan, struct built *b, struct err *err)
{
	const struct sandbox_limits limits = { .tasks = plan->tasks, .files = JOB_FILES_MAX, .stack_bytes = JOB_STACK_BYTES };
	struct err unsealed;
	int bad;

	if ((bad = spawn_follow_parent(err)) != 0 || (bad = join_group(MEMORY_PROCS_FD, err)) != 0 ||
	    (bad = join_group(PIDS_PROCS_FD, err)) != 0)
		return bad;
	join_group(CPU_PROCS_FD, NULL);          /* a matter of fairness: better without than no job */
	if (!plan->own_ids && (bad = spawn_map_ids(plan->uid, plan->gid, err)) != 0)
		return bad;
	if ((bad = sandbox_oom_first(err)) != 0 || (bad = enter_root(plan, b, err)) != 0 ||
	    (!guard_off("rlimits") && (bad = sandbox_limits(&limits, err)) != 0) ||
	    (bad = take_identity(plan, err)) != 0 || (bad = spawn_follow_parent(err)) != 0 ||
	    (!guard_off("no-new-privs") && (bad = sandbox_no_new_privs(err)) != 0) ||
	    (!guard_off("landlock") && (bad = enter_landlock(plan->recipe, &b->landlock_abi, err)) != 0))
		return bad;
	prctl(PR_SET_DUMPABLE, guard_off("dumpable"), 0, 0, 0);
	b->has_seccomp = !guard_off("seccomp") && sandbox_seal(&unsealed) == 0;
	return 0;
}

static void report(const struct cell_report *r, const int *fds, size_t fd_count)
{
	/* a launcher that is gone takes us with it; nothing else can be done about a failure */
	fdpass_send(CONTROL_FD, bytes_of(r, sizeof *r), fds, fd_count);
}

static _Noreturn void report_broken(int error, const struct err *err)
{
	struct cell_report r = { .kind = CELL_BROKEN, .error = error };
	snprintf(r.text, sizeof r.text, "%.255s", err->text);
	report(&r, NULL, 0);
	_exit(1);
}

/* Waits for the order; the program is at PROGRAM_FD then. The launcher closing its end ends the keeper. */
static struct cell_order await_order(void)
{
	struct cell_order order;
	struct fdpass_packet p;
	if (fdpass_receive(CONTROL_FD, &order, sizeof order, false, &p) != 0 || p.size != sizeof order || p.fd_count != 1)
		_exit(0);
	if (p.fd[0] != PROGRAM_FD && dup3(p.fd[0], PROGRAM_FD, O_CLOEXEC) < 0)
		_exit(1);
	return order;
}

static _Noreturn void run_program(const struct cell_plan *plan)
{
	struct err err;
	if (guard_off("descriptors") || sandbox_close(CONTROL_FD, true, &err) == 0)
		syscall(SYS_execveat, PROGRAM_FD, "", plan->command->argv, plan->command->envp, AT_EMPTY_PATH);
	report(&(struct cell_report){ .kind = CELL_NOT_EXECUTED, .error = errno }, NULL, 0);
	_exit(127);
}

/* Reaps whatever ends, orphans included, until the program itself has. */
static int await_program(pid_t program)
{
	for (;;) {
		int status;
		pid_t ended = wait4(-1, &status, 0, NULL);
		if (ended == program)
			return status;
		if (ended < 0 && errno != EINTR)
			_exit(1);
	}
}

_Noreturn void cell_keep(const struct cell_plan *plan)
{
	struct built b = { .tmpfs = -1, .input = -1 };
	struct err err;

	spawn_fresh();
	int bad = arrange_descriptors(plan, &err);
	if (bad == 0)
		bad = build(plan, &b, &err);
	if (bad != 0)
		report_broken(-bad, &err);

	const int fds[] = { b.tmpfs, b.input };
	report(&(struct cell_report){
		.kind = CELL_READY, .has_proc = b.has_proc, .has_seccomp = b.has_seccomp, .landlock_abi = b.landlock_abi }, fds, 2);
	close_fd(&b.tmpfs);
	close_fd(&b.input);

	struct cell_order order = await_order();
	const struct sandbox_limits limits = {
		.files = JOB_FILES_MAX, .stack_bytes = JOB_STACK_BYTES,
		.data_bytes = order.data_bytes, .address_bytes = order.address_bytes,
	};
	bad = guard_off("rlimits") ? 0 : sandbox_limits(&limits, &err);
	if (bad != 0)
		report_broken(-bad, &err);
	pid_t program = fork();
	if (program < 0) {
		bad = fail(&err, errno, "make the job's process");
		report_broken(-bad, &err);
	}
	if (program == 0)
		run_program(plan);
	report(&(struct cell_report){ .kind = CELL_EXITED, .status = await_program(program) }, NULL, 0);
	_exit(0);
}
