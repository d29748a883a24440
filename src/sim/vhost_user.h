/* The back-end's side of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst) for one device of QEMU's: memory
 * table, vrings, features, configuration space.
 *
 *     u32 request | u32 flags (version 1, 4: reply, 8: wants a reply) | u32 size | payload | descriptors by SCM_RIGHTS
 *
 * QEMU is hostile: what a message says is judged before anything is done, descriptors that come with one are kept or
 * closed, and a message that makes no sense ends the device. Memory is mapped only from descriptors that can no longer
 * shrink (sealed memfds), so that reading it cannot fault. */
#ifndef SIM_VHOST_USER_H
#define SIM_VHOST_USER_H

#include "base/fail.h"
#include "sim/virtq.h"

enum { VHOST_USER_QUEUES_MAX = 4, VHOST_USER_REGIONS_MAX = 8, VHOST_USER_PAYLOAD_MAX = 512, VHOST_USER_HEADER_SIZE = 12,
       VHOST_USER_CONFIG_MAX = 256 };
#define VIRTIO_F_VERSION_1_BIT (UINT64_C(1) << 32)

struct vhost_user_ring {
	struct virtq q;
	uint32_t size;                           /* as SET_VRING_NUM said; 0: not yet */
	uint16_t base;
	bool has_address, enabled;
	uint64_t desc, avail, used;              /* QEMU's addresses */
	int kick, call;                          /* owned eventfds; -1: none */
};

struct vhost_user {
	unsigned queues;                         /* of the device */
	uint64_t features;                       /* it offers, besides the protocol's own */
	struct bytes config;                     /* its configuration space; borrowed */

	/* private */
	uint64_t acked;                          /* features that the driver took */
	struct guest_memory memory, user;        /* by guest address and by QEMU's own address */
	struct { void *p; size_t n; } map[VHOST_USER_REGIONS_MAX];
	struct vhost_user_ring ring[VHOST_USER_QUEUES_MAX];
};

void vhost_user_init(struct vhost_user *v);              /* after the public fields were set */
void vhost_user_close(struct vhost_user *v);

/* One message. fds become ours; payload is as long as the header said. An answer, if there is one, is written to reply
 * (whole message). 0, or -EPROTO and a sentence: the device is over. */
int vhost_user_handle(struct vhost_user *v, uint32_t request, uint32_t flags, struct bytes payload, int *fds, size_t fd_count,
                      struct writer *reply, struct err *err);

/* Reads one message from sock (a stream socket), handles it and answers. 0; -EPIPE: QEMU has hung up; -errno. Waits for the
 * rest of a message whose beginning is there. */
int vhost_user_serve(struct vhost_user *v, int sock, struct err *err);

/* Interrupts the driver when it wants that for what was put into ring i. */
void vhost_user_notify(struct vhost_user *v, unsigned i);

#endif
