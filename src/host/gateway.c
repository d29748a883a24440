/* Starts the servers, runs the loop and stops it in order. Draining takes no new proofs, and goes on serving while jobs are
 * under way whose answers were promised: their clients may come for them. Then the listeners close, and what is under way is
 * answered. SIGTERM gives all that the grace, and then answers that the gateway is stopping; the operator's drain takes what
 * time it takes, as every job has an end of its own. */
#include "host/gateway.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "host/gateway_listen.h"
#include "host/gateway_server.h"
#include "linux/listen_fds.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

enum { FLUSH_MS = 500, SPARE_FDS = 160, END_S = 5 };
_Static_assert((int)SPARE_FDS >= (int)JOB_EXCHANGES_MAX + (int)GATEWAY_QUERIES_MAX + 3 * (int)GATEWAY_OWN_CONNECTIONS_MAX + (int)GATEWAY_FRONTS_MAX + 16,
               "exchanges, the own sockets and their clients, and what a process has");

/* Clients get no more descriptors than leaves enough for what is done for them: a spool for each prove request, exchanges with
 * the enclave, listeners and the operator's. When clients have taken all, nobody could be served. */
static unsigned affordable(const struct gateway_options *o)
{
	struct rlimit l;
	const uint64_t connections = o->connections_max, rest = o->proves_max + SPARE_FDS;
	rlim_t want = (rlim_t)(connections + rest);
	if (getrlimit(RLIMIT_NOFILE, &l) != 0)
		return (unsigned)connections;
	if (l.rlim_cur < want) {
		l.rlim_cur = l.rlim_max < want ? l.rlim_max : want;
		setrlimit(RLIMIT_NOFILE, &l);
		getrlimit(RLIMIT_NOFILE, &l);
	}
	if (l.rlim_cur >= want)
		return (unsigned)connections;
	unsigned fit = l.rlim_cur > rest ? (unsigned)(l.rlim_cur - rest) : 1;
	log_warn("%u connections at once instead of %llu: there are only %llu descriptors; raise RLIMIT_NOFILE or lower --connections-max", fit,
	         (unsigned long long)connections, (unsigned long long)l.rlim_cur);
	return fit;
}

/* --- stopping ------------------------------------------------------------------------------------------------ */

unsigned gateway_connections(const struct gateway *g)
{
	unsigned n = 0;
	for (size_t i = 0; i < g->front_n; i++)
		n += g->front[i].server.count;
	return n;
}

static void on_grace_over(struct timer *t)
{
	struct gateway *g = CONTAINER_OF(t, struct gateway, grace);
	unsigned owed = jobs_owed(g);
	if (owed > 0)
		log_warn("%u accepted jobs did not end in time and are lost: who asks for one is told to post it again", owed);
	requests_cancel(g);
	/* the answers that this made are sent before the loop ends */
	g->loop.stop = true;
}

static void drain(struct gateway *g)
{
	if (g->draining)
		return;
	g->draining = true;
	notify_say(&g->notify, "STATUS=draining");
	log_info("stopping: %u connections open, %u accepted jobs under way", gateway_connections(g), jobs_owed(g));
}

/* Listens no more once nobody is owed an answer that is still to be made. */
static void close_when_settled(struct gateway *g)
{
	if (!g->draining || g->deaf || jobs_owed(g) > 0)
		return;
	g->deaf = true;
	for (size_t i = 0; i < g->front_n; i++)
		http_server_drain(&g->front[i].server);
}

static void on_drain(struct timer *t) { drain(CONTAINER_OF(t, struct gateway, drain)); }

void gateway_drain(struct gateway *g) { timer_arm(&g->loop, &g->drain, 0); }

/* A service manager's own patience may be shorter than the grace; one that did not ask for the end is not told of it before,
 * because it would count that patience from then on. */
static void say_stopping(struct gateway *g)
{
	char word[64];
	unsigned long long s = g->o->grace_s;
	snprintf(word, sizeof word, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu", (s + END_S) * 1000000);
	notify_say(&g->notify, word);
	log_info("up to %llu s for what is under way", s);
}

static void on_signal(struct watch *w, uint32_t events)
{
	struct gateway *g = CONTAINER_OF(w, struct gateway, signals);
	struct signalfd_siginfo s;
	(void)events;
	while (read(w->fd, &s, sizeof s) == (ssize_t)sizeof s) {
		bool again = timer_armed(&g->grace);
		drain(g);
		if (!again)
			say_stopping(g);
		timer_arm(&g->loop, &g->grace, again ? 0 : (int64_t)g->o->grace_s * 1000);
	}
}

static int signal_fd(struct err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return fail(err, errno, "block signals");
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd < 0 ? fail(err, errno, "make a signalfd") : fd;
}

/* --- listening -------------------------------------------------------------------------------------------------- */

static struct front *add_front(struct gateway *g, enum front_kind kind, struct err *err)
{
	if (g->front_n == GATEWAY_FRONTS_MAX) {
		fail(err, 0, "%d listening sockets are enough", GATEWAY_FRONTS_MAX);
		return NULL;
	}
	struct front *f = &g->front[g->front_n++];
	f->g = g;
	f->kind = kind;
	f->listener.fd = -1;
	return f;
}

static int open_front(struct gateway *g, enum front_kind kind, const char *address, struct err *err)
{
	if (kind == FRONT_OPERATOR && strncmp(address, "unix:", 5) != 0)
		return fail(err, 0, "--operator %.80s: only unix:PATH tells who connects", address);
	struct front *f = add_front(g, kind, err);
	/* anybody may connect to the operator's; who does not belong there is told apart by credentials */
	return f == NULL ? -EINVAL : listener_open(address, kind == FRONT_OPERATOR ? 0666 : 0660, &f->listener, err);
}

static int inherit_fronts(struct gateway *g, struct err *err)
{
	struct listen_fds fds;
	int ret = listen_fds_take_all(&fds, err);
	for (size_t i = 0; ret == 0 && i < fds.count; i++) {
		const char *name = fds.entry[i].name;
		enum front_kind kind = strcmp(name, "metrics") == 0 ? FRONT_METRICS : strcmp(name, "operator") == 0 ? FRONT_OPERATOR : FRONT_API;
		struct front *f = add_front(g, kind, err);
		ret = f == NULL ? -EINVAL : listener_inherit(fds.entry[i].fd, name, &f->listener, err);
	}
	return ret;
}

static int open_fronts(struct gateway *g, struct err *err)
{
	const struct gateway_options *o = g->o;
	int ret = inherit_fronts(g, err);
	bool any = false;
	for (size_t i = 0; i < g->front_n; i++)
		any = any || g->front[i].kind == FRONT_API;
	/* the service manager's sockets are those that the configuration names (tee-rex config sockets): not twice */
	bool own = !any;
	if (ret == 0 && o->metrics != NULL)
		ret = open_front(g, FRONT_METRICS, o->metrics, err);
	if (ret == 0 && o->operator != NULL)
		ret = open_front(g, FRONT_OPERATOR, o->operator, err);
	for (size_t i = 0; ret == 0 && own && i < o->also_listen.n; i++)
		ret = open_front(g, FRONT_API, o->also_listen.value[i], err);
	if (ret == 0 && own && o->listen != NULL)
		ret = open_front(g, FRONT_API, o->listen, err);
	any = any || o->also_listen.n > 0 || o->listen != NULL;
	return ret == 0 && !any ? fail(err, 0, "nowhere to listen: give --listen, or a socket as LISTEN_FDS") : ret;
}

static int start_front(struct front *f, struct err *err)
{
	static const char *const what[] = { [FRONT_API] = "listening on", [FRONT_METRICS] = "metrics on", [FRONT_OPERATOR] = "operator on" };
	const struct gateway_options *o = f->g->o;
	bool api = f->kind == FRONT_API;
	struct http_server *s = &f->server;
	s->loop = &f->g->loop;
	s->handler = &gateway_handler;
	s->owner = f;
	s->limits = (struct http_limits){
		.connections_max = api ? f->g->connections_max : GATEWAY_OWN_CONNECTIONS_MAX,
		.per_address_max = api ? (unsigned)o->connections_per_address_max : 0, .input_bytes_max = GATEWAY_INPUT_MAX,
		.head_ms = (int64_t)o->header_s * 1000, .body_ms = (int64_t)o->body_s * 1000, .reply_ms = GATEWAY_REPLY_S * 1000,
		.idle_ms = GATEWAY_IDLE_S * 1000, .linger_ms = GATEWAY_LINGER_S * 1000,
	};
	int ret = http_server_open(s, f->listener.fd);
	if (ret < 0)
		return fail(err, -ret, "watch the listening socket");
	listener_say(&f->listener, what[f->kind]);
	fd_steal(&f->listener.fd);
	return 0;
}

static void close_fronts(struct gateway *g)
{
	for (size_t i = 0; i < g->front_n; i++) {
		http_server_close(&g->front[i].server);
		listener_close(&g->front[i].listener);
	}
}

/* --- running --------------------------------------------------------------------------------------------------- */

/* Requests that are still there at the end have their answer; a moment to send it. */
static void flush_answers(struct gateway *g)
{
	int64_t until = clock_monotonic_ms() + FLUSH_MS;
	for (int64_t left = FLUSH_MS; !LIST_EMPTY(&g->requests) && left > 0; left = until - clock_monotonic_ms())
		loop_once(&g->loop, (int)left, NULL);
}

static int serve(struct gateway *g, struct err *err)
{
	while (!g->loop.stop && !(g->deaf && gateway_connections(g) == 0 && jobs_owed(g) == 0)) {
		int ret = loop_once(&g->loop, -1, err);
		if (ret < 0)
			return ret;
		close_when_settled(g);
	}
	flush_answers(g);
	unsigned unkept = jobs_unkept(g);
	if (unkept > 0)
		log_warn("%u answers that were promised end with this gateway%s", unkept, g->o->keep_dir == NULL ? ": there is no --keep-dir" : "");
	return 0;
}

int gateway_run(const struct gateway_options *o, struct err *err)
{
	static struct gateway g;
	g = (struct gateway){ .o = o, .started_ms = clock_monotonic_ms(), .signals = { .fd = -1, .on_event = on_signal },
		.kept.dir = -1,
		.grace.on_expiry = on_grace_over, .drain.on_expiry = on_drain };
	CLEANUP(close_fd) int signals = -1;
	notify_open(&g.notify);
	LIST_INIT(&g.requests);
	log_init_access(&g);
	TAILQ_INIT(&g.waiting);
	attestation_init(&g);
	jobs_init(&g);
	if (o->prove_rate > 0)
		rate_limit_init(&g.prove_rate, o->prove_rate, o->prove_burst);
	int ret = frame_address_parse(o->enclave, &g.enclave, err);
	if (ret == 0)
		ret = address_ranges_parse(&o->trusted_proxies, "trusted-proxy", &g.trusted_proxies, err);
	if (ret == 0)
		ret = address_ranges_parse(&o->prove_rate_exempt, "prove-rate-exempt", &g.prove_rate_exempt, err);
	if (ret == 0)
		ret = signals = signal_fd(err);
	if (ret < 0)
		return ret;
	g.connections_max = affordable(o);
	ret = loop_open(&g.loop, err);
	if (ret < 0)
		return ret;
	ret = loop_add(&g.loop, &g.signals, signals, EPOLLIN);
	ret = ret < 0 ? fail(err, -ret, "watch for signals") : kept_open(&g, err);
	if (ret == 0)
		ret = open_fronts(&g, err);
	for (size_t i = 0; ret == 0 && i < g.front_n; i++)
		ret = start_front(&g.front[i], err);
	if (ret == 0) {
		notify_say(&g.notify, "READY=1");
		ret = serve(&g, err);
	}
	notify_close(&g.notify);
	close_fronts(&g);
	jobs_close(&g);
	kept_close(&g);
	attestation_close(&g);
	log_flush(&g);
	free(g.spare);
	loop_close(&g.loop);
	return ret;
}
