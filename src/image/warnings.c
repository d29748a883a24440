#include "image/warnings.h"

#include "base/text.h"

#include <stdio.h>

static const struct { const char *name, *text; } kinds[WARNING_COUNT] = {
	[WARNING_DEVICE] = { "device", "device nodes were dropped" },
	[WARNING_XATTR] = { "xattr", "extended attributes other than security.capability and user.* were dropped" },
	[WARNING_BOOKKEEPING] = { "bookkeeping", "files of another tool's bookkeeping were ignored" },
	[WARNING_SOCKET] = { "socket", "sockets were dropped" },
};

const char *image_warning_name(enum image_warning kind) { return kinds[kind].name; }
const char *image_warning_text(enum image_warning kind) { return kinds[kind].text; }

void image_warn(struct image_warnings *w, enum image_warning kind, struct bytes path, struct bytes detail)
{
	char name[120], more[60];
	if (w->count[kind]++ > 0)
		return;
	text_escape(path, name, sizeof name);
	if (detail.n > 0)
		snprintf(w->example[kind], sizeof w->example[kind], "%s (%s)", name, text_escape(detail, more, sizeof more));
	else
		snprintf(w->example[kind], sizeof w->example[kind], "%s", name);
}
