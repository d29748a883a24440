/* The bridge between a parent that does what it likes (a unix socket in place of its vsock) and a service on 127.0.0.1: bytes arrive,
 * and init's loop does not turn for a side that only waits. */
#include "enclave/init/bridge.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct bridges bridges;
static struct events events;
static struct loop loop;
static struct err err;
static int service_listener, parent_listener;
static struct sockaddr_un parent_address;
static socklen_t parent_address_n;

static int set_up(void **state)
{
	(void)state;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof a;
	/* an address that the kernel chooses */
	parent_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	parent_address_n = sizeof parent_address;
	service_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	parent_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (loop_open(&loop, &err) != 0 || bind(service_listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(service_listener, 8) != 0 ||
	    getsockname(service_listener, (struct sockaddr *)&a, &n) != 0 ||
	    bind(parent_listener, (struct sockaddr *)&parent_address, sizeof(sa_family_t)) != 0 || listen(parent_listener, 8) != 0 ||
	    getsockname(parent_listener, (struct sockaddr *)&parent_address, &parent_address_n) != 0)
		return 1;
	events_init(&events);
	bridges_init(&bridges, &loop, &events);
	return bridges_add(&bridges, parent_listener, ntohs(a.sin_port), &err);
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < INIT_BRIDGE_CONNECTIONS; i++)
		assert_false(bridges.conn[i].used);
	assert_int_equal(bridges.connections, 0);
	close(service_listener);
	close(parent_listener);
	loop_close(&loop);
	return 0;
}

static void turn(int ms) { assert_int_equal(loop_once(&loop, ms, &err), 0); }
static void quieten(void)
{
	for (int i = 0, quiet = 0; i < 2000 && quiet < 3; i++) {
		turn(5);
		quiet = loop.batch_n == 0 ? quiet + 1 : 0;
	}
}

/* A parent's connection and the service's end of it. */
static void connect_both(int *ret_parent, int *ret_service)
{
	*ret_parent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*ret_parent, (struct sockaddr *)&parent_address, parent_address_n), 0);
	quieten();
	*ret_service = accept4(service_listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(*ret_service >= 0);
}

static size_t read_to_the_end(int fd)
{
	static uint8_t buf[1 << 16];
	size_t all = 0;
	for (int i = 0; i < 2000; i++) {
		ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n == 0)
			return all;
		all += n > 0 ? (size_t)n : 0;
		turn(n > 0 ? 0 : 5);
	}
	fail_msg("no end after %zu bytes", all);
	return 0;
}

static void both_ways_and_each_end_for_itself(void **state)
{
	(void)state;
	int parent, service;
	char got[8];
	connect_both(&parent, &service);
	assert_int_equal(send(parent, "hello", 5, 0), 5);
	shutdown(parent, SHUT_WR);
	quieten();
	assert_int_equal(recv(service, got, sizeof got, 0), 5);
	assert_int_equal(recv(service, got, sizeof got, 0), 0);
	assert_int_equal(send(service, "world!", 6, 0), 6);
	close(service);
	assert_int_equal(read_to_the_end(parent), 6);
	close(parent);
	quieten();
}

/* The service has answered and is gone, the parent said all it had to and does not read: a hang-up is told by epoll whether it was
 * asked for or not, and must not keep the loop turning until the parent feels like reading. */
static void a_parent_that_does_not_read_costs_no_turns(void **state)
{
	(void)state;
	static uint8_t answer[1 << 15];
	int parent, service;
	size_t sent = 0;
	connect_both(&parent, &service);
	shutdown(parent, SHUT_WR);
	quieten();
	/* until the parent's socket and the bridge are full; what follows stays in the service's connection */
	const struct bridge_half *out = &bridges.conn[0].out;
	for (int full = 0; full < 2; full += out->n > 0) {
		assert_int_equal(send(service, answer, sizeof answer, 0), sizeof answer);
		sent += sizeof answer;
		quieten();
	}
	close(service);
	quieten();
	assert_true(bridges.conn[0].used);
	int turns = 0;
	for (int i = 0; i < 100; i++) {
		turn(1);
		turns += loop.batch_n;
	}
	assert_true(turns < 10);
	assert_int_equal(read_to_the_end(parent), sent);
	close(parent);
	quieten();
}

/* The same the other way round. */
static void a_service_that_does_not_read_costs_no_turns(void **state)
{
	(void)state;
	static uint8_t question[1 << 15];
	int parent, service, turns = 0;
	size_t sent = 0;
	ssize_t n;
	connect_both(&parent, &service);
	shutdown(service, SHUT_WR);
	quieten();
	for (int quiet = 0; quiet < 3; quiet++)
		for (; (n = send(parent, question, sizeof question, MSG_DONTWAIT)) > 0; quiet = 0) {
			sent += (size_t)n;
			turn(0);
		}
	close(parent);
	quieten();
	for (int i = 0; i < 100; i++) {
		turn(1);
		turns += loop.batch_n;
	}
	assert_true(turns < 10);
	assert_int_equal(read_to_the_end(service), sent);
	close(service);
	quieten();
}

/* Neither does one that comes while the service takes nobody. */
static void a_parent_that_leaves_early_costs_no_turns(void **state)
{
	(void)state;
	int parent, service;
	connect_both(&parent, &service);
	close(parent);
	quieten();
	close(service);
	quieten();
	assert_int_equal(loop.batch_n, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_ways_and_each_end_for_itself),
		TEST(a_parent_that_does_not_read_costs_no_turns),
		TEST(a_service_that_does_not_read_costs_no_turns),
		TEST(a_parent_that_leaves_early_costs_no_turns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
