/* One blocking exchange of the frame protocol, for commands and the start-up check: connect, send, receive,
 * each within one deadline for the whole. The gateway has a non-blocking client of its own
 * (host/frame_client.h). What comes from the enclave is hostile: bounded, and checked by format/frame.h. */
#ifndef HOST_FRAME_CALL_H
#define HOST_FRAME_CALL_H

#include "base/cleanup.h"
#include "base/fail.h"
#include "format/frame.h"

struct frame_call {
	int fd;
	int64_t deadline_ms;                     /* monotonic */
	uint8_t *buf;                            /* owned: one whole frame */
};

/* Connects to a unix socket, or to "vsock:CID:PORT". Release with frame_call_close, also after a failure. */
int frame_call_open(struct frame_call *c, const char *to, int64_t timeout_ms, struct err *err);
void frame_call_close(struct frame_call *c);
/* Puts the deadline timeout_ms from now. */
void frame_call_extend(struct frame_call *c, int64_t timeout_ms);

/* -EPIPE when the other side has stopped reading: an answer may wait to be received. */
int frame_call_send(struct frame_call *c, enum frame_kind kind, struct bytes payload, struct err *err);
int frame_call_request(struct frame_call *c, const struct frame_request *q, struct err *err);
/* The next frame; its payload is borrowed until the next call. */
int frame_call_receive(struct frame_call *c, struct frame *ret, struct err *err);
/* Skips events; 0 with a parsed reply, or -EREMOTEIO with the enclave's error as err's text and *ret_code. */
int frame_call_reply(struct frame_call *c, struct frame_reply *ret, enum outcome *ret_code, struct err *err);

#endif
