/* The control channel: what tee-rex-init tells the parent, as lines of JSON on one outbound connection to port 9001, from a port
 * below 1024: services can call too, but not from there. Nothing is read from it. Every line is one object:
 *
 *     {"kind":"service","seq":7,"ms":1512,"service":"prover","state":"exited","code":137,…}\n
 *
 *     seq   from 0, without gaps as produced; log lines and all others are counted apart. After a reconnect lines that
 *           the ring still holds come again: what a reader has seen of a number it throws away
 *     ms    of the enclave's monotonic clock
 *
 * A line that was dropped for want of room leaves a gap, and a line of kind "dropped" says so before the next one.
 *
 *     kind       members
 *     boot       stage, and what is known of it
 *     service    service, state (starting ready late exited waiting lost stopping), pid, code or signal, oom, peak_bytes,
 *                limit_bytes, machine, forced (init killed it), restarts, delay_ms, why
 *     oom        owner (service, or service/group of a job), kills, peak_bytes, limit_bytes, machine (no limit of its own was in
 *                the way: the enclave as a whole had no more)
 *     pressure   resource, some_avg10, full_avg10 (hundredths of a percent)
 *     memory     total_bytes, available_bytes, slab_bytes, owner, owner_bytes, owner_peak_bytes, owner_limit_bytes
 *     clock      wall_ms, drift_ms, set
 *     log        service, text, cut
 *     dropped    stream (log, event), count, total
 *     shutdown   reason
 *     bug        text
 *     refused    what: a peer that is not the parent, a request nobody knows, a signal from inside (signal, pid of the last; count of all)
 *
 * The writer needs no JSON library and allocates nothing; reading is the host's (host/collector.h). */
#ifndef FORMAT_CONTROL_H
#define FORMAT_CONTROL_H

#include "base/bytes.h"

enum {
	CONTROL_LINE_MAX = 8192,                 /* bytes, its newline included */
	CONTROL_TEXT_MAX = 1000                  /* bytes of a log line or a reason, before escaping; longer ones are cut */
};

enum control_kind {
	CONTROL_BOOT, CONTROL_SERVICE, CONTROL_OOM, CONTROL_PRESSURE, CONTROL_MEMORY, CONTROL_CLOCK, CONTROL_LOG,
	CONTROL_DROPPED, CONTROL_SHUTDOWN, CONTROL_BUG, CONTROL_REFUSED, CONTROL_KIND_COUNT
};
const char *control_kind_name(enum control_kind k);
/* CONTROL_KIND_COUNT when it is none. */
enum control_kind control_kind_of(struct bytes name);

struct control_field {
	const char *name;                        /* NULL ends a list */
	enum { CONTROL_TEXT, CONTROL_NUMBER, CONTROL_FLAG } type;
	struct bytes text;
	int64_t number;                          /* of a flag: 0 or not */
};
#define CONTROL_END { NULL, CONTROL_FLAG, { NULL, 0 }, 0 }
static inline struct control_field control_text(const char *name, struct bytes text)
{
	return (struct control_field){ name, CONTROL_TEXT, text, 0 };
}
static inline struct control_field control_str(const char *name, const char *text)
{
	return control_text(name, bytes_str(text));
}
static inline struct control_field control_number(const char *name, int64_t v)
{
	return (struct control_field){ name, CONTROL_NUMBER, { NULL, 0 }, v };
}
static inline struct control_field control_flag(const char *name, bool v)
{
	return (struct control_field){ name, CONTROL_FLAG, { NULL, 0 }, v };
}

/* One line, newline included. Texts are cut at CONTROL_TEXT_MAX bytes, so up to six of them always fit into
 * CONTROL_LINE_MAX unless they are all escapes; what does not fit leaves w full. */
void control_put(struct writer *w, enum control_kind kind, uint64_t seq, int64_t ms, const struct control_field *fields);

#endif
