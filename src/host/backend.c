#include "host/backend.h"

#include "base/log.h"
#include "format/frame.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_connected(struct watch *w, uint32_t events)
{
	struct shutdown_call *c = CONTAINER_OF(w, struct shutdown_call, watch);
	const uint8_t ask = SHUTDOWN_BYTE;
	/* the connection stays open: init ends it with everything else */
	if (!(events & EPOLLOUT) || send(w->fd, &ask, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
		loop_set(c->loop, w, EPOLLET);
}

void shutdown_call_ask(struct shutdown_call *c, struct backend *b)
{
	struct err err;
	int fd;
	if (c->watch.fd >= 0)
		return;
	if (b->ops->connect(b, PORT_SHUTDOWN, &fd, &err) < 0) {
		log_warn("the enclave cannot be asked to shut down: %s", err.text);
		return;
	}
	c->loop = b->owner->loop;
	c->watch.on_event = on_connected;
	if (loop_add(c->loop, &c->watch, fd, EPOLLOUT) < 0)
		close(fd);
}

void shutdown_call_close(struct shutdown_call *c)
{
	int fd = c->watch.fd;
	if (fd < 0)
		return;
	loop_del(c->loop, &c->watch);
	close(fd);
}
