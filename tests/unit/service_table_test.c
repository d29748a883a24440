/* The service table: every key is read and written, what is wrong is said with what is allowed, nothing runs over. */
#include "format/service_table.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define APP "[service app]\narg = /x\n"

static struct service_table t;
static struct err err;

static int parse(const char *text) { return service_table_parse(bytes_str(text), "f", &t, &err); }

static void a_program_is_enough(void **state)
{
	(void)state;
	assert_int_equal(parse(APP), 0);
	assert_int_equal(t.service_count, 1);
	assert_int_equal(t.layout, LAYOUT_PLAIN);
	assert_string_equal(t.hostname, "enclave");
	const struct service *s = &t.service[0];
	assert_string_equal(s->name, "app");
	assert_string_equal(s->arg[0], "/x");
	assert_null(s->arg[1]);
	assert_null(s->env[0]);
	assert_string_equal(s->workdir, "/");
	assert_true(s->essential);
	assert_int_equal(s->restart, RESTART_ALWAYS);
	assert_int_equal(s->ready, READY_START);
	assert_int_equal(s->stop_signal, SIGTERM);
	assert_int_equal(s->stop_s, 10);
	assert_int_equal(s->log, SERVICE_LOG_EVENTS);
	assert_int_equal(s->grants, 0);
}

static const char every_key[] =
	"# all of it\n"
	"epoch = 7\nhostname = Tee-1\nlayout = squashfs\nwritable_mib = 32\ntmp_mib = 8\n"
	"[service prover]\n"
	"arg = /usr/bin/prover\narg = a b\narg =\narg = \\x20tab\\x09\\\\\\xff\n"
	"env = PATH=/bin\nenv = EMPTY=\nenv = a.b-c=d=e\n"
	"workdir = /srv/\\xc3\\xa4\nuid = 100\ngid = 101\ngroup = 5\ngroup = 6\nroot = boot\n"
	"ready = accept\nready_s = 9\nrestart = on-failure\nessential = yes\n"
	"backoff_ms = 10\nbackoff_max_ms = 20\nrestarts_max = 3\nstable_s = 4\n"
	"memory_mib = 64\npids_max = 12\ncpu_weight = 50\nfiles_max = 99\n"
	"grant = nsm\ngrant = container-capabilities\n"
	"listen = service 9002\nlisten = other 9100\nbridge = 8000 80\nlink = launcher\nafter = launcher\n"
	"stop_signal = SIGINT\nstop_s = 3\nlog = stderr\n"
	"[service launcher]\narg = launcher\ngrant = root-capabilities\nessential = no\nrestart = never\nready = fd\nroot = app\n";

static void every_key_is_read(void **state)
{
	(void)state;
	assert_int_equal(parse(every_key), 0);
	assert_int_equal(t.epoch, 7);
	assert_string_equal(t.hostname, "Tee-1");
	assert_int_equal(t.layout, LAYOUT_SQUASHFS);
	assert_int_equal(t.writable_mib, 32);
	assert_int_equal(t.tmp_mib, 8);
	const struct service *s = &t.service[0];
	assert_int_equal(s->arg_count, 4);
	assert_string_equal(s->arg[1], "a b");
	assert_string_equal(s->arg[2], "");
	assert_string_equal(s->arg[3], " tab\t\\\xff");
	assert_int_equal(s->env_count, 3);
	assert_string_equal(s->env[1], "EMPTY=");
	assert_string_equal(s->env[2], "a.b-c=d=e");
	assert_string_equal(s->workdir, "/srv/\xc3\xa4");
	assert_int_equal(s->uid, 100);
	assert_int_equal(s->gid, 101);
	assert_int_equal(s->group_count, 2);
	assert_int_equal(s->group[1], 6);
	assert_int_equal(s->root, SERVICE_ROOT_BOOT);
	assert_int_equal(s->ready, READY_ACCEPT);
	assert_int_equal(s->ready_s, 9);
	assert_int_equal(s->restart, RESTART_ON_FAILURE);
	assert_int_equal(s->backoff_ms, 10);
	assert_int_equal(s->backoff_max_ms, 20);
	assert_int_equal(s->restarts_max, 3);
	assert_int_equal(s->stable_s, 4);
	assert_int_equal(s->memory_mib, 64);
	assert_int_equal(s->pids_max, 12);
	assert_int_equal(s->cpu_weight, 50);
	assert_int_equal(s->files_max, 99);
	assert_int_equal(s->grants, GRANT_NSM | GRANT_CONTAINER_CAPABILITIES);
	assert_int_equal(s->listen_count, 2);
	assert_string_equal(s->listen[0].name, "service");
	assert_int_equal(s->listen[1].port, 9100);
	assert_int_equal(s->bridge[0].port, 8000);
	assert_int_equal(s->bridge[0].tcp_port, 80);
	assert_string_equal(s->link[0], "launcher");
	assert_string_equal(s->after[0], "launcher");
	assert_int_equal(s->stop_signal, SIGINT);
	assert_int_equal(s->stop_s, 3);
	assert_int_equal(s->log, SERVICE_LOG_STDERR);
	const struct service *l = &t.service[1];
	assert_int_equal(l->grants, GRANT_ROOT_CAPABILITIES);
	assert_false(l->essential);
	assert_int_equal(l->restart, RESTART_NEVER);
	assert_int_equal(l->ready, READY_FD);
	assert_true(services_linked(&t, 0, 1) && services_linked(&t, 1, 0));
	assert_int_equal(service_table_find(&t, BYTES_LIT("launcher")), 1);
	assert_int_equal(service_table_find(&t, BYTES_LIT("launch")), -1);
}

static void what_is_written_reads_the_same(void **state)
{
	(void)state;
	static uint8_t first[SERVICE_TABLE_MAX], second[SERVICE_TABLE_MAX];
	static struct service_table again;
	struct writer w = writer_of(first, sizeof first), v = writer_of(second, sizeof second);

	assert_int_equal(parse(every_key), 0);
	assert_int_equal(service_table_check(&t, &err), 0);
	service_table_put(&w, &t);
	assert_int_equal(service_table_parse(writer_bytes(&w), "g", &again, &err), 0);
	assert_string_equal(again.service[0].arg[3], " tab\t\\\xff");
	assert_string_equal(again.service[0].workdir, "/srv/\xc3\xa4");
	service_table_put(&v, &again);
	assert_true(bytes_equal(writer_bytes(&w), writer_bytes(&v)));
	assert_non_null(strstr((const char *)first, "arg = \\x20tab\\x09\\x5c\\xff\n"));
	assert_non_null(strstr((const char *)first, "\n[service launcher]\narg = launcher\n"));
	assert_non_null(strstr((const char *)first, "grant = nsm\ngrant = container-capabilities\n"));
}

static void what_is_wrong_is_said_with_what_is_allowed(void **state)
{
	(void)state;
#define PORTS "vsock ports are 1-4294967294 but for 9000, 9001 and 9003, which are init's"
#define SECTION ": [service NAME] is allowed, NAME of 1-31 characters of a-z 0-9 -, a letter first"
#define ESCAPES "\\xNN and \\\\ are the only escapes, and no string holds a zero byte"
	static const struct { const char *text, *want; } rows[] = {
		{ "", "f: there is no [service NAME]; nothing would run" },
		{ "epoch = 4294967296\n" APP, "f:1: epoch = 4294967296: a whole number from 0 to 4294967295 is allowed" },
		{ "epoch = 1\nepoch = 1\n" APP, "f:2: epoch is already set in line 1; once is allowed" },
		{ "hostname = -x\n" APP, "f:1: hostname = -x: 1-63 characters of A-Z a-z 0-9 - are allowed, - only inside" },
		{ "layout = ext4\n" APP, "f:1: layout = ext4: plain or squashfs are allowed" },
		{ "uid = 1\n" APP, "f:1: no key \"uid\" before the first section; it belongs into a [service NAME]" },
		{ APP "epoch = 1\n", "f:3: no key \"epoch\" in [service]; it belongs before the first section" },
		{ APP "restrat = never\n", "f:3: unknown key \"restrat\" in [service]; did you mean \"restart\"?" },
		{ APP "\\x\n", "f:3: \"\\x5cx\": key = value, [service NAME] or # comment is allowed" },
		{ APP "uid\n", "f:3: \"uid\": key = value, [service NAME] or # comment is allowed" },
		{ APP "uid =\n", "f:3: uid has no value; leave the line out for the default" },
		{ APP "uid = 4294967295\n", "f:3: uid = 4294967295: a whole number from 0 to 4294967294 is allowed" },
		{ APP "group = 4294967295\n", "f:3: group = 4294967295: a group's number is allowed" },
		{ APP "essential = maybe\n", "f:3: essential = maybe: no or yes are allowed" },
		{ APP "grant = all\n", "f:3: grant = all: nsm, root-capabilities or container-capabilities are allowed" },
		{ APP "workdir = tmp\n", "f:3: workdir = tmp: an absolute path is allowed; \\xNN and \\\\ are the only escapes" },
		{ APP "arg = \\\n", "f:3: arg = \\x5c: " ESCAPES },
		{ APP "arg = \\x0\n", "f:3: arg = \\x5cx0: " ESCAPES },
		{ APP "arg = a\\x00b\n", "f:3: arg = a\\x5cx00b: " ESCAPES },
		{ APP "arg = \\n\n", "f:3: arg = \\x5cn: " ESCAPES },
		{ APP "env = x\n", "f:3: env = x: NAME=VALUE is allowed" },
		{ APP "env = =x\n", "f:3: env = =x: NAME=VALUE is allowed" },
		{ APP "env = A=1\nenv = AB=1\nenv = A=2\n", "f:5: env = A=2: this variable is already set" },
		{ APP "env = LISTEN_FDS=3\n", "f:3: env = LISTEN_FDS=3: tee-rex-init sets this variable itself" },
		{ APP "listen = 9002\n", "f:3: listen = 9002: NAME PORT is allowed; " PORTS },
		{ APP "listen = a 9000\n", "f:3: listen = a 9000: NAME PORT is allowed; " PORTS },
		{ APP "listen = a 9001\n", "f:3: listen = a 9001: NAME PORT is allowed; " PORTS },
		{ APP "listen = a 9003\n", "f:3: listen = a 9003: NAME PORT is allowed; " PORTS },
		{ APP "listen = a 4294967295\n", "f:3: listen = a 4294967295: NAME PORT is allowed; " PORTS },
		{ APP "listen = A 1\n", "f:3: listen = A 1: NAME PORT is allowed; " PORTS },
		{ APP "listen = a  1\n", "f:3: listen = a  1: NAME PORT is allowed; " PORTS },
		{ APP "bridge = 80 65536\n", "f:3: bridge = 80 65536: VSOCK_PORT TCP_PORT is allowed; " PORTS },
		{ APP "bridge = 80 0\n", "f:3: bridge = 80 0: VSOCK_PORT TCP_PORT is allowed; " PORTS },
		{ APP "stop_signal = SIGNAL\n", "f:3: stop_signal = SIGNAL: a signal is allowed: its name (SIGTERM, TERM) or number (1-64)" },
		{ APP "stop_signal = 0\n", "f:3: stop_signal = 0: a signal is allowed: its name (SIGTERM, TERM) or number (1-64)" },
		{ APP "stop_signal = 65\n", "f:3: stop_signal = 65: a signal is allowed: its name (SIGTERM, TERM) or number (1-64)" },
		{ APP "link = Peer\n", "f:3: link = Peer: a service's name is allowed" },
		{ "[service]\n", "f:1: [service]" SECTION },
		{ "[service 1a]\n", "f:1: [service 1a]" SECTION },
		{ "[service a-name-that-is-32-bytes-in-all-x]\n", "f:1: [service a-name-that-is-32-bytes-in-all-x]" SECTION },
		{ "[services a]\n", "f:1: [services a]" SECTION },
		{ "[service a]b\n", "f:1: a section ends with \"]\" and the line with it" },
		{ "[", "f:1: a section ends with \"]\" and the line with it" },
		{ "[]", "f:1: []" SECTION },
		{ APP "[service app]\n", "f:3: there is a [service app] already" },
		{ APP "uid = 1\r\n", "f:3: byte 0x0d; printable ASCII is allowed, and lines end with a newline alone" },
		{ "[service a]\n", "f: [service a]: the first arg names the program; there is none" },
		{ "[service a]\narg =\n", "f: [service a]: the first arg names the program; there is none" },
		{ APP "backoff_ms = 10\nbackoff_max_ms = 9\n", "f: [service app]: backoff_ms is more than backoff_max_ms" },
		{ APP "ready = accept\n", "f: [service app]: ready = accept needs a bridge line; a service with a listener says so itself (ready = fd)" },
		{ APP "grant = root-capabilities\ngrant = container-capabilities\n",
		  "f: [service app]: root-capabilities include container-capabilities; grant one" },
		{ APP "after = b\n", "f: [service app]: no service to start after is called b" },
		{ APP "after = app\n", "f: [service app]: \"after\" leads back to itself; it could never start" },
		{ APP "after = b\n[service b]\narg = x\nafter = c\n[service c]\narg = x\nafter = app\n",
		  "f: [service app]: \"after\" leads back to itself; it could never start" },
		{ APP "link = b\n", "f: [service app]: no service to link with is called b" },
		{ APP "link = app\n", "f: [service app]: linked with itself" },
		{ APP "link = b\n[service b]\narg = x\nlink = app\n", "f: [service app]: one link is enough, on one side only: b" },
		{ APP "link = b\nlink = b\n[service b]\narg = x\n", "f: [service app]: one link is enough, on one side only: b" },
		{ APP "listen = b 1\nlink = b\n[service b]\narg = x\n", "f: [service app]: two descriptors would be called b" },
		{ APP "listen = b 1\nlisten = b 2\n", "f: [service app]: two descriptors would be called b" },
		{ APP "listen = ready 1\n", "f: [service app]: two descriptors would be called ready" },
		{ APP "link = ready\n[service ready]\narg = x\n", "f: [service app]: two descriptors would be called ready" },
		{ APP "listen = b 5\nbridge = 5 80\n", "f: [service app]: somebody listens already on port 5" },
		{ APP "listen = b 5\n[service c]\narg = x\nlisten = b 5\n", "f: [service c]: somebody listens already on port 5" },
		{ APP "essential = no\n", "f: no service is essential; nothing would keep the enclave up" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (parse(rows[i].text) != -EINVAL)
			fail_msg("accepted: %s", rows[i].text);
		assert_string_equal(err.text, rows[i].want);
	}
}

/* head, then line n times (with its number), then tail */
static int parse_many(const char *head, const char *line, int n, const char *tail)
{
	static char text[SERVICE_TABLE_MAX];
	struct writer w = writer_of(text, sizeof text);
	put_str(&w, head);
	for (int i = 0; i < n; i++) {
		char one[96];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(one, sizeof one, line, i + 20, i + 20);
#pragma GCC diagnostic pop
		put_str(&w, one);
	}
	put_str(&w, tail);
	return service_table_parse(writer_bytes(&w), "f", &t, &err);
}

static void lists_lines_and_files_are_bounded(void **state)
{
	(void)state;
	static const struct { const char *head, *line; int max; const char *tail; } lists[] = {
		{ APP, "arg = %d\n", SERVICE_ARGS_MAX - 1, "" },
		{ APP, "env = X%d=1\n", SERVICE_ENV_MAX, "" },
		{ APP, "group = %d\n", SERVICE_GROUPS_MAX, "" },
		{ APP, "listen = l%d %d\n", SERVICE_LISTEN_MAX, "" },
		{ APP, "bridge = %d %d\n", SERVICE_BRIDGE_MAX, "" },
		{ APP, "[service s%d]\narg = x\n", SERVICES_MAX - 1, "" },
		{ APP "link = s20\nlink = s21\nlink = s22\n", "listen = l%d %d\n", SERVICE_LISTEN_MAX,
		  "[service s20]\narg = x\n[service s21]\narg = x\n[service s22]\narg = x\n" },
	};
	for (size_t i = 0; i < COUNT(lists); i++)
		for (int extra = 0; extra < 2; extra++) {
			int bad = parse_many(lists[i].head, lists[i].line, lists[i].max + extra, lists[i].tail);
			if (bad != (extra ? -EINVAL : 0))
				fail_msg("list %zu, %d more than the most: %s", i, extra, bad ? err.text : "accepted");
		}
	/* eight descriptors: three listeners, five links said by the others */
	assert_int_equal(parse_many(APP "listen = a 1\nlisten = b 2\nlisten = c 3\n", "[service s%d]\narg = x\nlink = app\n", 5, ""), -EINVAL);
	assert_string_equal(err.text, "f: [service app]: more than 7 listeners and links");

	/* a line, and the whole file */
	static char text[SERVICE_TABLE_MAX + 2];
	memset(text, 'x', sizeof text);
	memcpy(text, APP "arg = ", sizeof APP - 1 + 6);
	size_t line_at = sizeof APP - 1;
	assert_int_equal(service_table_parse(bytes_of(text, line_at + SERVICE_LINE_MAX), "f", &t, &err), 0);
	assert_int_equal(strlen(t.service[0].arg[1]), SERVICE_LINE_MAX - 6);
	assert_int_equal(service_table_parse(bytes_of(text, line_at + SERVICE_LINE_MAX + 1), "f", &t, &err), -EINVAL);
	memset(text, '\n', sizeof text);
	memcpy(text, APP, sizeof APP - 1);
	assert_int_equal(service_table_parse(bytes_of(text, SERVICE_TABLE_MAX), "f", &t, &err), 0);
	assert_int_equal(service_table_parse(bytes_of(text, SERVICE_TABLE_MAX + 1), "f", &t, &err), -EINVAL);
}

static void strings_fill_the_text_and_no_more(void **state)
{
	(void)state;
	/* the densest file there is: as many strings as fit, each in the shortest line */
	static char text[SERVICE_TABLE_MAX];
	struct writer w = writer_of(text, sizeof text);
	for (int s = 0; s < SERVICES_MAX; s++) {
		put_fmt(&w, "[service a%d]\narg=x\n", s);
		for (int i = 0; i < SERVICE_ARGS_MAX - 1; i++)
			put_str(&w, "arg=\n");
		for (int i = 0; i < SERVICE_ENV_MAX; i++)
			put_fmt(&w, "env=%d=\n", i);
	}
	assert_false(w.full);
	assert_int_equal(service_table_parse(writer_bytes(&w), "f", &t, &err), 0);
	assert_true(t.text_n <= w.at);
	assert_string_equal(t.service[SERVICES_MAX - 1].env[SERVICE_ENV_MAX - 1], "127=");
}

static void a_filled_table_is_checked(void **state)
{
	(void)state;
	static struct service_table mine;
	service_table_defaults(&mine);
	assert_int_equal(service_table_check(&mine, &err), -EINVAL);
	assert_string_equal(err.text, "service table: there is no [service NAME]; nothing would run");
	service_defaults(&mine.service[0]);
	mine.service[0].name = "app";
	mine.service[0].arg[mine.service[0].arg_count++] = "sh";
	mine.service[0].arg[mine.service[0].arg_count++] = "line\n[service evil]\n";
	mine.service_count = 1;
	assert_int_equal(service_table_check(&mine, &err), 0);

	/* names are not escaped: one that would become lines is refused */
	mine.service[0].name = "a]\narg = evil\n[service b";
	assert_int_equal(service_table_check(&mine, &err), -EINVAL);
	assert_string_equal(err.text, "service table: a service's name is not valid");
	mine.service[0].name = "app";
	mine.hostname = "a\nlayout = squashfs";
	assert_int_equal(service_table_check(&mine, &err), -EINVAL);
	mine.hostname = "a";
	mine.service[0].listen[mine.service[0].listen_count++] = (struct service_listen){ "x 1\nlisten = y", 7 };
	assert_int_equal(service_table_check(&mine, &err), -EINVAL);
	mine.service[0].listen[0].name = "x";
	mine.service[0].listen[0].port = 9003;
	assert_int_equal(service_table_check(&mine, &err), -EINVAL);
	mine.service[0].listen[0].port = 9002;
	assert_int_equal(service_table_check(&mine, &err), 0);
	/* too long once it is written */
	static char long_arg[SERVICE_LINE_MAX];
	memset(long_arg, 1, sizeof long_arg - 1);
	mine.service[0].arg[1] = long_arg;
	assert_int_equal(service_table_check(&mine, &err), -EINVAL);
	assert_string_equal(err.text, "service table: longer than 65536 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_is_enough),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(what_is_written_reads_the_same),
		cmocka_unit_test(what_is_wrong_is_said_with_what_is_allowed),
		cmocka_unit_test(lists_lines_and_files_are_bounded),
		cmocka_unit_test(strings_fill_the_text_and_no_more),
		cmocka_unit_test(a_filled_table_is_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
