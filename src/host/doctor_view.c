#include "host/doctor.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "linux/small_file.h"

#include <ctype.h>
#include <string.h>

const char *doctor_setting(const struct doctor_instance *i, const char *key)
{
	for (size_t n = 0; n < i->yaml.n; n++)
		if (i->yaml.entry[n].kind == YAML_SCALAR && strcmp(i->yaml.entry[n].key, key) == 0)
			return i->yaml.entry[n].value;
	return NULL;
}

static bool ends_with(const char *s, const char *tail)
{
	size_t n = strlen(s), m = strlen(tail);
	return n >= m && strcmp(s + n - m, tail) == 0;
}

/* Regular files of a directory with this ending; those too many or too large are left out. */
static int read_texts(const char *root, const char *dir, const char *tail, struct doctor_texts *t, struct err *err)
{
	char path[ROOTED_PATH_MAX];
	CLEANUP(close_dir) DIR *d = opendir(rooted_path(root, dir, path));
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL && t->n < DOCTOR_FILES_MAX;) {
		char file[ROOTED_PATH_MAX];
		if (!ends_with(e->d_name, tail) || strlen(e->d_name) >= sizeof t->at->name)
			continue;
		char *text = malloc(DOCTOR_FILE_SIZE);
		struct doctor_text *grown = realloc(t->at, (t->n + 1) * sizeof *grown);
		if (grown != NULL)
			t->at = grown;
		if (text == NULL || grown == NULL) {
			free(text);
			return fail(err, ENOMEM, "read %s", path);
		}
		snprintf(file, sizeof file, "%s/%s", dir, e->d_name);
		if (small_file_read(root, file, text, DOCTOR_FILE_SIZE) != 0) {
			free(text);
			continue;
		}
		strcpy(t->at[t->n].name, e->d_name);
		t->at[t->n++].text = text;
	}
	return 0;
}

static void free_texts(struct doctor_texts *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->at[i].text);
	free(t->at);
}

static int read_processes(struct host_view *v, struct err *err)
{
	char path[ROOTED_PATH_MAX], file[64], text[512];
	CLEANUP(close_dir) DIR *d = opendir(rooted_path(v->root, "/proc", path));
	v->process = malloc(DOCTOR_PROCESSES_MAX * sizeof *v->process);
	if (v->process == NULL)
		return fail(err, ENOMEM, "read %s", path);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL && v->process_count < DOCTOR_PROCESSES_MAX;) {
		uint64_t pid;
		if (!text_to_u64(bytes_str(e->d_name), INT32_MAX, &pid))
			continue;
		snprintf(file, sizeof file, "/proc/%llu/cmdline", (unsigned long long)pid);
		rooted_path(v->root, file, path);
		CLEANUP(close_file) FILE *f = fopen(path, "re");
		size_t n = f == NULL ? 0 : fread(text, 1, sizeof text - 1, f);
		if (n == 0)
			continue;                /* a kernel thread, or gone */
		for (size_t i = 0; i < n; i++)
			if (text[i] == '\0')
				text[i] = ' ';
		while (n > 0 && isspace((unsigned char)text[n - 1]))
			n--;
		text[n] = '\0';
		struct doctor_process *p = &v->process[v->process_count++];
		p->pid = (long)pid;
		text_escape(bytes_of(text, n), p->command, sizeof p->command);
	}
	return 0;
}

static int read_instances(struct host_view *v, struct err *err)
{
	char path[ROOTED_PATH_MAX];
	CLEANUP(close_dir) DIR *d = opendir(rooted_path(v->root, "/etc/tee-rex", path));
	v->wants_nitro = true;
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL && v->instance_count < DOCTOR_FILES_MAX;) {
		if (e->d_name[0] == '.' || !ends_with(e->d_name, ".yaml") || strlen(e->d_name) >= sizeof v->instance->name)
			continue;
		struct doctor_instance *grown = realloc(v->instance, (v->instance_count + 1) * sizeof *grown);
		if (grown == NULL)
			return fail(err, ENOMEM, "read %s", path);
		v->instance = grown;
		struct doctor_instance *i = &v->instance[v->instance_count];
		*i = (struct doctor_instance){ .name = "" };
		snprintf(i->name, sizeof i->name, "%.*s", (int)(strlen(e->d_name) - 5), e->d_name);
		snprintf(i->path, sizeof i->path, "/etc/tee-rex/%s.yaml", i->name);
		i->readable = yaml_file_load(rooted_path(v->root, i->path, path), &i->yaml, &i->why) == 0;
		if (!i->readable)
			i->yaml = (struct yaml_file){ .n = 0 };
		v->instance_count++;
	}
	size_t simulated = 0;
	for (size_t n = 0; n < v->instance_count; n++) {
		const char *backend = doctor_setting(&v->instance[n], "enclave.backend");
		simulated += backend != NULL && strcmp(backend, "nitro") != 0;
	}
	v->wants_nitro = v->instance_count == 0 || simulated < v->instance_count;
	return 0;
}

int host_view_read(const char *root, struct host_view *ret, struct err *err)
{
	struct err why;
	*ret = (struct host_view){ .root = root, .now_ms = clock_wall_ms() };
	ret->state = malloc(sizeof *ret->state);
	if (ret->state == NULL)
		return fail(err, ENOMEM, "read the state of the host");
	if (host_state_read(root, ret->state, &ret->state_why) < 0) {
		free(ret->state);
		ret->state = NULL;
	}
	if (reserve_record_load(root, &ret->record, &ret->has_record, &why) < 0)
		ret->has_record = false;
	allocator_view_read(root, ret->has_record ? &ret->record : NULL, &ret->allocator);
	int r = read_texts(root, "/etc/systemd/system", ".service", &ret->units, err);
	if (r == 0)
		r = read_texts(root, "/etc/sysctl.d", ".conf", &ret->sysctls, err);
	if (r == 0)
		r = read_texts(root, "/etc", "sysctl.conf", &ret->sysctls, err);
	if (r == 0)
		r = read_processes(ret, err);
	return r == 0 ? read_instances(ret, err) : r;
}

void host_view_close(struct host_view *v)
{
	free(v->state);
	free_texts(&v->units);
	free_texts(&v->sysctls);
	free(v->process);
	for (size_t i = 0; i < v->instance_count; i++)
		yaml_file_close(&v->instance[i].yaml);
	free(v->instance);
	*v = (struct host_view){ .root = NULL };
}
