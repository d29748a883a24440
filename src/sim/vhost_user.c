/* A ring runs (its virtq is started) from the moment it has size, addresses, a kick descriptor and is enabled, until
 * GET_VRING_BASE or a new memory table without it. A table of handlers by request; each has one payload size. */
#include "sim/vhost_user.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
	GET_FEATURES = 1, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE,
	SET_VRING_NUM = 8, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR,
	GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE,
	GET_CONFIG = 24, SET_CONFIG, GET_MAX_MEM_SLOTS = 36, SET_STATUS = 39, GET_STATUS,
	REQUESTS
};
enum { FLAG_VERSION = 1, FLAG_VERSION_MASK = 3, FLAG_REPLY = 4, FLAG_NEED_REPLY = 8 };
enum { NO_DESCRIPTOR = 0x100, MESSAGE_MS = 2000 };
#define PROTOCOL_FEATURES_BIT (UINT64_C(1) << 30)
#define REPLY_ACK_BIT (UINT64_C(1) << 3)
#define CONFIG_BIT (UINT64_C(1) << 9)

/* A message on its way through its handler. */
struct message {
	struct reader in;
	int *fds;
	size_t fd_count;
	struct writer *out;                      /* the answer's payload */
	bool answered;
	struct err *err;
};

/* vhost-user is little-endian on the machines it runs on. */
static uint32_t get32(struct reader *r)
{
	uint32_t v = 0;
	struct bytes b = get_bytes(r, sizeof v);
	if (b.n == sizeof v)
		memcpy(&v, b.p, sizeof v);
	return v;
}

static uint64_t get64(struct reader *r)
{
	uint64_t v = 0;
	struct bytes b = get_bytes(r, sizeof v);
	if (b.n == sizeof v)
		memcpy(&v, b.p, sizeof v);
	return v;
}

static void put32(struct writer *w, uint32_t v) { put_bytes(w, bytes_of(&v, sizeof v)); }
static void put64(struct writer *w, uint64_t v) { put_bytes(w, bytes_of(&v, sizeof v)); }

static int bad(struct message *m, const char *what)
{
	fail(m->err, EPROTO, "vhost-user: %s", what);
	return -EPROTO;
}

static int answer64(struct message *m, uint64_t v)
{
	put64(m->out, v);
	m->answered = true;
	return 0;
}

/* --- memory ------------------------------------------------------------------------------------------------- */

static void unmap_all(struct vhost_user *v)
{
	for (size_t i = 0; i < VHOST_USER_REGIONS_MAX; i++)
		if (v->map[i].p != NULL)
			munmap(v->map[i].p, v->map[i].n);
	memset(v->map, 0, sizeof v->map);
	v->memory.count = v->user.count = 0;
}

/* Starts what can be started. */
static int try_start(struct vhost_user *v, struct vhost_user_ring *r, struct message *m)
{
	if (r->q.started || r->size == 0 || !r->has_address || !r->enabled || r->kick < 0)
		return 0;
	/* ring addresses are QEMU's own; descriptors hold the guest's */
	if (!virtq_start(&r->q, &v->user, r->size, r->desc, r->avail, r->used, r->base))
		return bad(m, "a ring lies outside the memory table");
	r->q.memory = &v->memory;
	return 0;
}

static void stop_ring(struct vhost_user_ring *r)
{
	if (r->q.started)
		r->base = r->q.next_avail;
	virtq_stop(&r->q);
}

/* A mapping that cannot fault: inside a file that nobody can make shorter. */
static uint8_t *map_region(struct vhost_user *v, size_t i, int fd, uint64_t size, uint64_t offset)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) != 0 || size == 0 ||
	    offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset || offset % 4096 != 0)
		return NULL;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	if (p == MAP_FAILED)
		return NULL;
	v->map[i].p = p;
	v->map[i].n = size;
	return p;
}

static int set_mem_table(struct vhost_user *v, struct message *m)
{
	uint32_t n = get32(&m->in);
	get32(&m->in);
	if (n > VHOST_USER_REGIONS_MAX || n != m->fd_count)
		return bad(m, "a memory table with more regions than descriptors");
	for (unsigned i = 0; i < v->queues; i++)
		stop_ring(&v->ring[i]);
	unmap_all(v);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t guest = get64(&m->in), size = get64(&m->in), user = get64(&m->in), offset = get64(&m->in);
		if (m->in.bad)
			return bad(m, "a memory table is cut off");
		if (guest + size < guest || user + size < user)
			return bad(m, "a memory region wraps around");
		uint8_t *p = map_region(v, i, m->fds[i], size, offset);
		if (p == NULL)
			return bad(m, "a memory region is not inside a file that cannot shrink");
		v->memory.region[v->memory.count++] = (struct guest_region){ guest, size, p };
		v->user.region[v->user.count++] = (struct guest_region){ user, size, p };
	}
	int ret = 0;
	for (unsigned i = 0; ret == 0 && i < v->queues; i++)
		ret = try_start(v, &v->ring[i], m);
	return ret;
}

/* --- rings -------------------------------------------------------------------------------------------------- */

static struct vhost_user_ring *ring_of(struct vhost_user *v, uint64_t index)
{
	return index < v->queues ? &v->ring[index] : NULL;
}

static int set_vring_num(struct vhost_user *v, struct message *m)
{
	struct vhost_user_ring *r = ring_of(v, get32(&m->in));
	uint32_t size = get32(&m->in);
	if (r == NULL || r->q.started || !virtq_size_valid(size))
		return bad(m, "a ring size that cannot be");
	r->size = size;
	return 0;
}

static int set_vring_addr(struct vhost_user *v, struct message *m)
{
	struct vhost_user_ring *r = ring_of(v, get32(&m->in));
	get32(&m->in);                           /* flags: no logging was offered */
	uint64_t desc = get64(&m->in), used = get64(&m->in), avail = get64(&m->in);
	get64(&m->in);
	if (r == NULL || m->in.bad)
		return bad(m, "addresses of a ring that is none");
	stop_ring(r);
	r->desc = desc;
	r->used = used;
	r->avail = avail;
	r->has_address = true;
	return try_start(v, r, m);
}

static int set_vring_base(struct vhost_user *v, struct message *m)
{
	struct vhost_user_ring *r = ring_of(v, get32(&m->in));
	uint32_t base = get32(&m->in);
	if (r == NULL || r->q.started || base > UINT16_MAX)
		return bad(m, "a ring base that cannot be");
	r->base = (uint16_t)base;
	return 0;
}

static int get_vring_base(struct vhost_user *v, struct message *m)
{
	uint32_t index = get32(&m->in);
	struct vhost_user_ring *r = ring_of(v, index);
	get32(&m->in);                           /* room for the answer */
	if (r == NULL)
		return bad(m, "the base of a ring that is none");
	stop_ring(r);
	close_fd(&r->kick);
	put32(m->out, index);
	put32(m->out, r->base);
	m->answered = true;
	return 0;
}

/* The message's descriptor, taken; -1 when it says that there is none. */
static int take_fd(struct message *m, uint64_t flags)
{
	if (flags & NO_DESCRIPTOR || m->fd_count != 1)
		return -1;
	return fd_steal(&m->fds[0]);
}

/* An eventfd in name only would block or end us: writes and reads never wait, whatever it is. */
static int set_kick(struct vhost_user *v, struct message *m)
{
	uint64_t which = get64(&m->in);
	struct vhost_user_ring *r = ring_of(v, which & 0xff);
	if (r == NULL)
		return bad(m, "a kick for a ring that is none");
	close_fd(&r->kick);
	r->kick = take_fd(m, which);
	if (r->kick >= 0 && fcntl(r->kick, F_SETFL, O_NONBLOCK) != 0)
		return bad(m, "a kick descriptor that cannot be used");
	return try_start(v, r, m);
}

static int set_call(struct vhost_user *v, struct message *m)
{
	uint64_t which = get64(&m->in);
	struct vhost_user_ring *r = ring_of(v, which & 0xff);
	if (r == NULL)
		return bad(m, "a call for a ring that is none");
	close_fd(&r->call);
	r->call = take_fd(m, which);
	if (r->call >= 0 && fcntl(r->call, F_SETFL, O_NONBLOCK) != 0)
		return bad(m, "a call descriptor that cannot be used");
	return 0;
}

static int set_vring_enable(struct vhost_user *v, struct message *m)
{
	struct vhost_user_ring *r = ring_of(v, get32(&m->in));
	uint32_t on = get32(&m->in);
	if (r == NULL || on > 1)
		return bad(m, "enabling what is no ring");
	r->enabled = on;
	if (!on)
		stop_ring(r);
	return try_start(v, r, m);
}

/* --- the rest ----------------------------------------------------------------------------------------------- */

static int get_features(struct vhost_user *v, struct message *m)
{
	return answer64(m, v->features | VIRTIO_F_VERSION_1_BIT | PROTOCOL_FEATURES_BIT);
}

static int set_features(struct vhost_user *v, struct message *m)
{
	uint64_t taken = get64(&m->in);
	if (taken & ~(v->features | VIRTIO_F_VERSION_1_BIT | PROTOCOL_FEATURES_BIT))
		return bad(m, "features that were not offered");
	v->acked = taken;
	/* without the protocol's own bit rings start enabled */
	for (unsigned i = 0; i < v->queues && !(taken & PROTOCOL_FEATURES_BIT); i++)
		v->ring[i].enabled = true;
	return 0;
}

static int get_protocol_features(struct vhost_user *v, struct message *m)
{
	return answer64(m, REPLY_ACK_BIT | (v->config.n > 0 ? CONFIG_BIT : 0));
}

static int set_protocol_features(struct vhost_user *v, struct message *m)
{
	return get64(&m->in) & ~(REPLY_ACK_BIT | (v->config.n > 0 ? CONFIG_BIT : 0)) ? bad(m, "protocol features that were not offered") : 0;
}

static int get_queue_num(struct vhost_user *v, struct message *m) { return answer64(m, v->queues); }
static int get_max_mem_slots(struct vhost_user *v, struct message *m) { (void)v; return answer64(m, VHOST_USER_REGIONS_MAX); }

static int get_config(struct vhost_user *v, struct message *m)
{
	uint32_t offset = get32(&m->in), size = get32(&m->in), flags = get32(&m->in);
	if (m->in.bad || size > VHOST_USER_CONFIG_MAX)
		return bad(m, "a question for too much configuration");
	put32(m->out, offset);
	put32(m->out, size);
	put32(m->out, flags);
	for (uint32_t i = 0; i < size; i++)
		put_u8(m->out, offset < v->config.n && i < v->config.n - offset ? v->config.p[offset + i] : 0);
	m->answered = true;
	m->in.at = m->in.in.n;                   /* room for the answer follows the question */
	return 0;
}

static int nothing(struct vhost_user *v, struct message *m)
{
	(void)v;
	m->in.at = m->in.in.n;
	return 0;
}

static int (*const on_request[REQUESTS])(struct vhost_user *v, struct message *m) = {
	[GET_FEATURES] = get_features, [SET_FEATURES] = set_features, [SET_OWNER] = nothing, [RESET_OWNER] = nothing,
	[SET_MEM_TABLE] = set_mem_table, [SET_VRING_NUM] = set_vring_num, [SET_VRING_ADDR] = set_vring_addr,
	[SET_VRING_BASE] = set_vring_base, [GET_VRING_BASE] = get_vring_base, [SET_VRING_KICK] = set_kick,
	[SET_VRING_CALL] = set_call, [SET_VRING_ERR] = nothing, [GET_PROTOCOL_FEATURES] = get_protocol_features,
	[SET_PROTOCOL_FEATURES] = set_protocol_features, [GET_QUEUE_NUM] = get_queue_num, [SET_VRING_ENABLE] = set_vring_enable,
	[GET_CONFIG] = get_config, [SET_CONFIG] = nothing, [GET_MAX_MEM_SLOTS] = get_max_mem_slots,
};

static int handle(struct vhost_user *v, uint32_t request, uint32_t flags, struct message *m)
{
	if ((flags & FLAG_VERSION_MASK) != FLAG_VERSION || flags & FLAG_REPLY)
		return bad(m, "a message of another version");
	if (request >= REQUESTS || on_request[request] == NULL) {
		fail(m->err, EPROTO, "vhost-user: request %u, which was not offered", request);
		return -EPROTO;
	}
	int ret = on_request[request](v, m);
	if (ret == 0 && !reader_done(&m->in))
		return bad(m, "a message of another length");
	if (ret == 0 && !m->answered && flags & FLAG_NEED_REPLY)
		ret = answer64(m, 0);
	return ret;
}

int vhost_user_handle(struct vhost_user *v, uint32_t request, uint32_t flags, struct bytes payload, int *fds, size_t fd_count,
                      struct writer *reply, struct err *err)
{
	uint8_t buf[VHOST_USER_PAYLOAD_MAX];
	struct writer out = writer_of(buf, sizeof buf);
	struct message m = { .in = reader_of(payload), .fds = fds, .fd_count = fd_count, .out = &out, .err = err };
	int ret = handle(v, request, flags, &m);
	for (size_t i = 0; i < fd_count; i++)
		close_fd(&fds[i]);
	if (ret == 0 && m.answered) {
		put32(reply, request);
		put32(reply, FLAG_VERSION | FLAG_REPLY);
		put32(reply, (uint32_t)out.at);
		put_bytes(reply, writer_bytes(&out));
	}
	return ret;
}

void vhost_user_init(struct vhost_user *v)
{
	for (unsigned i = 0; i < VHOST_USER_QUEUES_MAX; i++)
		v->ring[i] = (struct vhost_user_ring){ .kick = -1, .call = -1 };
	v->memory.count = v->user.count = 0;
	memset(v->map, 0, sizeof v->map);
}

void vhost_user_close(struct vhost_user *v)
{
	for (unsigned i = 0; i < VHOST_USER_QUEUES_MAX; i++) {
		virtq_stop(&v->ring[i].q);
		close_fd(&v->ring[i].kick);
		close_fd(&v->ring[i].call);
	}
	unmap_all(v);
}

void vhost_user_notify(struct vhost_user *v, unsigned i)
{
	static const uint64_t one = 1;
	if (virtq_interrupt(&v->ring[i].q) && v->ring[i].call >= 0)
		(void)!write(v->ring[i].call, &one, sizeof one);
}

/* --- the socket --------------------------------------------------------------------------------------------- */

static int receive_rest(int sock, uint8_t *to, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = recv(sock, to + at, n - at, MSG_DONTWAIT);
		struct pollfd p = { .fd = sock, .events = POLLIN };
		if (got > 0)
			at += (size_t)got;
		else if (got == 0 || (errno != EAGAIN && errno != EINTR) || poll(&p, 1, MESSAGE_MS) == 0)
			return -EPROTO;
	}
	return 0;
}

int vhost_user_serve(struct vhost_user *v, int sock, struct err *err)
{
	uint8_t head[VHOST_USER_HEADER_SIZE], payload[VHOST_USER_PAYLOAD_MAX], answer[VHOST_USER_HEADER_SIZE + VHOST_USER_PAYLOAD_MAX];
	char control[CMSG_SPACE(VHOST_USER_REGIONS_MAX * sizeof(int))];
	struct iovec io = { head, sizeof head };
	struct msghdr mh = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int fds[VHOST_USER_REGIONS_MAX];
	size_t fd_count = 0;
	ssize_t n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? -EPIPE : fail(err, errno, "read from QEMU");
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		fd_count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), fd_count * sizeof(int));
	}
	uint32_t request, flags, size;
	int ret = mh.msg_flags & MSG_CTRUNC ? -EPROTO : receive_rest(sock, head + n, sizeof head - (size_t)n);
	memcpy(&request, head, 4);
	memcpy(&flags, head + 4, 4);
	memcpy(&size, head + 8, 4);
	if (ret == 0)
		ret = size > sizeof payload ? -EPROTO : receive_rest(sock, payload, size);
	if (ret < 0) {
		for (size_t i = 0; i < fd_count; i++)
			close(fds[i]);
		fail(err, EPROTO, "vhost-user: QEMU sent a message that is too long or cut off");
		return -EPROTO;
	}
	struct writer reply = writer_of(answer, sizeof answer);
	ret = vhost_user_handle(v, request, flags, bytes_of(payload, size), fds, fd_count, &reply, err);
	if (ret == 0 && reply.at > 0 && send(sock, reply.p, reply.at, MSG_NOSIGNAL) != (ssize_t)reply.at)
		return fail(err, errno, "answer QEMU");
	return ret;
}
