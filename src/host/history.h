/* What is remembered of an instance beyond its life: how often it started, how and why it last ended. One small JSON file
 * below $STATE_DIRECTORY/history, which a service manager may set, /var/lib/tee-rex/history (a user's:
 * $XDG_STATE_HOME/tee-rex/history), replaced as a whole. An instance that finds
 * itself "running" at its start was killed, or its host was: nobody else leaves that behind. */
#ifndef HOST_HISTORY_H
#define HOST_HISTORY_H

#include "base/fail.h"

#include <stdbool.h>
#include <stdint.h>

enum { HISTORY_QUICK_MS = 10 * 60 * 1000, HISTORY_DELAY_MAX_MS = 60 * 1000 };

struct history {
	uint64_t starts;                 /* ever */
	uint64_t restarts;               /* since the last orderly end */
	uint64_t quick;                  /* lives in a row that ended by themselves within HISTORY_QUICK_MS */
	int64_t started_ms;              /* wall clock, of the last start; 0: never */
	int64_t ended_ms;                /* of the last end; 0: unknown, or it runs */
	bool running;                    /* no end was written */
	/* The last end that nobody asked for. */
	int64_t death_ms;                /* 0: none, or nobody saw when */
	char death[400];                 /* "": none */
};

/* Zeros for an instance without history. -errno for a file that cannot be read or is no history. */
int history_load(const char *name, struct history *ret, struct err *err);
/* How long to wait before the next start: nothing after an orderly end or a long life; else 1 s, doubled with each further
 * short life, at most HISTORY_DELAY_MAX_MS. */
int64_t history_delay_ms(const struct history *h);
/* An instance starts, its lock held. */
int history_begin(const char *name, struct err *err);
/* It ends; why is NULL after an orderly stop. */
int history_end(const char *name, const struct err *why, struct err *err);

#endif
