/* Stream sockets of AF_VSOCK (vsock(7)): between a parent and its enclaves, in both directions.
 *
 * Descriptors are close-on-exec and non-blocking. Functions return 0 or -errno with a sentence in err. */
#ifndef LINUX_VSOCK_H
#define LINUX_VSOCK_H

#include "base/fail.h"

#include <stdint.h>

enum { VSOCK_HYPERVISOR = 0, VSOCK_PARENT = 3, VSOCK_CONSOLE_PORT_BASE = 10000 };
/* Ports below need CAP_NET_BIND_SERVICE where they are bound: who calls from one is init, or somebody whom init trusts as much. */
enum { VSOCK_PRIVILEGED_PORTS = 1024 };
#define VSOCK_ANY_PORT UINT32_MAX

/* Listens for whoever may come. -EADDRINUSE when somebody has the port. */
int vsock_listen(uint32_t port, int *ret_fd, struct err *err);
/* -EAGAIN: nobody there. *ret_cid: the caller's, as this side's kernel knows it: no caller can choose it. */
int vsock_accept(int listener, int *ret_fd, uint32_t *ret_cid, struct err *err);
/* Begins to connect; EPOLLOUT or an error tells how it went. To a CID above the parent's (3) the way is always down,
 * to an enclave of this machine, also where vhost_vsock is loaded and would send it to a guest of its own. */
int vsock_connect(uint32_t cid, uint32_t port, int *ret_fd, struct err *err);
/* The same from a port of our own. -EADDRINUSE: it is taken, also by a connection that ended a moment ago; -EACCES: it is privileged. */
int vsock_connect_from(uint32_t source, uint32_t cid, uint32_t port, int *ret_fd, struct err *err);
/* Accepts one connection of the parent's and returns it. -EPERM: it was somebody else's and is closed; -EAGAIN: there is none.
 * A socket of another family (the simulated enclave's unix socket) has no CIDs: whoever reaches it is the parent. */
int vsock_accept_parent(int listener);
/* CID and port of the other end of a connection. */
int vsock_peer(int fd, uint32_t *ret_cid, uint32_t *ret_port);

#endif
