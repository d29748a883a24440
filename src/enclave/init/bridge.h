/* vsock ↔ 127.0.0.1 for services that speak TCP only: what comes from the parent on a port is carried to a TCP port, both
 * ways, each end closing for itself. Buffers are fixed; a side that does not read stops the other, and nobody else. When all
 * connections are taken, the next wait in the backlog. */
#ifndef ENCLAVE_INIT_BRIDGE_H
#define ENCLAVE_INIT_BRIDGE_H

#include "base/loop.h"
#include "enclave/init/events.h"
#include "format/service_table.h"

struct bridge_half {                             /* bytes from one end, for the other */
	uint8_t buf[INIT_BRIDGE_BUFFER];
	size_t n, at;
	bool ended, closed;                      /* its source said end; the other end was told so */
};

struct bridges;
struct bridge_conn {
	struct bridges *of;
	bool used, connecting;                   /* connecting: to the service */
	int parent_fd, service_fd;               /* owned */
	struct watch parent, service;            /* in the loop only while their end has something to wait for */
	struct bridge_half in, out;              /* parent to service, service to parent */
};

struct bridge_listener {
	struct bridges *of;
	struct watch watch;                      /* descriptor owned */
	uint16_t tcp_port;
};

struct bridges {
	struct loop *loop;                       /* borrowed */
	struct events *events;
	struct bridge_listener listener[SERVICES_MAX * SERVICE_BRIDGE_MAX];
	size_t listeners, connections;
	struct bridge_conn conn[INIT_BRIDGE_CONNECTIONS];
};

void bridges_init(struct bridges *b, struct loop *loop, struct events *events);
/* Takes over listener, non-blocking. */
int bridges_add(struct bridges *b, int listener, uint16_t tcp_port, struct err *err);

#endif
