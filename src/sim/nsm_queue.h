/* The queue of a virtio NSM device (id 33): requests of the guest's driver, answers for it. The driver queues each request
 * as one readable chain and the room for its answer as the next, writable one; both go back at once. Guest and driver are
 * hostile (sim/virtq.h); what a request says is for the software NSM to judge. */
#ifndef SIM_NSM_QUEUE_H
#define SIM_NSM_QUEUE_H

#include "format/nsm.h"
#include "sim/virtq.h"

struct nsm_queue {
	struct virtq q;
	uint8_t request[NSM_REQUEST_MAX + 1];    /* one byte more than a request may have: it is then seen to be too long */
};

/* The request that waits, copied; empty when there is none. A broken queue has none (n->q.broken). */
struct bytes nsm_queue_request(struct nsm_queue *n);
/* Answers it: cut off when the driver left less room. The device's interrupt is due when this returns true. */
bool nsm_queue_answer(struct nsm_queue *n, struct bytes response);

#endif
