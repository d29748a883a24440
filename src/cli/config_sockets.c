#include "cli/config_sockets.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "host/settings.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

/* systemd takes addresses as we do, but for the prefix of paths; '%' would be a specifier. */
static bool stream_of(const char *listen, char *buf, size_t cap)
{
	const char *text = strncmp(listen, "unix:", 5) == 0 ? listen + 5 : listen;
	return strpbrk(text, "% \t\\\"'") == NULL && (size_t)snprintf(buf, cap, "%s", text) < cap;
}

static int write_one(const char *name, const struct gateway_options *o, const char *dir, struct err *err)
{
	char below[PATH_MAX], path[PATH_MAX + 16], stream[OPTION_LIST_MAX + 1][512];
	size_t n = 0;
	bool possible = strchr(name, '+') == NULL && stream_of(o->listen, stream[n++], sizeof stream[0]);
	for (size_t i = 0; possible && i < o->also_listen.n; i++)
		possible = stream_of(o->also_listen.value[i], stream[n++], sizeof stream[0]);
	if (!possible) {
		log_warn("config: no socket for \"%s\": its name or address cannot be one of the service manager's", name);
		return 0;
	}
	if ((size_t)snprintf(below, sizeof below, "%s/tee-rex-gateway@%s.socket.d", dir, name) >= sizeof below)
		return fail(err, ENAMETOOLONG, "%s", dir);
	snprintf(path, sizeof path, "%s/listen.conf", below);
	if (mkdir(below, 0755) != 0 && errno != EEXIST)
		return fail(err, errno, "make the directory %s", below);
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || dprintf(fd, "# from the configuration of \"%s\"\n[Socket]\nListenStream=\n", name) < 0)
		return fail(err, errno, "write %s", path);
	for (size_t i = 0; i < n; i++)
		if (dprintf(fd, "ListenStream=%s\n", stream[i]) < 0)
			return fail(err, errno, "write %s", path);
	return 0;
}

int config_sockets(const char *from, const char *dir, struct err *err)
{
	CLEANUP(close_dir) DIR *d = opendir(from);
	int ret = d == NULL && errno != ENOENT ? fail(err, errno, "read %s", from) : 0;
	for (struct dirent *e; ret == 0 && d != NULL && (e = readdir(d)) != NULL;) {
		static struct settings s;
		struct settings_problems p;
		char path[PATH_MAX], name[72];
		size_t n = strlen(e->d_name);
		if (e->d_name[0] == '.' || n <= 5 || strcmp(e->d_name + n - 5, ".yaml") != 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", from, e->d_name);
		if (settings_load(path, &s, &p) < 0) {
			log_warn("config: no socket for %s: %s", e->d_name, p.at[0].text);
			continue;
		}
		if (s.gateway.listen != NULL)
			ret = write_one(settings_name(path, name, sizeof name), &s.gateway, dir, err);
		settings_close(&s);
	}
	return ret;
}
