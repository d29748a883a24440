/* tee-rex config: the configuration of instances. check says what is wrong with it, show what holds and why, example
 * writes a file to start from, keys the table that all of it comes from. */
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/config_sockets.h"
#include "cli/json_out.h"
#include "host/settings.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define SETTINGS_DIR "/etc/tee-rex"
enum { FILES_MAX = 32 };

struct config_args { bool json; };

static const struct option_spec options[] = {
	{ 0, "json", OPT_FLAG, offsetof(struct config_args, json), NULL, "print one JSON object" },
	OPTIONS_HELP,
	OPTIONS_END
};

static const struct setting *row_at(size_t i) { size_t n; return &settings_table(&n)[i]; }
static size_t row_count(void) { size_t n; settings_table(&n); return n; }
static bool is_list(const struct setting *t) { return t->type == SETTING_RANGES || t->type == SETTING_PCRS || t->type == SETTING_ADDRESSES; }

/* --- one value ------------------------------------------------------------------------------------------------- */

static json_t *value_json(const struct settings *s, const struct setting *t)
{
	const void *at = (const char *)s + t->offset;
	if (t->type == SETTING_NUMBER)
		return json_integer((json_int_t) *(const uint64_t *)at);
	if (t->type == SETTING_SWITCH)
		return json_boolean(*(const bool *)at);
	if (is_list(t)) {
		const struct option_list *l = at;
		json_t *list = json_array();
		for (size_t i = 0; i < l->n; i++)
			json_array_append_new(list, json_string(l->value[i]));
		return list;
	}
	const char *text = *(const char *const *)at;
	return text != NULL ? json_string(text) : json_null();
}

/* As YAML: what this prints, reads back as the same. A text is quoted, which JSON's form of a string is. */
static void print_value(const struct settings *s, const struct setting *t)
{
	json_t *v = value_json(s, t);
	char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	printf("%s", text != NULL ? text : "null");
	free(text);
	json_decref(v);
}

/* What holds when the file does not say: the number itself, or words for it. */
static void put_default(char *buf, size_t cap, const struct setting *t)
{
	static const struct settings defaults = SETTINGS_DEFAULTS;
	json_t *v = value_json(&defaults, t);
	char *text = json_dumps(v, JSON_ENCODE_ANY);
	if (t->fallback != NULL)
		snprintf(buf, cap, "%s", t->fallback);
	else
		snprintf(buf, cap, "%s", t->type == SETTING_CHOICE ? *(const char *const *)(const void *)((const char *)&defaults + t->offset)
		                                                   : text != NULL ? text : "");
	free(text);
	json_decref(v);
}

static bool opens_section(size_t i)
{
	const char *key = row_at(i)->key;
	size_t n = strcspn(key, ".");
	return i == 0 || strncmp(row_at(i - 1)->key, key, n + 1) != 0;
}

static void print_section(size_t i)
{
	const char *key = row_at(i)->key;
	if (opens_section(i))
		printf("%s%.*s:\n", i > 0 ? "\n" : "", (int)strcspn(key, "."), key);
}

/* --- show ------------------------------------------------------------------------------------------------------- */

/* What the file says as it is, what it does not say as comments: so this reads back as the same. */
static void show_text(const char *path, const struct settings *s)
{
	printf("# what holds for %s; the comments are defaults\n", path);
	for (size_t i = 0; i < row_count(); i++) {
		const struct setting *t = row_at(i);
		char fallback[160];
		print_section(i);
		put_default(fallback, sizeof fallback, t);
		if (!settings_given(s, i)) {
			printf("  #%s: %s\n", strchr(t->key, '.') + 1, fallback);
			continue;
		}
		printf("  %s: ", strchr(t->key, '.') + 1);
		print_value(s, t);
		printf("   # line %u\n", s->line[i]);
	}
}

static json_t *show_json(const char *path, const struct settings *s)
{
	json_t *keys = json_object(), *whole = json_pack("{s:s, s:o}", "file", path, "settings", keys);
	for (size_t i = 0; i < row_count(); i++)
		json_object_set_new(keys, row_at(i)->key, json_pack("{s:o, s:o}", "value", value_json(s, row_at(i)), "line",
		                    settings_given(s, i) ? json_integer(s->line[i]) : json_null()));
	return whole;
}

static int show(const char *word, bool json)
{
	static struct settings s;
	struct settings_problems p;
	char path[PATH_MAX];
	if (settings_path(word, path, sizeof path, &p.at[0]) < 0) {
		fprintf(stderr, "tee-rex config show: %s\n", p.at[0].text);
		return 2;
	}
	if (settings_load(path, &s, &p) < 0) {
		for (size_t i = 0; i < p.n && i < SETTINGS_PROBLEMS_MAX; i++)
			fprintf(stderr, "tee-rex config show: %s\n", p.at[i].text);
		return 1;
	}
	if (json)
		json_out(show_json(path, &s));
	else
		show_text(path, &s);
	settings_close(&s);
	return 0;
}

/* --- check ------------------------------------------------------------------------------------------------------ */

static struct checked { char path[PATH_MAX]; struct settings s; struct settings_problems p; } files[FILES_MAX];
static size_t file_count;

static void add_problem(struct checked *c, const char *what)
{
	if (c->p.n < SETTINGS_PROBLEMS_MAX)
		snprintf(c->p.at[c->p.n].text, sizeof c->p.at[0].text, "%s", what);
	c->p.n++;
}

static bool same(const char *a, const char *b) { return a != NULL && b != NULL && strcmp(a, b) == 0; }

/* What two instances cannot both have. */
static void check_pair(const struct checked *a, struct checked *b)
{
	char what[512] = "";
	if (same(a->s.gateway.listen, b->s.gateway.listen))
		snprintf(what, sizeof what, "%.200s: gateway.listen: %.200s has the same", b->path, a->path);
	else if (same(a->s.gateway.metrics, b->s.gateway.metrics))
		snprintf(what, sizeof what, "%.200s: gateway.metrics: %.200s has the same", b->path, a->path);
	else if (a->s.enclave.cid != 0 && a->s.enclave.cid == b->s.enclave.cid)
		snprintf(what, sizeof what, "%.200s: enclave.cid: %.200s has the same", b->path, a->path);
	if (what[0] != '\0')
		add_problem(b, what);
}

static int is_settings_file(const struct dirent *d)
{
	size_t n = strlen(d->d_name);
	return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".yaml") == 0;
}

/* Every instance of this host. */
static int add_all(struct err *err)
{
	struct dirent **names;
	int n = scandir(SETTINGS_DIR, &names, is_settings_file, alphasort);
	if (n < 0)
		return errno == ENOENT ? 0 : fail(err, errno, "read %s", SETTINGS_DIR);
	for (int i = 0; i < n; i++) {
		if (file_count < FILES_MAX)
			snprintf(files[file_count++].path, PATH_MAX, SETTINGS_DIR "/%s", names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return n > FILES_MAX ? fail(err, 0, "more than %d instances in %s", FILES_MAX, SETTINGS_DIR) : 0;
}

static int check(const char *const *words, size_t n, bool json)
{
	struct err err;
	size_t bad = 0;
	int ret = n == 0 ? add_all(&err) : 0;
	for (size_t i = 0; ret == 0 && i < n; i++)
		ret = settings_path(words[i], files[file_count++].path, PATH_MAX, &err);
	if (ret < 0) {
		fprintf(stderr, "tee-rex config check: %s\n", err.text);
		return 2;
	}
	for (size_t i = 0; i < file_count; i++)
		settings_load(files[i].path, &files[i].s, &files[i].p);
	for (size_t i = 0; i < file_count; i++)
		for (size_t j = 0; j < i; j++)
			if (files[i].p.n == 0 && files[j].p.n == 0 && strcmp(files[i].path, files[j].path) != 0)
				check_pair(&files[j], &files[i]);
	json_t *list = json_array();
	for (size_t i = 0; i < file_count; i++) {
		const struct checked *c = &files[i];
		json_t *problems = json_array();
		for (size_t j = 0; j < c->p.n && j < SETTINGS_PROBLEMS_MAX; j++) {
			json_array_append_new(problems, json_string(c->p.at[j].text));
			fprintf(stderr, "%s\n", c->p.at[j].text);
		}
		if (c->p.n > SETTINGS_PROBLEMS_MAX)
			fprintf(stderr, "%s: and %zu more\n", c->path, c->p.n - SETTINGS_PROBLEMS_MAX);
		json_array_append_new(list, json_pack("{s:s, s:b, s:o}", "file", c->path, "ok", c->p.n == 0, "problems", problems));
		bad += c->p.n > 0;
		if (!json && c->p.n == 0)
			printf("%s: ok\n", c->path);
	}
	if (json)
		json_out(json_pack("{s:b, s:o}", "ok", bad == 0, "files", list));
	else
		json_decref(list);
	if (file_count == 0)
		fprintf(stderr, "tee-rex config check: %s holds no NAME.yaml; tee-rex config example writes one\n", SETTINGS_DIR);
	return bad > 0 ? 1 : 0;
}

/* --- example, keys ------------------------------------------------------------------------------------------------- */

static void put_range(char *buf, size_t cap, const struct setting *t)
{
	static const char *const type[] = {
		[SETTING_TEXT] = "text", [SETTING_PATH] = "absolute path", [SETTING_ADDRESS] = "ADDR:PORT or unix:PATH", [SETTING_SERVICE] = "unix:PATH",
		[SETTING_SWITCH] = "true or false", [SETTING_ADDRESSES] = "list of ADDR:PORT or unix:PATH",
		[SETTING_RANGES] = "list of ADDR, ADDR/BITS or unix", [SETTING_PCRS] = "list of N=HEX",
	};
	if (t->type == SETTING_NUMBER)
		snprintf(buf, cap, "%" PRIu64 " to %" PRIu64 "%s%s", t->min, t->max, t->unit != UNIT_NONE ? " " : "", setting_unit_name(t->unit));
	else
		snprintf(buf, cap, "%s", t->type == SETTING_CHOICE ? t->allowed : type[t->type]);
}

static void example(void)
{
	printf("# /etc/tee-rex/NAME.yaml: the instance NAME. Everything here is a comment that says the default; tee-rex.yaml(5)\n"
	       "# says more. tee-rex config check NAME looks it over.\n");
	for (size_t i = 0; i < row_count(); i++) {
		const struct setting *t = row_at(i);
		char range[96], fallback[160];
		put_range(range, sizeof range, t);
		put_default(fallback, sizeof fallback, t);
		if (opens_section(i))
			printf("\n%.*s:\n", (int)strcspn(t->key, "."), t->key);
		printf("  # %s (%s)\n  #%s: %s\n", t->help, range, strchr(t->key, '.') + 1, fallback);
	}
}

static int keys(bool json)
{
	static const char *const type[] = {
		[SETTING_TEXT] = "text", [SETTING_PATH] = "path", [SETTING_CHOICE] = "choice", [SETTING_ADDRESS] = "address", [SETTING_SERVICE] = "service",
		[SETTING_NUMBER] = "number", [SETTING_SWITCH] = "switch", [SETTING_ADDRESSES] = "addresses", [SETTING_RANGES] = "ranges", [SETTING_PCRS] = "registers",
	};
	json_t *list = json_array();
	for (size_t i = 0; i < row_count(); i++) {
		const struct setting *t = row_at(i);
		char range[96], fallback[160];
		put_range(range, sizeof range, t);
		put_default(fallback, sizeof fallback, t);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*}", "key", t->key, "type", type[t->type], "allowed", range, "default", fallback, "help", t->help,
		                                      "option", t->option));
		if (!json)
			printf("%s\n    %s. Allowed: %s. Default: %s.\n", t->key, t->help, range, fallback);
	}
	if (json)
		json_out(json_pack("{s:o}", "keys", list));
	else
		json_decref(list);
	return 0;
}

/* --- the actions ------------------------------------------------------------------------------------------------------ */

enum action { CHECK, SHOW, EXAMPLE, KEYS, SOCKETS, ACTION_COUNT };
static const struct { const char *name, *synopsis, *about; size_t least, most; } actions[ACTION_COUNT] = {
	[CHECK] = { "check", "[NAME|FILE]... [OPTIONS]", "Checks configurations; without an argument, those of all instances in /etc/tee-rex.", 0, FILES_MAX },
	[SHOW] = { "show", "NAME|FILE [OPTIONS]", "Prints what holds, line by line: from the file or by default.", 1, 1 },
	[EXAMPLE] = { "example", "", "Prints a configuration to start from, with every key.", 0, 0 },
	[KEYS] = { "keys", "[OPTIONS]", "Prints every key, what it takes and what holds without it.", 0, 0 },
	[SOCKETS] = { "sockets", "DIR", "Writes the addresses of the gateways' sockets into DIR, for the service manager.", 1, 1 },
};

static int act(enum action action, int argc, char **argv)
{
	struct config_args a = { 0 };
	const char *words[FILES_MAX];
	struct err err;
	size_t n = 0;
	char command[32];
	snprintf(command, sizeof command, "config %s", actions[action].name);
	enum option_result r = options_parse(options, &a, argc, argv, words, actions[action].most, &n, &err);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, command, actions[action].synopsis, actions[action].about, options);
		return 0;
	}
	if (r == OPTIONS_OK && n < actions[action].least) {
		fail(&err, 0, action == SOCKETS ? "one argument is wanted: a directory" : "one argument is wanted: the NAME of an instance, or a FILE");
		r = OPTIONS_USAGE;
	}
	if (r == OPTIONS_USAGE) {
		fprintf(stderr, "tee-rex %s: %s\n", command, err.text);
		return 2;
	}
	switch (action) {
	case CHECK: return check(words, n, a.json);
	case SHOW: return show(words[0], a.json);
	case EXAMPLE: example(); return 0;
	case KEYS: return keys(a.json);
	case SOCKETS:
		if (config_sockets(SETTINGS_DIR, words[0], &err) == 0)
			return 0;
		fprintf(stderr, "tee-rex config sockets: %s\n", err.text);
		return 1;
	case ACTION_COUNT: break;
	}
	return 2;
}

static void help(FILE *to)
{
	fprintf(to, "Usage: tee-rex config ACTION [OPTIONS]\n\nThe configuration of instances, /etc/tee-rex/NAME.yaml.\n\nActions:\n");
	for (size_t i = 0; i < ACTION_COUNT; i++)
		fprintf(to, "  %-10s %s\n", actions[i].name, actions[i].about);
	fprintf(to, "\ntee-rex config ACTION --help says more about each.\n");
}

int config_main(int argc, char **argv)
{
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		help(stdout);
		return 0;
	}
	for (enum action i = (enum action)0; i < ACTION_COUNT && argc >= 2; i++)
		if (strcmp(argv[1], actions[i].name) == 0)
			return act(i, argc - 1, argv + 1);
	help(stderr);
	return 2;
}
