/* The vsock device between a fake driver and unix sockets: connections both ways, and what a guest may not do. */
#include "fake_driver.h"
#include "sim/vsock_device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

enum { CID = 20, RX = 0, TX = 1, BUFFER = 4096, RX_AT = FAKE_BUFFERS, TX_AT = FAKE_BUFFERS + FAKE_SIZE * BUFFER / 4 };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };

struct fixture {
	struct fake_driver f;
	struct loop loop;
	struct vsock_device d;
	char dir[64], path[128];
	int listener, qemu;                      /* host's listener at vsock_100; QEMU's end */
	unsigned posted;                         /* receive buffers */
	int ended;
	struct err why;
};

static void on_end(struct vsock_device *d, int ret, const struct err *why)
{
	struct fixture *x = CONTAINER_OF(d, struct fixture, d);
	x->ended = ret < 0 ? ret : 1;
	if (ret < 0)
		x->why = *why;
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int dial(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* Lets the device do all it can. */
static void settle(struct fixture *x)
{
	struct err err;
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_once(&x->loop, 0, &err), 0);
}

static void kick(struct fixture *x, unsigned q)
{
	static const uint64_t one = 1;
	assert_int_equal(write(x->f.kick[q], &one, sizeof one), sizeof one);
	settle(x);
}

/* Receive buffers of BUFFER / 8 bytes. */
static void post(struct fixture *x, unsigned n)
{
	for (unsigned i = 0; i < n; i++, x->posted++) {
		unsigned slot = x->posted % FAKE_SIZE;
		fake_desc(&x->f, RX, slot, FAKE_GUEST + RX_AT + slot * (BUFFER / 8), BUFFER / 8, FAKE_WRITE, 0);
		fake_offer(&x->f, RX, (uint16_t)slot);
	}
	kick(x, RX);
}

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof *x);
	struct err err;
	int pair[2];
	fake_open(&x->f);
	assert_int_equal(loop_open(&x->loop, &err), 0);
	strcpy(x->dir, "/tmp/vsock-test.XXXXXX");
	assert_non_null(mkdtemp(x->dir));
	snprintf(x->path, sizeof x->path, "%s/vsock_100", x->dir);
	x->listener = listen_at(x->path);
	x->d.cid = CID;
	x->d.on_end = on_end;
	snprintf(x->d.dir, sizeof x->d.dir, "%s", x->dir);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	x->qemu = pair[1];
	assert_int_equal(vsock_device_open(&x->d, &x->loop, pair[0], &err), 0);
	snprintf(x->path, sizeof x->path, "%s/service", x->dir);
	assert_int_equal(vsock_device_listen(&x->d, listen_at(x->path), 9002, &err), 0);
	snprintf(x->path, sizeof x->path, "%s/dial", x->dir);
	assert_int_equal(vsock_device_listen(&x->d, listen_at(x->path), 0, &err), 0);
	/* before the driver is there nobody is let in */
	int early = dial(x->path);
	settle(x);
	char c;
	assert_int_equal(recv(early, &c, 1, 0), 0);
	close(early);
	assert_int_equal(fake_negotiate(&x->f, &x->d.vu, &err), 0);
	/* a message through the socket makes it watch the kicks: GET_FEATURES */
	uint32_t message[3] = { 1, 1, 0 };
	assert_int_equal(send(x->qemu, message, sizeof message, 0), sizeof message);
	settle(x);
	uint8_t answer[20];
	assert_int_equal(recv(x->qemu, answer, sizeof answer, 0), sizeof answer);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;
	char command[128];
	vsock_device_close(&x->d);
	close(x->listener);
	close(x->qemu);
	loop_close(&x->loop);
	fake_close(&x->f);
	snprintf(command, sizeof command, "rm -rf %s", x->dir);
	assert_int_equal(system(command), 0);
	free(x);
	return 0;
}

static struct vsock_header packet(uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	return (struct vsock_header){ .src_cid = CID, .dst_cid = 3, .src_port = guest_port, .dst_port = host_port, .type = 1, .op = op,
	                              .buf_alloc = 1 << 16 };
}

/* From the guest; the payload may be another length than the header says. */
static void transmit(struct fixture *x, const struct vsock_header *h, struct bytes payload)
{
	uint32_t id, length;
	uint8_t *p = x->f.p + TX_AT;
	memcpy(p, &h->src_cid, 8);
	memcpy(p + 8, &h->dst_cid, 8);
	memcpy(p + 16, &h->src_port, 4);
	memcpy(p + 20, &h->dst_port, 4);
	memcpy(p + 24, &h->len, 4);
	memcpy(p + 28, &h->type, 2);
	memcpy(p + 30, &h->op, 2);
	memcpy(p + 32, &h->flags, 4);
	memcpy(p + 36, &h->buf_alloc, 4);
	memcpy(p + 40, &h->fwd_cnt, 4);
	if (payload.n > 0)
		memcpy(p + VSOCK_HEADER_SIZE, payload.p, payload.n);
	fake_desc(&x->f, TX, 0, FAKE_GUEST + TX_AT, VSOCK_HEADER_SIZE + (uint32_t)payload.n, 0, 0);
	fake_offer(&x->f, TX, 0);
	kick(x, TX);
	while (fake_used(&x->f, TX, &id, &length))
		assert_int_equal(length, 0);
}

/* To the guest: the next packet, its payload in *ret_payload. */
static bool receive(struct fixture *x, struct vsock_header *h, struct bytes *ret_payload)
{
	uint32_t id, length;
	if (!fake_used(&x->f, RX, &id, &length))
		return false;
	const uint8_t *p = x->f.p + RX_AT + id * (BUFFER / 8);
	assert_in_range(length, VSOCK_HEADER_SIZE, BUFFER / 8);
	memcpy(&h->src_cid, p, 8);
	memcpy(&h->dst_cid, p + 8, 8);
	memcpy(&h->src_port, p + 16, 4);
	memcpy(&h->dst_port, p + 20, 4);
	memcpy(&h->len, p + 24, 4);
	memcpy(&h->type, p + 28, 2);
	memcpy(&h->op, p + 30, 2);
	memcpy(&h->flags, p + 32, 4);
	memcpy(&h->buf_alloc, p + 36, 4);
	memcpy(&h->fwd_cnt, p + 40, 4);
	assert_int_equal(h->len, length - VSOCK_HEADER_SIZE);
	assert_int_equal(h->dst_cid, CID);
	*ret_payload = bytes_of(p + VSOCK_HEADER_SIZE, h->len);
	return true;
}

/* The next packet must be this one. */
static struct vsock_header expect(struct fixture *x, uint16_t op, uint32_t guest_port)
{
	struct vsock_header h;
	struct bytes payload;
	assert_true(receive(x, &h, &payload));
	assert_int_equal(h.op, op);
	assert_int_equal(h.dst_port, guest_port);
	return h;
}

static void expect_nothing(struct fixture *x)
{
	struct vsock_header h;
	struct bytes payload;
	assert_false(receive(x, &h, &payload));
}

/* A connection of the guest's from port 5000; the host's end of it. */
static int connected(struct fixture *x)
{
	struct vsock_header h = packet(REQUEST, 5000, 100);
	post(x, 32 - (x->posted - x->f.seen[RX]));
	transmit(x, &h, BYTES_NONE);
	h = expect(x, RESPONSE, 5000);
	assert_int_equal(h.src_port, 100);
	assert_int_equal(h.buf_alloc, VSOCK_BUFFER);
	int fd = accept4(x->listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	return fd;
}

static bool eof(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, 0);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* Whoever listens knows the guest's port, and is not told one by somebody else who calls. */
static void the_guest_s_port_is_known(void **state)
{
	struct fixture *x = *state;
	static const uint32_t ports[] = { 0, 1, 1023, 1024, 4000000000, UINT32_MAX - 1, UINT32_MAX };
	static const char *const names[] = {
		"", "tee-rex-vsock/", "tee-rex-vsock/0000000000000000/", "tee-rex-vsock/00000000000000000/7", "tee-rex-vsock/0000000000000000/7x",
		"tee-rex-vsock/0000000000000000/99999999999", "tee-rex-vsoc/00000000000000000/7"
	};
	for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
		struct vsock_header h = packet(REQUEST, ports[i], 100);
		post(x, 32 - (x->posted - x->f.seen[RX]));
		transmit(x, &h, BYTES_NONE);
		expect(x, RESPONSE, ports[i]);
		int fd = accept4(x->listener, NULL, NULL, SOCK_NONBLOCK);
		assert_int_equal(vsock_device_source(fd), ports[i]);
		close(fd);
		settle(x);
		expect(x, SHUTDOWN, ports[i]);
		h = packet(RST, ports[i], 100);
		transmit(x, &h, BYTES_NONE);
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct sockaddr_un a = { .sun_family = AF_UNIX }, to = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		memcpy(a.sun_path + 1, names[i], strlen(names[i]));
		snprintf(to.sun_path, sizeof to.sun_path, "%s/vsock_100", x->dir);
		if (i > 0)
			assert_int_equal(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(names[i]))), 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
		int got = accept4(x->listener, NULL, NULL, SOCK_NONBLOCK);
		assert_true(got >= 0);
		assert_int_equal(vsock_device_source(got), UINT32_MAX);
		close(got);
		close(fd);
	}
}

static void data_both_ways_and_an_orderly_end(void **state)
{
	struct fixture *x = *state;
	int fd = connected(x);
	struct vsock_header h = packet(RW, 5000, 100);
	char buf[16];
	h.len = 5;
	transmit(x, &h, BYTES_LIT("hello"));
	assert_int_equal(recv(fd, buf, sizeof buf, 0), 5);
	assert_int_equal(send(fd, "world!", 6, 0), 6);
	settle(x);
	struct bytes payload;
	assert_true(receive(x, &h, &payload));
	assert_int_equal(h.op, RW);
	assert_int_equal(h.fwd_cnt, 5);
	assert_true(bytes_equal(payload, BYTES_LIT("world!")));
	/* one half, then the other */
	h = packet(SHUTDOWN, 5000, 100);
	h.flags = 2;
	h.fwd_cnt = 6;
	transmit(x, &h, BYTES_NONE);
	assert_true(eof(fd));
	assert_int_equal(send(fd, "more", 4, 0), 4);
	settle(x);
	expect(x, RW, 5000);
	close(fd);
	settle(x);
	h = expect(x, SHUTDOWN, 5000);
	assert_int_equal(h.flags, 3);
	h = packet(RST, 5000, 100);
	transmit(x, &h, BYTES_NONE);
	assert_int_equal(x->d.connection_count, 0);
	expect_nothing(x);
}

static void the_host_s_connections(void **state)
{
	struct fixture *x = *state;
	post(x, 32);
	int dialled = dial(x->path);
	assert_int_equal(send(dialled, "CONN", 4, 0), 4);
	settle(x);
	expect_nothing(x);
	assert_int_equal(send(dialled, "ECT 77\nearly", 12, 0), 12);
	settle(x);
	struct vsock_header h = expect(x, REQUEST, 77), a = packet(RESPONSE, 77, h.src_port);
	assert_int_equal(h.src_cid, 3);
	expect_nothing(x);                       /* data waits for the guest's yes */
	transmit(x, &a, BYTES_NONE);
	struct bytes payload;
	assert_true(receive(x, &h, &payload));
	assert_true(bytes_equal(payload, BYTES_LIT("early")));
	/* the service socket has one port */
	snprintf(x->path, sizeof x->path, "%s/service", x->dir);
	int service = dial(x->path);
	settle(x);
	h = expect(x, REQUEST, 9002);
	a = packet(RST, 9002, h.src_port);
	transmit(x, &a, BYTES_NONE);
	assert_true(eof(service));
	close(service);
	close(dialled);
	settle(x);
	assert_int_equal(expect(x, SHUTDOWN, 77).flags, 3);
}

static void credit_is_kept_by_both(void **state)
{
	struct fixture *x = *state;
	struct vsock_header h;
	struct bytes payload;
	static uint8_t block[400];
	int fd = connected(x);
	/* the guest has room for 100 bytes */
	h = packet(CREDIT_UPDATE, 5000, 100);
	h.buf_alloc = 100;
	transmit(x, &h, BYTES_NONE);
	assert_int_equal(send(fd, block, 250, 0), 250);
	settle(x);
	assert_true(receive(x, &h, &payload));
	assert_int_equal(payload.n, 100);
	expect_nothing(x);
	h = packet(CREDIT_UPDATE, 5000, 100);
	h.buf_alloc = 100;
	h.fwd_cnt = 60;
	transmit(x, &h, BYTES_NONE);
	assert_true(receive(x, &h, &payload));
	assert_int_equal(payload.n, 60);
	expect_nothing(x);
	/* a count that cannot be: more passed on than was sent; no more room comes of it than was announced */
	h = packet(CREDIT_REQUEST, 5000, 100);
	h.buf_alloc = 0;
	h.fwd_cnt = 1000;
	transmit(x, &h, BYTES_NONE);
	expect(x, CREDIT_UPDATE, 5000);
	expect_nothing(x);
	/* ours: a host that reads nothing, until all of VSOCK_BUFFER is used up; one byte more ends the connection */
	h = packet(RW, 5000, 100);
	size_t sent = 0;
	h.len = sizeof block;
	while (x->d.connection_count == 1 && sent < 4u << 20) {
		transmit(x, &h, BYTES_ARRAY(block));
		sent += sizeof block;
		struct vsock_header got;
		while (receive(x, &got, &payload))
			post(x, 1);
	}
	assert_int_equal(x->d.connection_count, 0);
	assert_in_range(sent, VSOCK_BUFFER, VSOCK_BUFFER + (1u << 20));
	close(fd);
}

static void strange_packets_cost_their_own_connection(void **state)
{
	struct fixture *x = *state;
	static const struct { uint16_t op, type; uint64_t src, dst; uint32_t len, port; bool survives; bool answered; } cases[] = {
		{ RW, 1, CID, 3, 6, 100, false, true },                 /* says six, brings five */
		{ RW, 1, CID, 3, UINT32_MAX, 100, false, true },
		{ REQUEST, 1, CID, 3, 0, 100, false, true },            /* once more */
		{ 77, 1, CID, 3, 0, 100, false, true },                 /* no such operation */
		{ 0, 1, CID, 3, 0, 100, false, true },
		{ RW, 1, CID, 3, 5, 101, true, true },                  /* another connection's */
		{ RW, 1, CID, 2, 5, 100, true, true },                  /* another host's */
		{ RW, 1, CID, 99, 5, 100, true, true },
		{ RW, 2, CID, 3, 5, 100, true, true },                  /* no stream */
		{ RST, 1, CID, 3, 0, 101, true, false },                /* a reset is never answered */
		{ RW, 1, CID + 1, 3, 5, 100, true, false },             /* somebody else's name */
		{ RW, 1, 3, 3, 5, 100, true, false },
		{ RESPONSE, 1, CID, 3, 0, 100, true, false },           /* to nothing that was asked */
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int fd = connected(x);
		struct vsock_header h = packet(cases[i].op, 5000, cases[i].port), got;
		struct bytes payload;
		h.type = cases[i].type;
		h.src_cid = cases[i].src;
		h.dst_cid = cases[i].dst;
		h.len = cases[i].len;
		transmit(x, &h, BYTES_LIT("12345"));
		bool answered = receive(x, &got, &payload);
		assert_int_equal(answered, cases[i].answered);
		if (answered)
			assert_int_equal(got.op, RST);
		assert_int_equal(x->d.connection_count, cases[i].survives ? 1 : 0);
		assert_int_equal(x->ended, 0);
		char c;
		if (cases[i].survives)
			assert_true(recv(fd, &c, 1, 0) < 0 && errno == EAGAIN);
		else
			assert_true(eof(fd));
		close(fd);
		settle(x);
		h = packet(RST, 5000, 100);
		transmit(x, &h, BYTES_NONE);
		while (receive(x, &got, &payload))
			;
	}
}

static void nobody_listens(void **state)
{
	struct fixture *x = *state;
	post(x, 32);
	for (uint32_t port = 0; port < 20; port++) {
		struct vsock_header h = packet(REQUEST, 5000 + port, port);
		transmit(x, &h, BYTES_NONE);
		expect(x, RST, 5000 + port);
	}
	assert_int_equal(x->d.connection_count, 0);
}

/* More questions than answers can be kept: memory is bounded, the guest's queue is drained all the same. */
static void answers_are_bounded(void **state)
{
	struct fixture *x = *state;
	struct vsock_header h = packet(REQUEST, 1, 7), got;
	struct bytes payload;
	for (unsigned i = 0; i < 3 * VSOCK_REPLIES_MAX; i++)
		transmit(x, &h, BYTES_NONE);
	assert_int_equal(x->d.taken, 3 * VSOCK_REPLIES_MAX);
	assert_int_equal(x->d.dropped_replies, 2 * VSOCK_REPLIES_MAX);
	unsigned answers = 0;
	for (int i = 0; i < 40; i++) {
		post(x, 32);
		while (receive(x, &got, &payload))
			answers++;
	}
	assert_int_equal(answers, VSOCK_REPLIES_MAX);
}

/* In push-back mode the device stops taking when as many answers wait as the receive queue has entries, and goes on after. */
static void push_back(void **state)
{
	struct fixture *x = *state;
	struct vsock_header h = packet(REQUEST, 1, 7), got;
	struct bytes payload;
	x->d.push_back = true;
	for (unsigned i = 0; i < FAKE_SIZE + 10; i++)
		transmit(x, &h, BYTES_NONE);
	assert_int_equal(x->d.taken, FAKE_SIZE);
	unsigned answers = 0;
	for (int i = 0; i < 10; i++) {
		post(x, 16);
		while (receive(x, &got, &payload))
			answers++;
	}
	assert_int_equal(x->d.taken, FAKE_SIZE + 10);
	assert_int_equal(answers, FAKE_SIZE + 10);
}

/* --- two sides that push back ------------------------------------------------------------------------------------
 * A model of Linux's driver as the guest, beside the device as the parent. The guest asks for connections that are refused, the
 * parent likewise: both have answers to give. `mainline`: it takes nothing while as many answers wait as the ring has entries
 * (docs/KERNEL.md); with our patch it always takes, and drops what it cannot answer any more. */
enum { WANTED = 600, HOSTS = 300 };
struct model {
	struct fixture *x;
	bool mainline;
	unsigned answered, requests;             /* its own requests that were refused; the parent's that came */
	struct vsock_header queue[WANTED + HOSTS];       /* to be sent, in order: requests and answers wait in one line */
	unsigned queued, queue_at, waiting;      /* waiting: answers among them */
	uint16_t tx_used;                        /* descriptors of the transmit ring are slots, in order */
	unsigned tx_sent;
};

static bool tx_room(struct model *m)
{
	uint32_t id, length;
	while (fake_used(&m->x->f, TX, &id, &length))
		m->tx_used++;
	return (uint16_t)(m->tx_sent - m->tx_used) < FAKE_SIZE;
}

static void tx_put(struct model *m, const struct vsock_header *h)
{
	unsigned slot = m->tx_sent++ % FAKE_SIZE;
	uint8_t *p = m->x->f.p + TX_AT + slot * 64;
	memset(p, 0, VSOCK_HEADER_SIZE);
	memcpy(p, &h->src_cid, 8);
	memcpy(p + 8, &h->dst_cid, 8);
	memcpy(p + 16, &h->src_port, 4);
	memcpy(p + 20, &h->dst_port, 4);
	memcpy(p + 28, &h->type, 2);
	memcpy(p + 30, &h->op, 2);
	fake_desc(&m->x->f, TX, slot, FAKE_GUEST + TX_AT + slot * 64, VSOCK_HEADER_SIZE, 0, 0);
	fake_offer(&m->x->f, TX, (uint16_t)slot);
}

static void model_send(struct model *m)
{
	for (; m->queue_at < m->queued && tx_room(m); m->queue_at++) {
		m->waiting -= m->queue[m->queue_at].op == RST;
		tx_put(m, &m->queue[m->queue_at]);
	}
}

static void model_receive(struct model *m)
{
	struct vsock_header h;
	struct bytes payload;
	while (!(m->mainline && m->waiting >= FAKE_SIZE) && receive(m->x, &h, &payload)) {
		if (h.op == REQUEST) {
			m->requests++;
			m->waiting++;
			m->queue[m->queued++] = packet(RST, h.dst_port, h.src_port);
		}
		m->answered += h.op == RST;
		post(m->x, 1);
	}
}

/* True when both got through with everything: the guest's refused requests and the parent's. */
static bool both_get_through(struct fixture *x, bool parent_pushes_back, bool guest_is_mainline)
{
	static struct model m;
	static int host[HOSTS];
	m = (struct model){ .x = x, .mainline = guest_is_mainline };
	x->d.push_back = parent_pushes_back;
	snprintf(x->path, sizeof x->path, "%s/service", x->dir);
	for (int i = 0; i < HOSTS; i++) {
		host[i] = dial(x->path);
		if (i % 4 == 3)
			settle(x);
	}
	for (unsigned i = 0; i < WANTED; i++)
		m.queue[m.queued++] = packet(REQUEST, 6000 + i, 7);
	post(x, FAKE_SIZE);
	for (int round = 0; round < 200; round++) {
		model_send(&m);
		kick(x, TX);
		model_receive(&m);
	}
	bool refused = true;
	for (int i = 0; i < HOSTS; i++) {
		refused &= eof(host[i]);
		close(host[i]);
	}
	settle(x);
	return refused && m.answered == WANTED && m.requests == HOSTS && m.queue_at == m.queued;
}

static void one_side_that_drains_is_enough(void **state) { assert_true(both_get_through(*state, true, false)); }
static void also_when_it_is_the_parent(void **state) { assert_true(both_get_through(*state, false, true)); }
static void two_that_push_back_stop_each_other(void **state) { assert_false(both_get_through(*state, true, true)); }

static void a_broken_queue_ends_the_device(void **state)
{
	struct fixture *x = *state;
	int fd = connected(x);
	fake_desc(&x->f, TX, 0, 0, 100, 0, 0);
	fake_offer(&x->f, TX, 0);
	kick(x, TX);
	assert_int_equal(x->ended, -EPROTO);
	assert_non_null(strstr(x->why.text, "transmit queue: a descriptor outside"));
	close(fd);
}

static void receive_buffers_too_small_end_it_too(void **state)
{
	struct fixture *x = *state;
	struct vsock_header h = packet(REQUEST, 1, 7);
	fake_desc(&x->f, RX, 0, FAKE_GUEST + RX_AT, VSOCK_HEADER_SIZE - 1, FAKE_WRITE, 0);
	fake_offer(&x->f, RX, 0);
	transmit(x, &h, BYTES_NONE);
	assert_int_equal(x->ended, -EPROTO);
	assert_non_null(strstr(x->why.text, "cannot hold a packet"));
}

static void qemu_s_end(void **state)
{
	struct fixture *x = *state;
	shutdown(x->qemu, SHUT_RDWR);
	settle(x);
	assert_int_equal(x->ended, 1);
}

static void nonsense_from_qemu(void **state)
{
	struct fixture *x = *state;
	uint32_t message[3] = { 5, 1, 100000 };
	assert_int_equal(send(x->qemu, message, sizeof message, 0), sizeof message);
	settle(x);
	assert_int_equal(x->ended, -EPROTO);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_guest_s_port_is_known), T(data_both_ways_and_an_orderly_end), T(the_host_s_connections), T(credit_is_kept_by_both),
		T(strange_packets_cost_their_own_connection), T(nobody_listens), T(answers_are_bounded), T(push_back),
		T(one_side_that_drains_is_enough), T(also_when_it_is_the_parent), T(two_that_push_back_stop_each_other),
		T(a_broken_queue_ends_the_device), T(receive_buffers_too_small_end_it_too), T(qemu_s_end), T(nonsense_from_qemu),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
