/* Packets with descriptors over unix SOCK_SEQPACKET sockets (unix(7), SCM_RIGHTS).
 *
 * Received descriptors are close-on-exec from birth. Whatever does not come out exactly as asked for
 * (a packet too long, more descriptors than expected) leaves no descriptor behind. */
#ifndef LINUX_FDPASS_H
#define LINUX_FDPASS_H

#include "base/bytes.h"

enum { FDPASS_MAX = 4 };                         /* descriptors in one packet */

/* Sends one packet; the descriptors stay the caller's. Never raises SIGPIPE and never waits:
 * -EAGAIN when the socket is full. */
int fdpass_send(int sock, struct bytes packet, const int *fds, size_t fd_count);

struct fdpass_packet {
	size_t size;                             /* 0: the peer is gone (or sent an empty packet) */
	int fd[FDPASS_MAX];                      /* the caller's now */
	size_t fd_count;
};

/* Receives one packet into buf. 0; -EMSGSIZE: longer than cap; -E2BIG: more than FDPASS_MAX
 * descriptors; -EAGAIN (nothing there and dont_wait); other -errno. */
int fdpass_receive(int sock, void *buf, size_t cap, bool dont_wait, struct fdpass_packet *ret);

/* Closes what came with a packet nobody wants. */
void fdpass_close(struct fdpass_packet *p);

#endif
