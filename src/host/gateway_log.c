/* The access log. A line is written whole or, when the reader of standard output is stuck, not at all:
 * the log must not decide how fast the gateway serves. The target is the client's text, so it is cut and
 * escaped; nothing of a body is ever logged. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <poll.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1536, TARGET_SHOWN = 80 };
_Static_assert(LINE_MAX_BYTES <= PIPE_BUF, "a line must be written in one piece");

static void put_time(struct writer *w)
{
	char text[32];
	int64_t now = clock_wall_ms();
	time_t s = (time_t)(now / 1000);
	struct tm tm;
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&s, &tm));
	put_fmt(w, "{\"time\":\"%s.%03dZ\"", text, (int)(now % 1000));
}

/* The target up to its query, which may hold a nonce and is nobody's business. */
static struct bytes shown_target(const struct request *r)
{
	size_t n = strcspn(r->target, "?");
	return bytes_of(r->target, n < TARGET_SHOWN ? n : TARGET_SHOWN);
}

void log_access(const struct request *r)
{
	uint8_t line[LINE_MAX_BYTES];
	char from[CLIENT_ADDRESS_TEXT_MAX];
	struct writer w = writer_of(line, sizeof line);
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
	struct bytes whole = writer_bytes(&w);
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
	if (whole.n == 0 || poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) ||
	    write(STDOUT_FILENO, whole.p, whole.n) != (ssize_t)whole.n)
		return;          /* a lost line is a lost line; the next one may fit */
}
