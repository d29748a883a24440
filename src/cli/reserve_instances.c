#include "cli/reserve_instances.h"

#include "host/settings.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static int is_configuration(const struct dirent *d)
{
	size_t n = strlen(d->d_name);
	return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".yaml") == 0;
}

static int add(const char *path, struct reserve_request *q, struct err *err)
{
	static struct settings s;
	struct settings_problems p;
	if (settings_load(path, &s, &p) < 0)
		return fail(err, 0, "%.400s", p.at[0].text);
	const struct settings_enclave *e = &s.enclave;
	int ret = 0;
	if (strcmp(e->backend, "nitro") != 0)
		ret = 0;
	else if (e->memory_mib == 0)
		ret = fail(err, 0, "%s does not say enclave.memory_mib; tee-rex size says what its image needs", path);
	else if (q->enclaves == RESERVE_ENCLAVES_MAX)
		ret = fail(err, 0, "%s is one too many: an instance of the cloud runs at most %d enclaves", path, RESERVE_ENCLAVES_MAX);
	else if (q->enclaves > 0 && (q->cpus == 0) != (e->cpus == 0))
		ret = fail(err, 0, "%s: enclave.cpus: say it in every configuration, or in none (a core for each)", path);
	else {
		q->enclave_mib[q->enclaves++] = e->memory_mib;
		q->cpus += e->cpus;
	}
	settings_close(&s);
	return ret;
}

int reserve_instances(const char *root, struct reserve_request *q, struct err *err)
{
	char dir[PATH_MAX], path[PATH_MAX + 300];
	struct dirent **names = NULL;
	snprintf(dir, sizeof dir, "%s/etc/tee-rex", root);
	int n = scandir(dir, &names, is_configuration, alphasort), ret = 0;
	if (n < 0 && errno != ENOENT)
		return fail(err, errno, "read %s", dir);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
		if (ret == 0)
			ret = add(path, q, err);
		free(names[i]);
	}
	free(names);
	if (ret == 0 && q->enclaves == 0)
		ret = fail(err, 0, "--instances: no configuration in %s has the backend nitro", dir);
	return ret;
}
