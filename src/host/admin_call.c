#include "host/admin_call.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

int admin_call_open(struct admin_call *c, const char *dir, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct timeval wait = { .tv_sec = ADMIN_CALL_MS / 1000 };
	c->fd = -1;
	c->at = c->n = 0;
	c->skipping = false;
	if (snprintf(a.sun_path, sizeof a.sun_path, "%s/admin.sock", dir) >= (int)sizeof a.sun_path)
		return fail(err, ENAMETOOLONG, "connect to %s/admin.sock", dir);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0 ||
	    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0)
		return fail(err, errno, "make a socket");
	if (connect(c->fd, (const struct sockaddr *)&a, sizeof a) != 0)
		return errno == EACCES ? fail(err, EACCES, "connect to %s (only root and the instance's own user are heard)", a.sun_path)
		                       : fail(err, errno, "connect to %s", a.sun_path);
	return 0;
}

void admin_call_close(struct admin_call *c) { close_fd(&c->fd); }

void admin_call_patience(struct admin_call *c, int64_t ms)
{
	struct timeval wait = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
}

/* More into the buffer, behind what is there. */
static int fill(struct admin_call *c, struct err *err)
{
	memmove(c->buf, c->buf + c->at, c->n - c->at);
	c->n -= c->at;
	c->at = 0;
	ssize_t n;
	do
		n = recv(c->fd, c->buf + c->n, sizeof c->buf - c->n, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail(err, errno == EAGAIN ? ETIMEDOUT : errno, "the instance does not answer");
	c->n += (size_t)n;
	return n > 0;
}

int admin_call_line(struct admin_call *c, struct bytes *ret, struct err *err)
{
	for (;;) {
		const uint8_t *end = c->n > c->at ? memchr(c->buf + c->at, '\n', c->n - c->at) : NULL;
		if (end != NULL) {
			bool whole = !c->skipping;
			*ret = bytes_of(c->buf + c->at, (size_t)(end - (c->buf + c->at)));
			c->at = (size_t)(end - c->buf) + 1;
			c->skipping = false;
			if (whole)
				return 1;
			continue;
		}
		if (c->at == 0 && c->n == sizeof c->buf) {
			c->skipping = true;
			c->n = 0;
		}
		int more = fill(c, err);
		if (more <= 0)
			return more;
	}
}

int admin_call_bytes(struct admin_call *c, struct bytes *ret, struct err *err)
{
	if (c->at == c->n) {
		c->at = c->n = 0;
		int more = fill(c, err);
		if (more <= 0)
			return more;
	}
	*ret = bytes_of(c->buf + c->at, c->n - c->at);
	c->at = c->n;
	return 1;
}

int admin_call_ask(struct admin_call *c, const char *verb, const char *flag, json_t **ret, struct err *err)
{
	char line[128], shown[256];
	struct bytes answer;
	int n = snprintf(line, sizeof line, "{\"verb\":\"%s\"%s%s%s}\n", verb, flag != NULL ? ",\"" : "", flag != NULL ? flag : "",
	                 flag != NULL ? "\":true" : "");
	if (send(c->fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		return fail(err, errno, "ask the instance");
	int got = admin_call_line(c, &answer, err);
	if (got <= 0)
		return got < 0 ? got : fail(err, ECONNRESET, "the instance hung up");
	json_t *j = json_loadb((const char *)answer.p, answer.n, JSON_REJECT_DUPLICATES, NULL);
	const char *why = json_string_value(json_object_get(j, "error"));
	int bad = 0;
	if (!json_is_object(j)) {
		bad = fail(err, EPROTO, "the instance's answer is no JSON object");
	} else if (!json_is_true(json_object_get(j, "ok"))) {
		fail(err, 0, "%s", text_escape(bytes_str(why != NULL ? why : "the instance refuses and does not say why"), shown, sizeof shown));
		bad = -EREMOTEIO;
	}
	if (bad == 0)
		*ret = j;
	else
		json_decref(j);
	return bad;
}
