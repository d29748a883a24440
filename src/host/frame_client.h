/* One exchange of the frame protocol (format/frame.h) with an enclave, without blocking: connects,
 * sends the request, streams its data with back-pressure, and tells how it ended. Closing early
 * cancels the job on the other side.
 *
 *     frame_client_open(&c, loop, &address, &request, 600 * 1000, &err)
 *     while ((n = frame_client_room(&c, &p)) > 0) { fill p with m <= n bytes; frame_client_commit(&c, m); }
 *     …on_room: again…
 *     frame_client_end(&c)
 *     …on_event*, then on_end once
 *
 * Callbacks come from the loop only, never from inside a call. Everything the enclave sends is
 * bounded: frames by their kind, a reply by FRAME_PAYLOAD_MAX, events by FRAME_CLIENT_EVENTS_MAX,
 * the whole by a deadline. */
#ifndef HOST_FRAME_CLIENT_H
#define HOST_FRAME_CLIENT_H

#include "base/loop.h"
#include "format/frame.h"

#include <sys/socket.h>

enum {
	FRAME_CLIENT_EVENTS_MAX = 4096,
	FRAME_CLIENT_ROOM_MIN = 64,              /* bytes: room is none, or at least this */
	FRAME_ADDRESS_TEXT_MAX = 128
};

/* Where an enclave's service listens. */
struct frame_address {
	struct sockaddr_storage addr;            /* of a unix socket … */
	socklen_t size;                          /* … or 0: a vsock port */
	uint32_t cid, port;
	char text[FRAME_ADDRESS_TEXT_MAX];       /* for people */
};
/* "unix:PATH" or "vsock:CID:PORT". -EINVAL and a sentence for anything else. */
int frame_address_parse(const char *text, struct frame_address *ret, struct err *err);
/* What a unix socket's path leads to that is a symbolic link with "vsock:CID:PORT" as its text: whoever runs the enclave says
 * so where it listens now. False: it is no such link. */
bool frame_address_linked(const char *path, struct frame_address *ret);

enum frame_client_how {
	FRAME_CLIENT_REPLY,              /* reply */
	FRAME_CLIENT_ERROR,              /* error: the enclave says why not */
	FRAME_CLIENT_UNREACHABLE,        /* nobody listens */
	FRAME_CLIENT_CLOSED,             /* it went away before it answered */
	FRAME_CLIENT_PROTOCOL,           /* what it sent is no answer */
	FRAME_CLIENT_TIMED_OUT,
	FRAME_CLIENT_SYSTEM              /* this side ran out of something */
};
struct frame_client_result {
	enum frame_client_how how;
	struct frame_reply reply;        /* borrowed for the call */
	struct frame_error error;        /* likewise */
	struct err why;                  /* a sentence, except for REPLY and ERROR */
};

struct frame_client {
	/* May close c but not free it; may be NULL, as on_room may. */
	void (*on_event)(struct frame_client *c, const struct frame_event *e);
	void (*on_room)(struct frame_client *c);         /* after room() said 0 */
	/* The client is closed already and may be opened again or freed. */
	void (*on_end)(struct frame_client *c, const struct frame_client_result *r);

	/* private */
	struct loop *loop;
	struct watch watch;
	struct timer deadline, retry;
	const struct frame_address *to;
	bool open, connecting, connected, carries_data, starved, sealed, ended, end_sealed, write_broken;
	unsigned events;
	uint8_t head[FRAME_HEADER_SIZE + 512];           /* the REQUEST frame */
	size_t head_n, head_at;
	uint8_t *data;                                   /* owned: one DATA frame, room for END behind it */
	size_t data_n, data_at;                          /* payload bytes while filling, frame bytes once sealed */
	uint8_t *in;                                     /* owned */
	size_t in_n, in_cap;
};

/* to is borrowed until the end; the request's strings only for the call. on_end must be set. -errno
 * when nobody listens or the system refuses: then there is no exchange and no callback. */
int frame_client_open(struct frame_client *c, struct loop *loop, const struct frame_address *to,
                      const struct frame_request *q, int64_t deadline_ms, struct err *err);
/* Starts the deadline anew: for the next stage of an exchange. */
void frame_client_deadline(struct frame_client *c, int64_t deadline_ms);
/* Room for the next bytes of data and, when there is some, where. 0: wait for on_room. */
size_t frame_client_room(struct frame_client *c, uint8_t **ret_p);
/* n bytes were put there. */
void frame_client_commit(struct frame_client *c, size_t n);
/* No more data. */
void frame_client_end(struct frame_client *c);
/* Ends the exchange without a callback; harmless on a closed or zeroed client. */
void frame_client_close(struct frame_client *c);
static inline bool frame_client_is_open(const struct frame_client *c) { return c->open; }

#endif
