/* Jobs: one proof each, for one or many. A job begins when a ciphertext has come whole, and whoever posts the
 * same one for the same version while it is there subscribes to it instead of starting another.
 *
 *     WAITING ──> SENT ──> PROVING ──> DONE ──> (kept for a while)      any of the first three ──> FAILED
 *     fairly       the enclave's queue         the answer is here
 *
 * Jobs wait here and not in the enclave, which is first come, first served and knows no clients: a job is sent
 * when few enough of those that were sent have not started yet, and the client that has fewest jobs in there and
 * was served least recently is next. What a client gets from joining is what it would get anyway: the proof of a
 * ciphertext that it has itself.
 *
 * A subscriber is a request that waits for the answer, or (after 202) an id by which requests ask for it. When
 * the last one leaves, the job is cancelled after a grace; a client that lost its connection may be back by then. */
#ifndef HOST_GATEWAY_JOBS_H
#define HOST_GATEWAY_JOBS_H

#include "base/loop.h"
#include "format/frame.h"
#include "format/kept_answer.h"
#include "host/body_spool.h"
#include "host/client_address.h"
#include "host/frame_client.h"
#include "host/gateway_answer.h"

#include <sys/queue.h>

struct gateway;
struct request;

enum {
	JOB_TAG_SIZE = 4, JOB_RANDOM_SIZE = 16,
	JOB_ID_TEXT = 2 * JOB_TAG_SIZE + 1 + 2 * JOB_RANDOM_SIZE,        /* "1a2b3c4d-" and 32 hex digits */
	JOB_KEPT_NAME = 2 * JOB_TAG_SIZE + 22,   /* "1a2b3c4d-", a number, a zero */
	JOB_SUBSCRIBERS_MAX = 2048,
	CLIENT_KEY_SIZE = 16,
	JOB_EXCHANGES_MAX = 32,                  /* with the enclave at once */
	JOB_WAIT_MAX_S = 50,                     /* one answer held back; proxies give up at 60 */
	JOB_QUEUE_MAX_S = 3600                   /* for a job to be sent */
};

enum job_state { JOB_WAITING, JOB_SENT, JOB_PROVING, JOB_DONE, JOB_FAILED };

struct subscriber {
	LIST_ENTRY(subscriber) of_job, of_all;
	struct job *job;
	struct request *request;                 /* waits for news; NULL: nobody does now */
	bool accepted;                           /* 202: it lives on without a request */
	uint8_t client[CLIENT_KEY_SIZE];
	uint8_t tag[JOB_TAG_SIZE], random[JOB_RANDOM_SIZE];      /* of the gateway that made it; the secret */
	struct timer wait;                       /* until the request is answered all the same */
};

/* How much of the enclave one client has. Like the rate limit it takes an IPv6 /64 for one client. */
struct share {
	LIST_ENTRY(share) link;
	uint8_t key[CLIENT_KEY_SIZE];
	unsigned jobs, waiting, running;
	uint64_t turn;                           /* of its last job that was sent */
};

struct failure {
	unsigned status;                         /* HTTP; 0: the code's */
	enum outcome code;
	const char *text;                        /* static; NULL: the code's */
	uint8_t detail[FRAME_MESSAGE_MAX];
	size_t detail_n;
	uint64_t limit_bytes, peak_bytes, signal;
};

struct job {
	TAILQ_ENTRY(job) link;
	struct gateway *g;
	enum job_state state;
	uint8_t sha256[32];                      /* of the ciphertext; with version, what makes jobs equal */
	char version[FRAME_VERSION_MAX + 1];
	char request_id[FRAME_ID_MAX + 1];       /* of the request that began it */
	struct client_address from;              /* likewise */
	bool outdated;                           /* not to be joined any more: the default version may be another */
	struct share *share;                     /* NULL once it has ended */
	struct body_spool spool;
	uint64_t sent, order, position;          /* position: in the enclave's queue, as it says; 0: not known */
	struct frame_client upstream;
	int64_t began_ms, ended_ms;
	LIST_HEAD(, subscriber) subscribers;
	bool telling;                            /* its subscribers are being told: not to be freed */
	struct timer timer;                      /* the end of the queue's patience, of the grace, or of keeping it */

	/* DONE: {"state":"done",…,"result":{the synchronous answer}} */
	struct answer_text *text;
	size_t result_at, result_n;
	uint64_t prove_ms, decrypt_ms;
	char kept_as[JOB_KEPT_NAME];             /* its file; empty: none */
	struct failure failure;
};

struct jobs {
	TAILQ_HEAD(, job) all;                   /* oldest first */
	LIST_HEAD(, share) shares;
	LIST_HEAD(, subscriber) subscribers;
	uint8_t tag[JOB_TAG_SIZE];               /* of this run of the gateway: of others' ids, those live that were kept */
	struct body_spool_budget budget;
	unsigned unfinished, waiting, sent, exchanges, kept, subscriber_n, promised;
	uint64_t orders, turns, joined;
	bool scheduling;
};

void jobs_init(struct gateway *g);
/* Ends them all; no request waits for one any more. */
void jobs_close(struct gateway *g);
/* r's ciphertext is whole: joins the job for it or begins one, and takes over r until it is answered. */
void job_submit(struct request *r);
/* Places that r's client may take now. */
bool job_admits(const struct request *r);
/* r no longer waits for its job. */
void job_forget(struct request *r);
/* GET and DELETE /jobs/ID. wait_s: how long news may take. */
void job_show(struct request *r, struct bytes id, uint64_t wait_s);
void job_leave(struct request *r, struct bytes id);
/* Ends the job of that number as cancelled, whoever waits for it. False: there is none under way. */
bool job_cancel(struct gateway *g, uint64_t order);
/* Jobs under way whose answer was promised. */
unsigned jobs_owed(const struct gateway *g);
/* Answers there and promised that end with this gateway. */
unsigned jobs_unkept(const struct gateway *g);
/* Another version may be the default now: nothing that names none is joined from here on. */
void jobs_outdate(struct gateway *g);

/* A job of the gateway before, which its file of that name tells of. False: out of memory. */
bool job_restore(struct gateway *g, const struct kept_answer *a, const char *name, int64_t keep_ms);

/* Between gateway_jobs.c and gateway_subscribe.c: */
uint64_t job_position(const struct job *j);      /* 1: next; 0: does not wait any more */
/* j's last subscriber may have left. */
void job_unsubscribed(struct job *j);
/* Makes r one who waits for j's end, or answers it. */
void subscribe(struct request *r, struct job *j);
/* j has ended: answers all who wait. */
void subscribers_tell(struct job *j);
/* All of them forget j. None has a request. */
void subscribers_drop(struct job *j);
/* Somebody was promised j's answer. */
bool subscribers_promised(const struct job *j);
/* One of the ids of a job that is restored. */
bool subscriber_restore(struct job *j, struct kept_id id);
/* One more who waits can be remembered, and a promise of an answer to r's client be kept. */
bool subscribers_have_room(const struct request *r, bool promise);
/* What makes two addresses one client. */
void client_key(const struct client_address *from, uint8_t key[CLIENT_KEY_SIZE]);
/* What failed, of an exchange that ended without a reply. */
void failure_of(struct gateway *g, const struct frame_client_result *result, struct failure *ret);

#endif
