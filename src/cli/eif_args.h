/* What `eif` and `build` take alike: a command line that may be in a file, and a build time. */
#ifndef CLI_EIF_ARGS_H
#define CLI_EIF_ARGS_H

#include "base/bytes.h"
#include "base/fail.h"
#include "format/eif.h"

enum { CMDLINE_BUFFER = EIF_CMDLINE_MAX + 64 };

/* value, or the contents of FILE for @FILE (in buf), without the last line's end. -errno. */
int load_cmdline(const char *value, uint8_t buf[CMDLINE_BUFFER], struct bytes *ret, struct err *err);
/* Seconds since 1970 or 2026-01-31T12:00:00Z. */
int parse_build_time(const char *text, int64_t *ret_s, struct err *err);

#endif
