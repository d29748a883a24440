#include "host/heartbeat.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "format/frame.h"

#include <sys/socket.h>

static void hang_up(struct heartbeat_peer *p)
{
	int fd = p->watch.fd;
	if (fd < 0)
		return;
	timer_disarm(&p->deadline);
	loop_del(p->of->b->owner->loop, &p->watch);
	close(fd);
	loop_set(p->of->b->owner->loop, &p->of->listener, EPOLLIN);
}

static void on_byte(struct watch *w, uint32_t events)
{
	struct heartbeat_peer *p = CONTAINER_OF(w, struct heartbeat_peer, watch);
	struct heartbeat *h = p->of;
	uint8_t byte = 0;
	(void)events;
	ssize_t n = recv(w->fd, &byte, 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	bool beat = n == 1 && byte == HEARTBEAT_BYTE;
	if (beat)
		(void)!send(w->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (n == 1)
		log_warn("heartbeat: the enclave sent 0x%02x where 0x%02x belongs", byte, HEARTBEAT_BYTE);
	hang_up(p);
	if (beat) {
		h->beats++;
		h->on_beat(h);
	}
}

static void on_deadline(struct timer *t) { hang_up(CONTAINER_OF(t, struct heartbeat_peer, deadline)); }

static void on_connection(struct watch *w, uint32_t events)
{
	struct heartbeat *h = CONTAINER_OF(w, struct heartbeat, listener);
	struct loop *loop = h->b->owner->loop;
	struct heartbeat_peer *p = h->peer;
	(void)events;
	while (p < h->peer + HEARTBEAT_CONNECTIONS && p->watch.fd >= 0)
		p++;
	if (p == h->peer + HEARTBEAT_CONNECTIONS) {
		loop_set(loop, w, 0);            /* until one of them ends */
		return;
	}
	int fd;
	uint32_t port;
	struct err err;
	/* from any port: the init of a foreign image takes what it gets, and all that is said here is that something runs */
	if (h->b->ops->accept(h->b, w->fd, &fd, &port, &err) < 0)
		return;
	p->watch.on_event = on_byte;
	if (loop_add(loop, &p->watch, fd, EPOLLIN) < 0)
		close(fd);
	else
		timer_arm(loop, &p->deadline, HEARTBEAT_MS);
}

int heartbeat_open(struct heartbeat *h, struct backend *b, int listener, struct err *err)
{
	h->b = b;
	h->listener.on_event = on_connection;
	for (int i = 0; i < HEARTBEAT_CONNECTIONS; i++)
		h->peer[i] = (struct heartbeat_peer){ .of = h, .watch.fd = -1, .deadline.on_expiry = on_deadline };
	int ret = loop_add(b->owner->loop, &h->listener, listener, EPOLLIN);
	if (ret < 0) {
		close(listener);
		return fail(err, -ret, "watch the heartbeat port");
	}
	return 0;
}

void heartbeat_close(struct heartbeat *h)
{
	int fd = h->b == NULL ? -1 : h->listener.fd;
	if (fd < 0)
		return;
	for (int i = 0; i < HEARTBEAT_CONNECTIONS; i++)
		hang_up(&h->peer[i]);
	loop_del(h->b->owner->loop, &h->listener);
	close(fd);
}
