/* The operator's side of admin.sock (host/admin.h): asks a running instance, and reads what follows line by line or as it
 * comes. What an instance says holds words from inside its enclave: bounded here, to be escaped by who shows it. */
#ifndef HOST_ADMIN_CALL_H
#define HOST_ADMIN_CALL_H

#include "base/bytes.h"
#include "base/fail.h"

#include <jansson.h>

enum { ADMIN_CALL_BUFFER = 64 << 10, ADMIN_CALL_MS = 10 * 1000 };

struct admin_call {
	int fd;                                  /* owned */
	size_t at, n;
	bool skipping;                           /* the rest of a line that was longer than the buffer */
	uint8_t buf[ADMIN_CALL_BUFFER];
};

/* dir: the instance's runtime directory. Release with admin_call_close, also after a failure. -EACCES: not ours;
 * -ECONNREFUSED, -ENOENT: nobody is there. */
int admin_call_open(struct admin_call *c, const char *dir, struct err *err);
/* Sends {"verb":verb, flag:true} (flag may be NULL) and takes the answer, which is the caller's. -EREMOTEIO: it refuses,
 * err is its sentence; -ETIMEDOUT: it does not answer. */
int admin_call_ask(struct admin_call *c, const char *verb, const char *flag, json_t **ret, struct err *err);
/* The next line without its end; a longer one than the buffer is skipped. 0 at the end, 1 with a line, -errno. Borrowed
 * until the next call. */
int admin_call_line(struct admin_call *c, struct bytes *ret, struct err *err);
/* Whatever has come: 0 at the end, 1 with bytes, -errno. */
int admin_call_bytes(struct admin_call *c, struct bytes *ret, struct err *err);
/* How long to wait for something to come, from now on; 0: without an end, for following. */
void admin_call_patience(struct admin_call *c, int64_t ms);
void admin_call_close(struct admin_call *c);

#endif
