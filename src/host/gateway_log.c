/* The access log. Lines are gathered for a turn of the loop, and written whole or, when the reader of standard
 * output is stuck, not at all: the log must not decide how fast the gateway serves. The target is the client's text, so it is cut and
 * escaped; nothing of a body is ever logged. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <poll.h>
#include <limits.h>
#include <sys/stat.h>
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
	unsigned ms = (unsigned)(now % 1000);
	const char fraction[] = { '.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '"', '\0' };
	put_str(w, "{\"time\":\"");
	put_str(w, text);
	put_str(w, fraction);
}

static void put_number(struct writer *w, const char *name, uint64_t v)
{
	put_str(w, ",\"");
	put_str(w, name);
	put_str(w, "\":");
	put_decimal(w, v);
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

void log_flush(struct gateway *g)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
	size_t n = g->log.n;
	g->log.n = 0;
	timer_disarm(&g->log.timer);
	bool ready = n > 0 && (g->log.is_file || (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT)));
	if (!ready || write(STDOUT_FILENO, g->log.text, n) != (ssize_t)n)
		return;          /* lost lines are lost lines; the next ones may fit */
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
	char from[CLIENT_ADDRESS_TEXT_MAX];
	uint8_t line[LINE_MAX_BYTES];
	struct writer w = writer_of(line, sizeof line);
	put_time(&w);
	put_str(&w, ",\"id\":");
	put_json_string(&w, bytes_str(r->id));
	put_str(&w, ",\"client\":\"");
	put_str(&w, address_text(&r->from, from));
	put_str(&w, "\",\"method\":\"");
	put_str(&w, r->method);
	put_str(&w, "\",\"path\":");
	put_json_string(&w, shown_target(r));
	put_number(&w, "status", r->answer.status);
	if (r->answer.status != 0) {
		put_str(&w, ",\"code\":\"");
		put_str(&w, outcome_name(r->answer.code));
		put_u8(&w, '"');
	}
	if (r->gone)
		put_str(&w, ",\"gone\":true");
	put_number(&w, "body_bytes", r->text_n);
	put_number(&w, "answer_bytes", r->answer.body_n);
	put_number(&w, "ms", (uint64_t)(r->ended_ms - r->started_ms));
	put_str(&w, "}\n");
	struct bytes whole = writer_bytes(&w);
	if (sizeof g->log.text - g->log.n < whole.n)
		log_flush(g);
	if (whole.n > 0)
		memcpy(g->log.text + g->log.n, whole.p, whole.n);
	g->log.n += whole.n;
	if (!timer_armed(&g->log.timer))
		timer_arm(&g->loop, &g->log.timer, 0);
}
