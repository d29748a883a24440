#include "base/options.h"

#include "base/text.h"

#include <string.h>

static bool help_as_json;        /* the help that was asked for is for a program */

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;
	return m < c ? m : c;
}

static size_t edit_distance(const char *a, const char *b)
{
	enum { MAX = 40 };
	size_t la = strlen(a), lb = strlen(b), row[MAX + 1];
	if (la > MAX || lb > MAX)
		return MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t up = row[j];
			row[j] = min3(up + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = up;
		}
	}
	return row[lb];
}

const char *nearest_word(const char *word, const char *const *candidates, size_t n)
{
	const char *best = NULL;
	size_t best_distance = 4;
	for (size_t i = 0; i < n; i++) {
		size_t d = edit_distance(word, candidates[i]);
		if (d < best_distance && d < strlen(candidates[i])) {
			best = candidates[i];
			best_distance = d;
		}
	}
	return best;
}

static int unknown_option(const struct option_spec *table, const char *arg, struct err *err)
{
	const char *names[64];
	size_t n = 0;
	for (; table->long_name != NULL && n < 64; table++)
		names[n++] = table->long_name;
	char word[64];
	snprintf(word, sizeof word, "%.*s", (int)strcspn(arg + 2, "="), arg[1] == '-' ? arg + 2 : "");
	const char *near = nearest_word(word, names, n);
	if (near != NULL)
		return fail(err, 0, "unknown option %s; did you mean --%s?", arg, near);
	return fail(err, 0, "unknown option %s; --help lists the options", arg);
}

static enum option_result store(const struct option_spec *o, void *args, const char *value, struct err *err)
{
	void *at = (char *)args + o->offset;
	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)at = true;
		return OPTIONS_OK;
	case OPT_STRING:
		*(const char **)at = value;
		return OPTIONS_OK;
	case OPT_U64:
	case OPT_MIB:
		if (text_to_u64(bytes_str(value), UINT64_MAX, (uint64_t *)at))
			return OPTIONS_OK;
		fail(err, 0, "--%s wants a whole number%s, not \"%.40s\"", o->long_name,
		     o->kind == OPT_MIB ? " of MiB" : "", value);
		return OPTIONS_USAGE;
	case OPT_LIST: {
		struct option_list *list = at;
		if (list->n == OPTION_LIST_MAX) {
			fail(err, 0, "--%s was given more than %d times", o->long_name, OPTION_LIST_MAX);
			return OPTIONS_USAGE;
		}
		list->value[list->n++] = value;
		return OPTIONS_OK;
	}
	case OPT_HELP:
		return OPTIONS_WANT_HELP;
	}
	return OPTIONS_USAGE;
}

static const struct option_spec *find_option(const struct option_spec *t, const char *arg, const char **ret_value)
{
	*ret_value = NULL;
	for (; t->long_name != NULL; t++) {
		if (arg[1] != '-') {
			if (t->short_name == arg[1] && arg[2] == '\0')
				return t;
			if (t->short_name == arg[1] && t->value_name != NULL) {
				*ret_value = arg + 2;
				return t;
			}
			continue;
		}
		size_t n = strlen(t->long_name);
		if (strncmp(arg + 2, t->long_name, n) == 0 && (arg[2 + n] == '\0' || arg[2 + n] == '=')) {
			*ret_value = arg[2 + n] == '=' ? arg + 3 + n : NULL;
			return t;
		}
	}
	return NULL;
}

enum option_result options_parse(const struct option_spec *table, void *args, int argc, char **argv,
                                 const char **positional, size_t positional_max, size_t *ret_n,
                                 struct err *err)
{
	size_t n = 0;
	bool options_over = false;
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];
		if (!options_over && strcmp(arg, "--") == 0) {
			options_over = true;
			continue;
		}
		if (options_over || arg[0] != '-' || arg[1] == '\0') {
			if (n == positional_max) {
				fail(err, 0, "unexpected argument \"%.60s\"", arg);
				return OPTIONS_USAGE;
			}
			positional[n++] = arg;
			continue;
		}
		const char *value;
		const struct option_spec *o = find_option(table, arg, &value);
		if (o == NULL) {
			unknown_option(table, arg, err);
			return OPTIONS_USAGE;
		}
		if (o->kind == OPT_HELP && value != NULL && strcmp(value, "json") == 0)
			help_as_json = true;
		else if (o->value_name == NULL && value != NULL) {
			fail(err, 0, "--%s takes no value", o->long_name);
			return OPTIONS_USAGE;
		}
		if (o->value_name != NULL && value == NULL) {
			if (i + 1 == argc) {
				fail(err, 0, "--%s wants a value (%s)", o->long_name, o->value_name);
				return OPTIONS_USAGE;
			}
			value = argv[++i];
		}
		enum option_result r = store(o, args, value, err);
		if (r != OPTIONS_OK)
			return r;
	}
	*ret_n = n;
	return OPTIONS_OK;
}

static void print_json_string(FILE *to, const char *s)
{
	static uint8_t buf[8192];
	struct writer w = writer_of(buf, sizeof buf);
	put_json_string(&w, bytes_str(s));
	fwrite(buf, 1, writer_bytes(&w).n, to);
}

/* For what is made from the tables: manual pages, completion. */
static void print_json(FILE *to, const char *command, const char *synopsis, const char *about, const struct option_spec *t)
{
	const char *const texts[] = { "command", command, "synopsis", synopsis, "about", about };
	for (size_t i = 0; i < 6; i += 2) {
		fprintf(to, "%s\"%s\":", i == 0 ? "{" : ",", texts[i]);
		print_json_string(to, texts[i + 1]);
	}
	fprintf(to, ",\"options\":[");
	for (const char *before = ""; t->long_name != NULL; t++, before = ",") {
		fprintf(to, "%s{\"short\":\"%.1s\",\"long\":\"%s\",\"many\":%s,\"value\":", before, &t->short_name, t->long_name,
		        t->kind == OPT_LIST ? "true" : "false");
		print_json_string(to, t->value_name != NULL ? t->value_name : "");
		fprintf(to, ",\"help\":");
		print_json_string(to, t->help);
		putc('}', to);
	}
	fprintf(to, "]}\n");
}

void options_help(FILE *to, const char *command, const char *synopsis, const char *about,
                  const struct option_spec *t)
{
	bool whole = strncmp(command, "tee-rex", 7) == 0;
	if (help_as_json) {
		print_json(to, command, synopsis, about, t);
		return;
	}
	fprintf(to, "Usage: %s%s %s\n\n%s\n\nOptions:\n", whole ? "" : "tee-rex ", command, synopsis, about);
	for (; t->long_name != NULL; t++) {
		char left[64];
		snprintf(left, sizeof left, "%c%c%s--%s%s%s", t->short_name ? '-' : ' ',
		         t->short_name ? t->short_name : ' ', t->short_name ? ", " : "  ", t->long_name,
		         t->value_name ? " " : "", t->value_name ? t->value_name : "");
		fprintf(to, "  %-28s %s\n", left, t->help);
	}
}
