/* admin.sock: the operator's word to a running instance. One JSON line asks, one JSON line answers; logs and console send
 * what is kept behind their answer, and with follow what comes. Only root and the instance's own user are heard.
 *
 *     {"verb":"status"}                      {"ok":true, …}
 *     {"verb":"stop","force":false}          {"ok":true}, then silence until the instance has ended
 *     {"verb":"logs","follow":false}         {"ok":true}, then JSON lines
 *     {"verb":"console","follow":false}      {"ok":true}, then the console's bytes
 *     anything else                          {"ok":false,"error":"…"} */
#ifndef HOST_ADMIN_H
#define HOST_ADMIN_H

#include "base/loop.h"
#include "host/feed.h"

#include <jansson.h>

enum { ADMIN_PEERS = 16, ADMIN_LINE_MAX = 1024, ADMIN_ANSWER_MAX = 16 << 10, ADMIN_STALLED_MS = 10 * 1000 };

struct admin {
	struct loop *loop;
	/* What status says, as an object for the caller; NULL: no memory. */
	json_t *(*status)(struct admin *a);
	void (*stop)(struct admin *a, bool force);
	struct feed *logs, *console;             /* borrowed; NULL console: why_no_console says why there is none */
	const char *why_no_console;
	struct watch listener;                   /* descriptor owned */
	struct admin_peer {
		struct admin *of;
		struct watch watch;              /* descriptor owned; -1: free */
		struct timer deadline;           /* for the request, and while it does not read */
		char line[ADMIN_LINE_MAX];
		size_t line_n;
		char answer[ADMIN_ANSWER_MAX];
		size_t answer_n, answer_at;
		struct feed *feed;               /* follows the answer; NULL: none */
		uint64_t at;
		bool answered, follow, linger;   /* linger: open until the instance ends */
	} peer[ADMIN_PEERS];
};

/* path: a socket to be made there, 0600. The functions and feeds must be set. */
int admin_open(struct admin *a, struct loop *loop, const char *path, struct err *err);
/* Something was put into a feed. */
void admin_feed(struct admin *a, struct feed *f);
void admin_close(struct admin *a);

#endif
