/* A job is one proof: a launcher slot with its private tmpfs, a ciphertext decrypted into it as it
 * arrives, a place in the queue, one run of the prover program, and a signed reply.
 *
 *     OPENING -> RECEIVING -> QUEUED -> RUNNING -> CLOSING -> free
 *
 * CLOSING is entered from every state as soon as the outcome is known: the launcher kills what runs,
 * wipes the tmpfs and says CLOSED, and only then is the slot used again. The reply is in a buffer of its
 * own by then, so that a client who does not read it holds no slot. Buffers are as many as slots; when all
 * are held, the client who has been reading longest loses his to a new proof.
 *
 * Two things are reserved before they are needed: room for the payload when the job is opened, before its
 * first byte (the prover writes those pages, so they count as its memory), and the job's memory when it
 * starts: what the message states as its peak, or else the most a job may have.
 *
 * The client side is four callbacks; after on_done only on_reply_lost may come. */
#ifndef ENCLAVE_PROVER_JOBS_H
#define ENCLAVE_PROVER_JOBS_H

#include "enclave/config.h"
#include "enclave/limits.h"
#include "enclave/prover/admission.h"
#include "enclave/prover/keyring.h"
#include "enclave/prover/link.h"
#include "enclave/prover/versions.h"
#include "openpgp/decrypt.h"

enum job_state { JOB_FREE, JOB_OPENING, JOB_RECEIVING, JOB_QUEUED, JOB_RUNNING, JOB_CLOSING };

/* Payload of a REPLY frame, until job_reply_sent() or on_reply_lost(). */
struct job_reply {
	struct job_client *reader;               /* NULL: free */
	uint64_t order;
	size_t n;
	uint8_t bytes[FRAME_PAYLOAD_MAX];
};

struct job_client {
	void (*on_ready)(struct job_client *c);                          /* the body may come now */
	void (*on_stage)(struct job_client *c, const char *stage, uint64_t position);
	/* Either a reply (code OUTCOME_OK), or NULL and e filled. */
	void (*on_done)(struct job_client *c, enum outcome code, struct job_reply *reply, const struct frame_error *e);
	/* The buffer is wanted for another proof: call job_reply_sent() before returning. */
	void (*on_reply_lost)(struct job_client *c);
};

/* Why a request is refused; the figures as in struct frame_error, 0 where there is none. */
struct refusal { struct err why; uint64_t limit_bytes, peak_bytes; };

struct job {
	enum job_state state;
	struct admission_job admission;          /* RUNS also while CLOSING, as the prover program may still be there */
	uint8_t slot;
	struct jobs *jobs;
	struct job_client *client;               /* borrowed; NULL once done or abandoned */
	struct version_binary *binary;           /* referenced */
	struct keyring_entry *key;               /* referenced from RECEIVING's end on */
	int input_fd;
	uint64_t size_limit, received;
	uint64_t payload_bytes;                  /* reserved until CLOSED */
	struct hash *ciphertext;                 /* SHA-256 */
	uint8_t ciphertext_sha256[SHA256_SIZE];
	struct pgp_decrypt decrypt;
	struct keyring_entry *offered[KEYRING_MAX];      /* what decrypt was given; referenced */
	size_t offered_n;
	enum outcome sink_error;
	uint64_t told_position;                  /* what the client last heard; 0: nothing */
	int64_t queued_ms, started_ms;           /* monotonic */
	int64_t decrypt_us;
};

struct jobs {
	const struct config *cfg;                /* borrowed, as are the next three */
	struct keyring *keys;
	struct versions *versions;
	struct link *link;
	uint64_t arrivals, replies;
	uint64_t payload_bytes;                  /* reserved for all jobs together */
	struct job job[LAUNCH_SLOTS_MAX];
	struct job_reply reply[LAUNCH_SLOTS_MAX];
	uint8_t proof[FRAME_PROOF_MAX];          /* scratch while a reply is made */
};

void jobs_init(struct jobs *js, const struct config *cfg, struct keyring *keys, struct versions *versions,
               struct link *link);
/* Asks the launcher for a slot for up to size bytes of ciphertext. Takes over the reference to binary.
 * OUTCOME_OK: *ret_job, and on_ready follows. */
enum outcome job_open(struct jobs *js, struct job_client *client, struct version_binary *binary, uint64_t size,
                      struct job **ret_job, struct refusal *ret_why);
/* Some ciphertext. Anything but OUTCOME_OK: answer the client with it and job_abandon(). */
enum outcome job_feed(struct job *j, struct bytes ciphertext, struct refusal *ret_why);
/* The ciphertext is complete: verifies the final tag and queues the job. */
enum outcome job_queue(struct job *j, struct refusal *ret_why);
/* The client left or was answered with an error: ends the job, whatever it does. */
void job_abandon(struct job *j);
/* The reply that on_done gave has been sent or is not wanted any more. */
void job_reply_sent(struct job_reply *r);
/* A message of the launcher's; takes over fd. */
void jobs_on_launcher(struct jobs *js, const struct launch_message *m, int fd);
void jobs_count(const struct jobs *js, uint64_t *ret_running, uint64_t *ret_queued);

#endif
