#include "cli/settings_args.h"

#include "base/cleanup.h"

#include <limits.h>
#include <string.h>

static enum option_result usage(const char *command, const struct err *err)
{
	fprintf(stderr, "tee-rex %s: %s\n", command, err->text);
	return OPTIONS_USAGE;
}

static void keep_lists_apart(const struct option_spec *table, const void *given, void *args)
{
	for (; table->long_name != NULL; table++)
		if (table->kind == OPT_LIST && ((const struct option_list *)(const void *)((const char *)given + table->offset))->n > 0)
			((struct option_list *)(void *)((char *)args + table->offset))->n = 0;
}

/* What the command line said is given as much as what the file said. first: only the command line's, else zeros. */
static void mark_given(const struct settings *first, struct settings *s)
{
	static const uint8_t nothing[sizeof(uint64_t)];
	size_t n;
	const struct setting *t = settings_table(&n);
	for (size_t i = 0; i < n; i++) {
		const void *at = (const char *)first + t[i].offset;
		bool list = t[i].type == SETTING_RANGES || t[i].type == SETTING_PCRS || t[i].type == SETTING_ADDRESSES;
		size_t size = t[i].type == SETTING_NUMBER ? sizeof(uint64_t) : t[i].type == SETTING_SWITCH ? sizeof(bool) : sizeof(char *);
		if (list ? ((const struct option_list *)at)->n > 0 : memcmp(at, nothing, size) != 0)
			s->line[i] = SETTINGS_BY_OPTION;
	}
}

static bool is_image(const char *name)
{
	size_t n = strlen(name);
	return n > 4 && strcmp(name + n - 4, ".eif") == 0;
}

enum option_result settings_args_parse(const char *command, const struct option_spec *table, void *args, size_t size,
                                       int argc, char **argv)
{
	struct settings_args *a = args;
	struct settings_problems problems;
	const char *name[1];
	char path[PATH_MAX];
	struct err err;
	size_t n;
	bool takes_image = a->takes_image;
	/* once to find the file, and once to override what it says */
	CLEANUP(free_ptr) void *first = calloc(1, size);
	if (first == NULL) {
		fail(&err, ENOMEM, "read the options");
		return usage(command, &err);
	}
	enum option_result r = options_parse(table, first, argc, argv, name, 1, &n, &err);
	if (r != OPTIONS_OK)
		return r == OPTIONS_USAGE ? usage(command, &err) : r;
	const char *image = takes_image && n > 0 && is_image(name[0]) ? name[0] : NULL;
	n = image != NULL ? 0 : n;
	const char *file = ((struct settings_args *)first)->file, *from = file != NULL ? file : n > 0 ? name[0] : NULL;
	if (from != NULL) {
		if (file != NULL)
			snprintf(path, sizeof path, "%s", file);
		else if (settings_path(name[0], path, sizeof path, &err) < 0)
			return usage(command, &err);
		settings_name(n > 0 ? name[0] : path, a->name, sizeof a->name);
		int ret = settings_load(path, &a->s, &problems);
		if (ret == -ENOENT && file == NULL)
			fprintf(stderr, "tee-rex %s: there is no instance \"%s\"; it would be %s, which tee-rex config example helps to write\n",
			        command, a->name, path);
		else if (ret < 0)
			for (size_t i = 0; i < problems.n && i < SETTINGS_PROBLEMS_MAX; i++)
				fprintf(stderr, "tee-rex %s: %s\n", command, problems.at[i].text);
		if (ret < 0)
			return OPTIONS_USAGE;
		keep_lists_apart(table, first, args);
	}
	r = options_parse(table, args, argc, argv, name, 1, &n, &err);
	if (image != NULL)
		((struct settings_args *)first)->s.enclave.image = a->s.enclave.image = image;
	mark_given(first, &a->s);
	return r == OPTIONS_USAGE ? usage(command, &err) : r;
}
