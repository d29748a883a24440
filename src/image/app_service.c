#include "image/app_service.h"

#include "base/text.h"

#include <stdlib.h>

static const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* --- arguments and environment ------------------------------------------------------------------------- */

static bool given(const struct option_list *l) { return l != NULL && l->n > 0; }

static bool add_argument(struct service *s, const char *text)
{
	if (s->arg_count == SERVICE_ARGS_MAX)
		return false;
	s->arg[s->arg_count++] = text;
	return true;
}

/* "--cmd ''" alone means none at all */
static bool add_given(struct service *s, const struct option_list *l)
{
	if (l->n == 1 && l->value[0][0] == '\0')
		return true;
	for (size_t i = 0; i < l->n; i++)
		if (!add_argument(s, l->value[i]))
			return false;
	return true;
}

static bool add_strings(struct service *s, const struct strings *v)
{
	for (size_t i = 0; i < v->n; i++)
		if (!add_argument(s, v->v[i]))
			return false;
	return true;
}

static enum image_code choose_arguments(const struct image_config *c, const struct app_overrides *o, struct service *s,
                                        struct err *err)
{
	bool fits = given(o->entrypoint) ? add_given(s, o->entrypoint) : add_strings(s, &c->entrypoint);
	if (fits && given(o->cmd))
		fits = add_given(s, o->cmd);
	else if (fits && !given(o->entrypoint))
		fits = add_strings(s, &c->cmd);
	if (!fits)
		return image_fail(err, IMAGE_BAD_SERVICE, 0, "it is started with more than %d arguments", SERVICE_ARGS_MAX);
	if (s->arg_count == 0 || s->arg[0][0] == '\0')
		return image_fail(err, IMAGE_NO_PROGRAM, 0, "the image says nothing about what to start (no ENTRYPOINT, no CMD); say it with "
		                  "--entrypoint or --service");
	return IMAGE_OK;
}

static size_t variable_name(const char *text) { return strcspn(text, "="); }

static uint32_t find_variable(const struct service *s, const char *text)
{
	uint32_t i = 0;
	size_t n = variable_name(text);
	while (i < s->env_count && (variable_name(s->env[i]) != n || memcmp(s->env[i], text, n) != 0))
		i++;
	return i;
}

static bool set_variable(struct service *s, const char *text)
{
	uint32_t i = find_variable(s, text);
	if (i == SERVICE_ENV_MAX)
		return false;
	s->env[i] = text;
	s->env_count += i == s->env_count;
	return true;
}

static void drop_variable(struct service *s, const char *name)
{
	uint32_t i = find_variable(s, name);
	if (i == s->env_count)
		return;
	memmove(s->env + i, s->env + i + 1, (s->env_count - i - 1) * sizeof s->env[0]);
	s->env[--s->env_count] = NULL;
}

static enum image_code choose_environment(const struct image_config *c, const struct app_overrides *o, struct app_service *a,
                                          struct service *s, struct err *err)
{
	snprintf(a->home, sizeof a->home, "HOME=%s", a->user.home);
	bool fits = set_variable(s, default_path) && set_variable(s, a->home);
	for (size_t i = 0; i < c->env.n && fits; i++)
		fits = set_variable(s, c->env.v[i]);
	for (size_t i = 0; given(o->env) && i < o->env->n && fits; i++) {
		const char *text = o->env->value[i];
		if (variable_name(text) == 0)
			return image_fail(err, IMAGE_BAD_SERVICE, 0, "--env wants NAME=VALUE or NAME, not \"%.60s\"", text);
		if (text[variable_name(text)] == '\0')
			drop_variable(s, text);
		else
			fits = set_variable(s, text);
	}
	return fits ? IMAGE_OK : image_fail(err, IMAGE_BAD_SERVICE, 0, "it has more than %d variables in its environment", SERVICE_ENV_MAX);
}

/* --- the program ------------------------------------------------------------------------------------------ */

static bool is_program(const struct tree *t, uint32_t node)
{
	const struct tree_inode *i = node != 0 ? tree_inode_of(t, node) : NULL;
	return i != NULL && S_ISREG(i->mode) && (i->mode & 0111) != 0;
}

/* The path of name in directory: the directory's own path without links, the name as it is, because programs look at the name
 * they are started by. False: there is no such program. */
static bool program_at(const struct tree *t, const char *directory, size_t n, const char *name, char buf[TREE_PATH_MAX + 2])
{
	size_t path_n;
	uint32_t node = tree_resolve(t, bytes_of(directory, n), true);
	if (node == 0 || name[0] == '\0' || !tree_is_directory(t, node) || !tree_path(t, node, buf + 1, TREE_PATH_MAX + 1, &path_n))
		return false;
	buf[0] = '/';
	path_n += path_n > 0;
	if (path_n + 1 + strlen(name) > TREE_PATH_MAX)
		return false;
	buf[path_n] = '/';
	strcpy(buf + path_n + 1, name);
	return is_program(t, tree_resolve(t, bytes_str(buf), true));
}

static bool find_in_path(const struct tree *t, const struct service *s, const char *name, char buf[TREE_PATH_MAX + 2])
{
	uint32_t i = find_variable(s, "PATH");
	const char *at = i < s->env_count ? s->env[i] + 5 : default_path + 5;
	for (size_t n = strcspn(at, ":");; at += n + 1, n = strcspn(at, ":")) {
		if (at[0] == '/' && program_at(t, at, n, name, buf))
			return true;
		if (at[n] == '\0')
			return false;
	}
}

static enum image_code choose_program(const struct tree *t, struct app_service *a, struct service *s, struct err *err)
{
	char directory[2 * TREE_PATH_MAX + 4];
	const char *word = s->arg[0], *slash = strrchr(word, '/');
	bool found;
	if (strlen(word) > TREE_PATH_MAX)
		return image_fail(err, IMAGE_NO_PROGRAM, 0, "the name of the program is too long");
	if (slash == NULL) {
		found = find_in_path(t, s, word, a->program);
	} else {
		int n = snprintf(directory, sizeof directory, "%s/%.*s", word[0] == '/' ? "" : s->workdir, (int)(slash - word), word);
		found = program_at(t, directory, (size_t)n, slash + 1, a->program);
	}
	if (!found)
		return image_fail(err, IMAGE_NO_PROGRAM, 0, "%.200s is to be started, but %s", word, slash == NULL ?
		                  "no directory of its PATH has such a program" : "the image has no such program (a file with an x bit)");
	s->arg[0] = a->program;
	return IMAGE_OK;
}

/* --- directories, user, ports --------------------------------------------------------------------------- */

enum image_code app_service_mount_points(struct rootfs *r, struct err *err)
{
	static const struct { const char *path; uint32_t mode; } needed[] = {
		{ "dev", 0755 }, { "proc", 0555 }, { "sys", 0555 }, { "run", 0755 }, { "tmp", 01777 },
	};
	enum image_code c = IMAGE_OK;
	for (size_t i = 0; i < sizeof needed / sizeof needed[0] && c == IMAGE_OK; i++)
		c = rootfs_make_directory(r, needed[i].path, needed[i].mode, err);
	return c == IMAGE_OK ? c : image_fail_in(err, c, "make the directories that every enclave has");
}

static enum image_code choose_workdir(struct rootfs *r, const char *path, struct app_service *a, struct service *s, struct err *err)
{
	if (path[0] == '\0')
		path = "/";
	if (path[0] != '/' || strlen(path) > TREE_PATH_MAX)
		return image_fail(err, IMAGE_BAD_SERVICE, 0, "the working directory %.100s is no absolute path", path);
	const char *plain = path + strspn(path, "/");
	size_t n = strlen(plain);
	while (n > 0 && plain[n - 1] == '/')
		n--;
	snprintf(a->workdir, sizeof a->workdir, "/%.*s", (int)n, plain);
	s->workdir = a->workdir;
	enum image_code c = rootfs_make_directory(r, a->workdir + 1, 0755, err);
	return c == IMAGE_OK ? c : image_fail_in(err, c, "the working directory");
}

static enum image_code choose_user(struct rootfs *r, const char *user, struct app_service *a, struct service *s, struct err *err)
{
	enum image_code c = rootfs_resolve_user(r, user, &a->user, err);
	if (c != IMAGE_OK)
		return c;
	if (a->user.group_count > SERVICE_GROUPS_MAX)
		return image_fail(err, IMAGE_BAD_SERVICE, 0, "the user %.60s is in more than %d groups", user, SERVICE_GROUPS_MAX);
	s->uid = a->user.uid;
	s->gid = a->user.gid;
	s->group_count = (uint32_t)a->user.group_count;
	memcpy(s->group, a->user.group, a->user.group_count * sizeof s->group[0]);
	return IMAGE_OK;
}

static bool add_bridge(struct service *s, uint64_t port, uint64_t tcp_port)
{
	if (s->bridge_count == SERVICE_BRIDGE_MAX)
		return false;
	s->bridge[s->bridge_count++] = (struct service_bridge){ (uint32_t)port, (uint16_t)tcp_port };
	return true;
}

/* "8080", "8080/tcp", "7000-7010/tcp". False: not TCP, or no port. */
static bool exposed_range(const char *text, uint64_t *ret_first, uint64_t *ret_last)
{
	size_t n = strcspn(text, "/"), dash = strcspn(text, "-/");
	if (text[n] == '/' && strcmp(text + n, "/tcp") != 0)
		return false;
	if (!text_to_u64(bytes_of(text, dash), UINT16_MAX, ret_first) || *ret_first == 0)
		return false;
	*ret_last = *ret_first;
	return dash == n || (text_to_u64(bytes_of(text + dash + 1, n - dash - 1), UINT16_MAX, ret_last) && *ret_last >= *ret_first);
}

static void bridge_exposed(const struct image_config *c, struct app_service *a, struct service *s)
{
	uint64_t first, last;
	for (size_t i = 0; i < c->exposed_ports.n; i++) {
		if (!exposed_range(c->exposed_ports.v[i], &first, &last)) {
			a->ports_left_out++;
			continue;
		}
		for (; first <= last; first++)
			a->ports_left_out += !add_bridge(s, first, first);
	}
}

static enum image_code choose_bridges(const struct image_config *c, const struct app_overrides *o, struct app_service *a,
                                      struct service *s, struct err *err)
{
	if (!given(o->bridge)) {
		bridge_exposed(c, a, s);
		return IMAGE_OK;
	}
	for (size_t i = 0; i < o->bridge->n; i++) {
		const char *text = o->bridge->value[i];
		size_t colon = strcspn(text, ":");
		uint64_t port, tcp;
		if (o->bridge->n == 1 && text[0] == '\0')
			break;
		if (!text_to_u64(bytes_of(text, colon), UINT32_MAX - 1, &port) || port == 0 ||
		    !text_to_u64(text[colon] == ':' ? bytes_str(text + colon + 1) : bytes_str(text), UINT16_MAX, &tcp) || tcp == 0)
			return image_fail(err, IMAGE_BAD_SERVICE, 0, "--bridge wants PORT or PORT:TCP_PORT, not \"%.40s\"", text);
		if (!add_bridge(s, port, tcp))
			return image_fail(err, IMAGE_BAD_SERVICE, 0, "at most %d ports are bridged", SERVICE_BRIDGE_MAX);
	}
	return IMAGE_OK;
}

enum image_code app_service_make(struct rootfs *r, const struct app_overrides *o, struct app_service *ret, struct err *err)
{
	const struct image_config *c = &r->source->config;
	service_table_defaults(&ret->table);
	struct service *s = &ret->table.service[0];
	service_defaults(s);
	ret->table.service_count = 1;
	s->name = "app";
	s->stop_signal = (uint32_t)c->stop_signal_number;
	s->grants = GRANT_CONTAINER_CAPABILITIES | (o->nsm ? (uint32_t)GRANT_NSM : 0);
	enum image_code code = choose_arguments(c, o, s, err);
	if (code == IMAGE_OK)
		code = choose_user(r, o->user != NULL ? o->user : c->user, ret, s, err);
	if (code == IMAGE_OK)
		code = choose_environment(c, o, ret, s, err);
	if (code == IMAGE_OK)
		code = choose_workdir(r, o->workdir != NULL ? o->workdir : c->working_dir, ret, s, err);
	if (code == IMAGE_OK)
		code = choose_program(r->tree, ret, s, err);
	if (code == IMAGE_OK)
		code = choose_bridges(c, o, ret, s, err);
	return code == IMAGE_OK ? app_service_mount_points(r, err) : code;
}

enum image_code app_service_check(struct rootfs *r, const struct service_table *t, struct err *err)
{
	for (uint32_t i = 0; i < t->service_count; i++) {
		const struct service *s = &t->service[i];
		if (s->root != SERVICE_ROOT_APP)
			continue;
		if (!is_program(r->tree, tree_resolve(r->tree, bytes_str(s->arg[0]), true)))
			return image_fail(err, IMAGE_NO_PROGRAM, 0, "service %s: the image has no program %.200s (a file with an x bit)", s->name,
			                  s->arg[0]);
		uint32_t at = tree_resolve(r->tree, bytes_str(s->workdir), true);
		if (at == 0 || !tree_is_directory(r->tree, at))
			return image_fail(err, IMAGE_BAD_DIRECTORY, 0, "service %s: the image has no directory %.200s", s->name, s->workdir);
	}
	return IMAGE_OK;
}
