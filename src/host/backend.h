/* Where an enclave runs: the one interface between `tee-rex run` (host/run.h), which owns an enclave's life, and the
 * three places there are: process (host/process.h), qemu (sim/qemu.h), nitro.
 *
 *     run                                             backend
 *     X_backend_open(&options)  ──────────────────▶   struct backend, nothing has happened yet
 *     prepare                   ──────────────────▶   everything is checked and measured, without an effect
 *     listen (9000, 9001 …)     ──────────────────▶   before the start, so that no early word is lost
 *     start                     ──────────────────▶   it boots
 *     connect, console, address ──────────────────▶
 *     stop DRAIN, TERM, KILL    ──────────────────▶
 *                               ◀──────────────────   on_event: DRAINED, FAILING, DEAD
 *     close                     ──────────────────▶   after DEAD, or instead of start
 *
 * Everything runs in one event loop and nothing in here blocks for longer than a system call on local objects takes.
 * Functions return 0 or -errno with a sentence in err. Descriptors that they return are the caller's, close-on-exec
 * and non-blocking. on_event is called from the loop only, never from inside one of these functions.
 *
 * What comes out of the descriptors is an enclave's word: hostile. Nothing about the enclave is believed but what the
 * host itself sees: that it lives, and which enclave a connection comes from. */
#ifndef HOST_BACKEND_H
#define HOST_BACKEND_H

#include "base/fail.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { BACKEND_PCRS = 16, BACKEND_PCR_SIZE = 48, BACKEND_ADDRESS_MAX = 128, BACKEND_PATH_MAX = 512 };

struct backend;

enum backend_event {
	BACKEND_DRAINED,                         /* after stop(DRAIN): nothing is being served any more; stop(TERM) is due */
	BACKEND_FAILING,                         /* it ends by itself, b->why says why; stop(TERM) is due */
	BACKEND_DEAD                             /* nothing of it runs any more; once, the last event */
};

enum backend_stop {
	BACKEND_DRAIN,                           /* finish what is being served, take nothing new */
	BACKEND_TERM,                            /* end in order, now */
	BACKEND_KILL                             /* be dead, whatever it costs */
};

/* What run lends a backend, valid from prepare to close. */
struct backend_owner {
	struct loop *loop;
	const char *name;                        /* of the instance */
	const char *dir;                         /* its runtime directory: there, locked; emptied after close */
	const char *service_path;                /* dir/service.sock, for backends that serve on a unix socket */
	uid_t service_gid;                       /* the group that may connect there besides us; 0: nobody */
	void (*on_event)(struct backend *b, enum backend_event e);
};

struct backend_ops {
	const char *name;                        /* "process", "qemu", "nitro" */
	bool simulated;                          /* said wherever a person looks */
	int64_t ready_ms;                        /* how long a boot may take, until the service answers */
	int64_t stop_ms;                         /* from stop(TERM) to stop(KILL) */

	/* Checks options, image and machine; fills b->pcr. owner->dir need not exist yet: `run --measure` ends here. */
	int (*prepare)(struct backend *b, struct err *err);
	/* A listening stream socket that the enclave reaches as port of CID 3. NULL: this backend has none. */
	int (*listen)(struct backend *b, uint32_t port, int *ret_fd, struct err *err);
	/* Accepts from such a socket. *ret_port: the enclave's end, which its kernel vouches for: below VSOCK_PRIVILEGED_PORTS it
	 * is init's. -EAGAIN: nobody there, or not this enclave. NULL where listen is. */
	int (*accept)(struct backend *b, int listener, int *ret_fd, uint32_t *ret_port, struct err *err);
	/* Begins the start. After 0, FAILING or DEAD tell the end, also of a boot that goes wrong. */
	int (*start)(struct backend *b, struct err *err);
	/* A stream to a port inside, not necessarily connected yet (wait for EPOLLOUT; EOF when nobody listens). NULL: none. */
	int (*connect)(struct backend *b, uint32_t port, int *ret_fd, struct err *err);
	/* Where PORT_SERVICE is reached, as `tee-rex gateway --enclave` takes it: "unix:PATH" or "vsock:CID:PORT". */
	void (*address)(const struct backend *b, char ret_text[BACKEND_ADDRESS_MAX]);
	/* What the enclave writes to its console. -EPERM unless it runs in debug mode; NULL: there is no console. One reader,
	 * who must read: a console that nobody drains is the enclave's hang. */
	int (*console)(struct backend *b, int *ret_fd, struct err *err);
	/* Never fails: what cannot be asked for in order is enforced by the next level. Any level, any number of times. */
	void (*stop)(struct backend *b, enum backend_stop how);
	/* Releases everything, files included; whatever still runs is killed and waited for. */
	void (*close)(struct backend *b);
};

struct backend {                                 /* first member of the backend's own structure */
	const struct backend_ops *ops;
	const struct backend_owner *owner;       /* borrowed; set by run before prepare */
	bool debug;                              /* a debug enclave: zero registers, a console */
	uint32_t cid;                            /* 0: none, or not known yet */
	pid_t pid;                               /* the process that is the enclave here; 0: there is none */
	char root[BACKEND_PATH_MAX];             /* the test root's certificate, where simulated; else empty */
	uint8_t pcr[BACKEND_PCRS][BACKEND_PCR_SIZE];     /* as documents will show them */
	uint32_t pcr_known;                      /* bit i: pcr[i] is known to the host */
	int result;                              /* -errno when it ended by itself, else 0 … */
	struct err why;                          /* … and why; may become more exact until DEAD */
};

/* An orderly shutdown, for the stop of backends that have connect: one byte 'S' to PORT_SHUTDOWN of tee-rex-init. */
struct shutdown_call { struct loop *loop; struct watch watch; };
#define SHUTDOWN_CALL_NONE ((struct shutdown_call){ .watch.fd = -1 })
/* Asked once, however often it is called. Not being able to ask is no error: stop(KILL) follows. */
void shutdown_call_ask(struct shutdown_call *c, struct backend *b);
void shutdown_call_close(struct shutdown_call *c);

#endif
