/* The host's end of the control channel (format/control.h): lines of JSON that an enclave writes, which may be anything.
 *
 * A line is believed to be no more than what it is made into here: a flat object of known kind with a few short members,
 * written again by us, in ASCII. So what reaches a terminal, a journal or a status has no control characters, no depth and
 * no size that the enclave chose. Reading is bounded per second: an enclave that talks faster is held back by its own
 * socket, drops by its own ring, and counts that itself. Lines that come again after a reconnect are recognised by number.
 * Less is passed on than is read: what a journal is spared is counted here, and events have a budget that no log line touches.
 *
 * Init calls from a port that takes CAP_NET_BIND_SERVICE, which no service of an image is given; who calls from another is some service,
 * and not listened to.
 *
 * What was last heard is kept for status: services, memory by owner, the last death. */
#ifndef HOST_COLLECTOR_H
#define HOST_COLLECTOR_H

#include "base/loop.h"
#include "format/control.h"

#include <jansson.h>

enum {
	COLLECTOR_CONNECTIONS = 2,               /* an old one may not have ended yet */
	COLLECTOR_OWNERS = 16,                   /* services and owners of memory that are remembered */
	COLLECTOR_NAME_MAX = 63,
	COLLECTOR_MEMBERS = 16,                  /* of a line */
	COLLECTOR_BYTES_S = 8 << 20,             /* read per second, and at once after a silence */
	COLLECTOR_PASSED_BYTES_S = 256 << 10,    /* of them passed on, of events and of log lines each */
	COLLECTOR_PASSED_BURST = 1 << 20,        /* … and at once after a silence */
	COLLECTOR_MALFORMED_MAX = 16             /* then the connection is ended; the enclave may come again */
};

struct collector;
struct collector_peer {
	struct collector *of;
	struct watch watch;                      /* descriptor owned; -1: free */
	uint8_t line[CONTROL_LINE_MAX];
	size_t line_n;
	bool skipping;                           /* the rest of a line that was too long */
	unsigned malformed;
};

struct collector_owner {                         /* texts are printable ASCII */
	char name[COLLECTOR_NAME_MAX + 1], state[16];    /* state is empty for what is no service */
	int64_t restarts, pid;
	int64_t bytes, peak_bytes, limit_bytes;
	int64_t code, signal;                    /* of its last end; -1, 0 */
	bool ended, oom;
};

struct collector_passing {
	int64_t left, at_ms;                     /* bytes that may pass; when that was so */
	uint64_t unsaid;                         /* lines withheld since it was shut */
	bool shut;
};

struct collector {
	struct loop *loop;                       /* borrowed */
	/* A line was taken: json is the line as written again (with its newline), text the same for people. Either is valid
	 * during the call. kind: CONTROL_LOG for what a service wrote. */
	void (*on_line)(struct collector *c, enum control_kind kind, struct bytes json, const char *text);
	/* So many lines that were taken were not passed on: there were too many. */
	void (*on_withheld)(struct collector *c, bool log, uint64_t lines);
	struct collector_peer peer[COLLECTOR_CONNECTIONS];
	struct timer refill;
	int64_t budget, refilled_ms;
	uint64_t again, malformed;               /* lines heard before; refused */
	uint64_t refused;                        /* connections of programs that are not init */
	/* of events and of log lines: taken, of these withheld, said to be dropped, and missing without a word */
	uint64_t taken[2], withheld[2], dropped[2], lost[2];
	struct collector_passing passing[2];
	uint64_t next[2];                        /* numbers of the next of each */
	struct collector_owner owner[COLLECTOR_OWNERS];
	size_t owners;
	int64_t total_bytes, available_bytes, drift_ms, last_ms;
	char last_death[256], shutdown[256], stage[32];
};

void collector_init(struct collector *c, struct loop *loop);
void collector_close(struct collector *c);
/* Takes over fd, an accepted non-blocking stream from that port of the enclave; closes it when there is no room. False: the port is none
 * that only init can have, so it is counted and closed. */
bool collector_add(struct collector *c, int fd, uint32_t port);
bool collector_connected(const struct collector *c);
/* What was last heard, for status; owned by the caller. */
json_t *collector_status(const struct collector *c);
/* One line without its newline, as the network gave it. False: it was refused. Public for tests. */
bool collector_take(struct collector *c, struct bytes line);

#endif
