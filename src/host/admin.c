/* A peer is in one of three stages: its request is being read, its answer is being sent, or a feed follows. Sending is
 * what the socket takes; a peer whose socket takes nothing for ADMIN_STALLED_MS is let go. */
#include "host/admin.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static void hang_up(struct admin_peer *p)
{
	int fd = p->watch.fd;
	if (fd < 0)
		return;
	timer_disarm(&p->deadline);
	loop_del(p->of->loop, &p->watch);
	close(fd);
	loop_set(p->of->loop, &p->of->listener, EPOLLIN);
}

/* --- sending ---------------------------------------------------------------------------------------------- */

/* Sends some of b; the number of bytes that went, 0 when the socket is full, -1 when the peer is gone. */
static ssize_t send_some(struct admin_peer *p, struct bytes b)
{
	ssize_t n = send(p->watch.fd, b.p, b.n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		timer_disarm(&p->deadline);
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

static void push(struct admin_peer *p)
{
	ssize_t n = 1;
	while (n > 0 && p->answer_at < p->answer_n) {
		n = send_some(p, bytes_of(p->answer + p->answer_at, p->answer_n - p->answer_at));
		p->answer_at += n > 0 ? (size_t)n : 0;
	}
	struct bytes piece = BYTES_NONE;
	while (n > 0 && p->feed != NULL && (piece = feed_get(p->feed, &p->at)).n > 0) {
		n = send_some(p, piece);
		p->at += n > 0 ? (uint64_t)n : 0;
	}
	if (n < 0 || (n > 0 && !p->follow && !p->linger)) {
		hang_up(p);
		return;
	}
	if (n == 0 && !timer_armed(&p->deadline))
		timer_arm(p->of->loop, &p->deadline, ADMIN_STALLED_MS);
	loop_set(p->of->loop, &p->watch, n == 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void admin_feed(struct admin *a, struct feed *f)
{
	for (int i = 0; a->loop != NULL && i < ADMIN_PEERS; i++)
		if (a->peer[i].watch.fd >= 0 && a->peer[i].answered && a->peer[i].feed == f)
			push(&a->peer[i]);
}

/* --- verbs ------------------------------------------------------------------------------------------------ */

/* Takes object. */
static void answer(struct admin_peer *p, json_t *object)
{
	size_t n = object == NULL ? 0 : json_dumpb(object, p->answer, sizeof p->answer - 1, JSON_COMPACT);
	json_decref(object);
	if (n == 0 || n > sizeof p->answer - 1)
		n = (size_t)snprintf(p->answer, sizeof p->answer, "{\"ok\":false,\"error\":\"out of memory\"}");
	p->answer[n] = '\n';
	p->answer_n = n + 1;
	p->answered = true;
}

static void refuse(struct admin_peer *p, const char *why)
{
	answer(p, json_pack("{s:b,s:s}", "ok", 0, "error", why));
}

static void verb_status(struct admin_peer *p, const json_t *q)
{
	(void)q;
	json_t *status = p->of->status(p->of);
	if (status != NULL)
		json_object_set_new(status, "ok", json_true());
	answer(p, status);
}

static void verb_stop(struct admin_peer *p, const json_t *q)
{
	p->linger = true;
	answer(p, json_pack("{s:b}", "ok", 1));
	p->of->stop(p->of, json_is_true(json_object_get(q, "force")));
}

static void follow(struct admin_peer *p, const json_t *q, struct feed *f)
{
	p->feed = f;
	p->follow = json_is_true(json_object_get(q, "follow"));
	answer(p, json_pack("{s:b}", "ok", 1));
}

static void verb_logs(struct admin_peer *p, const json_t *q) { follow(p, q, p->of->logs); }

static void verb_console(struct admin_peer *p, const json_t *q)
{
	if (p->of->console == NULL)
		refuse(p, p->of->why_no_console);
	else
		follow(p, q, p->of->console);
}

static const struct { const char *name; void (*run)(struct admin_peer *p, const json_t *q); } verbs[] = {
	{ "status", verb_status },
	{ "stop", verb_stop },
	{ "logs", verb_logs },
	{ "console", verb_console },
};

static void take_request(struct admin_peer *p)
{
	json_t *q = json_loadb(p->line, p->line_n, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(q, "verb"));
	size_t i = 0;
	while (name != NULL && i < sizeof verbs / sizeof verbs[0] && strcmp(verbs[i].name, name) != 0)
		i++;
	timer_disarm(&p->deadline);
	if (name == NULL)
		refuse(p, "a request is one line: a JSON object with a member \"verb\"");
	else if (i == sizeof verbs / sizeof verbs[0])
		refuse(p, "there is no such verb; there are status, stop, logs, console");
	else
		verbs[i].run(p, q);
	json_decref(q);
	push(p);
}

/* --- peers ------------------------------------------------------------------------------------------------ */

static void on_readable(struct admin_peer *p)
{
	char ignored[256];
	while (p->answered) {                    /* it has had its word; only its end is of interest */
		ssize_t n = recv(p->watch.fd, ignored, sizeof ignored, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			hang_up(p);
			return;
		}
	}
	ssize_t n = recv(p->watch.fd, p->line + p->line_n, sizeof p->line - p->line_n, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		hang_up(p);
		return;
	}
	p->line_n += (size_t)n;
	const char *end = memchr(p->line, '\n', p->line_n);
	if (end == NULL && p->line_n == sizeof p->line) {
		refuse(p, "the request is too long");
		push(p);
	} else if (end != NULL) {
		p->line_n = (size_t)(end - p->line);
		take_request(p);
	}
}

static void on_peer(struct watch *w, uint32_t events)
{
	struct admin_peer *p = CONTAINER_OF(w, struct admin_peer, watch);
	if (events & EPOLLOUT)
		push(p);
	if (w->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		on_readable(p);
}

static void on_deadline(struct timer *t) { hang_up(CONTAINER_OF(t, struct admin_peer, deadline)); }

static bool may_speak(int fd)
{
	struct ucred c;
	socklen_t n = sizeof c;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 && (c.uid == 0 || c.uid == geteuid());
}

static void on_connection(struct watch *w, uint32_t events)
{
	struct admin *a = CONTAINER_OF(w, struct admin, listener);
	struct admin_peer *p = a->peer;
	(void)events;
	while (p < a->peer + ADMIN_PEERS && p->watch.fd >= 0)
		p++;
	if (p == a->peer + ADMIN_PEERS) {
		loop_set(a->loop, w, 0);         /* until one of them leaves */
		return;
	}
	CLEANUP(close_fd) int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 || !may_speak(fd))
		return;
	p->line_n = p->answer_n = p->answer_at = 0;
	p->at = 0;
	p->feed = NULL;
	p->answered = p->follow = p->linger = false;
	p->watch.on_event = on_peer;
	if (loop_add(a->loop, &p->watch, fd, EPOLLIN) == 0) {
		fd_steal(&fd);
		timer_arm(a->loop, &p->deadline, ADMIN_STALLED_MS);
	}
}

int admin_open(struct admin *a, struct loop *loop, const char *path, struct err *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	if (!bytes_to_cstr(bytes_str(path), at.sun_path, sizeof at.sun_path))
		return fail(err, ENAMETOOLONG, "the socket %s", path);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || chmod(path, 0600) != 0 || listen(fd, ADMIN_PEERS) != 0)
		return fail(err, errno, "listen on %s", path);
	for (int i = 0; i < ADMIN_PEERS; i++) {
		a->peer[i].of = a;
		a->peer[i].watch.fd = -1;
		a->peer[i].deadline.on_expiry = on_deadline;
	}
	a->listener.on_event = on_connection;
	int ret = loop_add(loop, &a->listener, fd, EPOLLIN);
	if (ret < 0)
		return fail(err, -ret, "watch %s", path);
	fd_steal(&fd);
	a->loop = loop;
	return 0;
}

void admin_close(struct admin *a)
{
	if (a->loop == NULL)
		return;
	for (int i = 0; i < ADMIN_PEERS; i++)
		hang_up(&a->peer[i]);
	int fd = a->listener.fd;
	loop_del(a->loop, &a->listener);
	close_fd(&fd);
	a->loop = NULL;
}
