/* What init says to the parent (format/control.h): two rings, one for events and one for log lines, and one outbound
 * connection that takes from them what it can. Nobody waits for it: while the parent is absent, slow or hostile, the
 * oldest lines go and are counted. It reconnects for ever, reads nothing, and believes nothing.
 *
 * sent + dropped + still waiting = produced, exactly: a line counts as sent when its last byte was handed to a connection. One
 * that a dying connection cut in half is sent whole on the next. */
#ifndef ENCLAVE_INIT_EVENTS_H
#define ENCLAVE_INIT_EVENTS_H

#include "base/loop.h"
#include "base/ring.h"
#include "enclave/limits.h"
#include "format/control.h"

enum events_state { EVENTS_AWAY, EVENTS_CONNECTING, EVENTS_UP };
enum { STREAM_EVENT, STREAM_LOG, STREAM_COUNT };

struct events {
	struct loop *loop;                       /* borrowed */
	int (*dial)(int *ret_fd, struct err *err);       /* a socket that is connecting, or -errno */
	enum events_state state;
	struct watch watch;                      /* descriptor owned while not AWAY */
	struct timer retry;
	int64_t retry_ms;
	struct ring ring[STREAM_COUNT];
	/* what is on its way: lines from batch_first on of one stream, or one line about a gap */
	uint8_t batch[INIT_BATCH];
	size_t batch_n, batch_at;
	unsigned batch_stream;
	bool batch_is_gap;
	uint64_t batch_first;
	uint64_t sent[STREAM_COUNT];             /* lines, each counted once */
	uint64_t sent_below[STREAM_COUNT];       /* lines with these numbers were sent, or dropped before */
	uint8_t event_memory[INIT_EVENT_RING], log_memory[INIT_LOG_RING];
};

/* Sets up the rings: from here on events can be told. */
void events_init(struct events *e);
/* Begins to connect, now and whenever it is lost. dial must be set. */
void events_connect(struct events *e, struct loop *loop);

/* fields ends with CONTROL_END. */
void events_tell(struct events *e, enum control_kind kind, const struct control_field *fields);
#define TELL(e, kind, ...) events_tell((e), (kind), (const struct control_field[]){ __VA_ARGS__, CONTROL_END })
/* One line of a service's output, without its newline. cut: it is a piece of a longer one. */
void events_log(struct events *e, const char *service, struct bytes line, bool cut);

/* Everything that was told has been handed over. */
bool events_idle(const struct events *e);
/* Writes straight to the connection, if there is one: for a signal handler that says why init dies. */
void events_last_words(const struct events *e, struct bytes line);

#endif
