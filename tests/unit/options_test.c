#include "base/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

struct args { bool json; const char *output; uint64_t time_ms, memory_mib; struct option_list pcr; };

static const struct option_spec table[] = {
	{ 'j', "json", OPT_FLAG, offsetof(struct args, json), NULL, "for scripts" },
	{ 'o', "output", OPT_STRING, offsetof(struct args, output), "FILE", "where to" },
	{ 0, "out", OPT_STRING, offsetof(struct args, output), "FILE", "a prefix of the one before" },
	{ 0, "time", OPT_U64, offsetof(struct args, time_ms), "MS", "when" },
	{ 'm', "memory", OPT_MIB, offsetof(struct args, memory_mib), "MIB", "how much" },
	{ 0, "pcr", OPT_LIST, offsetof(struct args, pcr), "N=HEX", "which" },
	OPTIONS_HELP,
	OPTIONS_END
};

enum { WORDS = 8 };
struct parsed { enum option_result result; struct args args; const char *rest[2]; size_t n; struct err err; };

/* words: NULL-terminated, without the program's name. */
static struct parsed parse(const char *const words[WORDS])
{
	static char copies[WORDS][64];
	char *argv[WORDS + 1] = { "program" };
	int argc = 1;
	for (; argc <= WORDS && words[argc - 1] != NULL; argc++) {
		snprintf(copies[argc - 1], sizeof copies[0], "%s", words[argc - 1]);
		argv[argc] = copies[argc - 1];
	}
	struct parsed p = { .n = 99 };
	p.result = options_parse(table, &p.args, argc, argv, p.rest, COUNT(p.rest), &p.n, &p.err);
	return p;
}

static void every_way_to_give_a_value(void **state)
{
	(void)state;
	static const struct { const char *words[WORDS]; const char *output; } rows[] = {
		{ { "-o", "x" }, "x" }, { { "-ox" }, "x" }, { { "--output", "x" }, "x" }, { { "--output=x" }, "x" },
		{ { "--output=" }, "" }, { { "--output", "" }, "" }, { { "--output=a=b" }, "a=b" },
		{ { "--out", "y" }, "y" }, { { "--out=y" }, "y" }, { { "-o", "x", "-o", "y" }, "y" },
		{ { "-o", "--json" }, "--json" }, { { "-o", "--" }, "--" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct parsed p = parse(rows[i].words);
		assert_int_equal(p.result, OPTIONS_OK);
		assert_string_equal(p.args.output, rows[i].output);
		assert_int_equal(p.n, 0);
		assert_false(p.args.json);
	}
}

static void numbers_flags_and_lists(void **state)
{
	(void)state;
	struct parsed p = parse((const char *[WORDS]){ "-j", "--time", "18446744073709551615", "-m512", "--pcr=0=aa",
	                                               "--pcr", "1=bb" });
	assert_int_equal(p.result, OPTIONS_OK);
	assert_true(p.args.json);
	assert_true(p.args.time_ms == UINT64_MAX);
	assert_true(p.args.memory_mib == 512);
	assert_int_equal(p.args.pcr.n, 2);
	assert_string_equal(p.args.pcr.value[0], "0=aa");
	assert_string_equal(p.args.pcr.value[1], "1=bb");
}

static void positional_arguments_keep_their_order(void **state)
{
	(void)state;
	struct parsed p = parse((const char *[WORDS]){ "a", "-j", "b" });
	assert_int_equal(p.result, OPTIONS_OK);
	assert_int_equal(p.n, 2);
	assert_string_equal(p.rest[0], "a");
	assert_string_equal(p.rest[1], "b");
	p = parse((const char *[WORDS]){ "-", "--", "-j" });
	assert_int_equal(p.result, OPTIONS_OK);
	assert_int_equal(p.n, 2);
	assert_string_equal(p.rest[0], "-");
	assert_string_equal(p.rest[1], "-j");
	assert_false(p.args.json);
	p = parse((const char *[WORDS]){ "--", "--" });
	assert_int_equal(p.n, 1);
	assert_string_equal(p.rest[0], "--");
	p = parse((const char *[WORDS]){ NULL });
	assert_int_equal(p.result, OPTIONS_OK);
	assert_int_equal(p.n, 0);
}

static void mistakes_are_named(void **state)
{
	(void)state;
	static const struct { const char *words[WORDS]; const char *says; } rows[] = {
		{ { "--jsn" }, "did you mean --json?" },
		{ { "--outptu=x" }, "did you mean --output?" },
		{ { "--nothing-like-it" }, "--help lists" },
		{ { "-x" }, "unknown option -x" },
		{ { "-jo" }, "unknown option -jo" },
		{ { "--json=yes" }, "--json takes no value" },
		{ { "--output" }, "--output wants a value (FILE)" },
		{ { "-o" }, "--output wants a value (FILE)" },
		{ { "--time", "-1" }, "--time wants a whole number" },
		{ { "--time", "0x10" }, "--time wants a whole number" },
		{ { "--time=" }, "--time wants a whole number" },
		{ { "--time", "18446744073709551616" }, "--time wants a whole number" },
		{ { "--memory", "512M" }, "--memory wants a whole number of MiB" },
		{ { "a", "b", "c" }, "unexpected argument \"c\"" },
		{ { "--outp", "x" }, "unknown option --outp" },
		{ { "--=x" }, "unknown option" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct parsed p = parse(rows[i].words);
		assert_int_equal(p.result, OPTIONS_USAGE);
		if (strstr(p.err.text, rows[i].says) == NULL)
			fail_msg("\"%s\" does not say \"%s\"", p.err.text, rows[i].says);
		assert_int_equal(p.n, 99);
	}
}

static void a_list_has_an_end(void **state)
{
	(void)state;
	char *argv[2 * OPTION_LIST_MAX + 3] = { "program" };
	struct args a = { 0 };
	struct err err;
	size_t n;
	for (int i = 1; i < 2 * OPTION_LIST_MAX + 3; i += 2) {
		argv[i] = "--pcr";
		argv[i + 1] = "x";
	}
	assert_int_equal(options_parse(table, &a, 2 * OPTION_LIST_MAX + 1, argv, NULL, 0, &n, &err), OPTIONS_OK);
	assert_int_equal(a.pcr.n, OPTION_LIST_MAX);
	a.pcr.n = 0;
	assert_int_equal(options_parse(table, &a, 2 * OPTION_LIST_MAX + 3, argv, NULL, 0, &n, &err), OPTIONS_USAGE);
	assert_non_null(strstr(err.text, "more than 64 times"));
}

static void help_is_asked_for_and_printed(void **state)
{
	(void)state;
	assert_int_equal(parse((const char *[WORDS]){ "-h", "--nonsense" }).result, OPTIONS_WANT_HELP);
	assert_int_equal(parse((const char *[WORDS]){ "--help" }).result, OPTIONS_WANT_HELP);
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	options_help(f, "verify", "DOC", "Checks a document.", table);
	fclose(f);
	assert_string_equal(text,
		"Usage: tee-rex verify DOC\n\nChecks a document.\n\nOptions:\n"
		"  -j, --json                   for scripts\n"
		"  -o, --output FILE            where to\n"
		"      --out FILE               a prefix of the one before\n"
		"      --time MS                when\n"
		"  -m, --memory MIB             how much\n"
		"      --pcr N=HEX              which\n"
		"  -h, --help                   print this help\n");
	free(text);
}

/* Last: the program that asked for JSON gets no other help any more. */
static void help_for_programs(void **state)
{
	(void)state;
	assert_int_equal(parse((const char *[WORDS]){ "--help=text" }).result, OPTIONS_USAGE);
	assert_int_equal(parse((const char *[WORDS]){ "--json=json" }).result, OPTIONS_USAGE);
	assert_int_equal(parse((const char *[WORDS]){ "--help=json" }).result, OPTIONS_WANT_HELP);
	static const struct option_spec two[] = { { 'p', "pcr", OPT_LIST, 0, "N=HEX", "a \"register\"" }, OPTIONS_HELP, OPTIONS_END };
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	options_help(f, "verify", "DOC", "Checks a\ndocument.", two);
	fclose(f);
	assert_string_equal(text,
		"{\"command\":\"verify\",\"synopsis\":\"DOC\",\"about\":\"Checks a\\u000adocument.\",\"options\":["
		"{\"short\":\"p\",\"long\":\"pcr\",\"many\":true,\"value\":\"N=HEX\",\"help\":\"a \\\"register\\\"\"},"
		"{\"short\":\"h\",\"long\":\"help\",\"many\":false,\"value\":\"\",\"help\":\"print this help\"}]}\n");
	free(text);
}

static void nearest_word_is_near(void **state)
{
	(void)state;
	static const char *const words[] = { "attest", "verify", "prove", "run" };
	static const struct { const char *word, *want; } rows[] = {
		{ "atest", "attest" }, { "verfiy", "verify" }, { "prove", "prove" }, { "xyzzyx", NULL }, { "rn", "run" },
		{ "", NULL }, { "proverproverproverproverproverproverprover", NULL }, { "q", NULL },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *got = nearest_word(rows[i].word, words, COUNT(words));
		if (rows[i].want == NULL)
			assert_null(got);
		else
			assert_string_equal(got, rows[i].want);
	}
	assert_null(nearest_word("run", NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_to_give_a_value),
		cmocka_unit_test(numbers_flags_and_lists),
		cmocka_unit_test(positional_arguments_keep_their_order),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(a_list_has_an_end),
		cmocka_unit_test(help_is_asked_for_and_printed),
		cmocka_unit_test(nearest_word_is_near),
		cmocka_unit_test(help_for_programs),
	};
	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
