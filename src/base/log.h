/* One log line per call on standard error: "level program: text".
 *
 * Never blocks: a line that the reader's pipe has no room for is dropped and counted, and
 * the next line that fits says how many were lost. Only main loops and commands log;
 * libraries return. Never log request bytes, never keys; escape what a peer said
 * (text_escape). Lines are cut at LOG_LINE_MAX bytes. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

enum { LOG_LINE_MAX = 1024 };

/* name: static string shown in each line. */
void log_init(const char *name);
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Lines dropped since the start. */
uint64_t log_dropped(void);

#endif
