#include "image/code.h"

#include <stdarg.h>
#include <stdio.h>

#define IMAGE_CODE_NAME(id, name) [IMAGE_##id] = name,
static const char *const names[IMAGE_CODE_COUNT] = { IMAGE_CODES(IMAGE_CODE_NAME) };

const char *image_code_name(enum image_code c) { return (unsigned)c < IMAGE_CODE_COUNT ? names[c] : "?"; }

enum image_code image_fail(struct err *err, enum image_code c, int errnum, const char *fmt, ...)
{
	struct err text;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text.text, sizeof text.text, fmt, ap);
	va_end(ap);
	fail(err, errnum, "%s", text.text);
	return c;
}

enum image_code image_fail_in(struct err *err, enum image_code c, const char *fmt, ...)
{
	struct err text;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text.text, sizeof text.text, fmt, ap);
	va_end(ap);
	fail_in(err, -1, "%s", text.text);
	return c;
}
