/* The frame client over a connection that is not there at once, as vsock's are: vsock_connect() is replaced by one to a TCP
 * port of the loopback, which is as slow. No AF_VSOCK socket is made. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "host/frame_call.h"
#include "host/frame_client.h"
#include "linux/vsock.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static uint32_t asked_cid, asked_port;
static struct sockaddr_in target = { .sin_family = AF_INET };

int vsock_connect(uint32_t cid, uint32_t port, int *ret_fd, struct err *err)
{
	(void)err;
	asked_cid = cid;
	asked_port = port;
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (connect(fd, (struct sockaddr *)&target, sizeof target) != 0 && errno != EINPROGRESS)
		return -errno;
	*ret_fd = fd_steal(&fd);
	return 0;
}

static int listen_here(void)
{
	socklen_t n = sizeof target;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	target.sin_port = 0;
	assert_int_equal(bind(fd, (struct sockaddr *)&target, n), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&target, &n), 0);
	return fd;
}

static void answer_health(int peer)
{
	uint8_t buf[512], head[FRAME_HEADER_SIZE];
	assert_true(recv(peer, buf, sizeof buf, 0) > FRAME_HEADER_SIZE);
	struct writer w = writer_of(buf, sizeof buf);
	frame_reply_put(&w, &(struct frame_reply){ .uptime_ms = 77 });
	frame_header(FRAME_REPLY, w.at, head);
	assert_int_equal(send(peer, head, sizeof head, MSG_MORE), sizeof head);
	assert_int_equal(send(peer, buf, w.at, 0), w.at);
}

struct ended { struct frame_client client; int ends; enum frame_client_how how; uint64_t uptime_ms; struct err why; };

static void on_end(struct frame_client *c, const struct frame_client_result *r)
{
	struct ended *e = CONTAINER_OF(c, struct ended, client);
	e->ends++;
	e->how = r->how;
	e->why = r->why;
	e->uptime_ms = r->how == FRAME_CLIENT_REPLY ? r->reply.uptime_ms : 0;
}

static void exchange(struct ended *e, int listener)
{
	struct loop loop;
	struct frame_address to;
	struct err err = { "" };
	const struct frame_request q = { .op = OP_HEALTH };
	*e = (struct ended){ .client.on_end = on_end };
	assert_int_equal(loop_open(&loop, &err), 0);
	assert_int_equal(frame_address_parse("vsock:16:9002", &to, &err), 0);
	assert_int_equal(frame_client_open(&e->client, &loop, &to, &q, 5000, &err), 0);
	if (listener >= 0) {
		CLEANUP(close_fd) int peer = accept(listener, NULL, NULL);
		while (!e->client.connected)
			assert_int_equal(loop_once(&loop, 1000, &err), 0);
		answer_health(peer);
		while (e->ends == 0)
			assert_int_equal(loop_once(&loop, 1000, &err), 0);
	}
	while (e->ends == 0)
		assert_int_equal(loop_once(&loop, 1000, &err), 0);
	loop_close(&loop);
}

static void the_client_waits_for_the_connection(void **state)
{
	(void)state;
	struct ended e;
	CLEANUP(close_fd) int listener = listen_here();
	exchange(&e, listener);
	assert_int_equal(e.how, FRAME_CLIENT_REPLY);
	assert_int_equal(e.uptime_ms, 77);
	assert_true(asked_cid == 16 && asked_port == 9002);
}

static void nobody_listens(void **state)
{
	(void)state;
	struct ended e;
	int listener = listen_here();
	close(listener);
	exchange(&e, -1);
	assert_int_equal(e.how, FRAME_CLIENT_UNREACHABLE);
	assert_string_equal(e.why.text, "connect to the enclave at vsock:16:9002: Connection refused");
}

static void a_blocking_call(void **state)
{
	(void)state;
	struct frame_call c;
	struct err err = { "" };
	const struct frame_request q = { .op = OP_HEALTH };
	struct frame_reply reply;
	enum outcome code;
	CLEANUP(close_fd) int listener = listen_here();
	assert_int_equal(frame_call_open(&c, "vsock:16:9002", 5000, &err), 0);
	assert_int_equal(frame_call_request(&c, &q, &err), 0);
	CLEANUP(close_fd) int peer = accept(listener, NULL, NULL);
	answer_health(peer);
	assert_int_equal(frame_call_reply(&c, &reply, &code, &err), 0);
	assert_int_equal(reply.uptime_ms, 77);
	frame_call_close(&c);
	close_fd(&listener);
	assert_true(frame_call_open(&c, "vsock:16:9002", 5000, &err) < 0);
	assert_non_null(strstr(err.text, "is the enclave running?"));
	frame_call_close(&c);
}

static void addresses(void **state)
{
	(void)state;
	struct frame_address a;
	struct err err;
	static const char *const bad[] = { "vsock:", "vsock:16", "vsock:16:", "vsock::9002", "vsock:16:9002:", "vsock:-1:9002", "vsock:16:x",
	                                   "vsock:4294967295:1", "vsock:4294967296:1", "vsock:1:4294967295", "VSOCK:16:9002" };
	assert_int_equal(frame_address_parse("vsock:4294967294:1", &a, &err), 0);
	assert_true(a.cid == 4294967294U && a.port == 1 && a.size == 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_true(frame_address_parse(bad[i], &a, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_client_waits_for_the_connection), cmocka_unit_test(nobody_listens),
		cmocka_unit_test(a_blocking_call), cmocka_unit_test(addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
