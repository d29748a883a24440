/* The frame service: accepts connections on the inherited listener, one exchange each, and answers from
 * keys, versions, attestor and jobs. Everything a peer sends is hostile; every stage has a deadline, every
 * buffer a fixed size, and no call waits for a peer. */
#ifndef ENCLAVE_PROVER_SERVICE_H
#define ENCLAVE_PROVER_SERVICE_H

#include "base/loop.h"
#include "enclave/prover/attestor.h"
#include "enclave/prover/jobs.h"
#include "enclave/prover/stats.h"

enum {
	SMALL_REPLY_MAX = 24 << 10,              /* every reply but a proof */
	READ_SIZE = 64 << 10
};

enum conn_state {
	CONN_FREE,
	CONN_REQUEST,                            /* reading the REQUEST frame */
	CONN_OPENING,                            /* prove: the launcher prepares the slot; nothing is read */
	CONN_BODY,                               /* reading DATA … END */
	CONN_WAITING,                            /* the job is queued or runs; the peer has nothing to say */
	CONN_SENDING,                            /* writing the final frame */
	CONN_DRAINING                            /* answered early: reading what the peer still sends */
};

struct conn {
	struct watch watch;                      /* watch.fd is owned via fd */
	struct timer deadline;
	struct job_client client;
	struct service *service;
	int fd;
	enum conn_state state;
	enum frame_op op;
	struct job *job;                         /* prove, from OPENING on */
	bool uploading;                          /* owns the one upload */
	bool body_ended;                         /* nothing more is to come from the peer */
	uint8_t in[FRAME_HEADER_SIZE + FRAME_MAP_MAX];
	size_t in_n;
	size_t data_left;                        /* of the DATA frame being read */
	const uint8_t *out;                      /* final frame: in small, or header here and payload in a job_reply */
	size_t out_n, out_at;
	size_t header_at;                        /* of the header of a proof reply */
	uint8_t header[FRAME_HEADER_SIZE];
	struct job_reply *reply;                 /* that out points into */
	uint64_t body_seen;                      /* bytes of the body since the last look */
	int64_t body_end_ms;                     /* when all of it must be there */
	uint8_t small[FRAME_HEADER_SIZE + SMALL_REPLY_MAX];
};

struct service {
	struct loop *loop;                       /* borrowed, as all below */
	const struct config *cfg;
	struct keyring *keys;
	struct versions *versions;
	struct attestor *attestor;
	struct jobs *jobs;
	struct stats stats;
	struct watch listener;
	char guards[LAUNCH_TEXT_MAX + 1];        /* what the launcher said about its cells */
	bool closing;                            /* no new connections */
	size_t conn_count;
	struct conn conn[PROVER_CONNECTIONS];
	uint8_t read_buf[READ_SIZE];
};

/* Takes the listening descriptor into the loop. Until then peers wait in its backlog: call it when the
 * launcher has said READY, so that whoever gets an answer can have a proof too. */
int service_start(struct service *s, int listen_fd, struct err *err);
/* Stops accepting; what is under way goes on. */
void service_stop_accepting(struct service *s);

#endif
