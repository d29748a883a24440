#include "enclave/prover/link.h"

#include "base/cleanup.h"
#include "linux/fdpass.h"

#include <fcntl.h>

static void on_event(struct watch *w, uint32_t events)
{
	struct link *l = CONTAINER_OF(w, struct link, watch);
	(void)events;
	for (;;) {
		uint8_t packet[LAUNCH_MESSAGE_MAX];
		size_t n = 0;
		int fd = -1;
		struct err err;
		struct launch_message m;
		int ret = fdpass_recv(w->fd, packet, sizeof packet, &n, &fd, &err);
		if (ret == -EAGAIN)
			return;
		if (ret < 0 || n == 0) {
			l->on_lost(l, ret < 0 ? err.text : "it closed the connection");
			return;
		}
		if (!launch_parse(bytes_of(packet, n), &m) || m.kind < LAUNCH_OPENED) {
			close_fd(&fd);
			l->on_lost(l, "it sent a malformed message");
			return;
		}
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
	return fdpass_send(l->watch.fd, writer_bytes(&w), fd, err);
}
