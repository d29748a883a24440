/* tee-rex-sim-nsm: a software NSM behind inherited sockets, for the process backend and for tests.
 *
 * Start: options, test root, descriptors (LISTEN_FDS), signals; then one epoll loop. A descriptor is a
 * listening SOCK_SEQPACKET socket or a connected one; a packet is a request, the packet that answers
 * it a response. All clients share one module, as processes in an enclave share one device, and are
 * distrusted: each event serves one packet, so nobody can starve the others, and who does not read
 * its answers is cut off. Lives until SIGTERM, or until its parent dies, or until nobody can reach it
 * any more. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/options.h"
#include "base/text.h"
#include "linux/listen_fds.h"
#include "sim/software_nsm.h"
#include "sim/test_ca.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

enum { CLIENTS_MAX = 64, NOBODY_MS = 5000, RETRY_MS = 1000 };

struct args { const char *state, *module_id; struct option_list pcrs; bool debug; };
static const struct option_spec options[] = {
	{ 's', "state", OPT_STRING, offsetof(struct args, state), "DIR", "where the test root is kept (required)" },
	{ 'p', "pcr", OPT_LIST, offsetof(struct args, pcrs), "N=HEX", "PCR N (0-15) at boot; others are zero" },
	{ 'd', "debug", OPT_FLAG, offsetof(struct args, debug), NULL, "as a debug enclave: PCRs 0, 1, 2, 8 are zero" },
	{ 'm', "module-id", OPT_STRING, offsetof(struct args, module_id), "ID", "starts with \"sim-\"; default: random" },
	OPTIONS_HELP,
	OPTIONS_END
};

struct client { struct watch watch; };           /* watch.fd is owned; -1: a free place */

static struct server {
	struct loop loop;
	struct watch signals;
	struct watch listener[LISTEN_FDS_MAX];
	size_t listener_count;
	struct client client[CLIENTS_MAX];
	size_t client_count;
	struct timer nobody, retry;
	struct test_ca ca;
	struct software_nsm nsm;
} server;

/* --- clients ----------------------------------------------------------------------------------- */

static void listen_while_there_is_room(void)
{
	for (size_t i = 0; i < server.listener_count; i++)
		loop_set(&server.loop, &server.listener[i], server.client_count < CLIENTS_MAX ? EPOLLIN : 0);
}

static void client_close(struct client *c)
{
	int fd = c->watch.fd;
	loop_del(&server.loop, &c->watch);
	close(fd);
	server.client_count--;
	listen_while_there_is_room();
	if (server.client_count == 0 && server.listener_count == 0)
		timer_arm(&server.loop, &server.nobody, NOBODY_MS);
}

static void on_client(struct watch *w, uint32_t events)
{
	struct client *c = CONTAINER_OF(w, struct client, watch);
	/* one byte more than a request may have: handle() then sees that it is too long */
	uint8_t request[NSM_REQUEST_MAX + 1], response[NSM_RESPONSE_MAX];
	(void)events;
	ssize_t n = recv(w->fd, request, sizeof request, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(c);
		return;
	}
	struct writer out = writer_of(response, sizeof response);
	software_nsm_handle(&server.nsm, bytes_of(request, (size_t)n), clock_wall_ms(), &out);
	struct bytes answer = writer_bytes(&out);
	if (send(w->fd, answer.p, answer.n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EPIPE && errno != ECONNRESET)
			log_warn("client %d cut off: it does not read its answers", w->fd);
		client_close(c);
	}
}

/* Takes over fd; closes it when it cannot be served. */
static int client_open(int fd, struct err *err)
{
	struct client *c = server.client;
	while (c < server.client + CLIENTS_MAX && c->watch.fd >= 0)
		c++;
	int ret = c == server.client + CLIENTS_MAX ? -EMFILE : 0;
	if (ret == 0) {
		c->watch.on_event = on_client;
		ret = loop_add(&server.loop, &c->watch, fd, EPOLLIN);
	}
	if (ret < 0) {
		close(fd);
		return fail(err, -ret, "watch a client");
	}
	server.client_count++;
	timer_disarm(&server.nobody);
	listen_while_there_is_room();
	return 0;
}

static void on_listener(struct watch *w, uint32_t events)
{
	(void)events;
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct err err;
	if (fd >= 0 && client_open(fd, &err) < 0)
		log_warn("%s", err.text);
	else if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
		/* the connection stays in the queue and would wake us again at once */
		log_warn("accept: %s; next try in %d ms", strerror(errno), RETRY_MS);
		loop_set(&server.loop, w, 0);
		timer_arm(&server.loop, &server.retry, RETRY_MS);
	}
}

static void on_retry(struct timer *t)
{
	(void)t;
	listen_while_there_is_room();
}

static void on_nobody(struct timer *t)
{
	(void)t;
	log_info("nobody is connected and nobody can connect: ending");
	server.loop.stop = true;
}

/* --- start ------------------------------------------------------------------------------------- */

static int parse_pcr(const char *text, struct software_nsm_boot *boot, uint32_t *seen, struct err *err)
{
	uint64_t index;
	size_t n = strcspn(text, "=");
	if (text[n] != '=' || !text_to_u64(bytes_of(text, n), NSM_PCR_LOCKED_AT_BOOT - 1, &index))
		return fail(err, 0, "--pcr %.40s: N=HEX is wanted, N from 0 to %d", text, NSM_PCR_LOCKED_AT_BOOT - 1);
	if (!hex_decode(bytes_str(text + n + 1), boot->pcr[index], NSM_PCR_SIZE))
		return fail(err, 0, "--pcr %u: the value must be %d hex digits (SHA-384)", (unsigned)index, 2 * NSM_PCR_SIZE);
	if (*seen >> index & 1)
		return fail(err, 0, "--pcr %u was given twice", (unsigned)index);
	*seen |= UINT32_C(1) << index;
	return 0;
}

static int parse_boot(const struct args *a, struct software_nsm_boot *ret, struct err *err)
{
	uint32_t seen = 0;
	*ret = (struct software_nsm_boot){ .debug = a->debug };
	for (size_t i = 0; i < a->pcrs.n; i++) {
		int bad = parse_pcr(a->pcrs.value[i], ret, &seen, err);
		if (bad < 0)
			return bad;
	}
	if (a->module_id != NULL && !test_ca_module_id_valid(a->module_id))
		return fail(err, 0, "--module-id %.40s: it starts with \"sim-\" and has at most 96 characters of "
		            "A-Z a-z 0-9 . _ -", a->module_id);
	return 0;
}

/* Shaped like the real "i-0123456789abcdef0-enc0123456789abcdef". */
static bool random_module_id(char id[64])
{
	uint8_t r[17];
	char hex[2 * sizeof r + 1];
	if (!crypto_random(r, sizeof r))
		return false;
	hex_encode(BYTES_ARRAY(r), hex);
	snprintf(id, 64, "sim-%.17s-enc%.16s", hex, hex + 17);
	return true;
}

static int take_descriptor(int fd, struct err *err)
{
	int type = 0, listening = 0;
	socklen_t n = sizeof type, m = sizeof listening;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &m) != 0)
		return fail(err, errno, "inherited descriptor %d", fd);
	if (type != SOCK_SEQPACKET)
		return fail(err, EPROTOTYPE, "inherited descriptor %d is not a SOCK_SEQPACKET socket", fd);
	if (!listening)
		return client_open(fd, err);
	struct watch *w = &server.listener[server.listener_count];
	w->on_event = on_listener;
	int ret = loop_add(&server.loop, w, fd, EPOLLIN);
	if (ret < 0)
		return fail(err, -ret, "watch descriptor %d", fd);
	server.listener_count++;
	return 0;
}

static int take_descriptors(struct err *err)
{
	struct listen_fds fds;
	int ret = listen_fds_take(&fds, err);
	if (ret < 0)
		return ret;
	if (fds.count == 0)
		return fail(err, 0, "no socket was inherited (LISTEN_FDS); tee-rex run --backend process starts this program");
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		server.client[i].watch.fd = -1;
	for (size_t i = 0; ret == 0 && i < fds.count; i++)
		ret = take_descriptor(fds.entry[i].fd, err);
	return ret;
}

static void on_signal(struct watch *w, uint32_t events)
{
	(void)w, (void)events;
	server.loop.stop = true;
}

static int watch_signals(struct err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);                        /* whoever reads our log may go away before us */
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	server.signals.on_event = on_signal;
	if (fd < 0 || loop_add(&server.loop, &server.signals, fd, EPOLLIN) < 0)
		return fail(err, errno, "watch signals");
	return 0;
}

/* A parent that chose a signal for its own death between fork and exec has closed the race with it. */
static int die_with_parent(struct err *err)
{
	int chosen = 0;
	if (prctl(PR_GET_PDEATHSIG, &chosen) != 0 || (chosen == 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) != 0))
		return fail(err, errno, "prctl(PR_SET_PDEATHSIG)");
	return 0;
}

static int start(const struct args *a, const struct software_nsm_boot *boot, struct err *err)
{
	char id[64];
	if (a->module_id == NULL && !random_module_id(id))
		return fail(err, EIO, "random module id");
	server.nobody.on_expiry = on_nobody;
	server.retry.on_expiry = on_retry;
	int ret = die_with_parent(err);
	if (ret == 0)
		ret = loop_open(&server.loop, err);
	if (ret == 0)
		ret = watch_signals(err);
	if (ret == 0)
		ret = test_ca_open(&server.ca, a->state, a->module_id != NULL ? a->module_id : id,
		                   clock_wall_ms() / 1000, err);
	if (ret == 0) {
		software_nsm_init(&server.nsm, boot, &server.ca);
		ret = take_descriptors(err);
	}
	return ret;
}

int main(int argc, char **argv)
{
	struct args args = { 0 };
	struct software_nsm_boot boot;
	struct err err;
	size_t n = 0;
	log_init("sim-nsm");
	enum option_result parsed = options_parse(options, &args, argc, argv, NULL, 0, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "tee-rex-sim-nsm", "--state DIR [OPTIONS]", "A software NSM behind inherited sockets. Its "
		             "documents are SIMULATED: a test root of its own signs them.", options);
		return 0;
	}
	if (parsed == OPTIONS_OK && args.state == NULL) {
		fail(&err, 0, "--state DIR is required; --help lists the options");
		parsed = OPTIONS_USAGE;
	}
	if (parsed != OPTIONS_OK || parse_boot(&args, &boot, &err) < 0) {
		log_error("%s", err.text);
		return 2;
	}
	int ret = start(&args, &boot, &err);
	if (ret == 0) {
		log_info("%s %s%s: documents verify under %s/root.pem only", server.nsm.label, server.nsm.module_id,
		         args.debug ? " (debug)" : "", args.state);
		ret = loop_run(&server.loop, &err);
	}
	if (ret < 0)
		log_error("%s", err.text);
	else
		log_info("%llu documents signed", (unsigned long long)server.nsm.documents);
	test_ca_close(&server.ca);
	return ret < 0 ? 1 : 0;
}
