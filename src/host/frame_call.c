#include "host/frame_call.h"

#include "base/clock.h"
#include "base/text.h"
#include "host/frame_client.h"
#include "linux/vsock.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static int await(struct frame_call *c, short events, struct err *err)
{
	for (;;) {
		int64_t left = c->deadline_ms - clock_monotonic_ms();
		struct pollfd p = { .fd = c->fd, .events = events };
		int n = left <= 0 ? 0 : poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
		if (n > 0)
			return 0;
		if (n == 0)
			return fail(err, ETIMEDOUT, "the enclave did not answer in time");
		if (errno != EINTR)
			return fail(err, errno, "poll");
	}
}

static int connect_vsock(struct frame_call *c, const char *text, struct err *err)
{
	struct frame_address a;
	int errnum = 0, ret = frame_address_parse(text, &a, err);
	socklen_t n = sizeof errnum;
	if (ret == 0)
		ret = vsock_connect(a.cid, a.port, &c->fd, err);
	if (ret == 0)
		ret = await(c, POLLOUT, err);
	if (ret == 0 && (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &errnum, &n) != 0 || errnum != 0))
		ret = fail(err, errnum, "connect to %s (is the enclave running?)", text);
	return ret;
}

static int connect_unix(struct frame_call *c, const char *path, struct err *err)
{
	struct frame_address linked;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (!bytes_to_cstr(bytes_str(path), a.sun_path, sizeof a.sun_path))
		return fail(err, ENAMETOOLONG, "connect to %s", path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0)
		return 0;
	if (errno != ENOENT || !frame_address_linked(path, &linked))
		return fail(err, errno, "connect to %s (is the enclave running?)", path);
	close_fd(&c->fd);
	return connect_vsock(c, linked.text, err);
}

int frame_call_open(struct frame_call *c, const char *to, int64_t timeout_ms, struct err *err)
{
	*c = (struct frame_call){ .fd = -1 };
	frame_call_extend(c, timeout_ms);
	c->buf = malloc(FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX);
	if (c->buf == NULL)
		return fail(err, ENOMEM, "connect to %s", to);
	return strncmp(to, "vsock:", 6) == 0 ? connect_vsock(c, to, err) : connect_unix(c, to, err);
}

void frame_call_close(struct frame_call *c)
{
	close_fd(&c->fd);
	free(c->buf);
	c->buf = NULL;
}

void frame_call_extend(struct frame_call *c, int64_t timeout_ms)
{
	c->deadline_ms = clock_monotonic_ms() + timeout_ms;
}

static int send_all(struct frame_call *c, struct bytes b, int flags, struct err *err)
{
	while (b.n > 0) {
		ssize_t n = send(c->fd, b.p, b.n, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
		if (n < 0 && errno == EAGAIN) {
			int ret = await(c, POLLOUT, err);
			if (ret < 0)
				return ret;
			continue;
		}
		if (n < 0)
			return fail(err, errno, "send to the enclave");
		b = bytes_of(b.p + n, b.n - (size_t)n);
	}
	return 0;
}

int frame_call_send(struct frame_call *c, enum frame_kind kind, struct bytes payload, struct err *err)
{
	uint8_t header[FRAME_HEADER_SIZE];
	frame_header(kind, payload.n, header);
	int ret = send_all(c, BYTES_ARRAY(header), payload.n > 0 ? MSG_MORE : 0, err);
	return ret < 0 ? ret : send_all(c, payload, 0, err);
}

int frame_call_request(struct frame_call *c, const struct frame_request *q, struct err *err)
{
	uint8_t buf[FRAME_MAP_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	frame_request_put(&w, q);
	return w.full ? fail(err, 0, "the request is too long") : frame_call_send(c, FRAME_REQUEST, writer_bytes(&w), err);
}

int frame_call_receive(struct frame_call *c, struct frame *ret, struct err *err)
{
	size_t have = 0, want = FRAME_HEADER_SIZE;
	for (;;) {
		enum frame_result r = frame_parse(bytes_of(c->buf, have), ret, &want);
		if (r == FRAME_OK)
			return 0;
		if (r != FRAME_MORE)
			return fail(err, EPROTO, "the enclave sent a bad frame (%s)", frame_result_name(r));
		if (want == 0)
			want = FRAME_HEADER_SIZE;
		ssize_t n = recv(c->fd, c->buf + have, want - have, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			int waited = await(c, POLLIN, err);
			if (waited < 0)
				return waited;
			continue;
		}
		if (n <= 0)
			return fail(err, n < 0 ? errno : ECONNRESET, "the enclave closed the connection");
		have += (size_t)n;
	}
}

int frame_call_reply(struct frame_call *c, struct frame_reply *ret, enum outcome *ret_code, struct err *err)
{
	struct frame f;
	struct frame_error e;
	*ret_code = OUTCOME_INTERNAL;
	do {
		int got = frame_call_receive(c, &f, err);
		if (got < 0)
			return got;
	} while (f.kind == FRAME_EVENT);
	if (f.kind == FRAME_REPLY && frame_reply_parse(f.payload, ret)) {
		*ret_code = OUTCOME_OK;
		return 0;
	}
	if (f.kind != FRAME_ERROR || !frame_error_parse(f.payload, &e))
		return fail(err, EPROTO, "the enclave sent a malformed answer");
	char text[FRAME_MESSAGE_MAX * 4 + 1];
	*ret_code = e.code;
	fail(err, 0, "%s: %s", outcome_name(e.code), text_escape(e.message, text, sizeof text));
	return -EREMOTEIO;
}
