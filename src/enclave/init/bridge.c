#include "enclave/init/bridge.h"

#include "base/cleanup.h"
#include "linux/vsock.h"

#include <arpa/inet.h>
#include <sys/socket.h>

/* --- one connection -------------------------------------------------------------------------------- */
static void drop(struct bridge_conn *c);

/* Reads what there is room for. False: the connection is broken. */
static bool fill(struct bridge_half *h, int from)
{
	if (h->ended || h->n > 0)
		return true;
	ssize_t n = recv(from, h->buf, sizeof h->buf, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	h->ended = n == 0;
	h->n = (size_t)n;
	h->at = 0;
	return true;
}

static bool drain(struct bridge_half *h, int to)
{
	while (h->at < h->n) {
		ssize_t n = send(to, h->buf + h->at, h->n - h->at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		h->at += (size_t)n;
	}
	h->n = h->at = 0;
	if (h->ended && !h->closed) {
		h->closed = true;
		shutdown(to, SHUT_WR);
	}
	return true;
}

/* What an end waits for: to be read from when its half is empty, to be written to when the other's is not. */
static uint32_t wants(const struct bridge_half *from, const struct bridge_half *to)
{
	return (from->n == 0 && !from->ended ? (uint32_t)EPOLLIN : 0) | (to->n > 0 ? (uint32_t)EPOLLOUT : 0);
}

/* An end that waits for nothing is not in the loop: epoll tells of hang-ups unasked, again and again. False: no memory. */
static bool wait_for(struct loop *l, struct watch *w, int fd, uint32_t events)
{
	if (events == 0)
		loop_del(l, w);
	else if (w->fd < 0)
		return loop_add(l, w, fd, events) == 0;
	else
		loop_set(l, w, events);
	return true;
}

static void carry(struct bridge_conn *c)
{
	bool fine = fill(&c->in, c->parent_fd) && drain(&c->in, c->service_fd) &&
	            fill(&c->out, c->service_fd) && drain(&c->out, c->parent_fd);
	if (!fine || (c->in.closed && c->out.closed) || !wait_for(c->of->loop, &c->parent, c->parent_fd, wants(&c->in, &c->out)) ||
	    !wait_for(c->of->loop, &c->service, c->service_fd, wants(&c->out, &c->in)))
		drop(c);
}

static void on_parent(struct watch *w, uint32_t events)
{
	struct bridge_conn *c = CONTAINER_OF(w, struct bridge_conn, parent);
	/* an end that is gone for good is still read to its last byte */
	if ((events & EPOLLERR) || ((events & EPOLLHUP) && c->in.ended))
		drop(c);
	else
		carry(c);
}

static void on_service(struct watch *w, uint32_t events)
{
	struct bridge_conn *c = CONTAINER_OF(w, struct bridge_conn, service);
	int error = 0;
	socklen_t n = sizeof error;
	if (c->connecting && (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0)) {
		drop(c);
		return;
	}
	c->connecting = false;
	if ((events & EPOLLERR) || ((events & EPOLLHUP) && c->out.ended))
		drop(c);
	else
		carry(c);
}

/* --- all of them ------------------------------------------------------------------------------------ */
/* Listeners wait only while there is room: a backlog that is full is the peer's to see. */
static void listen_while_room(struct bridges *b)
{
	for (size_t i = 0; i < b->listeners; i++)
		loop_set(b->loop, &b->listener[i].watch, b->connections < INIT_BRIDGE_CONNECTIONS ? EPOLLIN : 0);
}

static void drop(struct bridge_conn *c)
{
	loop_del(c->of->loop, &c->parent);
	loop_del(c->of->loop, &c->service);
	close_fd(&c->parent_fd);
	close_fd(&c->service_fd);
	c->used = false;
	c->of->connections--;
	listen_while_room(c->of);
}

static int connect_service(uint16_t tcp_port)
{
	const struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(tcp_port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || (connect(fd, (const struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS))
		return -1;
	return fd_steal(&fd);
}

static void on_listener(struct watch *w, uint32_t events)
{
	struct bridge_listener *l = CONTAINER_OF(w, struct bridge_listener, watch);
	struct bridges *b = l->of;
	struct bridge_conn *c = b->conn;
	(void)events;
	CLEANUP(close_fd) int parent = vsock_accept_parent(w->fd);
	if (parent == -EPERM)
		TELL(b->events, CONTROL_REFUSED, control_str("what", "a bridge connection that was not the parent's"));
	if (parent < 0)
		return;
	while (c < b->conn + INIT_BRIDGE_CONNECTIONS && c->used)
		c++;
	CLEANUP(close_fd) int service = c < b->conn + INIT_BRIDGE_CONNECTIONS ? connect_service(l->tcp_port) : -1;
	if (service < 0)
		return;                          /* the parent sees its connection end */
	c->of = b;
	c->connecting = true;
	c->parent = (struct watch){ .fd = -1, .on_event = on_parent };
	c->service = (struct watch){ .fd = -1, .on_event = on_service };
	c->in.n = c->in.at = c->out.n = c->out.at = 0;
	c->in.ended = c->in.closed = c->out.ended = c->out.closed = false;
	if (loop_add(b->loop, &c->service, service, EPOLLOUT) != 0)
		return;
	c->parent_fd = fd_steal(&parent);
	c->service_fd = fd_steal(&service);
	c->used = true;
	b->connections++;
	listen_while_room(b);
}

void bridges_init(struct bridges *b, struct loop *loop, struct events *events)
{
	b->loop = loop;
	b->events = events;
	b->listeners = b->connections = 0;
}

int bridges_add(struct bridges *b, int listener, uint16_t tcp_port, struct err *err)
{
	struct bridge_listener *l = &b->listener[b->listeners];
	*l = (struct bridge_listener){ .of = b, .watch = { .fd = -1, .on_event = on_listener }, .tcp_port = tcp_port };
	int bad = loop_add(b->loop, &l->watch, listener, EPOLLIN);
	if (bad != 0)
		return fail(err, -bad, "watch a bridge's listener");
	b->listeners++;
	return 0;
}
