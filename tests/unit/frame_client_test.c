/* The client against a peer in the same process: the test plays the enclave by hand, between two turns
 * of the loop. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "host/frame_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

struct fixture {
	struct loop loop;
	struct frame_address address;
	struct frame_client client;
	int listener, peer;
	int ends, events, rooms;
	bool close_on_event;
	enum frame_client_how how;
	enum outcome code;
	uint8_t proof[64];
	size_t proof_n;
	char why[512], dir[64], path[80];
	size_t fds;
};

static size_t count_fds(void)
{
	CLEANUP(close_dir) DIR *d = opendir("/proc/self/fd");
	size_t n = 0;
	while (readdir(d) != NULL)
		n++;
	return n;
}

static void on_end(struct frame_client *c, const struct frame_client_result *r)
{
	struct fixture *f = CONTAINER_OF(c, struct fixture, client);
	assert_false(frame_client_is_open(c));
	f->ends++;
	f->how = r->how;
	f->code = r->error.code;
	snprintf(f->why, sizeof f->why, "%s", r->why.text);
	if (r->how == FRAME_CLIENT_REPLY && r->reply.proof.n <= sizeof f->proof) {
		memcpy(f->proof, r->reply.proof.p, r->reply.proof.n);
		f->proof_n = r->reply.proof.n;
	}
}

static void on_event(struct frame_client *c, const struct frame_event *e)
{
	struct fixture *f = CONTAINER_OF(c, struct fixture, client);
	assert_true(e->stage.n > 0);
	f->events++;
	if (f->close_on_event)
		frame_client_close(c);
}

static void on_room(struct frame_client *c) { CONTAINER_OF(c, struct fixture, client)->rooms++; }

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct err err;
	assert_non_null(f);
	f->fds = count_fds();
	snprintf(f->dir, sizeof f->dir, "/tmp/frame_client_XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof f->path, "%s/s", f->dir);
	char text[96];
	snprintf(text, sizeof text, "unix:%s", f->path);
	assert_int_equal(frame_address_parse(text, &f->address, &err), 0);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	f->peer = -1;
	assert_int_equal(bind(f->listener, (struct sockaddr *)&f->address.addr, f->address.size), 0);
	assert_int_equal(listen(f->listener, 1), 0);
	assert_int_equal(loop_open(&f->loop, &err), 0);
	f->client = (struct frame_client){ .on_end = on_end, .on_event = on_event, .on_room = on_room };
	*state = f;
	return 0;
}

/* Nothing is left of an exchange, whatever happened. */
static int teardown(void **state)
{
	struct fixture *f = *state;
	frame_client_close(&f->client);
	frame_client_close(&f->client);
	assert_null(f->loop.timers);
	assert_null(f->client.in);
	assert_null(f->client.data);
	close_fd(&f->peer);
	close_fd(&f->listener);
	loop_close(&f->loop);
	unlink(f->path);
	rmdir(f->dir);
	assert_int_equal(count_fds(), f->fds);
	free(f);
	return 0;
}

static void open_client(struct fixture *f, const struct frame_request *q, int64_t deadline_ms)
{
	struct err err = { "" };
	if (frame_client_open(&f->client, &f->loop, &f->address, q, deadline_ms, &err) != 0)
		fail_msg("%s", err.text);
	f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(f->peer >= 0);
}

static void turn(struct fixture *f) { assert_int_equal(loop_once(&f->loop, 20, NULL), 0); }

static void run_to_end(struct fixture *f)
{
	for (int64_t until = clock_monotonic_ms() + 5000; f->ends == 0 && clock_monotonic_ms() < until;)
		turn(f);
	assert_int_equal(f->ends, 1);
}

static void say(struct fixture *f, const void *p, size_t n) { assert_int_equal(send(f->peer, p, n, MSG_NOSIGNAL), n); }

static void say_frame(struct fixture *f, enum frame_kind kind, struct bytes payload)
{
	uint8_t header[FRAME_HEADER_SIZE];
	struct writer w = writer_of(header, sizeof header);
	put_be32(&w, (uint32_t)payload.n);
	put_u8(&w, (uint8_t)kind);
	say(f, header, sizeof header);
	if (payload.n > 0)
		say(f, payload.p, payload.n);
}

static void say_reply(struct fixture *f)
{
	uint8_t buf[256];
	struct writer w = writer_of(buf, sizeof buf);
	frame_reply_put(&w, &(struct frame_reply){ .proof = BYTES_LIT("proof") });
	say_frame(f, FRAME_REPLY, writer_bytes(&w));
}

static void say_event(struct fixture *f)
{
	uint8_t buf[64];
	struct writer w = writer_of(buf, sizeof buf);
	frame_event_put(&w, &(struct frame_event){ BYTES_LIT("queued"), 1 });
	say_frame(f, FRAME_EVENT, writer_bytes(&w));
}

static void hear(struct fixture *f, uint8_t *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		turn(f);
		ssize_t got = recv(f->peer, p + at, n - at, MSG_DONTWAIT);
		assert_true(got > 0 || (got < 0 && errno == EAGAIN));
		at += got > 0 ? (size_t)got : 0;
	}
}

static const struct frame_request health = { .op = OP_HEALTH };
static const struct frame_request prove = { .op = OP_PROVE, .size = 10 << 20, .version = BYTES_LIT("5.0.0") };

static void addresses(void **state)
{
	(void)state;
	struct frame_address a;
	struct err err;
	char text[256];
	assert_int_equal(frame_address_parse("unix:/x", &a, &err), 0);
	assert_string_equal(a.text, "unix:/x");
	assert_string_equal(((struct sockaddr_un *)(void *)&a.addr)->sun_path, "/x");
	const char *const bad[] = { "", "/x", "unix:", "UNIX:/x", "vsock:16", "tcp:127.0.0.1:1" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_true(frame_address_parse(bad[i], &a, &err) < 0);
	for (int n = 107; n <= 108; n++) {
		snprintf(text, sizeof text, "unix:%0*d", n, 0);
		assert_int_equal(frame_address_parse(text, &a, &err) == 0, n == 107);
	}
}

static void an_address_in_a_link(void **state)
{
	char dir[] = "/tmp/tee-rex-link-XXXXXX", path[64];
	static const struct { const char *text; bool good; } links[] = {
		{ "vsock:17:9002", true }, { "vsock:17", false }, { "vsock:17:9002x", false }, { "unix:/x", false }, { "/x", false },
	};
	struct frame_address a;
	(void)state;
	snprintf(path, sizeof path, "%s/service.sock", mkdtemp(dir));
	assert_false(frame_address_linked(path, &a));
	for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
		assert_int_equal(symlink(links[i].text, path), 0);
		assert_int_equal(frame_address_linked(path, &a), links[i].good);
		assert_true(!links[i].good || (a.cid == 17 && a.port == 9002 && a.size == 0));
		unlink(path);
	}
	rmdir(dir);
}

static void nobody_there(void **state)
{
	struct fixture *f = *state;
	struct err err = { "" };
	close_fd(&f->listener);
	assert_int_equal(frame_client_open(&f->client, &f->loop, &f->address, &health, 1000, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.text, f->path));
	unlink(f->path);
	assert_int_equal(frame_client_open(&f->client, &f->loop, &f->address, &health, 1000, &err), -ENOENT);
	turn(f);
	assert_int_equal(f->ends, 0);
}

static void a_question_and_its_answer(void **state)
{
	struct fixture *f = *state;
	open_client(f, &health, 1000);
	uint8_t header[FRAME_HEADER_SIZE], body[64];
	hear(f, header, sizeof header);
	assert_int_equal(header[4], FRAME_REQUEST);
	hear(f, body, header[3]);
	struct frame_request q;
	assert_true(frame_request_parse(bytes_of(body, header[3]), &q));
	assert_int_equal(q.op, OP_HEALTH);
	say_event(f);
	say_event(f);
	say_reply(f);
	say(f, "garbage after the answer", 24);
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_REPLY);
	assert_int_equal(f->events, 2);
	assert_memory_equal(f->proof, "proof", 5);
}

static void answers_in_single_bytes(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[300];
	open_client(f, &health, 5000);
	struct writer w = writer_of(buf + FRAME_HEADER_SIZE, sizeof buf - FRAME_HEADER_SIZE);
	frame_reply_put(&w, &(struct frame_reply){ .proof = BYTES_LIT("proof") });
	frame_header(FRAME_REPLY, w.at, buf);
	for (size_t i = 0; i < FRAME_HEADER_SIZE + w.at; i++) {
		assert_int_equal(f->ends, 0);
		say(f, buf + i, 1);
		turn(f);
	}
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_REPLY);
}

/* Fills what room there is; returns how much that was. */
static size_t fill(struct fixture *f, uint8_t *next)
{
	size_t total = 0;
	uint8_t *p;
	for (size_t room; (room = frame_client_room(&f->client, &p)) > 0; total += room) {
		assert_true(room >= FRAME_CLIENT_ROOM_MIN);
		size_t n = room > 1000 ? 1000 : room;
		for (size_t i = 0; i < n; i++)
			p[i] = (*next)++;
		frame_client_commit(&f->client, n);
		total += n - room;
	}
	return total;
}

/* Reads frames of data until size bytes came, and END; checks every byte. */
static void hear_data(struct fixture *f, size_t size)
{
	static uint8_t payload[FRAME_PAYLOAD_MAX];
	uint8_t header[FRAME_HEADER_SIZE], want = 0;
	size_t total = 0;
	hear(f, header, sizeof header);
	hear(f, payload, header[3]);
	for (;;) {
		hear(f, header, sizeof header);
		size_t n = (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
		if (header[4] == FRAME_END)
			break;
		assert_int_equal(header[4], FRAME_DATA);
		assert_true(n > 0 && n <= FRAME_DATA_SIZE);
		hear(f, payload, n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(payload[i], want++);
		total += n;
	}
	assert_int_equal(total, size);
}

static void data_with_back_pressure(void **state)
{
	struct fixture *f = *state;
	uint8_t next = 0;
	open_client(f, &prove, 5000);
	size_t sent = fill(f, &next);
	for (int i = 0; i < 10; i++) {       /* nobody reads: what fits is what two buffers hold */
		turn(f);
		sent += fill(f, &next);
	}
	assert_true(sent < 2 << 20);
	assert_int_equal(f->rooms, 0);
	size_t held = sent, drained = 0;
	uint8_t sink[8192];
	while (f->rooms == 0) {              /* once it is read there is room again, and the client says so */
		ssize_t n = recv(f->peer, sink, sizeof sink, MSG_DONTWAIT);
		assert_true(n > 0);
		drained += (size_t)n;
		turn(f);
	}
	assert_true(fill(f, &next) > 0);
	assert_true(drained <= held + 4096);
}

static void data_arrives_as_it_went(void **state)
{
	struct fixture *f = *state;
	uint8_t next = 0;
	for (size_t size = 0; size < 200; size += 57) {
		uint8_t *p;
		f->ends = 0;
		next = 0;
		open_client(f, &prove, 5000);
		if (size > 0) {
			assert_true(frame_client_room(&f->client, &p) > size);
			for (size_t i = 0; i < size; i++)
				p[i] = next++;
			frame_client_commit(&f->client, size);
		}
		frame_client_end(&f->client);
		hear_data(f, size);
		say_reply(f);
		run_to_end(f);
		assert_int_equal(f->how, FRAME_CLIENT_REPLY);
		close_fd(&f->peer);
	}
}

static void long_data_arrives_as_it_went(void **state)
{
	struct fixture *f = *state;
	uint8_t next = 0;
	open_client(f, &prove, 5000);
	size_t sent = fill(f, &next);
	frame_client_end(&f->client);
	hear_data(f, sent);
	say_reply(f);
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_REPLY);
}

static void an_error_in_the_middle_of_data(void **state)
{
	struct fixture *f = *state;
	uint8_t next = 0, buf[128];
	open_client(f, &prove, 5000);
	fill(f, &next);
	struct writer w = writer_of(buf, sizeof buf);
	frame_error_put(&w, &(struct frame_error){ .code = OUTCOME_BUSY, .message = BYTES_LIT("later") });
	say_frame(f, FRAME_ERROR, writer_bytes(&w));
	close_fd(&f->peer);              /* with data unread: the send side breaks, the error is still heard */
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_ERROR);
	assert_int_equal(f->code, OUTCOME_BUSY);
}

static void a_reply_before_the_end_of_data(void **state)
{
	struct fixture *f = *state;
	uint8_t next = 0;
	open_client(f, &prove, 5000);
	fill(f, &next);
	say_reply(f);
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_PROTOCOL);
}

static void peers_that_break_the_protocol(void **state)
{
	struct fixture *f = *state;
	static const struct { uint8_t bytes[24]; size_t n; const char *why; } rows[] = {
		{ { 0, 0, 0, 1, 99, 0 }, 6, "unknown frame kind" },
		{ { 0, 0, 0, 1, FRAME_REQUEST, 0 }, 6, "wrong kind" },
		{ { 0, 0, 0, 1, FRAME_DATA, 0 }, 6, "wrong kind" },
		{ { 0, 0, 0, 0, FRAME_END }, 5, "wrong kind" },
		{ { 0xff, 0xff, 0xff, 0xff, FRAME_REPLY }, 5, "too long" },
		{ { 0, 0x10, 0, 1, FRAME_REPLY }, 5, "too long" },
		{ { 0, 0, 0x10, 1, FRAME_EVENT }, 5, "too long" },
		{ { 0, 0, 0, 0, FRAME_REPLY }, 5, "does not fit" },
		{ { 0, 0, 0, 1, FRAME_REPLY, 0x80 }, 6, "malformed reply" },
		{ { 0, 0, 0, 2, FRAME_REPLY, 0xa0, 0 }, 7, "malformed reply" },
		{ { 0, 0, 0, 1, FRAME_ERROR, 0xa0 }, 6, "malformed error" },
		{ { 0, 0, 0, 1, FRAME_EVENT, 0xa0 }, 6, "malformed event" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		f->ends = 0;
		open_client(f, &health, 5000);
		say(f, rows[i].bytes, rows[i].n);
		run_to_end(f);
		if (f->how != FRAME_CLIENT_PROTOCOL || strstr(f->why, rows[i].why) == NULL)
			fail_msg("row %zu: %s", i, f->why);
		close_fd(&f->peer);
	}
}

static void events_are_counted(void **state)
{
	struct fixture *f = *state;
	open_client(f, &health, 10000);
	for (int i = 0; i < FRAME_CLIENT_EVENTS_MAX; i++) {
		say_event(f);
		if (i % 16 == 0)
			turn(f);
	}
	while (f->events < FRAME_CLIENT_EVENTS_MAX)
		turn(f);
	assert_int_equal(f->ends, 0);
	say_event(f);
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_PROTOCOL);
	assert_int_equal(f->events, FRAME_CLIENT_EVENTS_MAX);
}

static void the_peer_goes_away(void **state)
{
	struct fixture *f = *state;
	open_client(f, &health, 5000);
	say_event(f);
	close_fd(&f->peer);
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_CLOSED);
	assert_int_equal(f->events, 1);
}

static void a_silent_peer(void **state)
{
	struct fixture *f = *state;
	int64_t began = clock_monotonic_ms();
	open_client(f, &health, 50);
	frame_client_deadline(&f->client, 150);
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_TIMED_OUT);
	assert_in_range(clock_monotonic_ms() - began, 149, 2000);
}

static void closing_cancels(void **state)
{
	struct fixture *f = *state;
	char byte[256];
	open_client(f, &prove, 5000);
	frame_client_close(&f->client);
	while (recv(f->peer, byte, sizeof byte, 0) > 0)
		;
	turn(f);
	assert_int_equal(f->ends, 0);
}

static void closing_from_a_callback(void **state)
{
	struct fixture *f = *state;
	open_client(f, &health, 5000);
	f->close_on_event = true;
	say_event(f);
	say_event(f);
	say_reply(f);
	for (int i = 0; i < 5; i++)
		turn(f);
	assert_int_equal(f->events, 1);
	assert_int_equal(f->ends, 0);
}

/* With a full backlog a unix socket says EAGAIN; the client tries again until there is room, or no time. */
static void a_full_backlog(void **state)
{
	struct fixture *f = *state;
	struct err err;
	int waiting[8], n = 0;
	for (; n < 8; n++) {
		waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(waiting[n], (struct sockaddr *)&f->address.addr, f->address.size) != 0)
			break;
	}
	assert_true(n < 8);
	assert_int_equal(errno, EAGAIN);
	close(waiting[n]);
	assert_int_equal(frame_client_open(&f->client, &f->loop, &f->address, &health, 60, &err), 0);
	for (int64_t until = clock_monotonic_ms() + 40; clock_monotonic_ms() < until;)
		loop_once(&f->loop, 10, NULL);
	assert_int_equal(f->ends, 0);
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_TIMED_OUT);

	f->ends = 0;
	assert_int_equal(frame_client_open(&f->client, &f->loop, &f->address, &health, 5000, &err), 0);
	turn(f);
	for (int i = 0; i < n; i++) {
		close(accept4(f->listener, NULL, NULL, SOCK_CLOEXEC));
		close(waiting[i]);
	}
	for (int i = 0; i < 5; i++)
		turn(f);
	f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	say_reply(f);
	run_to_end(f);
	assert_int_equal(f->how, FRAME_CLIENT_REPLY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses), cmocka_unit_test(an_address_in_a_link), TEST(nobody_there), TEST(a_question_and_its_answer),
		TEST(answers_in_single_bytes), TEST(data_with_back_pressure), TEST(data_arrives_as_it_went),
		TEST(long_data_arrives_as_it_went), TEST(an_error_in_the_middle_of_data),
		TEST(a_reply_before_the_end_of_data), TEST(peers_that_break_the_protocol), TEST(events_are_counted),
		TEST(the_peer_goes_away), TEST(a_silent_peer), TEST(closing_cancels), TEST(closing_from_a_callback),
		TEST(a_full_backlog),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
