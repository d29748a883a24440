#include "base/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail(struct err *err, int errnum, const char *fmt, ...)
{
	if (err != NULL) {
		va_list ap;
		va_start(ap, fmt);
		int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
		va_end(ap);
		if (errnum != 0 && n >= 0 && (size_t)n < sizeof err->text) {
			char why[128];
			snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s",
			         strerror_r(errnum, why, sizeof why));
		}
	}
	return errnum != 0 ? -errnum : -EINVAL;
}

int fail_in(struct err *err, int ret, const char *fmt, ...)
{
	if (err != NULL) {
		char before[sizeof err->text];
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(before, sizeof before, fmt, ap);
		va_end(ap);
		struct err old = *err;
		/* cutting the tail of a long sentence is what this buffer promises */
		int n = snprintf(err->text, sizeof err->text, "%.250s: ", before);
		snprintf(err->text + n, sizeof err->text - (size_t)n, "%.*s",
		         (int)(sizeof err->text - 1 - (size_t)n), old.text);
	}
	return ret;
}
