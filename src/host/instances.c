#include "host/instances.h"

#include "base/cleanup.h"
#include "format/frame.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define SETTINGS_DIR "/etc/tee-rex"

int instance_find(const char *name, struct instance *ret, struct err *err)
{
	char base[RUN_DIR_MAX], path[PATH_MAX];
	struct instance i = { .state = INSTANCE_STOPPED };
	struct err why;
	struct stat st;
	if (!version_name_valid(bytes_str(name)))
		return fail(err, 0, "\"%.60s\" is no name of an instance: letters, digits and . _ + - (at most %d)", name, FRAME_VERSION_MAX);
	int ret_base = run_dir_base(base, sizeof base, err);
	if (ret_base < 0)
		return ret_base;
	snprintf(i.name, sizeof i.name, "%s", name);
	if ((size_t)snprintf(i.dir, sizeof i.dir, "%s/%s", base, name) >= sizeof i.dir)
		return fail(err, ENAMETOOLONG, "%s/%s", base, name);
	snprintf(path, sizeof path, SETTINGS_DIR "/%s.yaml", name);
	i.configured = access(path, F_OK) == 0;
	bool dir = lstat(i.dir, &st) == 0 && S_ISDIR(st.st_mode);
	if (history_load(name, &i.history, &why) < 0)
		i.history = (struct history){ 0 };
	if (dir && run_dir_alive(i.dir))
		i.state = INSTANCE_ALIVE;
	else if (i.history.running)
		i.state = INSTANCE_KILLED;
	else if (i.history.death_ms != 0 && i.history.death_ms == i.history.ended_ms)
		i.state = INSTANCE_FAILED;
	i.left_over = dir && i.state != INSTANCE_ALIVE;
	if (!dir && !i.configured && i.history.starts == 0) {
		fail(err, 0, "there is no instance \"%s\": it does not run, never did, and there is no %s", name, path);
		return -ENOENT;
	}
	*ret = i;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct instance *)a)->name, ((const struct instance *)b)->name);
}

/* Every NAME (of NAME.yaml, when there is a suffix) in a directory that is not known yet. */
static void add_from(const char *path, const char *suffix, struct instance *all, size_t cap, size_t *n)
{
	CLEANUP(close_dir) DIR *d = opendir(path);
	struct err ignored;
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL && *n < cap;) {
		char name[INSTANCE_NAME_SIZE];
		size_t len = strlen(e->d_name), tail = strlen(suffix), i = 0;
		if (e->d_name[0] == '.' || len <= tail || len - tail >= sizeof name || strcmp(e->d_name + len - tail, suffix) != 0)
			continue;
		memcpy(name, e->d_name, len - tail);
		name[len - tail] = '\0';
		while (i < *n && strcmp(all[i].name, name) != 0)
			i++;
		if (i == *n && instance_find(name, &all[*n], &ignored) == 0)
			++*n;
	}
}

int instances_list(struct instance *ret, size_t cap, size_t *ret_n, struct err *err)
{
	char base[RUN_DIR_MAX];
	int bad = run_dir_base(base, sizeof base, err);
	*ret_n = 0;
	if (bad < 0)
		return bad;
	add_from(base, "", ret, cap, ret_n);
	add_from(SETTINGS_DIR, ".yaml", ret, cap, ret_n);
	qsort(ret, *ret_n, sizeof *ret, by_name);
	return 0;
}
