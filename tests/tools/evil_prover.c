/* A prover program for tests that does what the first line of its input says, good or evil.
 *
 *     evil_prover INPUT OUTPUT_DIR      or with bb's own arguments, beside bb itself
 *
 * "proof 64" leaves 64 bytes and exits 0; "probe WHAT…" tries something and leaves what came of it as
 * the proof ("ok", or the name of the errno); the table at the end lists the rest. Statically linked, so
 * that it runs in any root. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *input_path, *output_dir, *poison_word;
static long poisoned;
static char proof_path[4096];

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Appends a line to the proof. */
static void say(const char *fmt, ...)
{
	FILE *f = fopen(proof_path, "a");
	va_list ap;
	if (f == NULL)
		_exit(99);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fputc('\n', f);
	if (fclose(f) != 0)
		_exit(98);
}

static void say_result(bool ok) { say("%s", ok ? "ok" : strerrorname_np(errno)); }

static void write_proof(const char *path, size_t n)
{
	static char block[65536];
	memset(block, 'p', sizeof block);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	for (size_t at = 0; fd >= 0 && at < n;) {
		ssize_t w = write(fd, block, n - at < sizeof block ? n - at : sizeof block);
		if (w <= 0)
			exit(90);
		at += (size_t)w;
	}
	if (fd < 0 || close(fd) != 0)
		exit(91);
}

static void run_act(char **a);
static long number(const char *s) { return s == NULL ? 0 : strtol(s, NULL, 10); }
static void forever(void) { for (;;) pause(); }

/* --- endings --------------------------------------------------------------------------------------- */
static void do_proof(char **a) { write_proof(proof_path, (size_t)number(a[0])); }
static void do_none(char **a) { (void)a; }
static void do_exit(char **a) { exit((int)number(a[0])); }
static void do_raise(char **a) { raise((int)number(a[0])); pause(); }
static void do_abort(char **a) { (void)a; abort(); }
static void do_segv(char **a) { volatile int *volatile nowhere = (int *)(uintptr_t)(8 + (a == NULL)); *nowhere = 1; }
static void do_hang(char **a) { (void)a; forever(); }
static void do_spin(char **a) { (void)a; for (volatile unsigned long i = 0;; i++) ; }

static void do_stubborn(char **a)
{
	(void)a;
	for (int s = 1; s < 65; s++)
		signal(s, SIG_IGN);
	forever();
}

/* A tree of children: hanging, daemonised, in other sessions, stopped. Then what argv says. */
static void plant_tree(void)
{
	for (int i = 0; i < 4; i++) {
		pid_t child = fork();
		if (child != 0)
			continue;
		setsid();
		for (int s = 1; s < 65; s++)
			signal(s, SIG_IGN);
		if (fork() == 0) {
			setsid();
			if (fork() == 0)
				raise(SIGSTOP);
			forever();
		}
		if (i % 2 == 0)
			_exit(0);
		forever();
	}
}
static void do_tree_hang(char **a) { (void)a; plant_tree(); forever(); }
static void do_tree_proof(char **a) { plant_tree(); usleep(50000); do_proof(a); }

static void do_fork_bomb(char **a)
{
	long made = 0;
	(void)a;
	for (; made < 100000; made++) {
		pid_t p = fork();
		if (p < 0)
			break;
		if (p == 0)
			forever();
	}
	say("%s after %ld", strerrorname_np(errno), made);
}

/* --- memory ------------------------------------------------------------------------------------------ */
static void eat(void)
{
	for (;;) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED) {
			fputs("terminate called after throwing an instance of 'std::bad_alloc'\n", stderr);
			abort();
		}
		memset(p, 1, 1 << 20);
	}
}
static void do_eat(char **a) { (void)a; eat(); }

static void do_eat_child(char **a)
{
	(void)a;
	if (fork() == 0)
		eat();
	forever();
}

static void do_eat_shared(char **a)      /* not anonymous memory: a memory file */
{
	(void)a;
	int fd = memfd_create("m", 0);
	static char block[1 << 20];
	memset(block, 1, sizeof block);
	while (write(fd, block, sizeof block) > 0)
		;
	exit(97);
}

static void do_touch(char **a)           /* a known peak */
{
	size_t n = (size_t)number(a[0]) << 20;
	volatile char *p = malloc(n);
	for (size_t i = 0; p != NULL && i < n; i += 4096)
		p[i] = 1;
	if (p == NULL)
		exit(96);
	do_proof(a + 1);
}

/* --- output ------------------------------------------------------------------------------------------- */
static void do_output(char **a)
{
	static char block[1 << 16];
	memset(block, 'o', sizeof block);
	for (long left = number(a[0]) << 20; left > 0; left -= (long)sizeof block)
		if (write(left & (1 << 16) ? 1 : 2, block, sizeof block) != (ssize_t)sizeof block)
			exit(95);
	do_proof(a + 1);
}
static void do_output_forever(char **a) { (void)a; for (;;) if (write(1, "forever ", 8) != 8) exit(95); }

static void do_say(char **a)             /* on stderr, then exit N */
{
	for (char **s = a + 1; *s != NULL; s++)
		fprintf(stderr, "%s ", *s);
	fputc('\n', stderr);
	exit((int)number(a[0]));
}

static void do_deaf(char **a)            /* lets go of its output, lives on */
{
	close(0), close(1), close(2);
	usleep(200000);
	do_proof(a);
}

static void do_sleep(char **a) { usleep((useconds_t)number(a[0]) * 1000); do_proof(a + 1); }

static void do_burn(char **a)            /* CPU time, in ms */
{
	struct rusage u;
	do
		getrusage(RUSAGE_SELF, &u);
	while ((u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000 < number(a[0]));
	do_proof(a + 1);
}

/* Its first argument, in every place that a program can put something; then another act. */
static void do_spread(char **a)
{
	static char everywhere[1 << 20];
	static const char *const files[] = { "/job/leak", "/job/out/leak", "/tmp/leak", "/var/tmp/leak", "/dev/shm/leak", "/crs/leak", "/leak" };
	size_t n = strlen(a[0]);
	for (size_t at = 0; at + n < sizeof everywhere; at += n + 1)
		memcpy(everywhere + at, a[0], n);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		FILE *f = fopen(files[i], "w");
		if (f != NULL) {
			fprintf(f, "%s\n", a[0]);
			fclose(f);
		}
	}
	int memory = memfd_create(a[0], 0);
	if (memory >= 0 && write(memory, everywhere, sizeof everywhere) < 0)
		exit(97);
	int segment = shmget(IPC_PRIVATE, sizeof everywhere, IPC_CREAT | 0600);
	char *shared = segment < 0 ? NULL : shmat(segment, NULL, 0);
	if (shared != NULL && shared != (char *)-1)
		memcpy(shared, everywhere, sizeof everywhere);
	prctl(PR_SET_NAME, a[0]);
	for (int i = 0; i < 100; i++)
		fprintf(i % 2 ? stdout : stderr, "terminate called: std::bad_alloc %s\n", a[0]);
	fflush(stdout);
	run_act(a + 1);
}

/* Its first argument into every file there is, and as a file into every directory; then another act. */
static int poison(const char *path, const struct stat *st, int type, struct FTW *at)
{
	char in[4200];
	(void)at;
	snprintf(in, sizeof in, type == FTW_D ? "%s/poison" : "%s", path);
	int fd = type == FTW_D || S_ISREG(st->st_mode) ? open(in, O_WRONLY | O_NONBLOCK | (type == FTW_D ? O_CREAT : 0), 0666) : -1;
	if (fd >= 0 && write(fd, poison_word, strlen(poison_word)) > 0)
		poisoned++;
	if (fd >= 0)
		close(fd);
	unlink(in);
	return 0;
}

static void do_poison(char **a)
{
	struct utsname u;
	if (uname(&u) != 0 || strstr(u.release, "-enclave") == NULL)
		exit(88);                /* under our guest kernel only: where nothing is lost if it gets through */
	poison_word = a[0];
	nftw("/", poison, 32, FTW_PHYS);
	if (poisoned == 0)
		exit(89);                /* at least its own tmpfs: or this tried nothing */
	run_act(a + 1);
}

/* --- odd proofs ---------------------------------------------------------------------------------------- */
static int linked(int bad) { return bad == 0 ? 0 : 94; }
static void do_symlink(char **a) { exit(linked(symlink(a[0], proof_path))); }
static void do_fifo(char **a) { (void)a; exit(linked(mkfifo(proof_path, 0600))); }
static void do_directory(char **a) { (void)a; exit(linked(mkdir(proof_path, 0700))); }
static void do_hardlink(char **a) { (void)a; exit(linked(link(input_path, proof_path))); }

static void do_unreadable(char **a) { do_proof(a); exit(linked(chmod(proof_path, 0))); }

static void do_sparse(char **a)
{
	int fd = open(proof_path, O_WRONLY | O_CREAT, 0600);
	exit(fd < 0 || ftruncate(fd, number(a[0])) != 0 ? 93 : 0);
}

static void do_swap_out(char **a)        /* the output directory becomes a link out of the cell's tmpfs */
{
	(void)a;
	exit(linked(rmdir(output_dir)) || linked(symlink("/usr", output_dir)));
}

static void do_fill(char **a)            /* the tmpfs, to the last byte; then says how much it took */
{
	char path[4096], block[4096] = "x";
	long long total = 0;
	int n = 0;
	(void)a;
	say("room for what comes");
	for (;; n++) {
		snprintf(path, sizeof path, "%s/fill%d", output_dir, n);
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
		ssize_t w = 0;
		if (fd < 0)
			break;
		while ((w = write(fd, block, sizeof block)) > 0 && total % (1 << 20) != 0)
			total += w;
		if (w > 0)
			total += w;
		close(fd);
		if (w <= 0)
			break;
	}
	int why = errno;
	for (; n >= 0; n--) {
		snprintf(path, sizeof path, "%s/fill%d", output_dir, n);
		unlink(path);
	}
	say("%s %lld", strerrorname_np(why), total);
}

static void do_keep_filled(char **a)     /* leaves the tmpfs full of files */
{
	char path[4096];
	int fd = -1;
	for (int n = 0; n < 1000; n++) {
		snprintf(path, sizeof path, "%s/f%d", output_dir, n);
		if ((fd = open(path, O_WRONLY | O_CREAT, 0600)) < 0 || write(fd, path, 4096) < 0)
			break;
		close(fd);
	}
	(void)a;
	exit(0);
}

/* --- probes ---------------------------------------------------------------------------------------------- */
static void probe_socket(char **a)
{
	/* a machine's real vsock belongs to its operator */
	if (number(a[0]) == AF_VSOCK)
		exit(103);
	say_result(socket((int)number(a[0]), (int)number(a[1]), 0) >= 0);
}
static void probe_socketpair(char **a) { int p[2]; (void)a; say_result(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0); }
static void probe_open(char **a) { say_result(open(a[0], O_RDONLY) >= 0); }
static void probe_write(char **a) { say_result(open(a[0], O_WRONLY) >= 0); }
static void probe_create(char **a) { say_result(open(a[0], O_WRONLY | O_CREAT, 0600) >= 0); }
static void probe_ptrace(char **a) { say_result(ptrace(PTRACE_ATTACH, (pid_t)number(a[0]), 0, 0) == 0); }
static void probe_kill(char **a) { say_result(kill((pid_t)number(a[0]), (int)number(a[1])) == 0); }
static void probe_unshare(char **a) { say_result(unshare((int)number(a[0])) == 0); }
static void probe_mount(char **a) { (void)a; say_result(mount("t", "/job", "tmpfs", 0, NULL) == 0); }
static void probe_setuid(char **a) { say_result(setuid((uid_t)number(a[0])) == 0); }
static void probe_exec(char **a) { execv(a[0], a); say_result(false); }

static void probe_syscall(char **a)
{
	long r = syscall(number(a[0]), number(a[1]), a[1] == NULL ? 0 : number(a[2]), 0, 0, 0, 0);
	say_result(r >= 0);
}

static void probe_clone(char **a)        /* flags in hex */
{
	long r = syscall(SYS_clone, strtoul(a[0], NULL, 16) | SIGCHLD, 0, 0, 0, 0);
	if (r == 0)
		_exit(0);
	say_result(r > 0);
}

static pthread_mutex_t all_made = PTHREAD_MUTEX_INITIALIZER;

static void *thread_main(void *p)        /* lives until the last one is made */
{
	pthread_mutex_lock(&all_made);
	pthread_mutex_unlock(&all_made);
	return p;
}

static void probe_threads(char **a)
{
	long n = number(a[0]), made = 0;
	pthread_t t[1024];
	int bad = 0;
	pthread_mutex_lock(&all_made);
	while (made < n && made < 1024 && (bad = pthread_create(&t[made], NULL, thread_main, NULL)) == 0)
		made++;
	pthread_mutex_unlock(&all_made);
	for (long i = 0; i < made; i++)
		pthread_join(t[i], NULL);
	say("%ld %s", made, bad == 0 ? "ok" : strerrorname_np(bad));
}

static void probe_list(char **a)
{
	DIR *d = opendir(a[0]);
	if (d == NULL) {
		say_result(false);
		return;
	}
	say("ok");
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			say("%s", e->d_name);
}

static void probe_cat(char **a)
{
	char line[4096];
	FILE *f = fopen(a[0], "r");
	if (f == NULL) {
		say_result(false);
		return;
	}
	say("ok");
	while (fgets(line, sizeof line, f) != NULL)
		line[strcspn(line, "\n")] = '\0', say("%s", line);
}

static void probe_fds(char **a)
{
	(void)a;
	say("ok");
	for (int fd = 0; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			say("%d", fd);
}

extern char **environ;
static char **arguments;
static void probe_self(char **a)
{
	char text[4096];
	struct utsname u;
	(void)a;
	say("ids %u %u %d", getuid(), getgid(), getgroups(0, NULL));
	say("pid %d ppid %d session %d", getpid(), getppid(), getsid(0));
	say("cwd %s", getcwd(text, sizeof text));
	say("umask %o", umask(077));
	say("host %s", uname(&u) == 0 ? u.nodename : "?");
	for (char **s = arguments; *s != NULL; s++)
		say("arg %s", *s);
	for (char **s = environ; *s != NULL; s++)
		say("env %s", *s);
	for (int r = 0; r < RLIM_NLIMITS; r++) {
		struct rlimit l;
		getrlimit((__rlimit_resource_t)r, &l);
		say("rlimit %d %lld %lld", r, (long long)l.rlim_cur, (long long)l.rlim_max);
	}
	sigset_t set;
	sigprocmask(SIG_SETMASK, NULL, &set);
	for (int s = 1; s < 32; s++) {
		struct sigaction act;
		if (sigismember(&set, s) || (sigaction(s, NULL, &act) == 0 && act.sa_handler != SIG_DFL))
			say("signal %d", s);
	}
}

/* --- the table --------------------------------------------------------------------------------------------- */
struct act { const char *name; void (*run)(char **args); };

static const struct act probes[] = {
	{ "socket", probe_socket }, { "socketpair", probe_socketpair }, { "open", probe_open }, { "write", probe_write },
	{ "create", probe_create }, { "ptrace", probe_ptrace }, { "kill", probe_kill }, { "unshare", probe_unshare },
	{ "mount", probe_mount }, { "setuid", probe_setuid }, { "exec", probe_exec }, { "syscall", probe_syscall },
	{ "clone", probe_clone }, { "threads", probe_threads }, { "list", probe_list }, { "cat", probe_cat },
	{ "fds", probe_fds }, { "self", probe_self },
};

static void run(const struct act *t, size_t n, char **args)
{
	for (size_t i = 0; args[0] != NULL && i < n; i++)
		if (strcmp(t[i].name, args[0]) == 0) {
			t[i].run(args + 1);
			return;
		}
	fprintf(stderr, "evil_prover: no act %s\n", args[0] == NULL ? "" : args[0]);
	exit(100);
}

static void do_probe(char **a) { run(probes, sizeof probes / sizeof *probes, a); }

static const struct act acts[] = {
	{ "proof", do_proof }, { "none", do_none }, { "exit", do_exit }, { "raise", do_raise }, { "abort", do_abort },
	{ "segv", do_segv }, { "hang", do_hang }, { "spin", do_spin }, { "stubborn", do_stubborn },
	{ "tree-hang", do_tree_hang }, { "tree-proof", do_tree_proof }, { "fork-bomb", do_fork_bomb },
	{ "eat", do_eat }, { "eat-child", do_eat_child }, { "eat-shared", do_eat_shared }, { "touch", do_touch },
	{ "output", do_output }, { "output-forever", do_output_forever }, { "say", do_say }, { "deaf", do_deaf },
	{ "sleep", do_sleep }, { "burn", do_burn },
	{ "symlink", do_symlink }, { "fifo", do_fifo }, { "directory", do_directory }, { "hardlink", do_hardlink },
	{ "unreadable", do_unreadable }, { "sparse", do_sparse }, { "swap-out", do_swap_out },
	{ "fill", do_fill }, { "keep-filled", do_keep_filled },
	{ "probe", do_probe }, { "spread", do_spread }, { "poison", do_poison },
};
static void run_act(char **a) { run(acts, sizeof acts / sizeof *acts, a); }

int main(int argc, char **argv)
{
	static char line[4096];
	char *args[16] = { NULL };
	int n = 0;

	if (argc < 3)
		return 101;
	bool as_bb = argc == 8 && strcmp(argv[4], "--ivc_inputs_path") == 0 && strcmp(argv[6], "-o") == 0;
	input_path = argv[as_bb ? 5 : 1];
	output_dir = argv[as_bb ? 7 : 2];
	arguments = argv;
	snprintf(proof_path, sizeof proof_path, "%s/proof", output_dir);
	FILE *f = fopen(input_path, "r");
	if (f == NULL || fgets(line, sizeof line, f) == NULL)
		return 102;
	fclose(f);
	for (char *s = strtok(line, " \n"); s != NULL && n < 15; s = strtok(NULL, " \n"))
		args[n++] = s;
	run_act(args);
	return 0;
}
