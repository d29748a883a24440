/* The configuration of an instance: the vectors (each says in "# => LINE: text" what is wrong with it), what the good
 * ones mean, and that the table is in step with the options of the commands. */
#include "host/settings.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define VECTORS "tests/vectors/settings"

static struct settings s;
static struct settings_problems problems;

static int parse(const char *text) { return settings_parse(bytes_str(text), "f", &s, &problems); }

static int only_yaml(const struct dirent *d)
{
	size_t n = strlen(d->d_name);
	return n > 5 && strcmp(d->d_name + n - 5, ".yaml") == 0;
}

/* The next "# => " line of a vector, or NULL. */
static char *next_expectation(FILE *f, char *line, size_t cap)
{
	while (fgets(line, (int)cap, f) != NULL)
		if (strncmp(line, "# => ", 5) == 0) {
			line[strcspn(line, "\n")] = '\0';
			return line + 5;
		}
	return NULL;
}

static void vectors_are_refused_for_their_reason(void **state)
{
	(void)state;
	struct dirent **names;
	int n = scandir(VECTORS, &names, only_yaml, alphasort), wrong = 0;
	assert_true(n > 40);
	for (int i = 0; i < n; i++) {
		char path[512], want[1200], line[600], *text;
		size_t count = 0;
		snprintf(path, sizeof path, VECTORS "/%s", names[i]->d_name);
		bool good = strncmp(names[i]->d_name, "good", 4) == 0;
		int ret = settings_load(path, &s, &problems);
		FILE *f = fopen(path, "r");
		assert_non_null(f);
		while ((text = next_expectation(f, line, sizeof line)) != NULL) {
			snprintf(want, sizeof want, "%s:%s", path, text);
			if (count >= problems.n || strcmp(want, problems.at[count].text) != 0) {
				print_error("wanted: %s\n   got: %s\n", want, count < problems.n ? problems.at[count].text : "nothing");
				wrong++;
			}
			count++;
		}
		fclose(f);
		if (count != problems.n || (count == 0) != good || (ret == 0) != good) {
			print_error("%s: %zu problems, %zu wanted, returned %d; the last: %s\n", path, problems.n, count, ret,
			            problems.n > 0 ? problems.at[problems.n - 1].text : "");
			wrong++;
		}
		if (ret == 0)
			settings_close(&s);
		free(names[i]);
	}
	free(names);
	assert_int_equal(wrong, 0);
}

static void nothing_means_defaults(void **state)
{
	(void)state;
	static const struct settings defaults = SETTINGS_DEFAULTS;
	assert_int_equal(parse(""), 0);
	assert_string_equal(s.enclave.backend, "nitro");
	assert_int_equal(s.enclave.memory_mib, 0);
	assert_memory_equal(&s.gateway, &defaults.gateway, sizeof s.gateway);
	settings_close(&s);
}

static void everything_is_read(void **state)
{
	(void)state;
	size_t rows;
	const struct setting *table = settings_table(&rows);
	assert_int_equal(settings_load(VECTORS "/good-everything.yaml", &s, &problems), 0);
	for (size_t i = 0; i < rows; i++)                        /* but what the process backend does not have */
		if (!settings_given(&s, i) && strcmp(table[i].key, "enclave.image") != 0 && strcmp(table[i].key, "enclave.memory_mib") != 0 &&
		    strcmp(table[i].key, "enclave.cpus") != 0 && strcmp(table[i].key, "enclave.cid") != 0)
			fail_msg("good-everything.yaml lacks %s", table[i].key);
	assert_string_equal(s.enclave.backend, "process");
	assert_string_equal(s.enclave.config, "/etc/tee-rex/prover.conf");
	assert_int_equal(s.enclave.pcrs.n, 1);
	assert_false(s.enclave.debug);
	assert_string_equal(s.gateway.listen, "[::1]:8080");
	assert_string_equal(s.gateway.metrics, "unix:/run/tee-rex/metrics.sock");
	assert_int_equal(s.gateway.body_max_mib, 1);
	assert_int_equal(s.gateway.prove_rate, 6);
	assert_int_equal(s.gateway.prove_rate_exempt.n, 2);
	assert_string_equal(s.gateway.prove_rate_exempt.value[1], "unix");
	assert_int_equal(s.gateway.header_s * 100 + s.gateway.body_s * 10 + s.gateway.prove_s, 123);
	assert_int_equal(s.gateway.trusted_proxies.n, 0);
	assert_true(s.gateway.quiet);
	settings_close(&s);
	assert_int_equal(settings_load(VECTORS "/good-json.yaml", &s, &problems), 0);
	assert_string_equal(s.enclave.image, "/a.eif");
	assert_int_equal(s.enclave.cid, 4294967294);
	settings_close(&s);
}

static void sizes_are_bounded(void **state)
{
	(void)state;
	static char text[YAML_SIZE_MAX + 2];
	memset(text, '\n', sizeof text);
	assert_int_equal(settings_parse(bytes_of(text, YAML_SIZE_MAX), "f", &s, &problems), 0);
	settings_close(&s);
	assert_int_equal(settings_parse(bytes_of(text, YAML_SIZE_MAX + 1), "f", &s, &problems), -EINVAL);
	assert_string_equal(problems.at[0].text, "f:1: 65537 bytes; a configuration has up to 65536");

	size_t n = (size_t)snprintf(text, sizeof text, "gateway: {trusted_proxies: [");
	for (int i = 0; i < 65; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "10.0.0.%d,", i);
	snprintf(text + n, sizeof text - n, "]}");
	assert_int_equal(parse(text), -EINVAL);
	assert_string_equal(problems.at[0].text, "f:1: gateway.trusted_proxies: up to 64 values are allowed");

	n = (size_t)snprintf(text, sizeof text, "gateway: {trusted_proxies: [");
	for (int i = 0; i < YAML_ENTRIES_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "unix,");
	snprintf(text + n, sizeof text - n, "]}");
	assert_int_equal(parse(text), -EINVAL);
	assert_string_equal(problems.at[0].text, "f:1: more entries than a configuration can have (512)");

	n = (size_t)snprintf(text, sizeof text, "enclave:\n  image: /");
	memset(text + n, 'a', YAML_VALUE_MAX);
	snprintf(text + n + YAML_VALUE_MAX, 2, "\n");
	assert_int_equal(parse(text), -EINVAL);
	assert_string_equal(problems.at[0].text, "f:2: a value has up to 1024 bytes");

	/* more problems than are kept: counted */
	n = (size_t)snprintf(text, sizeof text, "gateway:\n");
	for (int i = 0; i < 40; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "  zzzzzzz%d: 1\n", i);
	assert_int_equal(parse(text), -EINVAL);
	assert_int_equal(problems.n, 40);

	/* nesting does not nest us */
	memset(text, '[', sizeof text - 1);
	text[YAML_SIZE_MAX] = '\0';
	assert_int_equal(parse(text), -EINVAL);
	assert_string_equal(problems.at[0].text, "f:1: a configuration starts with a section, as in \"gateway:\"");
}

static void files_that_cannot_be_read(void **state)
{
	(void)state;
	assert_int_equal(settings_load("/nonexistent/x.yaml", &s, &problems), -ENOENT);
	assert_string_equal(problems.at[0].text, "open /nonexistent/x.yaml: No such file or directory");
	assert_int_equal(settings_load("/dev/zero", &s, &problems), -EINVAL);
	assert_string_equal(problems.at[0].text, "/dev/zero is not a regular file");
}

static void names_and_files(void **state)
{
	(void)state;
	char path[256];
	struct err err;
	static const struct { const char *word, *path; } cases[] = {
		{ "prover", "/etc/tee-rex/prover.yaml" }, { "./prover", "./prover" }, { "x.yaml", "x.yaml" }, { "x.yml", "x.yml" },
		{ "..", NULL }, { "", NULL }, { "a b", NULL }, { "../x", "../x" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int ret = settings_path(cases[i].word, path, sizeof path, &err);
		if (cases[i].path == NULL)
			assert_int_equal(ret, -EINVAL);
		else
			assert_string_equal(path, cases[i].path);
	}
	assert_int_equal(settings_path("a/very/long/path", path, 8, &err), -ENAMETOOLONG);
}

static void options_have_the_same_limits(void **state)
{
	(void)state;
	struct settings o = SETTINGS_DEFAULTS;
	struct err err;
	assert_int_equal(settings_check_options(&o, "gateway", &err), 0);
	o.gateway.proves_max = 0;
	assert_int_equal(settings_check_options(&o, "gateway", &err), -EINVAL);
	assert_string_equal(err.text, "--proves-max must be between 1 and 1000");
	o.gateway.proves_max = 32, o.gateway.connections_max = 4;
	assert_int_equal(settings_check_options(&o, "gateway", &err), 0);
	o.gateway.connections_per_address_max = 5;
	assert_int_equal(settings_check_options(&o, "gateway", &err), -EINVAL);
	assert_string_equal(err.text, "--connections-per-address-max: more than all connections (connections_max)");
	assert_int_equal(settings_check_options(&o, "enclave", &err), 0);
}

/* As a shell would show it. */
static const char *said(const char *section)
{
	static struct settings_words w;
	static char text[2048];
	size_t n = 0;
	text[0] = '\0';
	settings_words(&s, section, &w);
	for (size_t i = 0; i < w.n; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? " " : "", w.word[i]);
	assert_null(w.word[w.n]);
	return text;
}

static void options_say_the_same(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_string_equal(said("gateway"), "");
	settings_close(&s);
	assert_int_equal(parse("enclave: {memory_mib: 64}\ngateway:\n  prove_rate_per_minute: 6\n  body_max_mib: 3\n  quiet: true\n"
	                       "  trusted_proxies: [unix, 10.0.0.0/8]\n  metrics: 127.0.0.1:9100\n  listen: 127.0.0.1:80\n"), 0);
	assert_string_equal(said("enclave"), "--memory 64");
	s.gateway.listen = NULL;
	assert_string_equal(said("gateway"), "--metrics 127.0.0.1:9100 --body-max-mib 3 --prove-rate 6 --trusted-proxy unix "
	                                     "--trusted-proxy 10.0.0.0/8 --quiet");
	settings_close(&s);
	assert_int_equal(parse("gateway: {quiet: false, trusted_proxies: []}"), 0);
	assert_string_equal(said("gateway"), "");
	settings_close(&s);

	/* every row has an option, and all lists full fit */
	size_t rows, lists = 0;
	const struct setting *table = settings_table(&rows);
	for (size_t i = 0; i < rows; i++) {
		assert_non_null(table[i].option);
		assert_true(strlen(table[i].option) + 3 <= sizeof ((struct settings_words *)0)->option[0]);
		lists += table[i].type == SETTING_ADDRESSES || table[i].type == SETTING_RANGES || table[i].type == SETTING_PCRS;
	}
	assert_true(lists <= SETTINGS_LISTS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_are_refused_for_their_reason), cmocka_unit_test(nothing_means_defaults),
		cmocka_unit_test(everything_is_read), cmocka_unit_test(sizes_are_bounded), cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(names_and_files), cmocka_unit_test(options_have_the_same_limits),
		cmocka_unit_test(options_say_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
