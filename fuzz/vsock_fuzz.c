/* A guest against the vsock device: packets, receive buffers, raw writes into its queues, and a host that connects, sends,
 * stalls and leaves.
 *
 *     step      kind | …       0 packet: op, ports, cids, type, flags, buf_alloc, fwd_cnt, len; payload length
 *                              1 receive buffers   2 raw write   3 host: listener accepts, sends, leaves   4 dial */
#include "../tests/unit/fake_driver.h"
#include "sim/vsock_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RX, TX, BUFFER = 512, RX_AT = FAKE_BUFFERS, TX_AT = FAKE_BUFFERS + FAKE_SIZE * BUFFER, HOSTS = 8, STEPS_MAX = 200 };

static char dir[64];
static void remove_dir(void)
{
	static const char *const names[] = { "vsock_100", "dial" };
	char path[128];
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", dir, name);
	return a;
}

static int listen_at(const char *name)
{
	struct sockaddr_un a = address(name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	unlink(a.sun_path);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, HOSTS) != 0)
		abort();
	return fd;
}

static void on_end(struct vsock_device *d, int ret, const struct err *why)
{
	(void)d, (void)why;
	if (ret > 0)
		abort();
}

static void packet(struct fake_driver *f, struct reader *r, uint32_t last_port)
{
	static const uint32_t ports[] = { 100, 101, 1u << 30, 5000, 5001, 9002 };
	uint8_t *p = f->p + TX_AT;
	uint8_t op = get_u8(r), port = get_u8(r), who = get_u8(r), payload = get_u8(r);
	uint64_t src = who & 1 ? 3 : 20, dst = who & 2 ? 2 : who & 4 ? 99 : 3;
	uint32_t from = port & 0x40 ? last_port : ports[port % 6], to = port & 0x80 ? last_port : ports[port / 6 % 6];
	uint32_t len = who & 8 ? get_be32(r) : payload, alloc = who & 16 ? get_be32(r) : 4096, fwd = who & 32 ? get_be32(r) : 0;
	uint16_t type = who & 64 ? 2 : 1, code = op;
	uint32_t flags = op >> 4;
	code &= 15;
	memcpy(p, &src, 8);
	memcpy(p + 8, &dst, 8);
	memcpy(p + 16, &from, 4);
	memcpy(p + 20, &to, 4);
	memcpy(p + 24, &len, 4);
	memcpy(p + 28, &type, 2);
	memcpy(p + 30, &code, 2);
	memcpy(p + 32, &flags, 4);
	memcpy(p + 36, &alloc, 4);
	memcpy(p + 40, &fwd, 4);
	fake_desc(f, TX, 0, FAKE_GUEST + TX_AT, (who & 128 ? 20u : VSOCK_HEADER_SIZE) + payload, 0, 0);
	fake_offer(f, TX, 0);
}

static void host(struct reader *r, int listener, int hosts[HOSTS])
{
	static const uint8_t block[8192];
	uint8_t what = get_u8(r), which = what & 7;
	if (what & 8 && hosts[which] < 0)
		hosts[which] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (hosts[which] < 0)
		return;
	if (what & 16)
		(void)!send(hosts[which], block, what & 32 ? sizeof block : 10, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (what & 64)
		shutdown(hosts[which], SHUT_WR);
	if (what & 128) {
		close(hosts[which]);
		hosts[which] = -1;
	}
}

static void dial(struct reader *r, int hosts[HOSTS])
{
	struct sockaddr_un a = address("dial");
	uint8_t which = get_u8(r) & 7, length = get_u8(r) & 31;
	struct bytes line = get_bytes(r, length);
	if (hosts[which] < 0) {
		hosts[which] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(hosts[which], (struct sockaddr *)&a, sizeof a) != 0) {
			close(hosts[which]);
			hosts[which] = -1;
			return;
		}
	}
	(void)!send(hosts[which], line.p, line.n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void step(struct fake_driver *f, struct reader *r, const struct vsock_device *d, int listener, int hosts[HOSTS])
{
	static const uint64_t one = 1;
	uint8_t kind = get_u8(r);
	if (kind % 5 == 0) {
		packet(f, r, d->next_port - 1);
	} else if (kind % 5 == 1) {
		for (unsigned i = 0; i < kind / 8u; i++) {
			unsigned slot = i % FAKE_SIZE;
			fake_desc(f, RX, slot, FAKE_GUEST + RX_AT + slot * BUFFER, BUFFER, FAKE_WRITE, 0);
			if ((uint16_t)(fake_avail_idx(f, RX) - fake_get16(f, fake_used_at(RX) + 2)) < FAKE_SIZE)
				fake_offer(f, RX, (uint16_t)slot);
		}
	} else if (kind % 5 == 2) {
		size_t at = get_be16(r), length = get_u8(r) & 31;
		struct bytes piece = get_bytes(r, length);
		if (piece.n > 0)
			memcpy(f->p + at, piece.p, piece.n);
	} else if (kind % 5 == 3) {
		host(r, listener, hosts);
	} else {
		dial(r, hosts);
	}
	(void)!write(f->kick[RX], &one, sizeof one);
	(void)!write(f->kick[TX], &one, sizeof one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vsock_device d;
	struct reader r = reader_of(bytes_of(data, size));
	struct fake_driver f;
	struct loop loop;
	struct err err;
	int pair[2], hosts[HOSTS];
	if (dir[0] == '\0') {
		strcpy(dir, "/tmp/vsock-fuzz.XXXXXX");
		if (mkdtemp(dir) == NULL)
			abort();
		atexit(remove_dir);
	}
	memset(hosts, 0xff, sizeof hosts);
	memset(&d, 0, sizeof d);
	fake_open(&f);
	if (loop_open(&loop, &err) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		abort();
	d.cid = 20;
	d.on_end = on_end;
	d.push_back = size > 0 && data[0] & 1;
	snprintf(d.dir, sizeof d.dir, "%s", dir);
	int listener = listen_at("vsock_100");
	if (vsock_device_open(&d, &loop, pair[0], &err) < 0 || vsock_device_listen(&d, listen_at("dial"), 0, &err) < 0 ||
	    fake_negotiate(&f, &d.vu, &err) < 0)
		abort();
	static const uint32_t hello[3] = { 1, 1, 0 };            /* makes it watch the kicks */
	if (send(pair[1], hello, sizeof hello, 0) != sizeof hello)
		abort();
	loop_once(&loop, 0, &err);
	for (int i = 0; i < STEPS_MAX && reader_left(&r) > 0 && !d.over; i++) {
		step(&f, &r, &d, listener, hosts);
		for (int n = 0; n < 3; n++)
			loop_once(&loop, 0, &err);
		if (d.connection_count > VSOCK_CONNECTIONS_MAX || d.reply_count > VSOCK_REPLIES_MAX)
			abort();
	}
	vsock_device_close(&d);
	loop_close(&loop);
	for (int i = 0; i < HOSTS; i++)
		if (hosts[i] >= 0)
			close(hosts[i]);
	close(listener);
	close(pair[1]);
	fake_close(&f);
	return 0;
}
