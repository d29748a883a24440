/* The enclave's end of the control channel against readers that are absent, slow, broken and hostile, with the host's collector as the
 * one that counts: every line that was told arrives once, or is told to be missing. */
#include "enclave/init/events.h"

#include "host/collector.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct events e;
static struct loop loop;
static struct err err;
static struct collector c;
static int far_end = -1;                         /* the reader's, when there is one */
static bool absent;

static int dial(int *ret_fd, struct err *why)
{
	int fd[2], small = 4096;
	(void)why;
	if (absent)
		return -ECONNREFUSED;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	if (far_end >= 0)
		close(far_end);
	far_end = fd[1];
	*ret_fd = fd[0];
	return 0;
}

static void on_withheld(struct collector *who, bool log, uint64_t lines)
{
	(void)who;
	(void)log;
	(void)lines;
}

static void on_line(struct collector *me, enum control_kind kind, struct bytes json, const char *text)
{
	(void)me, (void)kind, (void)json, (void)text;
}

static int set_up(void **state)
{
	(void)state;
	memset(&e, 0, sizeof e);
	absent = false;
	far_end = -1;
	c = (struct collector){ .on_line = on_line, .on_withheld = on_withheld };
	if (loop_open(&loop, &err) != 0)
		return 1;
	events_init(&e);
	e.dial = dial;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (far_end >= 0)
		close(far_end);
	if (e.watch.fd >= 0)
		close(e.watch.fd);
	loop_close(&loop);
	return 0;
}

/* The reader takes what there is, up to n bytes; lines may come in pieces, and a piece at the end of a connection is no line. */
static char piece[2 * CONTROL_LINE_MAX];
static size_t piece_n;
static void new_reader(void) { piece_n = 0; }
static size_t read_some(size_t n)
{
	size_t got_all = 0;
	while (n > 0) {
		char *end;
		size_t room = sizeof piece - piece_n < n ? sizeof piece - piece_n : n;
		ssize_t got = far_end < 0 ? -1 : recv(far_end, piece + piece_n, room, MSG_DONTWAIT);
		if (got <= 0)
			break;
		piece_n += (size_t)got;
		got_all += (size_t)got;
		n -= (size_t)got;
		while ((end = memchr(piece, '\n', piece_n)) != NULL) {
			size_t size = (size_t)(end - piece);
			assert_true(collector_take(&c, bytes_of(piece, size)));
			piece_n -= size + 1;
			memmove(piece, end + 1, piece_n);
		}
	}
	return got_all;
}

static void turn(int ms) { assert_int_equal(loop_once(&loop, ms, &err), 0); }
static void read_all(void)
{
	for (int quiet = 0; quiet < 5;) {
		turn(5);
		quiet = read_some(1 << 20) > 0 || !events_idle(&e) ? 0 : quiet + 1;
	}
}

static void tell(int n) { TELL(&e, CONTROL_BOOT, control_str("stage", "x"), control_number("n", n)); }
static void log_line(int n)
{
	char text[64];
	int size = snprintf(text, sizeof text, "line %d of what a service has to say", n);
	events_log(&e, "app", bytes_of(text, (size_t)size), false);
}

/* told = received + dropped, nothing lost, and init's own counts agree */
static void everything_adds_up(uint64_t events, uint64_t lines)
{
	assert_int_equal(c.lost[0], 0);
	assert_int_equal(c.lost[1], 0);
	assert_int_equal(c.taken[0] + c.dropped[0], events);
	assert_int_equal(c.taken[1] + c.dropped[1], lines);
	assert_int_equal(e.ring[STREAM_EVENT].dropped, c.dropped[0]);
	assert_int_equal(e.ring[STREAM_LOG].dropped, c.dropped[1]);
	assert_int_equal(e.sent[STREAM_EVENT] + e.ring[STREAM_EVENT].dropped, events);
	assert_int_equal(e.sent[STREAM_LOG] + e.ring[STREAM_LOG].dropped, lines);
	assert_int_equal(c.malformed, 0);
}

static void what_was_told_before_arrives(void **state)
{
	(void)state;
	tell(0);
	log_line(0);
	assert_false(events_idle(&e));
	events_connect(&e, &loop);
	read_all();
	everything_adds_up(1, 1);
}

static void an_absent_reader_costs_the_oldest_lines(void **state)
{
	(void)state;
	absent = true;
	events_connect(&e, &loop);
	for (int i = 0; i < 100000; i++)
		log_line(i);
	for (int i = 0; i < 10; i++)
		tell(i);
	turn(5);
	absent = false;
	for (int i = 0; i < 100 && e.state != EVENTS_UP; i++)
		turn(50);
	read_all();
	everything_adds_up(10, 100000);
	/* log lines never push events out */
	assert_int_equal(c.dropped[0], 0);
	assert_true(c.dropped[1] > 90000 && c.taken[1] > 1000);
}

static void a_slow_reader_holds_nobody_up(void **state)
{
	(void)state;
	events_connect(&e, &loop);
	for (int i = 0; i < 50000; i++) {
		log_line(i);
		if (i % 100 == 0) {
			tell(i);
			turn(0);
			read_some(100);
		}
	}
	read_all();
	everything_adds_up(500, 50000);
	assert_true(c.dropped[1] > 0);
}

static void live_with_broken_connections(int lines_a_round, int *ret_events, int *ret_lines)
{
	int events = 0, lines = 0;
	srand(11);
	events_connect(&e, &loop);
	for (int round = 0; round < 60; round++) {
		for (int i = rand() % lines_a_round; i > 0; i--)
			log_line(lines++);
		for (int i = rand() % 5; i > 0; i--)
			tell(events++);
		for (int i = 0; i < 3; i++) {
			turn(1);
			read_some((size_t)(rand() % 5000));
		}
		if (rand() % 3 == 0 && far_end >= 0) {
			/* what is in the socket dies with it */
			close(far_end);
			far_end = -1;
			new_reader();
			e.retry_ms = 1;
			for (int i = 0; i < 400 && (e.state != EVENTS_UP || far_end < 0); i++)
				turn(10);
		}
	}
	read_all();
	*ret_events = events;
	*ret_lines = lines;
}

static void broken_connections_lose_and_repeat_nothing(void **state)
{
	(void)state;
	int events, lines;
	live_with_broken_connections(40, &events, &lines);
	everything_adds_up((uint64_t)events, (uint64_t)lines);
	assert_true(c.again > 0 && c.dropped[1] == 0);
}

/* A reader too slow for its ring to hold what died with a connection: what is missing is still known, to the line. */
static void what_died_with_a_connection_is_counted(void **state)
{
	(void)state;
	int events, lines;
	live_with_broken_connections(400, &events, &lines);
	assert_int_equal(c.taken[0], events);
	assert_int_equal(c.taken[1] + c.dropped[1] + c.lost[1], lines);
	assert_true(c.lost[1] > 0 && c.dropped[1] > 0);
	assert_int_equal(e.sent[STREAM_LOG] + e.ring[STREAM_LOG].dropped, lines);
}

/* What waited in the batch when its connection broke was not handed to anybody: when the ring loses it, that is told. */
static void what_was_never_sent_is_told_as_dropped(void **state)
{
	(void)state;
	const int lines = 8000;
	events_connect(&e, &loop);
	turn(5);
	for (int i = 0; i < 600; i++)            /* more than the socket takes, all of it in the ring */
		log_line(i);
	turn(5);
	assert_true(e.batch_at < e.batch_n);
	absent = true;
	close(far_end);
	far_end = -1;
	new_reader();
	for (int i = 0; i < 100 && e.state != EVENTS_AWAY; i++)
		turn(1);
	for (int i = 600; i < lines; i++)
		log_line(i);
	absent = false;
	for (int i = 0; i < 100 && e.state != EVENTS_UP; i++)
		turn(50);
	read_all();
	assert_int_equal(e.sent[STREAM_LOG] + e.ring[STREAM_LOG].dropped, lines);
	assert_int_equal(e.ring[STREAM_LOG].dropped, c.dropped[1]);
}

static void what_the_reader_sends_changes_nothing(void **state)
{
	(void)state;
	static char junk[4096];
	events_connect(&e, &loop);
	tell(0);
	read_all();
	memset(junk, 'S', sizeof junk);
	while (send(far_end, junk, sizeof junk, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	/* the loop does not turn for it */
	int turns = 0;
	for (int64_t i = 0; i < 20; i++) {
		int n = loop_once(&loop, 1, &err);
		turns += loop.batch_n;
		assert_int_equal(n, 0);
	}
	assert_int_equal(turns, 0);
	tell(1);
	read_all();
	everything_adds_up(2, 0);
}

static void lines_fit_whatever_is_in_them(void **state)
{
	(void)state;
	static uint8_t text[5000];
	memset(text, 0x01, sizeof text);                         /* six bytes each in JSON */
	events_connect(&e, &loop);
	events_log(&e, "app", bytes_of(text, sizeof text), true);
	events_log(&e, "app", BYTES_NONE, false);
	TELL(&e, CONTROL_BUG, control_text("text", bytes_of(text, sizeof text)), control_text("more", bytes_of(text, sizeof text)));
	read_all();
	assert_int_equal(c.taken[1], 2);
	assert_int_equal(c.malformed, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_told_before_arrives),
		TEST(an_absent_reader_costs_the_oldest_lines),
		TEST(a_slow_reader_holds_nobody_up),
		TEST(broken_connections_lose_and_repeat_nothing),
		TEST(what_died_with_a_connection_is_counted),
		TEST(what_was_never_sent_is_told_as_dropped),
		TEST(what_the_reader_sends_changes_nothing),
		TEST(lines_fit_whatever_is_in_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
