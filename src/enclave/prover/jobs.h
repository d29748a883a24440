/* A job is one proof: a launcher slot with its private tmpfs, a ciphertext decrypted into it as it
 * arrives, a place in the queue, one run of the prover program, and a signed reply.
 *
 *     OPENING -> RECEIVING -> QUEUED -> RUNNING -> CLOSING -> free
 *
 * CLOSING is entered from every state as soon as the outcome is known: the launcher kills what runs,
 * wipes the tmpfs and says CLOSED, and only then is the slot used again. The client's connection may
 * still be reading the reply by then; the reply buffer is released separately (job_reply_sent).
 *
 * The client side is three callbacks; after on_done none comes any more. */
#ifndef ENCLAVE_PROVER_JOBS_H
#define ENCLAVE_PROVER_JOBS_H

#include "enclave/config.h"
#include "enclave/limits.h"
#include "enclave/prover/keyring.h"
#include "enclave/prover/link.h"
#include "enclave/prover/versions.h"
#include "openpgp/decrypt.h"

enum job_state { JOB_FREE, JOB_OPENING, JOB_RECEIVING, JOB_QUEUED, JOB_RUNNING, JOB_CLOSING };

struct job_client {
	void (*on_ready)(struct job_client *c);                          /* the body may come now */
	void (*on_stage)(struct job_client *c, const char *stage, uint64_t position);
	/* payload: of a REPLY frame (code OUTCOME_OK; valid until job_reply_sent) or nothing, with e filled. */
	void (*on_done)(struct job_client *c, enum outcome code, struct bytes reply, const struct frame_error *e);
};

struct job {
	enum job_state state;
	bool reply_held;                         /* the client still sends from reply */
	bool dying;                              /* CLOSING while the prover program may still be there */
	uint8_t slot;
	struct jobs *jobs;
	struct job_client *client;               /* borrowed; NULL once done or abandoned */
	struct version_binary *binary;           /* referenced */
	struct keyring_entry *key;               /* referenced from RECEIVING's end on */
	int input_fd;
	uint64_t size_limit, received;
	struct hash *ciphertext;                 /* SHA-256 */
	uint8_t ciphertext_sha256[SHA256_SIZE];
	struct pgp_decrypt decrypt;
	struct keyring_entry *offered[KEYRING_MAX];      /* what decrypt was given; referenced */
	size_t offered_n;
	enum outcome sink_error;
	uint64_t order;                          /* of arrival in the queue */
	uint64_t told_position;                  /* what the client last heard; 0: nothing */
	int64_t queued_ms, started_ms;           /* monotonic */
	int64_t decrypt_us;
	uint8_t reply[FRAME_PAYLOAD_MAX];
};

struct jobs {
	const struct config *cfg;                /* borrowed, as are the next three */
	struct keyring *keys;
	struct versions *versions;
	struct link *link;
	uint64_t arrivals;
	struct job job[LAUNCH_SLOTS_MAX];
	uint8_t proof[FRAME_PROOF_MAX];          /* scratch while a reply is made */
};

void jobs_init(struct jobs *js, const struct config *cfg, struct keyring *keys, struct versions *versions,
               struct link *link);
/* Asks the launcher for a slot for up to size bytes of ciphertext. Takes over the reference to binary.
 * OUTCOME_OK: *ret_job, and on_ready follows. */
enum outcome job_open(struct jobs *js, struct job_client *client, struct version_binary *binary, uint64_t size,
                      struct job **ret_job, struct err *ret_why);
/* Some ciphertext. Anything but OUTCOME_OK: answer the client with it and job_abandon(). */
enum outcome job_feed(struct job *j, struct bytes ciphertext, struct err *ret_why);
/* The ciphertext is complete: verifies the final tag and queues the job. */
enum outcome job_queue(struct job *j, struct err *ret_why);
/* The client left or was answered with an error: ends the job, whatever it does. */
void job_abandon(struct job *j);
/* The reply that on_done gave has been sent or is not wanted any more. */
void job_reply_sent(struct job *j);
/* A message of the launcher's; takes over fd. */
void jobs_on_launcher(struct jobs *js, const struct launch_message *m, int fd);
void jobs_count(const struct jobs *js, uint64_t *ret_running, uint64_t *ret_queued);

#endif
