/* What becomes of each service, as a state × event table of small functions. Knows no processes, clocks or sockets: those
 * are behind supervise_ops, so that the whole of it is tested without any.
 *
 *     WAITING ─GO─▶ STARTING ─READY─▶ UP            for what it is started after; then until it says so
 *                      │  ▲            │
 *                    EXITED└─TIMER─ BACKOFF ◀─EXITED─┘       restarts, ever later
 *                      └────────────▶ LOST ◀────────┘        its policy ends it; or more restarts in a row than allowed
 *     STOPPING: asked to end, and killed when it takes too long; then LOST, or started anew (a link's other end died)
 *
 * When the last essential service is LOST, or all are after supervise_stop(), over() is called, once. */
#ifndef ENCLAVE_INIT_SUPERVISE_H
#define ENCLAVE_INIT_SUPERVISE_H

#include "format/service_table.h"

enum unit_state { UNIT_WAITING, UNIT_STARTING, UNIT_UP, UNIT_BACKOFF, UNIT_STOPPING, UNIT_LOST, UNIT_STATE_COUNT };

enum unit_event {
	UNIT_GO,                                 /* nothing it waits for is missing */
	UNIT_READY,                              /* it is ready to serve */
	UNIT_EXITED,                             /* its first process is gone, and with it all others */
	UNIT_TIMER,
	UNIT_STOP,                               /* the enclave ends */
	UNIT_CUT,                                /* the other end of a link is gone */
	UNIT_EVENT_COUNT
};

enum unit_news { NEWS_STARTING, NEWS_READY, NEWS_LATE, NEWS_EXITED, NEWS_WAITING, NEWS_LOST, NEWS_STOPPING };

/* How a service ended. */
struct unit_end {
	int code;                                /* exit status; -1: killed by signal, or it could not be started */
	int signal;
	bool forced;                             /* init killed it: it did not stop, or was not ready in time */
	bool oom;                                /* the kernel killed it for want of memory … */
	bool machine;                            /* … not at its own limit: the whole enclave had no more */
	uint64_t peak_bytes, limit_bytes;        /* with oom; 0: not known */
	const char *why;                         /* it could not be started: a sentence; else NULL */
};

struct supervise;

struct supervise_ops {
	/* Starts it. -errno: it could not be, *ret_why says why (static until the next call). */
	int (*start)(struct supervise *s, uint32_t i, const char **ret_why);
	void (*signal)(struct supervise *s, uint32_t i, uint32_t signal);
	void (*kill)(struct supervise *s, uint32_t i);           /* all of it */
	void (*arm)(struct supervise *s, uint32_t i, int64_t ms);        /* UNIT_TIMER in ms; -1: not any more */
	void (*tell)(struct supervise *s, uint32_t i, enum unit_news news, const struct unit_end *end, int64_t delay_ms);
	void (*over)(struct supervise *s, const char *reason);
};

struct unit {
	enum unit_state state;
	bool was_ready;                          /* ever: what is started after it may go on */
	bool again;                              /* while STOPPING: it is started anew */
	uint32_t row, restarts;                  /* in a row; since boot */
};

struct supervise {
	const struct service_table *table;       /* borrowed */
	const struct supervise_ops *ops;
	struct unit unit[SERVICES_MAX];
	bool stopping, over;
	char reason[160];
};

void supervise_init(struct supervise *s, const struct service_table *table, const struct supervise_ops *ops);
/* Starts what waits for nothing. */
void supervise_start(struct supervise *s);
/* end: with UNIT_EXITED only. */
void supervise_event(struct supervise *s, uint32_t i, enum unit_event e, const struct unit_end *end);
/* Ends all of them, dependents first. */
void supervise_stop(struct supervise *s, const char *reason);

#endif
