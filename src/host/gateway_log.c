/* The access log. Lines are gathered for a turn of the loop, and written whole or, when the reader of standard
 * output is stuck, not at all: the log must not decide how fast the gateway serves. While the reader stays stuck, lines
 * are counted as lost (GET /metrics) without being made. The target is the client's text, so it is cut and escaped;
 * nothing of a body is ever logged. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <poll.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1536, TARGET_SHOWN = 80 };
_Static_assert(sizeof ((struct gateway *)0)->log.text <= PIPE_BUF, "what is gathered must be written in one piece");

/* The wall clock is asked once for each millisecond of the monotonic one: lines that end together share their text. */
static void put_time(struct writer *w, int64_t monotonic_ms)
{
	static char text[32];
	static size_t text_n;
	static int64_t of_text = -1;
	if (monotonic_ms != of_text) {
		int64_t now = clock_wall_ms();
		time_t s = (time_t)(now / 1000);
		struct tm tm;
		text_n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&s, &tm));
		text_n += (size_t)snprintf(text + text_n, sizeof text - text_n, ".%03uZ", (unsigned)(now % 1000));
		of_text = monotonic_ms;
	}
	put_bytes(w, bytes_of(text, text_n));
}

/* The target up to its query, which may hold a nonce and is nobody's business, and up to the secret part of a job's id. */
static struct bytes shown_target(const struct request *r)
{
	/* by its text: a request that was refused for its head, or was an OPTIONS, has no route */
	const char *job = strstr(r->target, "/jobs/");
	size_t n = strcspn(r->target, "?"), secret = job == NULL ? n : (size_t)(job - r->target) + strcspn(job, "-");
	n = secret < n ? secret : n;
	return bytes_of(r->target, n < TARGET_SHOWN ? n : TARGET_SHOWN);
}

static bool reader_stuck(const struct gateway *g)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
	return !g->log.is_file && !(poll(&p, 1, 0) == 1 && (p.revents & POLLOUT));
}

void log_flush(struct gateway *g)
{
	size_t n = g->log.n;
	uint64_t lines = g->log.lines;
	g->log.n = 0;
	g->log.lines = 0;
	timer_disarm(&g->log.timer);
	if (n == 0)
		return;
	g->log.stuck = reader_stuck(g);
	if (g->log.stuck || write(STDOUT_FILENO, g->log.text, n) != (ssize_t)n)
		g->counters.log_lines_lost += lines;     /* the next ones may fit */
}

/* Looks at the reader once in a millisecond. */
static bool still_stuck(struct gateway *g, int64_t now_ms)
{
	if (g->log.stuck && g->log.looked_ms != now_ms) {
		g->log.looked_ms = now_ms;
		g->log.stuck = reader_stuck(g);
	}
	return g->log.stuck;
}

static void on_timer(struct timer *t) { log_flush(CONTAINER_OF(t, struct gateway, log.timer)); }

void log_init_access(struct gateway *g)
{
	struct stat st;
	g->log.timer.on_expiry = on_timer;
	g->log.is_file = fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode);
}

void log_access(const struct request *r)
{
	struct gateway *g = r->g;
	if (still_stuck(g, r->ended_ms)) {
		g->counters.log_lines_lost++;
		return;
	}
	char from[CLIENT_ADDRESS_TEXT_MAX];
	uint8_t line[LINE_MAX_BYTES];
	struct writer w = writer_of(line, sizeof line);
	put_str(&w, "{\"time\":\"");
	put_time(&w, r->ended_ms);
	put_str(&w, "\",\"id\":");
	put_json_string(&w, bytes_str(r->id));
	put_str(&w, ",\"client\":\"");
	put_str(&w, address_text(&r->from, from));
	put_str(&w, "\",\"method\":\"");
	put_str(&w, r->method);
	put_str(&w, "\",\"path\":");
	put_json_string(&w, shown_target(r));
	put_str(&w, ",\"status\":");
	put_decimal(&w, r->answer.status);
	if (r->answer.status != 0) {
		put_str(&w, ",\"code\":\"");
		put_str(&w, outcome_name(r->answer.code));
		put_u8(&w, '"');
	}
	if (r->gone)
		put_str(&w, ",\"gone\":true");
	put_str(&w, ",\"body_bytes\":");
	put_decimal(&w, r->text_n);
	put_str(&w, ",\"answer_bytes\":");
	put_decimal(&w, r->answer.body_n);
	put_str(&w, ",\"ms\":");
	put_decimal(&w, (uint64_t)(r->ended_ms - r->started_ms));
	put_str(&w, "}\n");
	struct bytes whole = writer_bytes(&w);
	if (sizeof g->log.text - g->log.n < whole.n)
		log_flush(g);
	if (whole.n > 0)
		memcpy(g->log.text + g->log.n, whole.p, whole.n);
	g->log.n += whole.n;
	g->log.lines++;
	if (!timer_armed(&g->log.timer))
		timer_arm(&g->loop, &g->log.timer, 0);
}
