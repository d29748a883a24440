/* One vsock port of this machine, shared by all the processes that run an enclave on it.
 *
 * Every enclave calls the parent on the same ports (9000 to say that it booted, 9001 to report), and a port can be bound
 * once: whoever starts two enclaves at the same time has the second one refused, or its call answered by the wrong
 * process. vsock has no SO_REUSEPORT. So the runs of one machine share the one listening socket:
 *
 *     run A ── bound the port ──┐                   enclave 17 ──▶ accepted by whoever is quicker, say by B
 *     run B ── got it from A ───┴─ listening socket                 B sees CID 17, finds A's inbox, passes the connection
 *
 *     DIR/lock        held while somebody binds or asks
 *     DIR/run-PID     a process's inbox: a datagram socket for connections and for questions
 *     DIR/cid-N       whose enclave N is: a link to an inbox
 *
 * There is no leader: each process has the socket itself, and the port stays bound until the last one has ended. A process
 * that dies loses what it accepted and had not passed on yet, and nothing else; an enclave calls again. A connection
 * is told by its peer's CID, which the kernel says and no enclave can choose; one that no process claims within
 * VSOCK_SHARE_CLAIM_MS is closed. Everything is bounded, and nothing waits for another process.
 *
 * DIR is private to one user: runs that share must be run by the same one. */
#ifndef HOST_VSOCK_SHARE_H
#define HOST_VSOCK_SHARE_H

#include "base/fail.h"

#include <stdint.h>

enum {
	VSOCK_SHARE_CLAIM_MS = 5000,             /* between a start and the moment its CID is known lie milliseconds */
	VSOCK_SHARE_PENDING = 32, VSOCK_SHARE_PENDING_PER_CID = 4,
	VSOCK_SHARE_PATH = 80
};

struct vsock_share {
	uint32_t port, cid;                      /* cid 0: not known yet */
	int epoll;                               /* owned: readable when there is something for vsock_share_accept() */
	int listener, inbox, tick;               /* owned; listener -1: not got yet */
	char dir[VSOCK_SHARE_PATH];
	struct vsock_pending { int fd; uint32_t cid; int64_t until_ms; } pending[VSOCK_SHARE_PENDING];     /* fd -1: free */
};
#define VSOCK_SHARE_NONE ((struct vsock_share){ .epoll = -1, .listener = -1, .inbox = -1, .tick = -1 })

/* Joins those who share port; base: a directory that exists ("/run/tee-rex/.vsock"). -EADDRINUSE: a program that does not
 * share has it. s must be closed in any case. */
int vsock_share_open(struct vsock_share *s, const char *base, uint32_t port, struct err *err);
/* Claims the connections of cid (> 0). */
int vsock_share_claim(struct vsock_share *s, uint32_t cid, struct err *err);
/* The next connection of our enclave, non-blocking and close-on-exec. -EAGAIN: none now; s->epoll becomes readable.
 * Serves the others on the way. */
int vsock_share_accept(struct vsock_share *s, int *ret_fd, struct err *err);
void vsock_share_close(struct vsock_share *s);

#endif
