#include "enclave/prover/link.h"

#include "base/cleanup.h"
#include "linux/fdpass.h"

#include <fcntl.h>
#include <string.h>

static void on_event(struct watch *w, uint32_t events)
{
	struct link *l = CONTAINER_OF(w, struct link, watch);
	(void)events;
	for (;;) {
		uint8_t packet[LAUNCH_MESSAGE_MAX];
		struct fdpass_packet p;
		struct launch_message m;
		char why[128];
		int ret = fdpass_receive(w->fd, packet, sizeof packet, true, &p);
		if (ret == -EAGAIN)
			return;
		if (ret < 0 || p.size == 0) {
			l->on_lost(l, ret < 0 ? strerror_r(-ret, why, sizeof why) : "it closed the connection");
			return;
		}
		if (p.fd_count > 1 || !launch_parse(bytes_of(packet, p.size), &m) || m.kind < LAUNCH_OPENED) {
			fdpass_close(&p);
			l->on_lost(l, "it sent a malformed message");
			return;
		}
		int fd = p.fd_count == 1 ? p.fd[0] : -1;
		l->on_message(l, &m, fd);
		if (w->fd < 0)
			return;
	}
}

int link_start(struct link *l, struct loop *loop, int sock, struct err *err)
{
	l->watch.on_event = on_event;
	if (fcntl(sock, F_SETFL, O_NONBLOCK) != 0)
		return fail(err, errno, "make the launcher socket non-blocking");
	int ret = loop_add(loop, &l->watch, sock, EPOLLIN);
	return ret < 0 ? fail(err, -ret, "watch the launcher socket") : 0;
}

int link_send(struct link *l, const struct launch_message *m, int fd, struct err *err)
{
	uint8_t packet[LAUNCH_MESSAGE_MAX];
	struct writer w = writer_of(packet, sizeof packet);
	launch_put(&w, m);
	int ret = fdpass_send(l->watch.fd, writer_bytes(&w), &fd, fd >= 0 ? 1 : 0);
	return ret < 0 ? fail(err, -ret, "send to the launcher") : 0;
}
