/* The prover's end of the socket to the launcher (format/launch.h). Messages are small and few per slot,
 * so the socket's own buffer takes them all; a launcher that is gone or talks nonsense ends the service,
 * and whoever supervises it starts both anew. */
#ifndef ENCLAVE_PROVER_LINK_H
#define ENCLAVE_PROVER_LINK_H

#include "base/fail.h"
#include "base/loop.h"
#include "format/launch.h"

struct link {
	struct watch watch;                              /* watch.fd: owned */
	/* m and its text are borrowed for the call; fd (or -1) becomes the callee's. */
	void (*on_message)(struct link *l, const struct launch_message *m, int fd);
	/* The launcher is gone or broke the protocol; why is a sentence. */
	void (*on_lost)(struct link *l, const char *why);
};

/* Takes sock into the loop. The callbacks must be set. */
int link_start(struct link *l, struct loop *loop, int sock, struct err *err);
/* fd: sent along, stays the caller's; -1 for none. -errno when the launcher cannot take it. */
int link_send(struct link *l, const struct launch_message *m, int fd, struct err *err);

#endif
