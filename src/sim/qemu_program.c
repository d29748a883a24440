/* One start of QEMU without a machine answers everything: a table of what the argument vector (sim/qemu_machine) uses, each row a
 * question on the monitor whose answer must list the row's names. What the answers are is QEMU's affair, so they are parsed as
 * anything from outside; what is not understood counts as missing. */
#include "sim/qemu_program.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { ASK_MS = 10 * 1000, ANSWERS_MAX = 512 << 10, NAMES_MAX = 6 };

int qemu_run_briefly(const char *const *argv, int keep, const char *input, int timeout_ms, char *buf, size_t cap)
{
	int out[2], in[2];
	if (pipe2(out, O_CLOEXEC) != 0)
		return -errno;
	CLEANUP(close_fd) int from = out[0], to = out[1];
	if (pipe2(in, O_CLOEXEC) != 0)
		return -errno;
	CLEANUP(close_fd) int reads = in[0], feed = in[1];
	size_t length = strlen(input);
	if (length > PIPE_BUF || write(feed, input, length) != (ssize_t)length)
		return -E2BIG;
	close_fd(&feed);
	pid_t parent = getpid(), pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent && dup2(reads, 0) == 0 && dup2(to, 1) == 1 && dup2(null, 2) == 2 && (keep < 0 || dup2(keep, 3) == 3))
			execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close_fd(&to);
	int64_t until = clock_monotonic_ms() + timeout_ms;
	size_t n = 0;
	bool late = false;
	for (ssize_t got = 1; got > 0;) {        /* until it closes its output: it has ended */
		int64_t left = until - clock_monotonic_ms();
		struct pollfd p = { .fd = from, .events = POLLIN };
		char more[4096];
		late = left <= 0 || poll(&p, 1, (int)left) == 0;
		if (late) {
			kill(pid, SIGKILL);
			break;
		}
		got = read(from, more, sizeof more);
		size_t kept = got > 0 && (size_t)got < cap - n ? (size_t)got : cap - n - 1;
		if (got > 0)
			memcpy(buf + n, more, kept);
		n += got > 0 ? kept : 0;
	}
	buf[n] = '\0';
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return late ? -ETIMEDOUT : WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

/* --- what is needed ------------------------------------------------------------------------------------------------ */

#define DEVICE "device-list-properties"
#define OBJECT "qom-list-properties"

static const struct need {
	const char *question, *type;
	const char *what;                        /* for people */
	const char *name[NAMES_MAX];             /* that its answer must list */
} needs[] = {
	{ OBJECT, "microvm-machine", "the machine microvm", { "acpi", "pit", "pic", "rtc", "isa-serial", "memory-backend" } },
	{ OBJECT, "memory-backend-memfd", "shared guest memory (memory-backend-memfd)", { "size", "share", "seal" } },
	{ OBJECT, "tcg-accel", "software emulation (tcg)", { NULL } },
	{ DEVICE, "virtio-mmio", "virtio over mmio (virtio-mmio)", { "force-legacy" } },
	{ DEVICE, "vhost-user-vsock-device", "a vsock device outside of QEMU (vhost-user-vsock-device)", { "chardev" } },
	{ DEVICE, "vhost-vdpa-device", "a virtio device of any kind outside of QEMU (vhost-vdpa-device), which the simulated NSM is", { "vhostdev" } },
};
enum { NEEDS = sizeof needs / sizeof needs[0] };

static const char install[] = "install the package qemu-system-x86, version 10 or later (Debian 13 has it; on Debian 12, as root: "
	"scripts/backports install qemu-system-x86)";

/* Whether the answer, a list of objects, has one of that name. */
static bool lists(const json_t *answer, const char *name)
{
	size_t i;
	json_t *entry;
	json_array_foreach(answer, i, entry) {
		const char *its = json_string_value(json_object_get(entry, "name"));
		if (its != NULL && strcmp(its, name) == 0)
			return true;
	}
	return false;
}

/* What of a need the answer leaves open: its own type, one of its names, or NULL. */
static const char *missing(const struct need *need, const json_t *answer)
{
	if (!json_is_array(answer))
		return need->type;
	for (size_t i = 0; i < NAMES_MAX && need->name[i] != NULL; i++)
		if (!lists(answer, need->name[i]))
			return need->name[i];
	return NULL;
}

struct answers {
	int version[3];
	const char *missing[NEEDS];
};

/* One line of the monitor: the greeting, or an answer whose id is the index of a need. */
static void take_line(const char *line, size_t n, struct answers *a)
{
	json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
	const json_t *id = json_object_get(o, "id");
	const json_t *version = json_object_get(json_object_get(json_object_get(o, "QMP"), "version"), "qemu");
	static const char *const part[] = { "major", "minor", "micro" };
	for (size_t i = 0; version != NULL && i < 3; i++)
		a->version[i] = (int)json_integer_value(json_object_get(version, part[i]));
	if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < NEEDS)
		a->missing[json_integer_value(id)] = missing(&needs[json_integer_value(id)], json_object_get(o, "return"));
	json_decref(o);
}

/* -errno when it does not speak. */
static int ask(const char *path, struct answers *ret)
{
	static char said[ANSWERS_MAX];
	char questions[PIPE_BUF];
	struct writer w = writer_of(questions, sizeof questions);
	put_fmt(&w, "{\"execute\":\"qmp_capabilities\"}\n");
	for (size_t i = 0; i < NEEDS; i++)
		put_fmt(&w, "{\"execute\":\"%s\",\"arguments\":{\"typename\":\"%s\"},\"id\":%zu}\n", needs[i].question, needs[i].type, i);
	put_fmt(&w, "{\"execute\":\"quit\"}\n");
	put_u8(&w, '\0');
	if (w.full)
		return -E2BIG;
	const char *const argv[] = { path, "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio", NULL };
	int status = qemu_run_briefly(argv, -1, questions, ASK_MS, said, sizeof said);
	*ret = (struct answers){ .version = { 0 } };
	for (size_t i = 0; i < NEEDS; i++)
		ret->missing[i] = needs[i].type;
	for (const char *line = said, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
		take_line(line, (size_t)(end - line), ret);
	return status != 0 ? -EPROTO : 0;
}

static void look_along_path(char *ret, size_t cap)
{
	const char *path = getenv("PATH");
	ret[0] = '\0';
	for (const char *p = path != NULL ? path : "/usr/bin:/bin"; ret[0] == '\0' && *p != '\0';) {
		size_t n = strcspn(p, ":");
		int k = snprintf(ret, cap, "%.*s/qemu-system-x86_64", (int)n, p);
		if (n == 0 || k < 0 || (size_t)k >= cap || access(ret, X_OK) != 0)
			ret[0] = '\0';
		p += n + (p[n] == ':');
	}
}

int qemu_find(struct qemu_program *ret, struct err *err)
{
	struct answers a;
	look_along_path(ret->path, sizeof ret->path);
	if (ret->path[0] == '\0')
		return fail(err, 0, "qemu-system-x86_64 is not installed: %s", install);
	int answered = ask(ret->path, &a);
	snprintf(ret->version, sizeof ret->version, "%d.%d.%d", a.version[0], a.version[1], a.version[2]);
	if (a.version[0] == 0)
		return fail(err, 0, "%s does not answer on its monitor: %s", ret->path, install);
	if (a.version[0] < QEMU_MAJOR_MIN)
		return fail(err, 0, "%s is version %s: %s", ret->path, ret->version, install);
	if (answered < 0)
		return fail(err, 0, "%s, version %s, did not say what it can do: %s", ret->path, ret->version, install);
	for (size_t i = 0; i < NEEDS; i++)
		if (a.missing[i] != NULL)
			return fail(err, 0, "%s, version %s, lacks %s%s%s. Simulated enclaves need it; where this version was built without it: %s",
			            ret->path, ret->version, needs[i].what, a.missing[i] == needs[i].type ? "" : ", or its option ",
			            a.missing[i] == needs[i].type ? "" : a.missing[i], install);
	return 0;
}
