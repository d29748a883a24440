/* Everything that can happen (a kick, a socket that became ready, an answer that waits) ends in turn(): take packets from the
 * guest, then give it what waits, in the order answers, control, data, each connection in its turn and no more than so much at
 * once. Sockets are watched edge-triggered and what they said is remembered, so a connection whose guest gives no credit costs
 * nothing while it waits. */
#include "sim/vsock_device.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SOURCE_PREFIX "tee-rex-vsock/"

enum { RX, TX, QUEUES };
enum { TYPE_STREAM = 1 };
enum op { OP_REQUEST = 1, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST };
enum { SHUT_RECEIVE = 1, SHUT_SEND = 2, SHUT_BOTH = 3 };
enum { CID_HOST = 2, CID_PARENT = 3 };
enum { FIRST_PORT = 1 << 30, TAKE_PER_TURN = 256, GIVE_PER_TURN = 64, ROUNDS_PER_TURN = 4, LINE_MAX_BYTES = 24 };

enum state { LINE, ASKED, UP };                  /* LINE: its first line is awaited; ASKED: the guest was */

struct vsock_connection {
	struct vsock_device *of;
	struct vsock_connection *next;
	struct watch watch;                      /* descriptor owned */
	struct timer deadline;
	enum state state;
	uint64_t host_cid;
	uint32_t host_port, guest_port;
	uint32_t peer_alloc, peer_fwd, sent;     /* the guest's credit, and what it was given of it */
	uint32_t fwd, fwd_told;                  /* of ours: bytes passed on; as last said to the guest */
	unsigned guest_shut, told_shut;          /* SHUT_ bits */
	bool readable, hung_up;                  /* the socket, as epoll said */
	bool say_request, say_response, say_credit, say_reset;   /* control packets that wait */
	uint8_t want_shut;                       /* SHUT_ bits to be told */
	char line[LINE_MAX_BYTES];
	size_t line_n;
	size_t head, kept;                       /* ring: bytes on their way to the host */
	uint8_t buffer[VSOCK_BUFFER];
};

/* --- packets ------------------------------------------------------------------------------------------------- */

static void header_get(const uint8_t b[VSOCK_HEADER_SIZE], struct vsock_header *h)
{
	memcpy(&h->src_cid, b, 8);
	memcpy(&h->dst_cid, b + 8, 8);
	memcpy(&h->src_port, b + 16, 4);
	memcpy(&h->dst_port, b + 20, 4);
	memcpy(&h->len, b + 24, 4);
	memcpy(&h->type, b + 28, 2);
	memcpy(&h->op, b + 30, 2);
	memcpy(&h->flags, b + 32, 4);
	memcpy(&h->buf_alloc, b + 36, 4);
	memcpy(&h->fwd_cnt, b + 40, 4);
}

static void header_put(const struct vsock_header *h, uint8_t b[VSOCK_HEADER_SIZE])
{
	memcpy(b, &h->src_cid, 8);
	memcpy(b + 8, &h->dst_cid, 8);
	memcpy(b + 16, &h->src_port, 4);
	memcpy(b + 20, &h->dst_port, 4);
	memcpy(b + 24, &h->len, 4);
	memcpy(b + 28, &h->type, 2);
	memcpy(b + 30, &h->op, 2);
	memcpy(b + 32, &h->flags, 4);
	memcpy(b + 36, &h->buf_alloc, 4);
	memcpy(b + 40, &h->fwd_cnt, 4);
}

static struct virtq *queue(struct vsock_device *d, int i) { return &d->vu.ring[i].q; }

static void end(struct vsock_device *d, int ret, const struct err *why)
{
	if (d->over)
		return;
	d->over = true;
	d->on_end(d, ret, why);
}

/* True when the guest broke a queue. */
static bool queues_broken(struct vsock_device *d)
{
	struct err why;
	for (int i = 0; i < QUEUES; i++)
		if (queue(d, i)->broken != NULL) {
			int ret = fail(&why, EPROTO, "the guest broke its vsock %s queue: %s", i == RX ? "receive" : "transmit", queue(d, i)->broken);
			end(d, ret, &why);
			return true;
		}
	return false;
}

/* As a parent it may ask for more than the guest's rings hold: nothing else shows what becomes of that. */
static size_t connections_max(const struct vsock_device *d)
{
	return d->push_back ? 4 * (size_t)VSOCK_CONNECTIONS_MAX : VSOCK_CONNECTIONS_MAX;
}

/* --- connections ---------------------------------------------------------------------------------------------- */

static void listen_while_there_is_room(struct vsock_device *d)
{
	for (size_t i = 0; i < d->listener_count; i++)
		loop_set(d->loop, &d->listener[i].watch, d->connection_count < connections_max(d) ? EPOLLIN : 0);
}

static void drop(struct vsock_connection *c)
{
	struct vsock_device *d = c->of;
	struct vsock_connection **at = &d->first;
	int fd = c->watch.fd;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	timer_disarm(&c->deadline);
	loop_del(d->loop, &c->watch);
	close(fd);
	free(c);
	d->connection_count--;
	listen_while_there_is_room(d);
}

static void turn(struct vsock_device *d);

/* The connection ends; the guest is told when it knows of it. c may be gone afterwards. */
static void reset(struct vsock_connection *c)
{
	if (c->state == LINE) {
		drop(c);
		return;
	}
	c->say_reset = true;                     /* and gone once that is said */
	c->readable = false;
}

static void on_deadline(struct timer *t)
{
	struct vsock_connection *c = CONTAINER_OF(t, struct vsock_connection, deadline);
	struct vsock_device *d = c->of;
	reset(c);
	turn(d);
}

static void on_socket(struct watch *w, uint32_t events)
{
	struct vsock_connection *c = CONTAINER_OF(w, struct vsock_connection, watch);
	c->readable |= (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0;
	c->hung_up |= (events & (EPOLLHUP | EPOLLERR)) != 0;
	if (c->hung_up && c->want_shut != 0)
		c->want_shut = SHUT_BOTH;
	turn(c->of);
}

/* Takes over fd unless it returns NULL. */
static struct vsock_connection *connection_new(struct vsock_device *d, int fd, enum state state)
{
	struct vsock_connection *c = d->connection_count < connections_max(d) ? malloc(sizeof *c) : NULL;
	if (c == NULL)
		return NULL;
	memset(c, 0, offsetof(struct vsock_connection, buffer));
	c->of = d;
	c->state = state;
	c->host_cid = CID_PARENT;
	c->watch.on_event = on_socket;
	c->deadline.on_expiry = on_deadline;
	if (loop_add(d->loop, &c->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) < 0) {
		free(c);
		return NULL;
	}
	struct vsock_connection **last = &d->first;      /* in the order of their coming, as in a driver's queue */
	while (*last != NULL)
		last = &(*last)->next;
	*last = c;
	c->next = NULL;
	d->connection_count++;
	d->connections_ever++;
	listen_while_there_is_room(d);
	return c;
}

static struct vsock_connection *find(struct vsock_device *d, uint64_t host_cid, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_connection *c = d->first;
	while (c != NULL && (c->state == LINE || c->host_port != host_port || c->guest_port != guest_port || c->host_cid != host_cid))
		c = c->next;
	return c;
}

/* From the host to a port of the guest. */
static void ask(struct vsock_connection *c, uint32_t port)
{
	struct vsock_device *d = c->of;
	do {
		if (d->next_port < FIRST_PORT)
			d->next_port = FIRST_PORT;
		c->host_port = d->next_port++;
	} while (find(d, CID_PARENT, c->host_port, port) != NULL);
	c->guest_port = port;
	c->state = ASKED;
	c->say_request = true;
	timer_arm(d->loop, &c->deadline, VSOCK_CONNECT_MS);
}

static void read_line(struct vsock_connection *c)
{
	static const char verb[] = "CONNECT ";
	char ch;
	uint64_t port;
	ssize_t n;
	while ((n = recv(c->watch.fd, &ch, 1, MSG_DONTWAIT)) == 1 && ch != '\n' && c->line_n < sizeof c->line)
		c->line[c->line_n++] = ch;
	if (n < 0 && errno == EAGAIN) {
		c->readable = false;
		return;
	}
	struct bytes number = bytes_slice(bytes_of(c->line, c->line_n), sizeof verb - 1, c->line_n - (sizeof verb - 1));
	if (n == 1 && ch == '\n' && c->line_n > sizeof verb - 1 && memcmp(c->line, verb, sizeof verb - 1) == 0 &&
	    text_to_u64(number, UINT32_MAX, &port))
		ask(c, (uint32_t)port);
	else
		drop(c);
}

/* --- from the guest -------------------------------------------------------------------------------------------- */

/* Answers a packet that belongs to no connection. */
static void refuse(struct vsock_device *d, const struct vsock_header *h)
{
	if (h->op == OP_RST)
		return;
	if (d->reply_count == VSOCK_REPLIES_MAX) {
		d->dropped_replies++;
		return;
	}
	d->reply[(d->reply_at + d->reply_count++) % VSOCK_REPLIES_MAX] = (struct vsock_header){
		.src_cid = h->dst_cid, .dst_cid = d->cid, .src_port = h->dst_port, .dst_port = h->src_port,
		.type = TYPE_STREAM, .op = OP_RST,
	};
}

/* Passes on what is kept; then what the guest has closed is closed here, too. c may be gone afterwards. */
static void flush(struct vsock_connection *c)
{
	while (c->kept > 0) {
		size_t n = VSOCK_BUFFER - c->head < c->kept ? VSOCK_BUFFER - c->head : c->kept;
		ssize_t sent = send(c->watch.fd, c->buffer + c->head, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (sent < 0) {
			c->kept = 0;
			reset(c);
			return;
		}
		c->head = (c->head + (size_t)sent) % VSOCK_BUFFER;
		c->kept -= (size_t)sent;
		c->fwd += (uint32_t)sent;
	}
	if (c->fwd - c->fwd_told >= VSOCK_BUFFER / 4)
		c->say_credit = true;
	if (c->kept == 0 && c->guest_shut == SHUT_BOTH)
		reset(c);
	else if (c->kept == 0 && c->guest_shut & SHUT_SEND)
		shutdown(c->watch.fd, SHUT_WR);
}

/* Our end of the connection is called after the guest's port. A number that nobody can foresee goes before it, so that nobody can
 * take the name first. */
static int name_after(int fd, uint32_t port)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	uint64_t chance;
	if (getrandom(&chance, sizeof chance, GRND_NONBLOCK) != (ssize_t)sizeof chance)
		return -errno;
	int n = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, SOURCE_PREFIX "%016llx/%u", (unsigned long long)chance, (unsigned)port);
	return bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) != 0 ? -errno : 0;
}

uint32_t vsock_device_source(int fd)
{
	struct sockaddr_un a = { .sun_family = AF_UNSPEC };
	socklen_t n = sizeof a;
	const size_t fixed = offsetof(struct sockaddr_un, sun_path) + 1, head = sizeof SOURCE_PREFIX - 1 + 16 + 1;
	uint64_t port;
	if (getpeername(fd, (struct sockaddr *)&a, &n) != 0 || a.sun_family != AF_UNIX || n > sizeof a || n <= fixed + head ||
	    a.sun_path[0] != '\0' || memcmp(a.sun_path + 1, SOURCE_PREFIX, sizeof SOURCE_PREFIX - 1) != 0 || a.sun_path[head] != '/' ||
	    !text_to_u64(bytes_of(a.sun_path + 1 + head, n - fixed - head), UINT32_MAX - 1, &port))
		return UINT32_MAX;
	return (uint32_t)port;
}

static void take_request(struct vsock_device *d, const struct vsock_header *h)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct vsock_connection *c = NULL;
	snprintf(a.sun_path, sizeof a.sun_path, "%s/vsock_%u", d->dir, (unsigned)h->dst_port);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && name_after(fd, h->src_port) == 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
		c = connection_new(d, fd, UP);
	if (c == NULL) {
		refuse(d, h);
		return;
	}
	fd_steal(&fd);
	c->host_cid = h->dst_cid;
	c->host_port = h->dst_port;
	c->guest_port = h->src_port;
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	c->say_response = true;
}

static void take_data(struct vsock_connection *c, const struct vsock_header *h, const struct virtq_chain *chain)
{
	/* more than it announced room for, or than it brought along: no driver does that */
	if (h->len > VSOCK_BUFFER - c->kept || h->len > chain->readable_bytes - VSOCK_HEADER_SIZE || c->state != UP ||
	    c->guest_shut & SHUT_SEND) {
		reset(c);
		return;
	}
	for (size_t done = 0; done < h->len;) {
		size_t at = (c->head + c->kept) % VSOCK_BUFFER, n = VSOCK_BUFFER - at < h->len - done ? VSOCK_BUFFER - at : h->len - done;
		virtq_read(chain, VSOCK_HEADER_SIZE + done, c->buffer + at, n);
		c->kept += n;
		done += n;
	}
	flush(c);
}

static void take_packet(struct vsock_device *d, const struct vsock_header *h, const struct virtq_chain *chain)
{
	if (h->src_cid != d->cid)
		return;                          /* nobody to answer to */
	bool for_us = (h->dst_cid == CID_PARENT || h->dst_cid == CID_HOST) && h->type == TYPE_STREAM;
	struct vsock_connection *c = for_us ? find(d, h->dst_cid, h->dst_port, h->src_port) : NULL;
	if (for_us && c == NULL && h->op == OP_REQUEST) {
		take_request(d, h);
		return;
	}
	if (c == NULL) {
		refuse(d, h);
		return;
	}
	if (c->say_reset)
		return;                          /* over already */
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	switch ((enum op)h->op) {
	case OP_RESPONSE:
		if (c->state == ASKED) {
			c->state = UP;
			timer_disarm(&c->deadline);
		}
		break;
	case OP_RST:
		drop(c);
		break;
	case OP_SHUTDOWN:
		c->guest_shut |= h->flags & SHUT_BOTH;
		flush(c);
		break;
	case OP_RW:
		take_data(c, h, chain);
		break;
	case OP_CREDIT_REQUEST:
		c->say_credit = true;
		break;
	case OP_CREDIT_UPDATE:
		break;
	case OP_REQUEST:
	default:
		reset(c);
		break;
	}
}

static bool pushed_back(struct vsock_device *d)
{
	if (!d->push_back)
		return false;
	size_t waiting = d->reply_count;
	for (const struct vsock_connection *c = d->first; c != NULL; c = c->next)
		waiting += c->say_reset || c->say_response || c->say_credit;
	return waiting >= queue(d, RX)->size;
}

/* True when there is more. */
static bool take_packets(struct vsock_device *d)
{
	struct virtq_chain chain;
	int n = 0;
	while (n < TAKE_PER_TURN && !pushed_back(d) && virtq_peek(queue(d, TX), &chain)) {
		uint8_t raw[VSOCK_HEADER_SIZE];
		struct vsock_header h;
		virtq_take(queue(d, TX));
		if (virtq_read(&chain, 0, raw, sizeof raw) == sizeof raw) {
			header_get(raw, &h);
			take_packet(d, &h, &chain);
			d->taken++;
		}
		virtq_put(queue(d, TX), chain.head, 0);
		n++;
	}
	return n == TAKE_PER_TURN;
}

/* --- to the guest ---------------------------------------------------------------------------------------------- */

/* A free receive buffer, or false. */
static bool room(struct vsock_device *d, struct virtq_chain *chain)
{
	if (!virtq_peek(queue(d, RX), chain))
		return false;
	if (chain->readable > 0 || chain->writable_bytes < VSOCK_HEADER_SIZE)
		queue(d, RX)->broken = "a receive buffer that cannot hold a packet";
	return queue(d, RX)->broken == NULL;
}

static void give(struct vsock_device *d, const struct virtq_chain *chain, const struct vsock_header *h)
{
	uint8_t raw[VSOCK_HEADER_SIZE];
	header_put(h, raw);
	virtq_write(chain, 0, BYTES_ARRAY(raw));
	virtq_take(queue(d, RX));
	virtq_put(queue(d, RX), chain->head, VSOCK_HEADER_SIZE + h->len);
}

static struct vsock_header header_of(struct vsock_connection *c, enum op op)
{
	c->fwd_told = c->fwd;
	return (struct vsock_header){
		.src_cid = c->host_cid, .dst_cid = c->of->cid, .src_port = c->host_port, .dst_port = c->guest_port,
		.type = TYPE_STREAM, .op = (uint16_t)op, .buf_alloc = VSOCK_BUFFER, .fwd_cnt = c->fwd,
	};
}

/* The most urgent control packet of c; false when none waits. c is gone after a reset. */
static bool give_control(struct vsock_connection *c, const struct virtq_chain *chain)
{
	struct vsock_header h;
	if (c->say_reset) {
		h = header_of(c, OP_RST);
		give(c->of, chain, &h);
		drop(c);
		return true;
	}
	if (c->say_request)
		h = header_of(c, OP_REQUEST);
	else if (c->say_response)
		h = header_of(c, OP_RESPONSE);
	else if (c->want_shut & ~c->told_shut) {
		h = header_of(c, OP_SHUTDOWN);
		h.flags = c->want_shut;
		c->told_shut |= c->want_shut;
		if (c->told_shut == SHUT_BOTH)   /* the guest's reset ends it; a guest that sends none does not keep it */
			timer_arm(c->of->loop, &c->deadline, VSOCK_CONNECT_MS);
	} else if (c->say_credit)
		h = header_of(c, OP_CREDIT_UPDATE);
	else
		return false;
	c->say_request = c->say_response = c->say_credit = false;
	give(c->of, chain, &h);
	return true;
}

static uint32_t credit(const struct vsock_connection *c)
{
	uint32_t under_way = c->sent - c->peer_fwd;
	return under_way < c->peer_alloc ? c->peer_alloc - under_way : 0;
}

/* One packet of data, straight from the socket into the guest. False when there is none now. */
static bool give_data(struct vsock_connection *c, const struct virtq_chain *chain)
{
	struct iovec io[VIRTQ_PIECES_MAX];
	size_t room_n = chain->writable_bytes - VSOCK_HEADER_SIZE, skip = VSOCK_HEADER_SIZE;
	int n = 0;
	if (room_n > credit(c))
		room_n = credit(c);
	for (size_t i = 0; i < chain->writable && room_n > 0; i++) {
		struct iovec v = chain->piece[i];
		size_t cut = skip < v.iov_len ? skip : v.iov_len;
		v.iov_base = (uint8_t *)v.iov_base + cut;
		v.iov_len = v.iov_len - cut < room_n ? v.iov_len - cut : room_n;
		skip -= cut;
		room_n -= v.iov_len;
		if (v.iov_len > 0)
			io[n++] = v;
	}
	if (n == 0)
		return false;
	ssize_t got = readv(c->watch.fd, io, n);
	if (got > 0) {
		struct vsock_header h = header_of(c, OP_RW);
		h.len = (uint32_t)got;
		c->sent += (uint32_t)got;
		give(c->of, chain, &h);
		return true;
	}
	c->readable = false;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got < 0)
		reset(c);
	else
		c->want_shut |= c->hung_up ? SHUT_BOTH : SHUT_SEND;
	return true;
}

static void give_replies(struct vsock_device *d)
{
	struct virtq_chain chain;
	while (d->reply_count > 0 && room(d, &chain)) {
		give(d, &chain, &d->reply[d->reply_at]);
		d->reply_at = (d->reply_at + 1) % VSOCK_REPLIES_MAX;
		d->reply_count--;
	}
}

/* True when there is more. */
static bool give_packets(struct vsock_device *d)
{
	struct virtq_chain chain;
	bool more = false;
	if (!d->push_back)
		give_replies(d);
	struct vsock_connection *next;
	for (struct vsock_connection *c = d->first; c != NULL; c = next) {
		next = c->next;
		int n = 0;
		bool gone = false;
		while (n < GIVE_PER_TURN && room(d, &chain)) {
			gone = c->say_reset;
			bool did = give_control(c, &chain);
			if (gone)
				break;
			if (!did && (c->state != UP || !c->readable || c->want_shut & SHUT_SEND || c->guest_shut & SHUT_RECEIVE || !give_data(c, &chain)))
				break;
			n++;
		}
		more |= !gone && n == GIVE_PER_TURN;
	}
	/* Linux has one queue for all: what asks came first */
	if (d->push_back)
		give_replies(d);
	return more;
}

static void on_again(struct timer *t) { turn(CONTAINER_OF(t, struct vsock_device, again)); }

static void turn(struct vsock_device *d)
{
	if (d->over || !queue(d, RX)->started || !queue(d, TX)->started)
		return;
	struct vsock_connection *next;
	for (struct vsock_connection *c = d->first; c != NULL; c = next) {
		next = c->next;
		if (c->state == LINE && c->readable)
			read_line(c);
		else if (c->state == UP && c->kept > 0 && !c->say_reset)
			flush(c);
	}
	bool more = true;
	for (int i = 0; more && i < ROUNDS_PER_TURN; i++) {
		more = take_packets(d);
		more |= give_packets(d);
	}
	if (queues_broken(d))
		return;
	vhost_user_notify(&d->vu, RX);
	vhost_user_notify(&d->vu, TX);
	if (more)
		timer_arm(d->loop, &d->again, 0);
}

/* --- events ---------------------------------------------------------------------------------------------------- */

static void on_kick(struct watch *w, uint32_t events)
{
	struct vsock_kick *k = CONTAINER_OF(w, struct vsock_kick, watch);
	uint64_t count;
	(void)events;
	(void)!read(w->fd, &count, sizeof count);
	turn(k->of);
}

/* A message may close a kick's descriptor, and epoll must have forgotten it before. */
static void unwatch_kicks(struct vsock_device *d)
{
	for (int i = 0; i < QUEUES; i++)
		loop_del(d->loop, &d->kick[i].watch);
}

static int watch_kicks(struct vsock_device *d, struct err *err)
{
	int ret = 0;
	for (int i = 0; ret == 0 && i < QUEUES; i++)
		if (d->vu.ring[i].kick >= 0)
			ret = loop_add(d->loop, &d->kick[i].watch, d->vu.ring[i].kick, EPOLLIN);
	return ret < 0 ? fail(err, -ret, "watch a kick of QEMU's") : 0;
}

static void on_qemu(struct watch *w, uint32_t events)
{
	struct vsock_device *d = CONTAINER_OF(w, struct vsock_device, qemu);
	struct err why;
	(void)events;
	unwatch_kicks(d);
	int ret = vhost_user_serve(&d->vu, w->fd, &why);
	if (ret == 0)
		ret = watch_kicks(d, &why);
	if (ret < 0)
		end(d, ret == -EPIPE ? 0 : ret, &why);
	else
		turn(d);
}

static void on_listener(struct watch *w, uint32_t events)
{
	struct vsock_listener *l = CONTAINER_OF(w, struct vsock_listener, watch);
	struct vsock_device *d = l->of;
	(void)events;
	CLEANUP(close_fd) int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	/* no driver yet: refused, as by a machine that is still booting */
	if (fd < 0 || !queue(d, RX)->started || !queue(d, TX)->started)
		return;
	struct vsock_connection *c = connection_new(d, fd, LINE);
	if (c == NULL)
		return;
	fd_steal(&fd);
	c->readable = true;
	if (l->port != 0)
		ask(c, l->port);
	else
		timer_arm(d->loop, &c->deadline, VSOCK_CONNECT_MS);
	turn(d);
}

int vsock_device_open(struct vsock_device *d, struct loop *loop, int sock, struct err *err)
{
	d->loop = loop;
	d->vu = (struct vhost_user){ .queues = QUEUES, .config = BYTES_ARRAY(d->config) };
	memcpy(d->config, &d->cid, sizeof d->config);
	vhost_user_init(&d->vu);
	d->again.on_expiry = on_again;
	for (int i = 0; i < QUEUES; i++)
		d->kick[i] = (struct vsock_kick){ .of = d, .watch = { .fd = -1, .on_event = on_kick } };
	d->qemu.on_event = on_qemu;
	int ret = loop_add(loop, &d->qemu, sock, EPOLLIN);
	if (ret < 0) {
		close(sock);
		d->qemu.fd = -1;
		return fail(err, -ret, "watch QEMU");
	}
	return 0;
}

int vsock_device_listen(struct vsock_device *d, int fd, uint32_t port, struct err *err)
{
	struct vsock_listener *l = &d->listener[d->listener_count];
	int ret = d->listener_count == VSOCK_LISTENERS_MAX ? -E2BIG : 0;
	if (ret == 0) {
		*l = (struct vsock_listener){ .of = d, .port = port, .watch.on_event = on_listener };
		ret = loop_add(d->loop, &l->watch, fd, EPOLLIN);
	}
	if (ret < 0) {
		close(fd);
		return fail(err, -ret, "watch a listening socket");
	}
	d->listener_count++;
	return 0;
}

void vsock_device_close(struct vsock_device *d)
{
	d->over = true;
	while (d->first != NULL)
		drop(d->first);
	for (size_t i = 0; i < d->listener_count; i++) {
		int fd = d->listener[i].watch.fd;
		loop_del(d->loop, &d->listener[i].watch);
		close(fd);
	}
	unwatch_kicks(d);
	timer_disarm(&d->again);
	int fd = d->qemu.fd;
	loop_del(d->loop, &d->qemu);
	close_fd(&fd);
	vhost_user_close(&d->vu);
}
