/* What runs now, and what has ended badly. */
#include "host/doctor_checks.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "host/run_dir.h"
#include "linux/small_file.h"

#include <ctype.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

typedef unsigned long long ull;

static bool runs(const char *command, const char *program)
{
	size_t n = strcspn(command, " "), m = strlen(program);
	return n >= m && memcmp(command + n - m, program, m) == 0 && (n == m || command[n - m - 1] == '/');
}

void look_port(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->process_count; i++) {
		const char *c = v->process[i].command;
		bool stock = runs(c, "nitro-cli") && strstr(c, "run-enclave") != NULL;
		if (stock || (runs(c, "socat") && strcasestr(c, "vsock-listen:9000") != NULL))
			finding_add(f, "process %ld listens on vsock port 9000: %.200s", v->process[i].pid, c);
	}
}

void look_socat(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->process_count; i++)
		if (runs(v->process[i].command, "socat") && strcasestr(v->process[i].command, "vsock") != NULL)
			finding_add(f, "process %ld bridges vsock: %.200s", v->process[i].pid, v->process[i].command);
	for (size_t i = 0; i < v->units.n; i++)
		if (strstr(v->units.at[i].text, "socat ") != NULL && strcasestr(v->units.at[i].text, "vsock") != NULL)
			finding_add(f, "%s runs socat as a bridge to vsock", v->units.at[i].name);
}

/* How many descriptors a process has, and how many of them are of this file. */
static unsigned count_fds(const struct host_view *v, long pid, const char *file, unsigned *ret_of_file)
{
	char dir[64], path[ROOTED_PATH_MAX];
	unsigned n = 0;
	*ret_of_file = 0;
	snprintf(dir, sizeof dir, "/proc/%ld/fd", pid);
	CLEANUP(close_dir) DIR *d = opendir(rooted_path(v->root, dir, path));
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char target[256];
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		n++;
		ssize_t len = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
		target[len > 0 ? len : 0] = '\0';
		*ret_of_file += strcmp(target, file) == 0;
	}
	return n;
}

/* One for each process at most: this is for running in an enclave or a guest too, where /dev/nsm is. */
void look_nsm(const struct host_view *v, struct findings *f)
{
	if (!small_file_exists(v->root, "/dev/nsm"))
		return;
	for (size_t i = 0; i < v->process_count; i++) {
		unsigned nsm;
		count_fds(v, v->process[i].pid, "/dev/nsm", &nsm);
		if (nsm > 1)
			finding_add(f, "process %ld has /dev/nsm open %u times: %.200s", v->process[i].pid, nsm, v->process[i].command);
	}
}

static bool is_ours(const char *command)
{
	return runs(command, "tee-rex") || runs(command, "tee-rex-prover") || runs(command, "tee-rex-launcher") || runs(command, "tee-rex-init");
}

void look_descriptors(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->process_count; i++) {
		char path[64], text[4096];
		uint64_t limit;
		unsigned ignored;
		snprintf(path, sizeof path, "/proc/%ld/limits", v->process[i].pid);
		if (!is_ours(v->process[i].command) || small_file_read(v->root, path, text, sizeof text) != 0 || !text_field_u64(text, "Max open files", &limit))
			continue;
		unsigned n = count_fds(v, v->process[i].pid, "", &ignored);
		if (n * UINT64_C(10) >= limit * 9)
			finding_add(f, "process %ld has %u of %llu descriptors open: %.200s", v->process[i].pid, n, (ull)limit, v->process[i].command);
	}
}

void look_oom(const struct host_view *v, struct findings *f)
{
	char text[DOCTOR_FILE_SIZE];
	uint64_t kills;
	if (small_file_read(v->root, "/proc/vmstat", text, sizeof text) == 0 && text_field_u64(text, "oom_kill ", &kills) && kills > 0)
		finding_add(f, "the kernel of this host has killed %llu processes for lack of memory since boot", (ull)kills);
}

/* The histories that tee-rex run keeps (host/history.h), read as data: they may be another machine's. */
void look_died(const struct host_view *v, struct findings *f)
{
	char path[ROOTED_PATH_MAX];
	CLEANUP(close_dir) DIR *d = opendir(rooted_path(v->root, "/var/lib/tee-rex/history", path));
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char file[512], text[8192], shown[800], dir[ROOTED_PATH_MAX];
		size_t n = strlen(e->d_name);
		if (n < 6 || n > 100 || strcmp(e->d_name + n - 5, ".json") != 0)
			continue;
		snprintf(file, sizeof file, "/var/lib/tee-rex/history/%s", e->d_name);
		if (small_file_read(v->root, file, text, sizeof text) != 0)
			continue;
		json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		const char *death = json_string_value(json_object_get(j, "death"));
		json_int_t death_ms = json_integer_value(json_object_get(j, "death_ms")), ended_ms = json_integer_value(json_object_get(j, "ended_ms"));
		bool running = json_is_true(json_object_get(j, "running"));
		snprintf(file, sizeof file, "/run/tee-rex/%.*s", (int)(n - 5), e->d_name);
		bool alive = run_dir_alive(rooted_path(v->root, file, dir));
		if (running && !alive)
			finding_add(f, "%.*s was killed, or the host was: its end was not written down", (int)(n - 5), e->d_name);
		else if (!running && death != NULL && death[0] != '\0' && death_ms > 0 && death_ms == ended_ms)
			finding_add(f, "%.*s ended by itself: %.300s", (int)(n - 5), e->d_name, text_escape(bytes_str(death), shown, sizeof shown));
		json_decref(j);
	}
}
