/* The fixed ports between init and its parent (format/frame.h): the heartbeat byte once, the control channel for ever, and
 * one verb inwards: whoever connects to PORT_SHUTDOWN as the parent and sends SHUTDOWN_BYTE asks for an orderly end. */
#ifndef ENCLAVE_INIT_PARENT_H
#define ENCLAVE_INIT_PARENT_H

#include "base/loop.h"
#include "enclave/init/events.h"
#include "format/service_table.h"

struct parent;
struct parent_peer { struct parent *of; struct watch watch; struct timer deadline; };    /* descriptor owned; -1: free */

struct parent {
	struct loop *loop;                       /* borrowed */
	struct events *events;
	struct watch heartbeat;                  /* descriptor owned; -1: none */
	bool beaten;                             /* the parent answered */
	bool sent;
	struct timer retry;
	int64_t retry_ms;
	struct watch listener;
	struct parent_peer peer[INIT_SHUTDOWN_PEERS];
	void (*on_shutdown)(struct parent *p);
};

/* Begins with heartbeat and control channel; neither is waited for. */
void parent_connect(struct parent *p, const struct service_table *t, struct loop *loop, struct events *events);
int parent_listen(struct parent *p, void (*on_shutdown)(struct parent *p), struct err *err);

#endif
