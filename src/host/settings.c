/* A file is read to its end before anything is said, so that one look shows all that is wrong with it: first what each
 * line says, then what the lines say together. */
#include "host/settings.h"

#include "base/text.h"
#include "format/frame.h"
#include "host/settings_value.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int problem(struct settings_problems *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int problem(struct settings_problems *p, const char *fmt, ...)
{
	if (p->n < SETTINGS_PROBLEMS_MAX) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(p->at[p->n].text, sizeof p->at[p->n].text, fmt, ap);
		va_end(ap);
	}
	p->n++;
	return -EINVAL;
}

static size_t row_of(const char *key)
{
	size_t n, i = 0;
	const struct setting *table = settings_table(&n);
	while (i < n && strcmp(table[i].key, key) != 0)
		i++;
	return i;
}

/* --- each line ------------------------------------------------------------------------------------------------ */

static bool section_known(const char *name)
{
	size_t n, len = strlen(name);
	const struct setting *table = settings_table(&n);
	for (size_t i = 0; i < n; i++)
		if (strncmp(table[i].key, name, len) == 0 && table[i].key[len] == '.')
			return true;
	return false;
}

/* The names after the last dot, of one section or (NULL) of all; and the sections themselves. */
static size_t keys_of(const char *section, const char **words, char sections[][16], size_t *ret_sections)
{
	size_t n, count = 0, section_count = 0;
	const struct setting *table = settings_table(&n);
	for (size_t i = 0; i < n; i++) {
		size_t len = strcspn(table[i].key, ".");
		if (section_count == 0 || strncmp(sections[section_count - 1], table[i].key, len) != 0)
			snprintf(sections[section_count++], 16, "%.*s", (int)len, table[i].key);
		if (section == NULL || (strlen(section) == len && strncmp(table[i].key, section, len) == 0))
			words[count++] = table[i].key + len + 1;
	}
	*ret_sections = section_count;
	return count;
}

enum { SECTIONS_MAX = 8 };

/* "; did you mean …?" for a key that there is not: in its section, in another one, or a section itself. */
static void unknown(const char *file, const struct yaml_entry *e, struct settings_problems *p)
{
	const char *words[SETTINGS_KEYS_MAX], *names[SECTIONS_MAX], *dot = strchr(e->key, '.');
	char sections[SECTIONS_MAX][16], section[YAML_KEY_MAX], folded[YAML_KEY_MAX];
	size_t section_count, count, n;
	const struct setting *table = settings_table(&n);
	const char *word = dot != NULL ? dot + 1 : e->key;
	snprintf(section, sizeof section, "%.*s", dot != NULL ? (int)(dot - e->key) : 0, e->key);
	snprintf(folded, sizeof folded, "%s", word);
	for (char *c = folded; *c != '\0'; c++)                  /* body-max-MIB, as on a command line */
		*c = *c == '-' ? '_' : *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
	keys_of(NULL, words, sections, &section_count);
	for (size_t i = 0; i < section_count; i++)
		names[i] = sections[i];
	if (dot == NULL) {
		const char *near = nearest_word(folded, names, section_count);
		if (e->kind == YAML_SECTION || near != NULL) {
			problem(p, "%s:%u: there is no section \"%s\"%s%s%s", file, e->line, e->key, near != NULL ? "; did you mean \"" : "",
			        near != NULL ? near : "", near != NULL ? "\"?" : "; tee-rex config example shows them");
			return;
		}
	}
	count = keys_of(dot != NULL ? section : NULL, words, sections, &section_count);
	const char *near = nearest_word(folded, words, count);
	/* without its unit, or with another one: "memory", "memory_gib"; or the beginning of a long name */
	size_t stem = strrchr(folded, '_') != NULL ? (size_t)(strrchr(folded, '_') - folded) : strlen(folded);
	for (size_t i = 0; near == NULL && i < count; i++)
		if (stem >= 3 && strncmp(words[i], folded, stem) == 0 && (words[i][stem] == '_' || words[i][stem] == '\0'))
			near = words[i];
	/* the right name in the wrong section */
	for (size_t i = 0; near == NULL && i < n; i++)
		if (strcmp(strchr(table[i].key, '.') + 1, folded) == 0) {
			problem(p, "%s:%u: there is no key %s; did you mean %s?", file, e->line, e->key, table[i].key);
			return;
		}
	const char *whole = NULL;
	for (size_t i = 0; near != NULL && i < n; i++)
		if (strchr(table[i].key, '.') + 1 == near)
			whole = table[i].key;
	problem(p, "%s:%u: there is no key %s%s%s%s", file, e->line, e->key, whole != NULL ? "; did you mean " : "",
	        whole != NULL ? whole : "", whole != NULL ? "?" : "; tee-rex config example shows all");
}

static void read_entries(const char *file, struct settings *s, struct settings_problems *p)
{
	size_t rows;
	const struct setting *table = settings_table(&rows);
	for (size_t i = 0, n; i < s->file.n; i += n) {
		const struct yaml_entry *e = &s->file.entry[i];
		struct err err;
		n = 1;
		while (i + n < s->file.n && s->file.entry[i + n].kind == YAML_ITEM)
			n++;
		size_t row = row_of(e->key);
		if (e->kind == YAML_SECTION && section_known(e->key))
			continue;
		if (row == rows && strchr(e->key, '.') == NULL && section_known(e->key)) {
			if (e->kind != YAML_SCALAR || e->value[0] != '\0')       /* all its lines may be comments */
				problem(p, "%s:%u: %s: a section is wanted, with its keys indented below it", file, e->line, e->key);
		} else if (row == rows)
			unknown(file, e, p);
		else if (setting_read(&table[row], e, n, s, &err) < 0)
			problem(p, "%s:%u: %s: %s", file, e->line, e->key, err.text);
		else
			s->line[row] = e->line;
	}
}

/* --- lines together --------------------------------------------------------------------------------------------- */

static bool given(const struct settings *s, const char *key) { return settings_given(s, row_of(key)); }
static bool of_process(const struct settings *s) { return strcmp(s->enclave.backend, "process") == 0; }
static bool of_nitro(const struct settings *s) { return strcmp(s->enclave.backend, "nitro") == 0; }

static bool image_of_process(const struct settings *s) { return of_process(s) && given(s, "enclave.image"); }
static bool memory_of_process(const struct settings *s) { return of_process(s) && given(s, "enclave.memory_mib"); }
static bool cpus_of_process(const struct settings *s) { return of_process(s) && given(s, "enclave.cpus"); }
static bool cid_of_process(const struct settings *s) { return of_process(s) && given(s, "enclave.cid"); }
static bool config_of_image(const struct settings *s) { return !of_process(s) && given(s, "enclave.config"); }
static bool pcrs_of_image(const struct settings *s) { return !of_process(s) && given(s, "enclave.pcrs"); }
static bool state_of_nitro(const struct settings *s) { return of_nitro(s) && given(s, "enclave.state"); }
static bool no_image(const struct settings *s) { return !of_process(s) && s->enclave.image == NULL && given(s, "enclave.backend"); }
static bool cid_reserved(const struct settings *s) { return s->enclave.cid >= 1 && s->enclave.cid <= 3; }
static bool memory_too_small(const struct settings *s) { return s->enclave.memory_mib > 0 && s->enclave.memory_mib < 64; }
/* the default of one beside a smaller other is no contradiction that somebody wrote */
static bool proves_over_connections(const struct settings *s) { return given(s, "gateway.proves_max") && s->gateway.proves_max > s->gateway.connections_max; }
static bool address_over_connections(const struct settings *s) { return s->gateway.connections_per_address_max > s->gateway.connections_max; }
static bool burst_without_rate(const struct settings *s) { return given(s, "gateway.prove_burst") && s->gateway.prove_rate == 0; }
static bool exempt_without_rate(const struct settings *s) { return given(s, "gateway.prove_rate_exempt") && s->gateway.prove_rate == 0; }
static bool metrics_in_public(const struct settings *s)
{
	return s->gateway.listen != NULL && s->gateway.metrics != NULL && strcmp(s->gateway.listen, s->gateway.metrics) == 0;
}

static const struct rule { bool (*broken)(const struct settings *s); const char *key, *what; } rules[] = {
	{ no_image, "enclave.backend", "this backend needs an image (enclave.image)" },
	{ image_of_process, "enclave.image", "the process backend runs plain programs, not an image; leave it out, or say backend: qemu" },
	{ memory_of_process, "enclave.memory_mib", "the process backend has no memory of its own; leave it out" },
	{ cpus_of_process, "enclave.cpus", "the process backend has no CPUs of its own; leave it out" },
	{ cid_of_process, "enclave.cid", "the process backend has no vsock; leave it out" },
	{ config_of_image, "enclave.config", "an image carries its measured configuration inside; only the process backend takes a file" },
	{ pcrs_of_image, "enclave.pcrs", "an image has the registers that it measures to; only the process backend takes presets" },
	{ state_of_nitro, "enclave.state", "real hardware has no test root; leave it out" },
	{ cid_reserved, "enclave.cid", "1 to 3 are reserved; from 4 on, or 0 for any" },
	{ memory_too_small, "enclave.memory_mib", "an enclave has at least 64 MiB; or 0, for what the image needs" },
	{ proves_over_connections, "gateway.proves_max", "more prove requests than connections (connections_max)" },
	{ address_over_connections, "gateway.connections_per_address_max", "more than all connections (connections_max)" },
	{ burst_without_rate, "gateway.prove_burst", "has no effect without prove_rate_per_minute" },
	{ exempt_without_rate, "gateway.prove_rate_exempt", "has no effect without prove_rate_per_minute" },
	{ metrics_in_public, "gateway.metrics", "the address of listen, where everybody could read them" },
};

static void check_together(const char *file, const struct settings *s, struct settings_problems *p)
{
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		uint32_t line = s->line[row_of(rules[i].key)];
		if (rules[i].broken(s))
			problem(p, "%s:%u: %s: %s", file, line != 0 ? line : 1, rules[i].key, rules[i].what);
	}
}

int settings_check_options(const struct settings *s, const char *section, struct err *err)
{
	size_t n, len = strlen(section);
	const struct setting *table = settings_table(&n);
	for (size_t i = 0; i < n; i++) {
		const struct setting *t = &table[i];
		const uint64_t *v = (const void *)((const char *)s + t->offset);
		if (t->type == SETTING_NUMBER && strncmp(t->key, section, len) == 0 && t->key[len] == '.' && (*v < t->min || *v > t->max))
			return fail(err, 0, "--%s must be between %llu and %llu", t->option, (unsigned long long)t->min, (unsigned long long)t->max);
	}
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
		if (strncmp(rules[i].key, section, len) == 0 && rules[i].key[len] == '.' && rules[i].broken(s))
			return fail(err, 0, "--%s: %s", table[row_of(rules[i].key)].option, rules[i].what);
	return 0;
}

/* --- as options ----------------------------------------------------------------------------------------------------- */

static void add_words(struct settings_words *w, const char *option, const char *value)
{
	if (value == NULL)
		return;
	assert(w->n + 2 <= SETTINGS_WORDS_MAX);
	w->word[w->n++] = option;
	w->word[w->n++] = value;
}

void settings_words(const struct settings *s, const char *section, struct settings_words *ret)
{
	size_t n, len = strlen(section);
	const struct setting *table = settings_table(&n);
	ret->n = 0;
	for (size_t i = 0; i < n; i++) {
		const struct setting *t = &table[i];
		const void *at = (const char *)s + t->offset;
		if (!settings_given(s, i) || strncmp(t->key, section, len) != 0 || t->key[len] != '.')
			continue;
		assert(t->option != NULL);
		snprintf(ret->option[i], sizeof ret->option[i], "--%s", t->option);
		switch (t->type) {
		case SETTING_NUMBER:
			snprintf(ret->number[i], sizeof ret->number[i], "%llu", (unsigned long long)*(const uint64_t *)at);
			add_words(ret, ret->option[i], ret->number[i]);
			break;
		case SETTING_SWITCH:
			if (*(const bool *)at)
				ret->word[ret->n++] = ret->option[i];
			break;
		case SETTING_ADDRESSES:
		case SETTING_RANGES:
		case SETTING_PCRS: {
			const struct option_list *list = at;
			for (size_t j = 0; j < list->n; j++)
				add_words(ret, ret->option[i], list->value[j]);
			break;
		}
		default:
			add_words(ret, ret->option[i], *(const char *const *)at);
			break;
		}
	}
	ret->word[ret->n] = NULL;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

int settings_path(const char *name_or_file, char *buf, size_t cap, struct err *err)
{
	size_t n = strlen(name_or_file);
	bool file = strchr(name_or_file, '/') != NULL || (n > 5 && strcmp(name_or_file + n - 5, ".yaml") == 0) ||
	            (n > 4 && strcmp(name_or_file + n - 4, ".yml") == 0);
	if (!file && !version_name_valid(bytes_str(name_or_file)))
		return fail(err, 0, "\"%.60s\" is no name of an instance: letters, digits and . _ + - (at most %d)", name_or_file, FRAME_VERSION_MAX);
	if ((size_t)snprintf(buf, cap, file ? "%s" : "/etc/tee-rex/%s.yaml", name_or_file) >= cap)
		return fail(err, ENAMETOOLONG, "%.100s", name_or_file);
	return 0;
}

char *settings_name(const char *path, char *buf, size_t cap)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path, *dot = strrchr(base, '.');
	snprintf(buf, cap, "%.*s", dot != NULL ? (int)(dot - base) : (int)strlen(base), base);
	if (!version_name_valid(bytes_str(buf)))
		snprintf(buf, cap, "default");
	return buf;
}

static int settle(const char *name, struct yaml_file file, struct settings *ret, struct settings_problems *p)
{
	struct settings s = SETTINGS_DEFAULTS;
	s.file = file;
	read_entries(name, &s, p);
	if (p->n == 0)
		check_together(name, &s, p);
	if (p->n > 0) {
		settings_close(&s);
		return -EINVAL;
	}
	*ret = s;
	return 0;
}

int settings_parse(struct bytes text, const char *name, struct settings *ret, struct settings_problems *p)
{
	struct yaml_file file;
	p->n = 0;
	int bad = yaml_file_parse(text, name, &file, &p->at[0]);
	if (bad < 0)
		p->n = 1;
	return bad < 0 ? bad : settle(name, file, ret, p);
}

int settings_load(const char *path, struct settings *ret, struct settings_problems *p)
{
	struct yaml_file file;
	p->n = 0;
	int bad = yaml_file_load(path, &file, &p->at[0]);
	if (bad < 0)
		p->n = 1;
	return bad < 0 ? bad : settle(path, file, ret, p);
}

void settings_close(struct settings *s)
{
	yaml_file_close(&s->file);
}
