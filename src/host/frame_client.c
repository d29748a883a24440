/* Two buffers a client: one that fills with the enclave's frame (as large as the frame says, which is
 * bounded by its kind) and one DATA frame that the caller fills in place and this file sends whole.
 * Sending never decides the outcome: when the enclave stops listening it has usually said why first,
 * so a failed send only stops the sending, and what is in the receive queue, the end of the
 * connection or the deadline says how it ended. The enclave is distrusted: wrong frames end the
 * exchange, each wake-up reads a bounded amount, and everything it says is borrowed for one call. */
#include "host/frame_client.h"

#include "base/text.h"
#include "linux/vsock.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	IN_START = 8 << 10,
	READ_PER_WAKE_UP = 64 << 10,
	CONNECT_RETRY_MS = 20            /* a unix socket with a full backlog says EAGAIN and no more */
};

static int parse_vsock(const char *text, const char *numbers, struct frame_address *ret, struct err *err)
{
	uint64_t cid, port;
	size_t n = strcspn(numbers, ":");
	if (numbers[n] != ':' || !text_to_u64(bytes_of(numbers, n), UINT32_MAX - 1, &cid) ||
	    !text_to_u64(bytes_str(numbers + n + 1), UINT32_MAX - 1, &port) || strlen(text) >= sizeof ret->text)
		return fail(err, 0, "\"%.60s\" is no vsock address; give vsock:CID:PORT, two numbers", text);
	*ret = (struct frame_address){ .cid = (uint32_t)cid, .port = (uint32_t)port };
	strcpy(ret->text, text);
	return 0;
}

int frame_address_parse(const char *text, struct frame_address *ret, struct err *err)
{
	static const char unix_prefix[] = "unix:", vsock_prefix[] = "vsock:";
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	if (strncmp(text, vsock_prefix, sizeof vsock_prefix - 1) == 0)
		return parse_vsock(text, text + sizeof vsock_prefix - 1, ret, err);
	if (strncmp(text, unix_prefix, sizeof unix_prefix - 1) != 0)
		return fail(err, 0, "\"%.60s\" is no enclave address; give unix:PATH, the service socket, or vsock:CID:PORT", text);
	const char *path = text + sizeof unix_prefix - 1;
	size_t n = strlen(path);
	if (n == 0 || n >= sizeof un.sun_path)
		return fail(err, 0, "the socket path of \"%.60s\" must have 1 to %zu bytes", text, sizeof un.sun_path - 1);
	memcpy(un.sun_path, path, n);
	memset(ret, 0, sizeof *ret);
	memcpy(&ret->addr, &un, sizeof un);
	ret->size = sizeof un;
	memcpy(ret->text, text, strlen(text) + 1);
	return 0;
}
_Static_assert(sizeof "unix:" + sizeof((struct sockaddr_un *)0)->sun_path <= FRAME_ADDRESS_TEXT_MAX, "text fits");

bool frame_address_linked(const char *path, struct frame_address *ret)
{
	char text[FRAME_ADDRESS_TEXT_MAX];
	struct err ignored;
	ssize_t n = readlink(path, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	return strncmp(text, "vsock:", 6) == 0 && frame_address_parse(text, ret, &ignored) == 0;
}

/* --- ending ------------------------------------------------------------------------------------ */

/* Lets go of the connection and the outgoing data; the incoming buffer stays for who reads it. */
static void hang_up(struct frame_client *c)
{
	timer_disarm(&c->deadline);
	timer_disarm(&c->retry);
	if (c->watch.fd >= 0) {
		int fd = c->watch.fd;
		loop_del(c->loop, &c->watch);
		close(fd);
	}
	free(c->data);
	c->data = NULL;
	c->open = false;
}

void frame_client_close(struct frame_client *c)
{
	if (!c->open)
		return;
	hang_up(c);
	free(c->in);
	c->in = NULL;
}

static void finish(struct frame_client *c, struct frame_client_result *r)
{
	uint8_t *in = c->in;
	c->in = NULL;
	hang_up(c);
	c->on_end(c, r);         /* may open c again or free it */
	free(in);
}

__attribute__((format(printf, 4, 5)))
static void finish_with(struct frame_client *c, enum frame_client_how how, int errnum, const char *fmt, ...)
{
	struct frame_client_result r = { .how = how };
	char text[200];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fail(&r.why, errnum, "%s", text);
	finish(c, &r);
}

static void on_deadline(struct timer *t)
{
	struct frame_client *c = CONTAINER_OF(t, struct frame_client, deadline);
	finish_with(c, FRAME_CLIENT_TIMED_OUT, 0, "the enclave at %s did not answer in time", c->to->text);
}

/* --- sending ------------------------------------------------------------------------------------- */

/* Sends p[*at..n); true when all of it went. */
static bool send_some(struct frame_client *c, const uint8_t *p, size_t n, size_t *at)
{
	while (*at < n && !c->write_broken) {
		ssize_t sent = send(c->watch.fd, p + *at, n - *at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0)
			*at += (size_t)sent;
		else if (errno == EAGAIN)
			return false;
		else if (errno != EINTR)
			c->write_broken = true;
	}
	return *at == n;
}

/* Makes a frame of what is in the buffer, with END behind it when no more will come. */
static void seal(struct frame_client *c)
{
	size_t payload = c->data_n, at = 0;
	if (payload > 0) {
		frame_header(FRAME_DATA, payload, c->data);
		at = FRAME_HEADER_SIZE + payload;
	}
	if (c->ended) {
		frame_header(FRAME_END, 0, c->data + at);
		at += FRAME_HEADER_SIZE;
		c->end_sealed = true;
	}
	c->data_n = at;
	c->data_at = 0;
	c->sealed = true;
}

/* Sends what is ready and says what to wait for next. */
static void flush(struct frame_client *c)
{
	if (!c->connected)
		return;
	bool all = send_some(c, c->head, c->head_n, &c->head_at);
	while (all && c->sealed) {
		all = send_some(c, c->data, c->data_n, &c->data_at);
		if (!all)
			break;
		c->sealed = false;
		c->data_n = c->data_at = 0;
		if (c->ended && !c->end_sealed)          /* the end came while this frame was on its way */
			seal(c);
	}
	loop_set(c->loop, &c->watch, all || c->write_broken ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

size_t frame_client_room(struct frame_client *c, uint8_t **ret_p)
{
	assert(c->open && c->carries_data);
	if (c->sealed || c->ended || c->write_broken) {
		c->starved = true;
		return 0;
	}
	*ret_p = c->data + FRAME_HEADER_SIZE + c->data_n;
	return FRAME_DATA_SIZE - c->data_n;
}

void frame_client_commit(struct frame_client *c, size_t n)
{
	assert(!c->sealed && n <= FRAME_DATA_SIZE - c->data_n);
	c->data_n += n;
	if (FRAME_DATA_SIZE - c->data_n < FRAME_CLIENT_ROOM_MIN) {
		seal(c);
		flush(c);
	}
}

void frame_client_end(struct frame_client *c)
{
	assert(c->open && c->carries_data && !c->ended);
	c->ended = true;
	if (!c->sealed) {
		seal(c);
		flush(c);
	}
}

/* --- receiving ------------------------------------------------------------------------------------- */

static void protocol_error(struct frame_client *c, const char *what)
{
	finish_with(c, FRAME_CLIENT_PROTOCOL, 0, "the enclave at %s broke the frame protocol: %s", c->to->text, what);
}

/* Both return false when the exchange is over. */
static bool take_event(struct frame_client *c, struct bytes payload)
{
	struct frame_event e;
	if (++c->events > FRAME_CLIENT_EVENTS_MAX || !frame_event_parse(payload, &e)) {
		protocol_error(c, c->events > FRAME_CLIENT_EVENTS_MAX ? "too many events" : "a malformed event");
		return false;
	}
	if (c->on_event != NULL)
		c->on_event(c, &e);
	return c->open;
}

static bool take_answer(struct frame_client *c, const struct frame *f)
{
	struct frame_client_result r = { .how = FRAME_CLIENT_ERROR };
	if (f->kind == FRAME_ERROR && frame_error_parse(f->payload, &r.error)) {
		finish(c, &r);
		return false;
	}
	r.how = FRAME_CLIENT_REPLY;
	/* an answer to data that it has not seen the end of cannot be one */
	bool early = c->carries_data && (!c->ended || c->sealed);
	if (f->kind == FRAME_REPLY && !early && frame_reply_parse(f->payload, &r.reply)) {
		finish(c, &r);
		return false;
	}
	protocol_error(c, f->kind == FRAME_ERROR ? "a malformed error" : f->kind != FRAME_REPLY ? "a frame of a wrong kind" :
	               early ? "a reply before the end of the data" : "a malformed reply");
	return false;
}

/* Takes the frames that are there. False when the exchange is over. */
static bool take_frames(struct frame_client *c)
{
	size_t at = 0;
	for (;;) {
		struct frame f;
		size_t used;
		enum frame_result r = frame_parse(bytes_of(c->in + at, c->in_n - at), &f, &used);
		if (r == FRAME_MORE) {
			memmove(c->in, c->in + at, c->in_n - at);
			c->in_n -= at;
			if (used <= c->in_cap)
				return true;
			uint8_t *larger = realloc(c->in, used);
			if (larger == NULL) {
				finish_with(c, FRAME_CLIENT_SYSTEM, ENOMEM, "make room for an answer of %zu bytes", used);
				return false;
			}
			c->in = larger;
			c->in_cap = used;
			return true;
		}
		if (r != FRAME_OK) {
			protocol_error(c, frame_result_name(r));
			return false;
		}
		if (!(f.kind == FRAME_EVENT ? take_event(c, f.payload) : take_answer(c, &f)))
			return false;
		at += used;
	}
}

/* False when the exchange is over. */
static bool receive(struct frame_client *c)
{
	for (size_t total = 0; total < READ_PER_WAKE_UP;) {
		ssize_t n = recv(c->watch.fd, c->in + c->in_n, c->in_cap - c->in_n, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			finish_with(c, FRAME_CLIENT_CLOSED, n < 0 ? errno : 0,
			            "the enclave at %s closed the connection before it answered", c->to->text);
			return false;
		}
		c->in_n += (size_t)n;
		total += (size_t)n;
		if (!take_frames(c))
			return false;
	}
	return true;
}

/* --- connecting -------------------------------------------------------------------------------------- */

static void unreachable(struct frame_client *c, int errnum)
{
	finish_with(c, FRAME_CLIENT_UNREACHABLE, errnum, "connect to the enclave at %s", c->to->text);
}

/* How a vsock connection under way went. False: not well, the exchange is over. */
static bool finish_connecting(struct frame_client *c)
{
	int errnum = 0;
	socklen_t n = sizeof errnum;
	if (getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &errnum, &n) != 0)
		errnum = errno;
	c->connecting = false;
	if (errnum != 0) {
		unreachable(c, errnum);
		return false;
	}
	c->connected = true;
	flush(c);
	return true;
}

static void on_ready(struct watch *w, uint32_t events)
{
	struct frame_client *c = CONTAINER_OF(w, struct frame_client, watch);
	if (c->connecting && !finish_connecting(c))
		return;
	if (!c->connected)
		return;
	if (events & EPOLLOUT)
		flush(c);
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !receive(c))
		return;
	if (c->starved && !c->sealed && !c->ended && !c->write_broken) {
		c->starved = false;
		if (c->on_room != NULL)
			c->on_room(c);
	}
}

/* 1 when connected, 0 when it has to be tried again, -errno. */
static int try_connect(struct frame_client *c)
{
	const struct sockaddr *addr = (const struct sockaddr *)(const void *)&c->to->addr;
	while (connect(c->watch.fd, addr, c->to->size) != 0) {
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	c->connected = true;
	return 1;
}

static void on_retry(struct timer *t)
{
	struct frame_client *c = CONTAINER_OF(t, struct frame_client, retry);
	int ret = try_connect(c);
	if (ret < 0)
		unreachable(c, -ret);
	else if (ret == 0)
		timer_arm(c->loop, &c->retry, CONNECT_RETRY_MS);
	else
		flush(c);
}

static int connect_vsock(struct frame_client *c, const struct frame_address *to, struct err *err)
{
	int fd, ret = vsock_connect(to->cid, to->port, &fd, err);
	if (ret < 0)
		return ret;
	c->connecting = true;
	if ((ret = loop_add(c->loop, &c->watch, fd, EPOLLOUT)) < 0) {
		close(fd);
		return fail(err, -ret, "watch the connection to the enclave");
	}
	return 0;
}

static int connect_unix(struct frame_client *c, struct err *err)
{
	int fd = socket(c->to->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(err, errno, "make a socket");
	c->watch.fd = fd;
	int ret = try_connect(c);
	c->watch.fd = -1;
	if (ret < 0) {
		close(fd);
		return fail(err, -ret, "connect to the enclave at %s", c->to->text);
	}
	/* not connected yet: such a socket reports EPOLLHUP all the time, so once is enough */
	ret = loop_add(c->loop, &c->watch, fd, c->connected ? EPOLLIN : EPOLLET);
	if (ret < 0) {
		close(fd);
		return fail(err, -ret, "watch the connection to the enclave");
	}
	return 0;
}

static int connect_any(struct frame_client *c, struct err *err)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&c->to->addr;
	struct frame_address linked;
	if (c->to->size == 0)
		return connect_vsock(c, c->to, err);
	int ret = connect_unix(c, err);
	return ret == -ENOENT && frame_address_linked(un->sun_path, &linked) ? connect_vsock(c, &linked, err) : ret;
}

int frame_client_open(struct frame_client *c, struct loop *loop, const struct frame_address *to,
                      const struct frame_request *q, int64_t deadline_ms, struct err *err)
{
	assert(!c->open && c->on_end != NULL);
	*c = (struct frame_client){
		.on_event = c->on_event, .on_room = c->on_room, .on_end = c->on_end,
		.loop = loop, .to = to, .in_cap = IN_START,
		.carries_data = q->op == OP_PROVE || q->op == OP_UPLOAD,
		.watch = { .fd = -1, .on_event = on_ready },
		.deadline.on_expiry = on_deadline, .retry.on_expiry = on_retry,
	};
	struct writer w = writer_of(c->head + FRAME_HEADER_SIZE, sizeof c->head - FRAME_HEADER_SIZE);
	frame_request_put(&w, q);
	assert(!w.full);
	frame_header(FRAME_REQUEST, w.at, c->head);
	c->head_n = FRAME_HEADER_SIZE + w.at;
	c->in = malloc(c->in_cap);
	if (c->carries_data)
		c->data = malloc(FRAME_HEADER_SIZE + FRAME_DATA_SIZE + FRAME_HEADER_SIZE);
	int ret = c->in == NULL || (c->carries_data && c->data == NULL) ? fail(err, ENOMEM, "make room for an exchange") : 0;
	if (ret == 0)
		ret = connect_any(c, err);
	if (ret < 0) {
		free(c->in);
		free(c->data);
		c->in = c->data = NULL;
		return ret;
	}
	c->open = true;
	timer_arm(loop, &c->deadline, deadline_ms);
	if (!c->connected && !c->connecting)
		timer_arm(loop, &c->retry, CONNECT_RETRY_MS);
	flush(c);
	return 0;
}

void frame_client_deadline(struct frame_client *c, int64_t deadline_ms)
{
	if (c->open)
		timer_arm(c->loop, &c->deadline, deadline_ms);
}
