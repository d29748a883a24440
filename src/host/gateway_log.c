/* The access log. Lines are gathered for a turn of the loop, and written whole or, when the reader of standard
 * output is stuck, not at all: the log must not decide how fast the gateway serves. The target is the client's text, so it is cut and
 * escaped; nothing of a body is ever logged. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <poll.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1536, TARGET_SHOWN = 80 };
_Static_assert(sizeof ((struct gateway *)0)->log.text <= PIPE_BUF, "what is gathered must be written in one piece");

static void put_time(struct writer *w)
{
	static char text[32];
	static time_t of_text;
	int64_t now = clock_wall_ms();
	time_t s = (time_t)(now / 1000);
	struct tm tm;
	if (s != of_text)
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&s, &tm));
	of_text = s;
	put_fmt(w, "{\"time\":\"%s.%03dZ\"", text, (int)(now % 1000));
}

/* The target up to its query, which may hold a nonce and is nobody's business, and up to the secret part of a job's id. */
static struct bytes shown_target(const struct request *r)
{
	size_t n = strcspn(r->target, "?");
	if (r->route == ROUTE_JOBS)
		n = strcspn(r->target, "-?");
	return bytes_of(r->target, n < TARGET_SHOWN ? n : TARGET_SHOWN);
}

void log_flush(struct gateway *g)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
	size_t n = g->log.n;
	g->log.n = 0;
	timer_disarm(&g->log.timer);
	if (n == 0 || poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) || write(STDOUT_FILENO, g->log.text, n) != (ssize_t)n)
		return;          /* lost lines are lost lines; the next ones may fit */
}

static void on_timer(struct timer *t) { log_flush(CONTAINER_OF(t, struct gateway, log.timer)); }

void log_init_access(struct gateway *g) { g->log.timer.on_expiry = on_timer; }

void log_access(const struct request *r)
{
	struct gateway *g = r->g;
	char from[CLIENT_ADDRESS_TEXT_MAX];
	if (sizeof g->log.text - g->log.n < LINE_MAX_BYTES)
		log_flush(g);
	struct writer w = writer_of(g->log.text + g->log.n, LINE_MAX_BYTES);
	put_time(&w);
	put_str(&w, ",\"id\":");
	put_json_string(&w, bytes_str(r->id));
	put_fmt(&w, ",\"client\":\"%s\",\"method\":\"%s\",\"path\":", address_text(&r->from, from), r->method);
	put_json_string(&w, shown_target(r));
	put_fmt(&w, ",\"status\":%u", r->answer.status);
	if (r->answer.status != 0)
		put_fmt(&w, ",\"code\":\"%s\"", outcome_name(r->answer.code));
	if (r->gone)
		put_str(&w, ",\"gone\":true");
	put_fmt(&w, ",\"body_bytes\":%llu,\"answer_bytes\":%zu,\"ms\":%lld}\n", (unsigned long long)r->text_n,
	        r->answer.body_n, (long long)(clock_monotonic_ms() - r->started_ms));
	g->log.n += writer_bytes(&w).n;
	if (!timer_armed(&g->log.timer))
		timer_arm(&g->loop, &g->log.timer, 0);
}
