#include "enclave/init/parent.h"

#include "format/frame.h"
#include "linux/vsock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* More sources than all services together can listen on. */
enum { PEER_MS = 5000, SOURCE_FIRST = 512, SOURCES_TRIED = 16 };

/* --- heartbeat ------------------------------------------------------------------------------------- */
static void beat_later(struct parent *p)
{
	if (p->heartbeat.fd >= 0) {
		int fd = p->heartbeat.fd;
		loop_del(p->loop, &p->heartbeat);
		close(fd);
	}
	if (p->beaten)
		return;
	timer_arm(p->loop, &p->retry, p->retry_ms);
	p->retry_ms = p->retry_ms * 2 < INIT_RECONNECT_MAX_MS ? p->retry_ms * 2 : INIT_RECONNECT_MAX_MS;
}

static void on_heartbeat(struct watch *w, uint32_t events)
{
	struct parent *p = CONTAINER_OF(w, struct parent, heartbeat);
	uint8_t byte = HEARTBEAT_BYTE;
	if (!p->sent && !(events & (EPOLLERR | EPOLLHUP)) && send(w->fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1) {
		p->sent = true;
		loop_set(p->loop, w, EPOLLIN);
		return;
	}
	p->beaten = p->sent && recv(w->fd, &byte, 1, MSG_DONTWAIT) == 1 && byte == HEARTBEAT_BYTE;
	beat_later(p);
}

static void on_retry(struct timer *t)
{
	struct parent *p = CONTAINER_OF(t, struct parent, retry);
	struct err err;
	int fd;
	p->sent = false;
	if (vsock_connect(VSOCK_PARENT, PORT_HEARTBEAT, &fd, &err) == 0 && loop_add(p->loop, &p->heartbeat, fd, EPOLLOUT) != 0)
		close(fd);
	if (p->heartbeat.fd < 0)
		beat_later(p);
}

/* --- control channel ---------------------------------------------------------------------------------
 * From a port that no service can call from, so that the collector knows whose words these are. Each call takes the next one: a
 * connection that has ended may hold its own for some seconds. Those that the table listens on are left to it. */
static const struct service_table *table;
static uint32_t source;

static bool is_listened_on(uint32_t port)
{
	bool found = false;
	for (uint32_t i = 0; i < table->service_count; i++) {
		const struct service *v = &table->service[i];
		for (uint32_t k = 0; k < v->listen_count; k++)
			found = found || v->listen[k].port == port;
		for (uint32_t k = 0; k < v->bridge_count; k++)
			found = found || v->bridge[k].port == port;
	}
	return found;
}

static int dial_control(int *ret_fd, struct err *err)
{
	int bad = -EADDRINUSE;
	for (int tries = 0; tries < SOURCES_TRIED && bad == -EADDRINUSE; tries++) {
		do
			source = source <= SOURCE_FIRST || source >= VSOCK_PRIVILEGED_PORTS ? VSOCK_PRIVILEGED_PORTS - 1 : source - 1;
		while (is_listened_on(source));
		bad = vsock_connect_from(source, VSOCK_PARENT, PORT_CONTROL, ret_fd, err);
	}
	return bad;
}

void parent_connect(struct parent *p, const struct service_table *t, struct loop *loop, struct events *events)
{
	table = t;
	p->loop = loop;
	p->events = events;
	p->heartbeat = (struct watch){ .fd = -1, .on_event = on_heartbeat };
	p->retry.on_expiry = on_retry;
	p->retry_ms = INIT_RECONNECT_MS;
	events->dial = dial_control;
	events_connect(events, loop);
	on_retry(&p->retry);
}

/* --- shutdown --------------------------------------------------------------------------------------- */
static void dismiss(struct parent_peer *peer)
{
	int fd = peer->watch.fd;
	timer_disarm(&peer->deadline);
	loop_del(peer->of->loop, &peer->watch);
	close(fd);
}

static void on_peer(struct watch *w, uint32_t events)
{
	struct parent_peer *peer = CONTAINER_OF(w, struct parent_peer, watch);
	struct parent *p = peer->of;
	uint8_t byte = 0;
	(void)events;
	ssize_t n = recv(w->fd, &byte, 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	dismiss(peer);
	if (n == 1 && byte == SHUTDOWN_BYTE)
		p->on_shutdown(p);
	else if (n == 1)
		TELL(p->events, CONTROL_REFUSED, control_str("what", "a request on the shutdown port that is none"));
}

static void on_deadline(struct timer *t) { dismiss(CONTAINER_OF(t, struct parent_peer, deadline)); }

static void on_listener(struct watch *w, uint32_t events)
{
	struct parent *p = CONTAINER_OF(w, struct parent, listener);
	struct parent_peer *peer = p->peer;
	(void)events;
	int fd = vsock_accept_parent(w->fd);
	if (fd == -EPERM)
		TELL(p->events, CONTROL_REFUSED, control_str("what", "a connection to the shutdown port that was not the parent's"));
	if (fd < 0)
		return;
	while (peer < p->peer + INIT_SHUTDOWN_PEERS && peer->watch.fd >= 0)
		peer++;
	if (peer == p->peer + INIT_SHUTDOWN_PEERS || loop_add(p->loop, &peer->watch, fd, EPOLLIN) != 0) {
		close(fd);                       /* they connect again */
		return;
	}
	timer_arm(p->loop, &peer->deadline, PEER_MS);
}

int parent_listen(struct parent *p, void (*on_shutdown)(struct parent *p), struct err *err)
{
	p->on_shutdown = on_shutdown;
	for (size_t i = 0; i < INIT_SHUTDOWN_PEERS; i++)
		p->peer[i] = (struct parent_peer){ .of = p, .watch = { .fd = -1, .on_event = on_peer }, .deadline.on_expiry = on_deadline };
	int fd, bad = vsock_listen(PORT_SHUTDOWN, &fd, err);
	if (bad != 0)
		return bad;
	p->listener.on_event = on_listener;
	bad = loop_add(p->loop, &p->listener, fd, EPOLLIN);
	return bad != 0 ? fail(err, -bad, "watch the shutdown port") : 0;
}
