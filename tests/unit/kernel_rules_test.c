/* The table of options: the project's own fragment satisfies it, and breaking any one row is found, alone and with
 * the right verdict. */
#include "image/kernel_rules.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

enum { ALL_NEEDS = KERNEL_NEED_RD_GZIP | KERNEL_NEED_RD_ZSTD | KERNEL_NEED_SQUASHFS };

static char fragment[64 << 10];
static size_t fragment_n;

static int load_fragment(void **state)
{
	(void)state;
	static const char *const files[] = { "kernel/enclave.config", "kernel/x86_64.config" };
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		CLEANUP(close_file) FILE *f = fopen(files[i], "re");
		size_t n = f != NULL ? fread(fragment + fragment_n, 1, sizeof fragment - fragment_n, f) : 0;
		fragment_n += n;
		if (n == 0 || fragment_n == sizeof fragment)
			return -1;
	}
	return 0;
}

/* The fragment and then lines that override it. */
static enum kernel_code check(const char *lines, const struct kernel_want *want, struct kernel_report *r)
{
	static char text[sizeof fragment + 1024];
	size_t n = strlen(lines);
	memcpy(text, fragment, fragment_n);
	memcpy(text + fragment_n, lines, n);
	return kernel_check_config(bytes_of(text, fragment_n + n), want, r);
}

static void fragment_satisfies_all(void **state)
{
	(void)state;
	const struct kernel_want want = { .arch = KERNEL_X86_64, .needs = ALL_NEEDS };
	struct kernel_report r;
	enum kernel_code code = check("", &want, &r);
	for (size_t i = 0; i < r.n; i++)
		print_error("CONFIG_%s: %s\n", r.finding[i].rule->option, kernel_verdict_name(r.finding[i].verdict));
	assert_int_equal(code, KERNEL_OK);
	assert_int_equal(r.n, 0);
}

static void each_row_is_found(void **state)
{
	(void)state;
	size_t n;
	const struct kernel_rule *rule = kernel_rules(&n);
	for (size_t i = 0; i < n; i++) {
		const struct kernel_want want = { .arch = rule[i].arches & KERNEL_X86_64 ? KERNEL_X86_64 : KERNEL_ARM64, .needs = ALL_NEEDS };
		bool fatal = rule[i].fatal || rule[i].need != 0;
		enum kernel_verdict verdict = !fatal ? KERNEL_DEGRADED : rule[i].on ? KERNEL_MISSING : KERNEL_FORBIDDEN;
		static const char *const off[] = { "n", "m", "\"capability\"" }, *const on[] = { "y" };
		for (size_t v = 0; v < (rule[i].on ? 3 : 1); v++) {
			char line[128];
			struct kernel_report r;
			snprintf(line, sizeof line, "CONFIG_%s=%s\n", rule[i].option, rule[i].on ? off[v] : on[v]);
			assert_int_equal(check(line, &want, &r), fatal ? KERNEL_UNFIT : KERNEL_OK);
			assert_int_equal(r.n, 1);
			assert_ptr_equal(r.finding[0].rule, &rule[i]);
			assert_int_equal(r.finding[0].verdict, verdict);
			assert_int_equal(r.count[verdict], 1);
			assert_int_equal(r.finding[0].module, rule[i].on && v == 1 && rule[i].word == NULL);
		}
	}
}

/* No row twice, each with its reason: what the report says is what the table says. */
static void table_is_sound(void **state)
{
	(void)state;
	size_t n;
	const struct kernel_rule *rule = kernel_rules(&n);
	for (size_t i = 0; i < n; i++) {
		assert_true(strlen(rule[i].why) > 10);
		assert_true(rule[i].arches != 0);
		assert_false(rule[i].fatal && rule[i].need != 0);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(rule[i].option, rule[k].option);
	}
}

static void needs_decide(void **state)
{
	(void)state;
	struct kernel_want want = { .arch = KERNEL_X86_64 };
	struct kernel_report r;
	assert_int_equal(check("# CONFIG_RD_ZSTD is not set\n", &want, &r), KERNEL_OK);
	assert_int_equal(r.count[KERNEL_DEGRADED], 1);
	want.needs = KERNEL_NEED_RD_ZSTD;
	assert_int_equal(check("# CONFIG_RD_ZSTD is not set\n", &want, &r), KERNEL_UNFIT);
	assert_int_equal(r.count[KERNEL_MISSING], 1);
	want.needs = KERNEL_NEED_SQUASHFS;
	assert_int_equal(check("# CONFIG_RD_ZSTD is not set\n# CONFIG_OVERLAY_FS is not set\n", &want, &r), KERNEL_UNFIT);
	assert_int_equal(r.count[KERNEL_MISSING], 1);
	assert_int_equal(r.count[KERNEL_DEGRADED], 1);
}

static void nsm_as_a_module(void **state)
{
	(void)state;
	struct kernel_want want = { .arch = KERNEL_X86_64, .nsm_module = true };
	struct kernel_report r;
	/* loading it takes module support, which is said */
	assert_int_equal(check("CONFIG_NSM=m\nCONFIG_MODULES=y\n", &want, &r), KERNEL_OK);
	assert_int_equal(r.n, 1);
	assert_string_equal(r.finding[0].rule->option, "MODULES");
	assert_int_equal(r.finding[0].verdict, KERNEL_DEGRADED);
	assert_int_equal(check("# CONFIG_NSM is not set\n", &want, &r), KERNEL_UNFIT);
	assert_string_equal(r.finding[0].rule->option, "MODULES");
	assert_int_equal(r.finding[0].verdict, KERNEL_MISSING);
	want.nsm_module = false;
	assert_int_equal(check("CONFIG_NSM=m\n", &want, &r), KERNEL_UNFIT);
	assert_true(r.finding[0].module);
}

static void architectures(void **state)
{
	(void)state;
	const struct kernel_want want = { .arch = KERNEL_ARM64, .needs = ALL_NEEDS };
	struct kernel_report r;
	assert_int_equal(check("# CONFIG_KVM_GUEST is not set\n# CONFIG_X86_MPPARSE is not set\n", &want, &r), KERNEL_OK);
	assert_int_equal(r.n, 0);
}

static void lists(void **state)
{
	static const struct { const char *line; size_t findings; } cases[] = {
		{ "CONFIG_LSM=\"landlock\"\n", 0 }, { "CONFIG_LSM=\"yama,landlock\"\n", 0 }, { "CONFIG_LSM=\"landlock,bpf\"\n", 0 },
		{ "CONFIG_LSM=\"landlocked\"\n", 1 }, { "CONFIG_LSM=\"no-landlock\"\n", 1 }, { "CONFIG_LSM=\"\"\n", 1 },
	};
	const struct kernel_want want = { .arch = KERNEL_X86_64, .needs = ALL_NEEDS };
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct kernel_report r;
		assert_int_equal(check(cases[i].line, &want, &r), KERNEL_OK);
		assert_int_equal(r.n, cases[i].findings);
	}
}

static void what_is_a_configuration(void **state)
{
	static const struct { const char *text; enum kernel_code code; size_t bad_line; } cases[] = {
		{ "", KERNEL_BAD_CONFIG, 0 },
		{ "\n\n# a comment\n", KERNEL_BAD_CONFIG, 0 },
		{ "CONFIG_A=y", KERNEL_UNFIT, 0 },
		{ "CONFIG_A=y\r\nCONFIG_B=\"x=y\"\r\n", KERNEL_UNFIT, 0 },
		{ "# CONFIG_A is not set", KERNEL_UNFIT, 0 },
		{ "# CONFIG_A is not se", KERNEL_BAD_CONFIG, 0 },
		{ "CONFIG_A=y\nA=y\n", KERNEL_BAD_CONFIG, 2 },
		{ "CONFIG_A=y\n\nCONFIG_B\n", KERNEL_BAD_CONFIG, 3 },
		{ "CONFIG_A=\n", KERNEL_BAD_CONFIG, 1 },
		{ "CONFIG_=y\n", KERNEL_BAD_CONFIG, 1 },
		{ "CONFIG_A B=y\n", KERNEL_BAD_CONFIG, 1 },
		{ " CONFIG_A=y\n", KERNEL_BAD_CONFIG, 1 },
		{ "CONFIG=y\n", KERNEL_BAD_CONFIG, 1 },
	};
	const struct kernel_want want = { .arch = KERNEL_X86_64 };
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct kernel_report r;
		if (kernel_check_config(bytes_str(cases[i].text), &want, &r) != cases[i].code || r.bad_line != cases[i].bad_line)
			fail_msg("case %zu: line %zu", i, r.bad_line);
	}
	struct kernel_report r;
	assert_int_equal(kernel_check_config(BYTES_LIT("CONFIG_A=y\nCONFIG_B\0=y\n"), &want, &r), KERNEL_BAD_CONFIG);
}

/* A kernel with nothing is missing every fatal row and forbidden none. */
static void nothing_at_all(void **state)
{
	(void)state;
	const struct kernel_want want = { .arch = KERNEL_X86_64, .needs = ALL_NEEDS };
	struct kernel_report r;
	size_t n, fatal = 0;
	const struct kernel_rule *rule = kernel_rules(&n);
	for (size_t i = 0; i < n; i++)
		fatal += rule[i].on && (rule[i].fatal || rule[i].need != 0);
	assert_int_equal(kernel_check_config(BYTES_LIT("CONFIG_X=y\n"), &want, &r), KERNEL_UNFIT);
	assert_int_equal(r.count[KERNEL_MISSING], fatal);
	assert_int_equal(r.count[KERNEL_FORBIDDEN], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fragment_satisfies_all), cmocka_unit_test(each_row_is_found), cmocka_unit_test(table_is_sound),
		cmocka_unit_test(needs_decide), cmocka_unit_test(nsm_as_a_module), cmocka_unit_test(architectures),
		cmocka_unit_test(lists), cmocka_unit_test(what_is_a_configuration), cmocka_unit_test(nothing_at_all),
	};
	return cmocka_run_group_tests(tests, load_fragment, NULL);
}
