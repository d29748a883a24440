#include "enclave/recipe.h"

#include <string.h>

struct values { const char *input; uint32_t threads; };

/* Length of "{name}" at s, or 0 when it is no placeholder at all. */
static size_t placeholder_size(const char *s)
{
	if (s[0] != '{')
		return 0;
	size_t n = strspn(s + 1, "abcdefghijklmnopqrstuvwxyz_");
	return n > 0 && s[1 + n] == '}' ? n + 2 : 0;
}

/* False when nobody knows it. */
static bool put_placeholder(struct writer *w, struct bytes p, const struct values *v)
{
	if (bytes_equal(p, BYTES_LIT("{input}")))
		put_fmt(w, RECIPE_JOB_DIR "/%s", v->input);
	else if (bytes_equal(p, BYTES_LIT("{output_dir}")))
		put_str(w, RECIPE_JOB_DIR "/" RECIPE_OUTPUT_DIR_NAME);
	else if (bytes_equal(p, BYTES_LIT("{job_dir}")))
		put_str(w, RECIPE_JOB_DIR);
	else if (bytes_equal(p, BYTES_LIT("{crs}")))
		put_str(w, RECIPE_CRS_DIR);
	else if (bytes_equal(p, BYTES_LIT("{threads}")))
		put_fmt(w, "%u", v->threads);
	else
		return false;
	return true;
}

bool recipe_unknown_placeholder(const char *s, char *name)
{
	static const struct values any = { "", 0 };
	uint8_t sink[CONFIG_STRING_MAX];

	for (; *s != '\0'; s++) {
		size_t n = placeholder_size(s);
		struct writer w = writer_of(sink, sizeof sink);
		if (n > 0 && !put_placeholder(&w, bytes_of(s, n), &any)) {
			bytes_to_cstr(bytes_of(s + 1, n - 2), name, CONFIG_STRING_MAX);
			return true;
		}
	}
	return false;
}

/* One expanded string with its zero; NULL when it does not fit. */
static char *expand(struct writer *w, const char *s, const struct values *v)
{
	char *start = (char *)w->p + w->at;
	while (*s != '\0') {
		size_t n = placeholder_size(s);
		if (n == 0 || !put_placeholder(w, bytes_of(s, n), v)) {
			n = 1;
			put_u8(w, (uint8_t)*s);
		}
		s += n;
	}
	put_u8(w, 0);
	return w->full ? NULL : start;
}

bool recipe_expand(const struct config_recipe *r, uint32_t threads, struct recipe_command *ret)
{
	struct writer w = writer_of(ret->text, sizeof ret->text);
	struct values v = { r->input, threads };

	for (uint32_t i = 0; i < r->arg_count; i++)
		ret->argv[i] = expand(&w, r->arg[i], &v);
	ret->argv[r->arg_count] = NULL;
	for (uint32_t i = 0; i < r->env_count; i++)
		ret->envp[i] = expand(&w, r->env[i], &v);
	ret->envp[r->env_count] = NULL;
	return !w.full;
}
