/* What was left out of an image on purpose: counted by kind, each with its first example. */
#ifndef IMAGE_WARNINGS_H
#define IMAGE_WARNINGS_H

#include "base/bytes.h"

enum image_warning {
	WARNING_DEVICE,                      /* device nodes: the enclave's init makes the few it wants */
	WARNING_XATTR,                       /* extended attributes other than security.capability and user.* */
	WARNING_BOOKKEEPING,                 /* another tool's own files (.wh..wh.*) */
	WARNING_SOCKET,                      /* sockets in a directory source */
	WARNING_COUNT
};
struct image_warnings { uint64_t count[WARNING_COUNT]; char example[WARNING_COUNT][200]; };

/* detail may be empty. */
void image_warn(struct image_warnings *w, enum image_warning kind, struct bytes path, struct bytes detail);
/* "device nodes were dropped" and the like, without numbers. */
const char *image_warning_text(enum image_warning kind);
const char *image_warning_name(enum image_warning kind);

#endif
