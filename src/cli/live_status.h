/* What is true of an instance now: what the host knows of it (host/instances.h) and, while it is alive, what it says when
 * asked, with a health answer that is fresh. */
#ifndef CLI_LIVE_STATUS_H
#define CLI_LIVE_STATUS_H

#include "host/admin_call.h"
#include "host/instances.h"

enum { LIVE_FRESH_MS = 1500, LIVE_OWNERS_MAX = 32, LIVE_OWNER_TEXT = 128 };

/* A service or a job inside, or whatever else memory is counted for. */
struct live_owner {
	char name[LIVE_OWNER_TEXT], state[32];   /* escaped; state is "" for what is no service */
	int64_t restarts, bytes, peak_bytes, limit_bytes;
};

struct live_status {
	struct instance instance;
	const char *state;               /* a word: running, unhealthy, starting … stopped, failed, killed, unreachable */
	bool running;                    /* its service answers, or answering is not what it is asked for */
	char why[512];                   /* of unhealthy and unreachable; else "" */
	json_t *says;                    /* owned: the answer to "status"; NULL */
	int64_t memory_total, memory_available;  /* bytes inside, as init reported last; 0: it did not */
	int64_t unheard;                 /* events that were lost on their way */
	int64_t refused;                 /* calls of the control channel that were not init's */
	char inner_death[600];           /* of a service inside, escaped; "": none */
	struct live_owner owner[LIVE_OWNERS_MAX];
	size_t owner_count;
};

void live_status_get(const struct instance *i, struct live_status *ret);
void live_status_close(struct live_status *s);

#endif
