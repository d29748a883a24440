/* PORT_HEARTBEAT: the enclave's init connects once it runs, sends 0xB7 and expects 0xB7 back. Whoever sends something
 * else, or nothing in time, is cut off; a few connections at once are enough for an honest one. */
#ifndef HOST_HEARTBEAT_H
#define HOST_HEARTBEAT_H

#include "host/backend.h"

enum { HEARTBEAT_CONNECTIONS = 4, HEARTBEAT_MS = 5000 };

struct heartbeat {
	struct backend *b;
	void (*on_beat)(struct heartbeat *h);    /* must be set */
	uint64_t beats;
	struct watch listener;                   /* descriptor owned */
	struct heartbeat_peer {
		struct heartbeat *of;
		struct watch watch;              /* descriptor owned; -1: free */
		struct timer deadline;
	} peer[HEARTBEAT_CONNECTIONS];
};

/* Takes over listener. */
int heartbeat_open(struct heartbeat *h, struct backend *b, int listener, struct err *err);
void heartbeat_close(struct heartbeat *h);

#endif
