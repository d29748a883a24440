#include "enclave/config.h"
#include "enclave/recipe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct config c;
static struct err err;

static int parse(const char *text)
{
	err.text[0] = '\0';
	return config_parse(bytes_str(text), "f", &c, &err);
}

static void nothing_means_chonk(void **state)
{
	(void)state;
	struct recipe_command cmd;
	static const char *const argv[] = { "bb", "prove", "--scheme", "chonk", "--ivc_inputs_path", "/job/input", "-o", "/job/out" };
	static const char *const env[] = { "CRS_PATH=/crs", "HARDWARE_CONCURRENCY=3", "HOME=/job", "TMPDIR=/job",
	                                   "MALLOC_TRIM_THRESHOLD_=0", "MALLOC_MMAP_THRESHOLD_=65536" };
	assert_int_equal(parse(""), 0);
	assert_int_equal(c.slots, 4);
	assert_int_equal(c.jobs, 1);
	assert_int_equal(c.proof_max, FRAME_PROOF_MAX);
	assert_int_equal(c.recipe.memory_mib, 1024);
	for (unsigned i = 0; i < GUARD_COUNT; i++)
		assert_int_equal(c.policy[i], GUARD_REQUIRE);
	assert_true(recipe_expand(&c.recipe, 3, &cmd));
	for (size_t i = 0; i < COUNT(argv); i++)
		assert_string_equal(cmd.argv[i], argv[i]);
	assert_null(cmd.argv[COUNT(argv)]);
	for (size_t i = 0; i < COUNT(env); i++)
		assert_string_equal(cmd.envp[i], env[i]);
	assert_null(cmd.envp[COUNT(env)]);
}

static void every_key_is_read(void **state)
{
	(void)state;
	assert_int_equal(parse(
		"# comment with anything: \xc3\xa9 = [x]\n"
		"epoch = 7\nnsm=simulated-socket\n key_rotate_s\t=  60 \nkey_keep_s = 1\ndocument_cache_s = 0\n"
		"payload_max_mib = 1024\nproof_max = 32\nslots = 16\njobs = 16\n"
		"request_s = 1\nbody_s = 2\nreply_s = 3\nupload_max_mib = 5\nversions_max = 16\nversions_total_mib = 6\n"
		"allow = " HEX64 "\nallow = F" HEX64 "\n"), -EINVAL);        /* 65 digits */
	assert_string_equal(err.text, "f:18: allow = F" HEX64 ": a SHA-256 is allowed: 64 hex digits");
	assert_int_equal(parse(
		"epoch = 7\nnsm=simulated-socket\n key_rotate_s\t=  60 \nkey_keep_s = 1\ndocument_cache_s = 0\n"
		"payload_max_mib = 1024\nproof_max = 32\nslots = 16\njobs = 16\nmemory_budget_mib = 20\n"
		"payload_budget_mib = 2000\nqueue_max = 0\novertakes_max = 9\nbody_stall_s = 8\nbody_stall_kib = 0\n"
		"request_s = 1\nbody_s = 2\nreply_s = 3\nupload_max_mib = 5\nversions_max = 16\nversions_total_mib = 6\n"
		"allow = " HEX64 "\nversion = 5.0.0-nightly+1_a /opt/bb\nversion = b /opt/b b\ndefault_version = b\n\n"
		"[recipe]\narg = x\narg = {input}{input}{\narg={ a}=#\nenv = A={threads}\nenv = HOME=/\nenv = CRS_PATH\n"
		"ro = /a\nro = /b/c\ninput = in\noutput = pi.bin\ncrs = /c\ncrs_sha256 = a.dat " HEX64 "\ncrs_sha256 = b " HEX64 "\n"
		"memory_mib = 8\ndeadline_s = 1\nthreads = 256\n"
		"cpu_weight = 10000\npids_max = 1\nuid_base = 1000\noutput_log_kib = 64\n"
		"[isolation]\nswap = require\nall = degrade\n"), 0);
	assert_int_equal(c.epoch, 7);
	assert_int_equal(c.nsm, CONFIG_NSM_SIMULATED_SOCKET);
	assert_int_equal(c.key_rotate_s, 60);
	assert_int_equal(c.key_keep_s, 1);
	assert_int_equal(c.document_cache_s, 0);
	assert_int_equal(c.payload_max_mib, 1024);
	assert_int_equal(c.proof_max, 32);
	assert_int_equal(c.slots, 16);
	assert_int_equal(c.jobs, 16);
	assert_int_equal(c.request_s * 100 + c.body_s * 10 + c.reply_s, 123);
	assert_int_equal(c.upload_max_mib, 5);
	assert_int_equal(c.versions_max, 16);
	assert_int_equal(c.versions_total_mib, 6);
	assert_int_equal(c.memory_budget_mib, 20);
	assert_int_equal(c.payload_budget_mib, 2000);
	assert_int_equal(c.queue_max, 0);
	assert_int_equal(c.overtakes_max, 9);
	assert_int_equal(c.body_stall_s * 10 + c.body_stall_kib, 80);
	assert_int_equal(c.allow_count, 1);
	assert_int_equal(c.allow[0][31], 0xef);
	assert_int_equal(c.version_count, 2);
	assert_string_equal(c.version[0].name, "5.0.0-nightly+1_a");
	assert_string_equal(c.version[1].path, "/opt/b b");
	assert_string_equal(c.default_version, "b");
	assert_int_equal(c.recipe.arg_count, 3);
	assert_int_equal(c.recipe.ro_count, 2);
	assert_string_equal(c.recipe.input, "in");
	assert_string_equal(c.recipe.output, "pi.bin");
	assert_string_equal(c.recipe.crs, "/c");
	assert_int_equal(c.recipe.crs_pin_count, 2);
	assert_string_equal(c.recipe.crs_pin[0].file, "a.dat");
	assert_int_equal(c.recipe.crs_pin[1].sha256[31], 0xef);
	assert_int_equal(c.recipe.memory_mib, 8);
	assert_int_equal(c.recipe.deadline_s, 1);
	assert_int_equal(c.recipe.threads, 256);
	assert_int_equal(c.recipe.cpu_weight, 10000);
	assert_int_equal(c.recipe.pids_max, 1);
	assert_int_equal(c.recipe.uid_base, 1000);
	assert_int_equal(c.recipe.output_log_kib, 64);
	assert_int_equal(c.policy[GUARD_SWAP], GUARD_REQUIRE);
	assert_int_equal(c.policy[GUARD_UID], GUARD_DEGRADE);

	struct recipe_command cmd;
	assert_true(recipe_expand(&c.recipe, 12, &cmd));
	assert_string_equal(cmd.argv[1], "/job/in/job/in{");
	assert_string_equal(cmd.argv[2], "{ a}=#");
	/* replaced in place, removed, added at the end */
	assert_string_equal(cmd.envp[0], "HARDWARE_CONCURRENCY=12");
	assert_string_equal(cmd.envp[1], "HOME=/");
	assert_string_equal(cmd.envp[5], "A=12");
	assert_null(cmd.envp[6]);
}

static void payloads_have_room_for_every_slot_unless_told_otherwise(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_int_equal(c.payload_budget_mib, 256);
	assert_int_equal(parse("slots = 16\npayload_max_mib = 1024\n"), 0);
	assert_int_equal(c.payload_budget_mib, 16384);
	assert_int_equal(parse("payload_budget_mib = 64\n"), 0);
	assert_int_equal(c.payload_budget_mib, 64);
	config_defaults(&c);
	assert_int_equal(c.payload_budget_mib, c.slots * c.payload_max_mib);
}

static void guards_are_required_unless_simulated(void **state)
{
	(void)state;
	static const struct { const char *text; enum guard_policy uid, memory; } rows[] = {
		{ "", GUARD_REQUIRE, GUARD_REQUIRE },
		{ "nsm = device", GUARD_REQUIRE, GUARD_REQUIRE },
		{ "nsm = simulated-socket", GUARD_DEGRADE, GUARD_DEGRADE },
		{ "nsm = simulated-socket\n[isolation]\nuid = require", GUARD_REQUIRE, GUARD_DEGRADE },
		{ "nsm = simulated-socket\n[isolation]\nall = require", GUARD_REQUIRE, GUARD_REQUIRE },
		{ "[isolation]\nmemory = degrade", GUARD_REQUIRE, GUARD_DEGRADE },
		{ "[isolation]\nmemory = require\nall = degrade", GUARD_DEGRADE, GUARD_REQUIRE },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(parse(rows[i].text), 0);
		assert_int_equal(c.policy[GUARD_UID], rows[i].uid);
		assert_int_equal(c.policy[GUARD_MEMORY], rows[i].memory);
	}
}

static void what_is_wrong_is_said_with_what_is_allowed(void **state)
{
	(void)state;
	static const struct { const char *text, *want; } rows[] = {
		{ "slots = 0\n", "f:1: slots = 0: a whole number from 1 to 16 is allowed" },
		{ "slots = 17\n", "f:1: slots = 17: a whole number from 1 to 16 is allowed" },
		{ "\n\nslots = -1", "f:3: slots = -1: a whole number from 1 to 16 is allowed" },
		{ "slots = 01", "f:1: slots = 01: a whole number from 1 to 16 is allowed" },
		{ "slots = 18446744073709551617", "f:1: slots = 18446744073709551617: a whole number from 1 to 16 is allowed" },
		{ "epoch = 4294967296", "f:1: epoch = 4294967296: a whole number from 0 to 4294967295 is allowed" },
		{ "proof_max = 1044481", "f:1: proof_max = 1044481: a whole number from 32 to 1044480 is allowed" },
		{ "slots =\n", "f:1: slots has no value; leave the line out for the default" },
		{ "slots\n", "f:1: \"slots\": key = value, [section] or # comment is allowed" },
		{ "slots = 4\nslots = 4\n", "f:2: slots is already set in line 1; once is allowed" },
		{ "jobs = 5\n", "f: jobs = 5 is more than slots = 4; a running job takes a slot, so at most that many are allowed" },
		{ "memory_budget_mib = 1023", "f: memory_budget_mib = 1023 is less than memory_mib = 1024 of one job; no job could ever start" },
		{ "payload_budget_mib = 63", "f: payload_budget_mib = 63 is less than payload_max_mib = 64; no job of that size could ever be taken" },
		{ "slotz = 1", "f:1: unknown key \"slotz\"; did you mean \"slots\"?" },
		{ "memory_mib = 1", "f:1: no key \"memory_mib\"; it belongs in [recipe]" },
		{ "[recipe]\nslots = 1", "f:2: no key \"slots\" in [recipe]; it belongs before the first section" },
		{ "[recipe]\nmemory_mb = 1", "f:2: unknown key \"memory_mb\" in [recipe]; did you mean \"memory_mib\"?" },
		{ "[isolation]\nzzzzzzzzzz = 1", "f:2: unknown key \"zzzzzzzzzz\" in [isolation]; allowed are all uid memory swap pids seccomp landlock" },
		{ "[isolation]\nuid = maybe", "f:2: uid = maybe: \"require\" or \"degrade\" is allowed" },
		{ "[recipes]", "f:1: unknown section [recipes]; did you mean [recipe]?" },
		{ "[nothing like it]", "f:1: unknown section [nothing like it]; [recipe] and [isolation] are allowed" },
		{ "[recipe] x", "f:1: a section ends with \"]\" and the line with it" },
		{ "[", "f:1: a section ends with \"]\" and the line with it" },
		{ "nsm = /dev/nsm", "f:1: nsm = /dev/nsm: \"device\" or \"simulated-socket\" is allowed" },
		{ "slots = 4\r\n", "f:1: byte 0x0d; printable ASCII is allowed, and lines end with a newline alone" },
		{ "slots = \xc2\xa0" "4\n", "f:1: byte 0xc2; printable ASCII is allowed, and lines end with a newline alone" },
		{ "allow = " HEX64 "\nallow = " HEX64 "\n", "f:2: allow = " HEX64 ": already allowed by an earlier line" },
		{ "version = ../evil /x", "f:1: version = ../evil /x: NAME PATH is allowed: 1-64 characters of A-Z a-z 0-9 . _ + -, "
		  "a space, and an absolute path without . or .. or //" },
		{ "version = a", "f:1: version = a: NAME PATH is allowed: 1-64 characters of A-Z a-z 0-9 . _ + -, "
		  "a space, and an absolute path without . or .. or //" },
		{ "version = a /x\nversion = a /y", "f:2: version = a /y: a version of this name is already there" },
		{ "versions_max = 1\nversion = a /x\nversion = b /x", "f: 2 versions are listed but versions_max = 1 are allowed" },
		{ "default_version = -x", "f:1: default_version = -x: 1-64 characters of A-Z a-z 0-9 . _ + - are allowed, the first not . or -" },
		{ "[recipe]\ninput = a/b", "f:2: input = a/b: one file name of up to 63 characters is allowed, without /, not starting with ." },
		{ "[recipe]\ninput = ..", "f:2: input = ..: one file name of up to 63 characters is allowed, without /, not starting with ." },
		{ "[recipe]\ncrs = crs", "f:2: crs = crs: an absolute path without . or .. or //, or \"none\", is allowed" },
		{ "[recipe]\ncrs_sha256 = " HEX64, "f:2: crs_sha256 = " HEX64 ": FILE HEX is allowed: a file name in the crs directory, a space, and its SHA-256 of 64 hex digits" },
		{ "[recipe]\ncrs_sha256 = ../a " HEX64, "f:2: crs_sha256 = ../a " HEX64 ": FILE HEX is allowed: a file name in the crs directory, a space, and its SHA-256 of 64 hex digits" },
		{ "[recipe]\ncrs_sha256 = a  " HEX64, "f:2: crs_sha256 = a  " HEX64 ": FILE HEX is allowed: a file name in the crs directory, a space, and its SHA-256 of 64 hex digits" },
		{ "[recipe]\ncrs_sha256 = a " HEX64 "\ncrs_sha256 = a " HEX64, "f:3: crs_sha256 = a " HEX64 ": this file has a SHA-256 already" },
		{ "[recipe]\ncrs = none\ncrs_sha256 = a " HEX64, "f: crs = none, but crs_sha256 names files of it" },
		{ "[recipe]\nro = /a/../b", "f:2: ro = /a/../b: an absolute path without . or .. or // is allowed" },
		{ "[recipe]\nro = /a/", "f:2: ro = /a/: an absolute path without . or .. or // is allowed" },
		{ "[recipe]\nro = /", "f:2: ro = /: an absolute path without . or .. or // is allowed" },
		{ "[recipe]\nro = /proc", "f:2: ro = /proc: a job has its own /job, /crs, /proc, /dev and /sys; other paths are allowed" },
		{ "[recipe]\nro = /dev/nsm", "f:2: ro = /dev/nsm: a job has its own /job, /crs, /proc, /dev and /sys; other paths are allowed" },
		{ "[recipe]\narg = {crs_path}", "f:2: arg = {crs_path}: no placeholder {crs_path}; {input} {output_dir} {job_dir} {crs} {threads} are allowed" },
		{ "[recipe]\nenv = 1A=b", "f:2: env = 1A=b: NAME=VALUE is allowed, or NAME to remove a default; names of A-Z a-z 0-9 _" },
		{ "[recipe]\nenv = =b", "f:2: env = =b: NAME=VALUE is allowed, or NAME to remove a default; names of A-Z a-z 0-9 _" },
		{ "[recipe]\nenv = LD_PRELOAD", "f:2: env = LD_PRELOAD: there is no such variable to remove; NAME=VALUE sets one" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (parse(rows[i].text) != -EINVAL)
			fail_msg("accepted: %s", rows[i].text);
		assert_string_equal(err.text, rows[i].want);
	}
	/* paths of ours are whole components */
	assert_int_equal(parse("[recipe]\nro = /device\nro = /crs2"), 0);
}

static void lists_lines_and_files_are_bounded(void **state)
{
	(void)state;
	static char text[CONFIG_FILE_MAX + 2];
	struct writer w;

	/* a list key once more than allowed */
	static const struct { const char *head, *line; int max; const char *want; } lists[] = {
		{ "", "allow = %064x\n", CONFIG_ALLOW_MAX, "f:65: allow = " },
		{ "versions_max = 16\n", "version = v%d /x\n", FRAME_VERSIONS_MAX, "f:18: version = v16 /x: at most 16 are allowed" },
		{ "[recipe]\n", "arg = %d\n", CONFIG_ARGS_MAX, "f:34: arg = 32: at most 32 are allowed" },
		{ "[recipe]\n", "ro = /r%d\n", CONFIG_RO_MAX, "f:18: ro = /r16: at most 16 are allowed" },
		{ "[recipe]\n", "env = X%d=1\n", CONFIG_ENV_MAX - 6, "f:28: env = X26=1: at most 32 are allowed" },
	};
	for (size_t i = 0; i < COUNT(lists); i++)
		for (int extra = 0; extra < 2; extra++) {
			w = writer_of(text, sizeof text);
			put_str(&w, lists[i].head);
			for (int n = 0; n < lists[i].max + extra; n++) {
				char line[128];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
				snprintf(line, sizeof line, lists[i].line, n);
#pragma GCC diagnostic pop
				put_str(&w, line);
			}
			assert_int_equal(config_parse(writer_bytes(&w), "f", &c, &err), extra ? -EINVAL : 0);
			if (extra)
				assert_memory_equal(err.text, lists[i].want, strlen(lists[i].want));
		}

	/* a line */
	memset(text, '#', sizeof text);
	assert_int_equal(config_parse(bytes_of(text, CONFIG_LINE_MAX), "f", &c, &err), 0);
	assert_int_equal(config_parse(bytes_of(text, CONFIG_LINE_MAX + 1), "f", &c, &err), -EINVAL);
	assert_string_equal(err.text, "f:1: the line has 513 bytes; 512 are allowed");

	/* a value, at the end of its field */
	memset(text, 'x', sizeof text);
	memcpy(text, "[recipe]\narg = ", 15);
	assert_int_equal(config_parse(bytes_of(text, 15 + 255), "f", &c, &err), 0);
	assert_int_equal(config_parse(bytes_of(text, 15 + 256), "f", &c, &err), -EINVAL);
	memcpy(text, "[recipe]\nenv = ", 15);
	assert_int_equal(config_parse(bytes_of(text, 15 + 400), "f", &c, &err), -EINVAL);
	memcpy(text, "[recipe]\ninput = ", 17);
	assert_int_equal(config_parse(bytes_of(text, 17 + 63), "f", &c, &err), 0);
	assert_int_equal(config_parse(bytes_of(text, 17 + 64), "f", &c, &err), -EINVAL);

	/* the file */
	memset(text, '\n', sizeof text);
	assert_int_equal(config_parse(bytes_of(text, CONFIG_FILE_MAX), "f", &c, &err), 0);
	assert_int_equal(config_parse(bytes_of(text, CONFIG_FILE_MAX + 1), "f", &c, &err), -EINVAL);
	assert_string_equal(err.text, "f: the file has 65537 bytes; 65536 are allowed");

	/* arguments that are short here and long when expanded */
	w = writer_of(text, sizeof text);
	put_str(&w, "[recipe]\noutput = o\ninput = iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii\n");
	for (int n = 0; n < CONFIG_ARGS_MAX; n++) {
		put_str(&w, "arg = ");
		for (int k = 0; k < 36; k++)
			put_str(&w, "{input}");
		put_str(&w, "\n");
	}
	assert_int_equal(config_parse(writer_bytes(&w), "f", &c, &err), -EINVAL);
	assert_string_equal(err.text, "f: the arguments and environment of [recipe] are longer than 16384 bytes");
}

static void the_policy_text_is_sorted(void **state)
{
	(void)state;
	uint8_t buf[CONFIG_ALLOW_MAX * 65];
	struct writer w = writer_of(buf, sizeof buf);
	assert_int_equal(parse("allow = f" HEX64), -EINVAL);
	assert_int_equal(parse(
		"allow = FF23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
		"allow = " HEX64 "\n"
		"allow = 0023456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"), 0);
	config_policy_text(&c, &w);
	assert_true(bytes_equal(writer_bytes(&w), BYTES_LIT(
		"0023456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
		HEX64 "\n"
		"ff23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n")));
	/* nothing allowed: nothing */
	assert_int_equal(parse(""), 0);
	w = writer_of(buf, sizeof buf);
	config_policy_text(&c, &w);
	assert_int_equal(w.at, 0);
	/* the most there can be fits what the header says */
	for (c.allow_count = 0; c.allow_count < CONFIG_ALLOW_MAX; c.allow_count++)
		memset(c.allow[c.allow_count], (int)c.allow_count, 32);
	config_policy_text(&c, &w);
	assert_false(w.full);
	assert_int_equal(w.at, sizeof buf);
}

static void files_are_loaded(void **state)
{
	(void)state;
	char path[] = "/tmp/config_test.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "slots = 2\nslotz = 3\n", 20), 20);
	close(fd);
	assert_int_equal(config_load(path, &c, &err), -EINVAL);
	char want[128];
	snprintf(want, sizeof want, "%s:2: unknown key \"slotz\"; did you mean \"slots\"?", path);
	assert_string_equal(err.text, want);
	assert_int_equal(truncate(path, 10), 0);
	assert_int_equal(config_load(path, &c, &err), 0);
	assert_int_equal(c.slots, 2);
	assert_int_equal(truncate(path, 70000), 0);
	assert_int_equal(config_load(path, &c, &err), -EINVAL);
	unlink(path);
	assert_int_equal(config_load(path, &c, &err), -ENOENT);
	assert_int_equal(config_load("/", &c, &err), -EISDIR);
}

static void guards_make_one_line(void **state)
{
	(void)state;
	struct guards g = { .userns = true, .crs = "pinned" };
	uint8_t buf[512];
	for (unsigned i = 0; i < GUARD_COUNT; i++)
		guard_set(&g, (enum guard)i, true, "x", "");
	struct writer w = writer_of(buf, sizeof buf);
	guards_line(&g, &w);
	assert_true(bytes_equal(writer_bytes(&w), BYTES_LIT("uid=x memory=x swap=x pids=x seccomp=x landlock=x userns=yes proc=absent crs=pinned missing=none")));
	guard_set(&g, GUARD_UID, false, "shared", "why");
	guard_set(&g, GUARD_PIDS, false, "open", "why");
	g.proc = true;
	w = writer_of(buf, sizeof buf);
	guards_line(&g, &w);
	assert_true(bytes_equal(writer_bytes(&w), BYTES_LIT("uid=shared memory=x swap=x pids=open seccomp=x landlock=x userns=yes proc=own crs=pinned missing=uid,pids")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_means_chonk),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(payloads_have_room_for_every_slot_unless_told_otherwise),
		cmocka_unit_test(guards_are_required_unless_simulated),
		cmocka_unit_test(what_is_wrong_is_said_with_what_is_allowed),
		cmocka_unit_test(lists_lines_and_files_are_bounded),
		cmocka_unit_test(the_policy_text_is_sorted),
		cmocka_unit_test(files_are_loaded),
		cmocka_unit_test(guards_make_one_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
