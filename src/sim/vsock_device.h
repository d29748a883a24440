/* A virtio socket device (virtio 1.2, §5.10) for one guest, with unix sockets at the host's end: what a parent instance and
 * its hypervisor are to an enclave. It answers as CID 3 (the parent) and 2 (the host).
 *
 *     guest connects to port P of CID 3 or 2   ──▶  a connection to DIR/vsock_P; nobody listens there: reset
 *                                                    (of an abstract name that ends in the guest's port: vsock_device_source())
 *     a connection to a forwarding socket      ──▶  a connection to its one port in the guest, from CID 3
 *     a connection to the dialling socket, whose first line is "CONNECT P\n"  ──▶  likewise, to port P
 *
 * When the guest refuses, the host's connection is closed; nothing is said on it besides the stream itself.
 *
 * The guest is hostile. It is held to its credit, what is kept for it is bounded (VSOCK_CONNECTIONS_MAX times
 * VSOCK_BUFFER, VSOCK_REPLIES_MAX answers), and whatever it sends costs its own connections at most; breaking the rules of
 * the queues themselves ends the device.
 *
 * Push-back: the device as a parent would be whose own kernel has Linux's driver before kernel/patches/0001: it takes nothing
 * from the guest while as many answers wait as the guest's receive queue has entries. Two such sides can stop each other. */
#ifndef SIM_VSOCK_DEVICE_H
#define SIM_VSOCK_DEVICE_H

#include "base/loop.h"
#include "sim/vhost_user.h"

enum {
	VSOCK_HEADER_SIZE = 44,
	VSOCK_CONNECTIONS_MAX = 1024,
	VSOCK_BUFFER = 128 << 10,                /* of one connection, towards the host; the guest's credit */
	VSOCK_REPLIES_MAX = 1024,
	VSOCK_LISTENERS_MAX = 4,
	VSOCK_CONNECT_MS = 10 * 1000,            /* for a CONNECT line, and for the guest's answer */
	VSOCK_DIR_MAX = 96
};

struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
};

struct vsock_device {
	uint64_t cid;                            /* the guest's */
	char dir[VSOCK_DIR_MAX];
	bool push_back;
	void (*on_end)(struct vsock_device *d, int ret, const struct err *why);  /* 0: QEMU has hung up */
	uint64_t taken, dropped_replies, connections_ever;       /* packets from the guest, answers it never gets */

	/* private */
	struct loop *loop;
	struct vhost_user vu;
	uint8_t config[8];
	struct watch qemu;
	struct vsock_kick { struct vsock_device *of; struct watch watch; } kick[2];
	struct vsock_listener {
		struct vsock_device *of;
		struct watch watch;
		uint32_t port;                   /* 0: dialling */
	} listener[VSOCK_LISTENERS_MAX];
	size_t listener_count;
	struct vsock_connection *first;          /* of a list, owned */
	size_t connection_count;
	uint32_t next_port;
	struct vsock_header reply[VSOCK_REPLIES_MAX];    /* to nobody's connections: a ring */
	size_t reply_at, reply_count;
	struct timer again;                      /* there was more to do than one turn may take */
	bool over;
};

/* Serves the QEMU at the other end of sock. cid, dir, push_back and on_end must be set; the rest zero. Takes over sock. */
int vsock_device_open(struct vsock_device *d, struct loop *loop, int sock, struct err *err);
/* Takes over a listening unix socket: forwards to port, or dials when port is 0. */
int vsock_device_listen(struct vsock_device *d, int fd, uint32_t port, struct err *err);
void vsock_device_close(struct vsock_device *d);

/* For whoever listens at vsock_P: the guest's port of a connection. UINT32_MAX: it is not the device's. */
uint32_t vsock_device_source(int fd);

#endif
