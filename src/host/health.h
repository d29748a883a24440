/* "Does the service answer?": one OP_HEALTH exchange at a time, without blocking. The answer comes from inside the enclave,
 * so a watchdog that hangs on it cannot be fed by a host whose enclave is stuck. */
#ifndef HOST_HEALTH_H
#define HOST_HEALTH_H

#include "host/frame_client.h"

enum { HEALTH_MS = 5000 };                       /* for one answer */

struct health {
	struct loop *loop;
	struct frame_address to;
	/* answers false: why says why not. May ask again. */
	void (*on_result)(struct health *h, bool answers, const struct err *why);
	bool answers;                            /* the last time */
	int64_t asked_ms, answered_ms;           /* monotonic; 0: never */
	uint64_t uptime_ms, jobs_running, jobs_queued;   /* as the service says */
	struct { char name[FRAME_VERSION_MAX + 1]; uint8_t sha256[32]; } version[FRAME_VERSIONS_MAX];
	size_t version_count;
	struct frame_client client;              /* private */
	struct timer later;
	struct err why;
};

/* address as of backend_ops.address. */
int health_open(struct health *h, struct loop *loop, const char *address, struct err *err);
/* Asks, unless it is being asked already. on_result comes from the loop. */
void health_ask(struct health *h);
void health_close(struct health *h);

#endif
