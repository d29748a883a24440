/* Starts the server, runs its loop and stops it in order. libmicrohttpd runs without threads: its epoll
 * descriptor is watched like any other, and after each turn it says when it wants the next one. At
 * SIGTERM the listener closes first, requests under way get the grace, then their work is cancelled;
 * nothing is left suspended when libmicrohttpd stops, which it would not forgive. */
#include "host/gateway.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "host/gateway_listen.h"
#include "host/gateway_server.h"

#include <microhttpd.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

enum { SWEEP_MS = 1000, FLUSH_MS = 500, SPARE_FDS = 128 };

/* A connection may need two descriptors: the client's and the enclave's. */
static void raise_fd_limit(uint64_t connections)
{
	struct rlimit l;
	rlim_t want = (rlim_t)connections * 2 + SPARE_FDS;
	if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= want)
		return;
	l.rlim_cur = l.rlim_max < want ? l.rlim_max : want;
	if (setrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur < want)
		log_warn("only %llu descriptors for %llu connections; raise RLIMIT_NOFILE or lower --connections-max",
		         (unsigned long long)l.rlim_cur, (unsigned long long)connections);
}

/* --- libmicrohttpd in the loop ---------------------------------------------------------------------------- */

static void run_http(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG ms = 0;
	if (h->daemon == NULL)
		return;
	h->run_again = false;
	MHD_run(h->daemon);
	if (h->run_again || MHD_get_timeout(h->daemon, &ms) == MHD_YES)
		timer_arm(&h->g->loop, &h->timer, ms > 60000 ? 60000 : (int64_t)ms);
	else
		timer_disarm(&h->timer);
}

static void on_http(struct watch *w, uint32_t events)
{
	(void)events;
	run_http(CONTAINER_OF(w, struct http, watch));
}

static void on_http_timer(struct timer *t) { run_http(CONTAINER_OF(t, struct http, timer)); }

/* --- stopping ------------------------------------------------------------------------------------------------ */

static void on_grace_over(struct timer *t)
{
	struct gateway *g = CONTAINER_OF(t, struct gateway, grace);
	clients_cancel(g);
	/* the answers that this made are sent before the loop ends */
	g->loop.stop = true;
}

static void stop_listening(struct http *h)
{
	MHD_socket fd = h->daemon == NULL ? MHD_INVALID_SOCKET : MHD_quiesce_daemon(h->daemon);
	if (fd != MHD_INVALID_SOCKET)
		close(fd);
}

static void drain(struct gateway *g)
{
	g->draining = true;
	stop_listening(&g->api);
	stop_listening(&g->metrics);
	clients_close_idle(g);
	log_info("stopping: %u connections open, up to %llu s for what is under way", g->client_count,
	         (unsigned long long)g->o->grace_s);
	timer_arm(&g->loop, &g->grace, (int64_t)g->o->grace_s * 1000);
	run_http(&g->api);
	run_http(&g->metrics);
}

static void on_signal(struct watch *w, uint32_t events)
{
	struct gateway *g = CONTAINER_OF(w, struct gateway, signals);
	struct signalfd_siginfo s;
	(void)events;
	while (read(w->fd, &s, sizeof s) == (ssize_t)sizeof s) {
		if (!g->draining)
			drain(g);
		else
			timer_arm(&g->loop, &g->grace, 0);
	}
}

static void on_sweep(struct timer *t)
{
	struct gateway *g = CONTAINER_OF(t, struct gateway, sweep);
	clients_sweep(g);
	timer_arm(&g->loop, &g->sweep, SWEEP_MS);
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

/* --- running --------------------------------------------------------------------------------------------------- */

static int start_http(struct http *h, struct listener *l, struct err *err)
{
	h->daemon = request_serve(h, l->fd);
	if (h->daemon == NULL)
		return fail(err, 0, "start the HTTP server");
	listener_say(l, h->metrics ? "metrics on" : "listening on");
	fd_steal(&l->fd);
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int ret = info == NULL ? -EINVAL : loop_add(&h->g->loop, &h->watch, info->epoll_fd, EPOLLIN);
	if (ret < 0)
		return fail(err, -ret, "watch the HTTP server");
	run_http(h);
	return 0;
}

/* Requests that are still there at the end have their answer; a moment to send it. */
static void flush_answers(struct gateway *g)
{
	int64_t until = clock_monotonic_ms() + FLUSH_MS;
	for (int64_t left = FLUSH_MS; g->client_count > 0 && left > 0; left = until - clock_monotonic_ms())
		loop_once(&g->loop, (int)left, NULL);
}

static int serve(struct gateway *g, struct err *err)
{
	while (!g->loop.stop && !(g->draining && g->client_count == 0)) {
		int ret = loop_once(&g->loop, -1, err);
		if (ret < 0)
			return ret;
	}
	flush_answers(g);
	return 0;
}

/* Nothing is suspended any more. */
static void stop_http(struct http *h)
{
	if (h->daemon == NULL)
		return;
	loop_del(&h->g->loop, &h->watch);
	timer_disarm(&h->timer);
	MHD_stop_daemon(h->daemon);
	timer_disarm(&h->timer);         /* connections that it closed asked for another turn */
}

int gateway_run(const struct gateway_options *o, struct err *err)
{
	struct gateway g = { .o = o, .started_ms = clock_monotonic_ms(),
		.api = { .g = &g, .watch = { .fd = -1, .on_event = on_http }, .timer.on_expiry = on_http_timer,
			.connections_max = (unsigned)o->connections_max, .per_address_max = (unsigned)o->connections_per_address_max },
		.metrics = { .g = &g, .metrics = true, .watch = { .fd = -1, .on_event = on_http }, .timer.on_expiry = on_http_timer,
			.connections_max = GATEWAY_METRICS_CONNECTIONS_MAX },
		.signals = { .fd = -1, .on_event = on_signal },
		.sweep.on_expiry = on_sweep, .grace.on_expiry = on_grace_over };
	CLEANUP(listener_close) struct listener listener = { .fd = -1 };
	CLEANUP(listener_close) struct listener metrics = { .fd = -1 };
	CLEANUP(close_fd) int signals = -1;
	LIST_INIT(&g.clients);
	TAILQ_INIT(&g.waiting);
	attestation_init(&g);
	if (o->prove_rate > 0)
		rate_limit_init(&g.prove_rate, o->prove_rate, o->prove_burst);
	int ret = frame_address_parse(o->enclave, &g.enclave, err);
	if (ret == 0)
		ret = address_ranges_parse(&o->trusted_proxies, "trusted-proxy", &g.trusted_proxies, err);
	if (ret == 0)
		ret = address_ranges_parse(&o->prove_rate_exempt, "prove-rate-exempt", &g.prove_rate_exempt, err);
	if (ret == 0)
		ret = listener_open(o->listen, &listener, err);
	if (ret == 0 && o->metrics != NULL)
		ret = listener_open(o->metrics, &metrics, err);
	if (ret == 0)
		ret = signals = signal_fd(err);
	if (ret < 0)
		return ret;
	raise_fd_limit(o->connections_max);
	ret = loop_open(&g.loop, err);
	if (ret < 0)
		return ret;
	ret = loop_add(&g.loop, &g.signals, signals, EPOLLIN);
	ret = ret < 0 ? fail(err, -ret, "watch for signals") : 0;
	if (ret == 0 && o->metrics != NULL)
		ret = start_http(&g.metrics, &metrics, err);
	if (ret == 0)
		ret = start_http(&g.api, &listener, err);
	if (ret == 0) {
		timer_arm(&g.loop, &g.sweep, SWEEP_MS);
		ret = serve(&g, err);
	}
	clients_cancel(&g);
	stop_http(&g.metrics);
	stop_http(&g.api);
	attestation_close(&g);
	loop_close(&g.loop);
	return ret;
}
