/* poll() before write(): a pipe that polls writable takes at least PIPE_BUF bytes at once,
 * so a shorter line cannot block, and the descriptor's flags (shared with whoever gave it to
 * us) stay untouched. A file or a terminal polls writable always; only the supervisor's pipe
 * can be left unread for long, and that is the case this is for. */
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line must be written in one piece");

static const char *log_name = "tee-rex";
static uint64_t dropped, dropped_said;

void log_init(const char *name) { log_name = name; }
uint64_t log_dropped(void) { return dropped; }

__attribute__((format(printf, 2, 0)))
static void log_line(const char *level, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];
	int n = snprintf(line, sizeof line, "%s%s: ", level, log_name);
	if (dropped > dropped_said)
		n += snprintf(line + n, sizeof line - (size_t)n, "[%llu lines dropped] ",
		              (unsigned long long)(dropped - dropped_said));
	int m = vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
	size_t end = m < 0 ? (size_t)n : (size_t)n + (size_t)m;
	if (end > sizeof line - 1)
		end = sizeof line - 1;
	line[end++] = '\n';

	uint64_t about_to_say = dropped;
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) ||
	    write(STDERR_FILENO, line, end) != (ssize_t)end)
		dropped++;
	else
		dropped_said = about_to_say;
}

#define LOG_AT(fn, level)                     \
	void fn(const char *fmt, ...)         \
	{                                     \
		int saved = errno;            \
		va_list ap;                   \
		va_start(ap, fmt);            \
		log_line(level, fmt, ap);     \
		va_end(ap);                   \
		errno = saved;                \
	}
LOG_AT(log_info, "")
LOG_AT(log_warn, "warning: ")
LOG_AT(log_error, "error: ")
