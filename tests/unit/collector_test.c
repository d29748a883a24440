/* What an enclave may say, and what becomes of it: hostile lines are refused and counted, honest ones written again. */
#include "host/collector.h"

#include "linux/vsock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct collector c;
static struct loop loop;
static struct err err;
static char last_json[1 << 16], last_text[1 << 16];
static enum control_kind last_kind;
static unsigned heard;

static void on_line(struct collector *me, enum control_kind kind, struct bytes json, const char *text)
{
	(void)me;
	heard++;
	last_kind = kind;
	memcpy(last_json, json.p, json.n);
	last_json[json.n] = '\0';
	snprintf(last_text, sizeof last_text, "%s", text);
}

static uint64_t not_heard[2];

static void on_withheld(struct collector *me, bool log, uint64_t lines)
{
	(void)me;
	not_heard[log] += lines;
}

static int set_up(void **state)
{
	(void)state;
	heard = 0;
	last_json[0] = last_text[0] = '\0';
	c = (struct collector){ .on_line = on_line, .on_withheld = on_withheld };
	not_heard[0] = not_heard[1] = 0;
	if (loop_open(&loop, &err) != 0)
		return 1;
	collector_init(&c, &loop);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	collector_close(&c);
	loop_close(&loop);
	return 0;
}

static bool take(const char *line) { return collector_take(&c, bytes_str(line)); }

static void what_init_writes_is_understood(void **state)
{
	(void)state;
	uint8_t buf[CONTROL_LINE_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	const struct control_field f[] = {
		control_str("service", "prover"), control_str("state", "exited"), control_number("signal", 9), control_flag("oom", true),
		control_number("peak_bytes", 1000), control_number("limit_bytes", 2000), control_number("restarts", 3), CONTROL_END
	};
	control_put(&w, CONTROL_SERVICE, 0, 12345, f);
	assert_true(collector_take(&c, bytes_of(buf, w.at - 1)));
	assert_int_equal(heard, 1);
	assert_int_equal(last_kind, CONTROL_SERVICE);
	assert_string_equal(last_text, "12.345 service: service=prover state=exited signal=9 oom=yes peak_bytes=1000 limit_bytes=2000 restarts=3");
	assert_string_equal(c.last_death, "prover: out of memory, peak 1000 bytes, limit 2000 bytes");
	assert_string_equal(c.owner[0].name, "prover");
	assert_int_equal(c.owner[0].restarts, 3);

	const struct control_field clock[] = {
		control_number("drift_ms", -1500), control_number("least", INT64_MIN), control_number("most", INT64_MAX), CONTROL_END
	};
	w = writer_of(buf, sizeof buf);
	control_put(&w, CONTROL_CLOCK, 1, 0, clock);
	assert_true(collector_take(&c, bytes_of(buf, w.at - 1)));
	assert_string_equal(last_text, "0.000 clock: drift_ms=-1500 least=-9223372036854775808 most=9223372036854775807");
	assert_int_equal(c.drift_ms, -1500);
	/* what does not fit leaves the writer full, wherever that begins */
	for (size_t cap = 0; cap < w.at; cap++) {
		struct writer small = writer_of(buf, cap);
		control_put(&small, CONTROL_CLOCK, 1, 0, clock);
		assert_true(small.full);
	}

	/* every kind has a name that leads back to it */
	for (int k = 0; k < CONTROL_KIND_COUNT; k++)
		assert_int_equal(control_kind_of(bytes_str(control_kind_name((enum control_kind)k))), k);
	assert_int_equal(control_kind_of(BYTES_LIT("")), CONTROL_KIND_COUNT);
	json_t *s = collector_status(&c);
	assert_non_null(s);
	assert_string_equal(json_string_value(json_object_get(s, "last_death")), c.last_death);
	json_decref(s);
}

/* what is linked to a service that died is stopped by init: status goes on naming the one that died */
static void an_end_that_init_asked_for_is_no_death(void **state)
{
	(void)state;
	static const struct { const char *line, *death; } step[] = {
		{ "{\"kind\":\"service\",\"seq\":0,\"ms\":1,\"service\":\"prover\",\"state\":\"exited\",\"code\":1}", "prover: exit status 1" },
		{ "{\"kind\":\"service\",\"seq\":1,\"ms\":2,\"service\":\"launcher\",\"state\":\"stopping\"}", "prover: exit status 1" },
		{ "{\"kind\":\"service\",\"seq\":2,\"ms\":3,\"service\":\"launcher\",\"state\":\"exited\",\"code\":0}", "prover: exit status 1" },
		{ "{\"kind\":\"service\",\"seq\":3,\"ms\":4,\"service\":\"launcher\",\"state\":\"stopping\"}", "prover: exit status 1" },
		{ "{\"kind\":\"service\",\"seq\":4,\"ms\":5,\"service\":\"launcher\",\"state\":\"exited\",\"signal\":15}", "prover: exit status 1" },
		{ "{\"kind\":\"service\",\"seq\":5,\"ms\":6,\"service\":\"launcher\",\"state\":\"stopping\"}", "prover: exit status 1" },
		{ "{\"kind\":\"service\",\"seq\":6,\"ms\":7,\"service\":\"launcher\",\"state\":\"exited\",\"signal\":9,\"forced\":true}",
		  "launcher: signal 9, by init" },
		{ "{\"kind\":\"service\",\"seq\":7,\"ms\":8,\"service\":\"launcher\",\"state\":\"ready\"}", "launcher: signal 9, by init" },
		{ "{\"kind\":\"service\",\"seq\":8,\"ms\":9,\"service\":\"launcher\",\"state\":\"exited\",\"code\":0}", "launcher: exit status 0" },
	};
	for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
		assert_true(take(step[i].line));
		assert_string_equal(c.last_death, step[i].death);
	}
}

static void hostile_lines_are_refused(void **state)
{
	(void)state;
	static const char *const rows[] = {
		"", "{", "[]", "null", "7", "\"kind\"", "{}", "{\"kind\":\"service\"}",
		"{\"kind\":\"unheard\",\"seq\":0,\"ms\":0}",
		"{\"kind\":\"log\",\"seq\":-1,\"ms\":0}",
		"{\"kind\":\"log\",\"seq\":0.5,\"ms\":0}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":1e3}",
		"{\"kind\":\"log\",\"seq\":99999999999999999999,\"ms\":0}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"text\":[]}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"text\":{}}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"text\":null}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"seq\":1}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"Text\":\"\"}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"a-b\":\"\"}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"\":\"\"}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"a_name_that_is_longer_than_thirty_two\":1}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0} {}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"text\":\"\xff\"}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"text\":\"\\u0000\"}",
		"{\"kind\":\"dropped\",\"seq\":0,\"ms\":0}",
		"{\"kind\":\"dropped\",\"seq\":0,\"ms\":0,\"count\":-1}",
		"{\"kind\":\"log\",\"seq\":0,\"ms\":0,\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1}",
	};
	static char deep[4096];
	for (size_t i = 0; i < COUNT(rows); i++)
		if (take(rows[i]))
			fail_msg("accepted: %s", rows[i]);
	memset(deep, '[', sizeof deep - 1);
	assert_false(take(deep));
	assert_int_equal(heard, 0);
	assert_int_equal(c.malformed, COUNT(rows) + 1);
}

static void what_is_printed_is_harmless(void **state)
{
	(void)state;
	assert_true(take("{\"kind\":\"log\",\"seq\":0,\"ms\":1,\"service\":\"a\\u001b[2Jb\",\"text\":\"\\u001b]0;x\\u0007\\r\\n\xc2\x9b\xe2\x80\xae<b>\"}"));
	for (const char *s = last_text; *s != '\0'; s++)
		assert_true(*s >= 0x20 && *s < 0x7f);
	for (const char *s = last_json; s[1] != '\0'; s++)
		assert_true(*s >= 0x20 && *s < 0x7f);
	assert_string_equal(last_text, "0.001 a\\x1b[2Jb| \\x1b]0;x\\x07\\x0d\\x0a\\xc2\\x9b\\xe2\\x80\\xae<b>");

	/* names in the status are printable and short, and there are only so many of them */
	char line[256];
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof line, "{\"kind\":\"service\",\"seq\":%d,\"ms\":1,\"service\":\"\\u001b%d-%0100d\",\"state\":\"ready\"}", i, i, i);
		assert_true(take(line));
	}
	assert_int_equal(c.owners, COLLECTOR_OWNERS);
	assert_true(strlen(c.owner[0].name) <= COLLECTOR_NAME_MAX);
	json_t *s = collector_status(&c);
	assert_non_null(s);
	char *dump = json_dumps(s, JSON_ENSURE_ASCII);
	assert_null(strstr(dump, "\\u001b"));
	free(dump);
	json_decref(s);
}

static void numbers_tell_what_is_missing(void **state)
{
	(void)state;
	assert_true(take("{\"kind\":\"log\",\"seq\":0,\"ms\":1}"));
	assert_true(take("{\"kind\":\"boot\",\"seq\":0,\"ms\":1}"));
	/* said to be dropped */
	assert_true(take("{\"kind\":\"dropped\",\"seq\":1,\"ms\":1,\"stream\":\"log\",\"count\":9,\"total\":9}"));
	assert_true(take("{\"kind\":\"log\",\"seq\":10,\"ms\":1}"));
	assert_int_equal(c.dropped[1], 9);
	assert_int_equal(c.lost[1], 0);
	/* again, after a reconnect */
	assert_true(take("{\"kind\":\"log\",\"seq\":10,\"ms\":1}"));
	assert_true(take("{\"kind\":\"boot\",\"seq\":0,\"ms\":1}"));
	assert_int_equal(c.again, 2);
	assert_int_equal(heard, 4);
	/* gone without a word */
	assert_true(take("{\"kind\":\"log\",\"seq\":15,\"ms\":1}"));
	assert_int_equal(c.lost[1], 4);
	assert_int_equal(c.lost[0], 0);
}

static void send_text(int fd, const char *s) { assert_int_equal(send(fd, s, strlen(s), 0), strlen(s)); }
static void turn(void) { assert_int_equal(loop_once(&loop, 200, &err), 0); }

static void connections_are_bounded(void **state)
{
	(void)state;
	int pair[4][2];
	for (int i = 0; i < 4; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair[i]), 0);
		assert_true(collector_add(&c, pair[i][1], 1023));
	}
	assert_true(collector_connected(&c));
	/* the third was closed */
	char byte;
	assert_int_equal(recv(pair[2][0], &byte, 1, 0), 0);

	/* in pieces, and with a line too long between two good ones */
	static char text[CONTROL_LINE_MAX + 100];
	send_text(pair[0][0], "{\"kind\":\"log\",\"seq\":0,");
	turn();
	send_text(pair[0][0], "\"ms\":1}\n");
	turn();
	assert_int_equal(heard, 1);
	memset(text, 'x', sizeof text - 1);
	send_text(pair[0][0], text);
	send_text(pair[0][0], "\n{\"kind\":\"log\",\"seq\":1,\"ms\":1}\n");
	while (heard < 2)
		turn();
	assert_int_equal(c.malformed, 1);

	/* one that only sends rubbish is cut off, the other is not */
	for (int i = 0; i < COLLECTOR_MALFORMED_MAX; i++)
		send_text(pair[1][0], "rubbish\n");
	while (recv(pair[1][0], &byte, 1, 0) < 0)
		turn();
	send_text(pair[0][0], "{\"kind\":\"log\",\"seq\":2,\"ms\":1}\n");
	turn();
	assert_int_equal(heard, 3);
	/* its end */
	close(pair[0][0]);
	turn();
	assert_false(collector_connected(&c));
	for (int i = 1; i < 4; i++)
		close(pair[i][0]);
}

/* A service may write what init writes, but not from where init calls. */
static void who_is_not_init_is_not_heard(void **state)
{
	(void)state;
	static const uint32_t ports[] = { VSOCK_PRIVILEGED_PORTS, 9001, 0x80000000, UINT32_MAX };
	char byte;
	int pair[2];
	for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		send_text(pair[0], "{\"kind\":\"boot\",\"seq\":4000000000,\"ms\":1,\"stage\":\"forged\"}\n");
		assert_false(collector_add(&c, pair[1], ports[i]));
		assert_int_equal(c.refused, i + 1);
		assert_false(collector_connected(&c));
		assert_true(recv(pair[0], &byte, 1, 0) <= 0);
		close(pair[0]);
	}
	assert_int_equal(heard, 0);
	/* the same from where init calls is believed: the port is what makes the difference */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	send_text(pair[0], "{\"kind\":\"boot\",\"seq\":4000000000,\"ms\":1,\"stage\":\"forged\"}\n");
	assert_true(collector_add(&c, pair[1], VSOCK_PRIVILEGED_PORTS - 1));
	turn();
	assert_int_equal(heard, 1);
	assert_int_equal(c.next[0], 4000000001);
	close(pair[0]);
}

static void a_flood_is_held_back(void **state)
{
	(void)state;
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_true(collector_add(&c, pair[1], 1));
	c.budget = -COLLECTOR_BYTES_S / 4;
	static char line[] = "{\"kind\":\"log\",\"seq\":0,\"ms\":1}\n";
	for (int i = 0; i < 100; i++)
		send_text(pair[0], line);
	turn();
	assert_true(c.budget <= 0);
	assert_int_equal(c.peer[0].watch.events, 0);
	uint64_t taken = c.taken[1] + c.again;
	assert_int_equal(taken, 100);
	/* and goes on when time has passed */
	send_text(pair[0], line);
	for (int i = 0; i < 10 && c.taken[1] + c.again == taken; i++)
		turn();
	assert_int_equal(c.taken[1] + c.again, taken + 1);
	close(pair[0]);
}

/* Every line is taken and counted, and what is passed on has an end; events have their own. */
static void what_is_passed_on_is_bounded(void **state)
{
	(void)state;
	static char text[1024], line[2048];
	const unsigned many = 4 * COLLECTOR_PASSED_BURST / sizeof text;
	memset(text, 'x', sizeof text - 1);
	for (unsigned i = 0; i < many; i++) {
		snprintf(line, sizeof line, "{\"kind\":\"log\",\"seq\":%u,\"ms\":1,\"service\":\"a\",\"text\":\"%s\"}", i, text);
		assert_true(take(line));
	}
	assert_int_equal(c.taken[1], many);
	assert_int_equal(heard + c.withheld[1], many);
	/* what the clock gives back meanwhile is little, even on a slow machine */
	assert_in_range(heard, COLLECTOR_PASSED_BURST / sizeof line, many / 2);
	assert_int_equal(not_heard[1] + c.passing[1].unsaid, c.withheld[1]);
	unsigned before = heard;
	assert_true(take("{\"kind\":\"boot\",\"seq\":0,\"ms\":1,\"stage\":\"late\"}"));
	assert_int_equal(heard, before + 1);
	assert_int_equal(c.withheld[0], 0);

	/* after a while there is room again, and a word about what was not shown comes first */
	c.passing[1].at_ms -= 1000;
	snprintf(line, sizeof line, "{\"kind\":\"log\",\"seq\":%u,\"ms\":1,\"service\":\"a\",\"text\":\"end\"}", many);
	assert_true(take(line));
	assert_int_equal(heard, before + 2);
	assert_int_equal(not_heard[1], c.withheld[1]);
	assert_int_equal(c.passing[1].unsaid, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_init_writes_is_understood),
		TEST(an_end_that_init_asked_for_is_no_death),
		TEST(hostile_lines_are_refused),
		TEST(what_is_printed_is_harmless),
		TEST(numbers_tell_what_is_missing),
		TEST(connections_are_bounded),
		TEST(who_is_not_init_is_not_heard),
		TEST(a_flood_is_held_back),
		TEST(what_is_passed_on_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
