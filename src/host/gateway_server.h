/* What the gateway's rooms share: its servers and their requests. One thread, one loop.
 *
 *     gateway.c          start, loop, signals, drain
 *     gateway_listen.c   sockets by their text
 *     gateway_request.c  the life of requests, between http_server.h and the rooms below
 *     gateway_route.c    from a request's head to what is to be done
 *     gateway_query.c    the questions: attestation, key, health
 *     gateway_attestation.c  the attestation that many may share
 *     gateway_operator.c  the operator's socket
 *     gateway_metrics.c  counters and their page
 *     gateway_prove.c    POST /prove: a ciphertext comes in
 *     gateway_jobs.c     the table of jobs, whose turn it is, their exchanges with the enclave
 *     gateway_subscribe.c  who waits for a job, and what they are told
 *     gateway_kept.c     answers that outlive the gateway
 *     gateway_answer.c   status, JSON, headers
 *     gateway_log.c      the access log
 *
 * A request ends in one answer, whatever state it is in then:
 *
 *     NEW ──> READING (its body) ──> WAITING (for the enclave) ──> ANSWERED */
#ifndef HOST_GATEWAY_SERVER_H
#define HOST_GATEWAY_SERVER_H

#include "base/loop.h"
#include "format/prove_body.h"
#include "host/client_address.h"
#include "host/frame_client.h"
#include "host/gateway.h"
#include "host/gateway_answer.h"
#include "host/notify.h"
#include "host/gateway_jobs.h"
#include "host/gateway_listen.h"
#include "host/http_server.h"
#include "host/rate_limit.h"

enum {
	GATEWAY_TARGET_MAX = 512,        /* bytes of a request target that are looked at; longer: 414 */
	GATEWAY_IDLE_S = 30,             /* without a byte moving, in any stage that waits for the client */
	GATEWAY_REPLY_S = 120,           /* for a whole response to be read */
	GATEWAY_LINGER_S = 5,            /* for a client to read the last answer on its connection */
	GATEWAY_INPUT_MAX = 64 << 20,    /* bytes of heads and bodies kept between two reads, in all connections */
	GATEWAY_QUERIES_MAX = 16,        /* exchanges for questions at once; more of them wait */
	GATEWAY_QUERY_MS = 10 * 1000     /* for one question; and at most as long again in line */
};

/* API: the public routes. METRICS: /metrics alone. OPERATOR: what only root and the configured user may do. */
enum front_kind { FRONT_API, FRONT_METRICS, FRONT_OPERATOR };

/* One listening socket and those who connect there. */
struct front {
	struct gateway *g;
	enum front_kind kind;
	struct http_server server;
	struct listener listener;
};

enum request_state { REQ_NEW, REQ_READING, REQ_WAITING, REQ_ANSWERED };
enum query_kind { QUERY_NONE, QUERY_ATTESTATION, QUERY_KEY, QUERY_HEALTH, QUERY_METRICS, QUERY_VERSIONS };
enum request_route { ROUTE_OTHER, ROUTE_ATTESTATION, ROUTE_PROVE, ROUTE_KEY, ROUTE_HEALTH, ROUTE_METRICS, ROUTE_JOBS,
	ROUTE_VERSIONS, ROUTE_DRAIN, ROUTE_COUNT };

struct request {
	struct gateway *g;
	struct front *front;
	struct http_conn *conn;
	LIST_ENTRY(request) link;        /* in gateway.requests */
	struct client_address from;      /* the peer, or whom a trusted proxy names */
	enum request_state state;
	bool gone;                       /* it ended because the client left, or broke off */
	bool accepts_problem;            /* application/problem+json */

	char target[GATEWAY_TARGET_MAX + 1];     /* as sent */
	const char *method;              /* static */
	enum request_route route;
	char id[FRAME_ID_MAX + 1];
	char version[FRAME_VERSION_MAX + 1];     /* x-aztec-version; may be empty */
	uint64_t content_length;         /* UINT64_MAX: chunked */
	uint64_t text_n;                 /* body bytes seen */
	int64_t started_ms, ended_ms;    /* monotonic */

	struct frame_client upstream;
	enum query_kind query;
	bool query_running, query_queued;
	bool cache_waits;                /* in attestation_cache.waiting, by query_link */
	uint8_t nonce[FRAME_NONCE_MAX];
	size_t nonce_n;
	TAILQ_ENTRY(request) query_link;

	uint8_t sha256[32];              /* X-Sha256 */
	bool sha256_given;
	bool uploading;                  /* counted in gateway.uploads */
	struct prove_body body;
	struct body_spool spool;
	bool respond_async;              /* Prefer (RFC 7240) */
	uint64_t prefer_wait_s;
	struct subscriber *subscriber;   /* waits for a job's end, or for news of it */
	bool show;                       /* … as GET /jobs/ID does */

	struct answer answer;
};

enum { GATEWAY_STATUSES_MAX = 24, GATEWAY_BUCKETS = 6, GATEWAY_OWN_CONNECTIONS_MAX = 16,        /* of metrics and operator */
	GATEWAY_FRONTS_MAX = 12 };
struct gateway_counters {
	uint64_t requests[ROUTE_COUNT][GATEWAY_STATUSES_MAX];
	uint64_t duration_ms[ROUTE_COUNT], within[ROUTE_COUNT][GATEWAY_BUCKETS];
	uint64_t body_bytes, lines_dropped, log_lines_lost;
};

struct attestation_cache {
	struct answer_text *kept;        /* a reference; NULL: none */
	int64_t fresh_until_ms;          /* monotonic; of what is kept or under way */
	bool outdated;                   /* what is under way is answered with, but not kept */
	struct frame_client upstream;
	TAILQ_HEAD(, request) waiting;
};

struct gateway {
	const struct gateway_options *o;
	struct loop loop;
	struct frame_address enclave;
	struct address_ranges trusted_proxies, prove_rate_exempt;
	struct rate_limit prove_rate;
	uint64_t rate_limited;           /* requests refused for it */
	struct front front[GATEWAY_FRONTS_MAX];
	size_t front_n;
	unsigned connections_max;        /* that there are descriptors for */
	struct notify notify;
	struct watch signals;
	struct timer grace, drain;
	LIST_HEAD(, request) requests;
	struct request *spare;           /* memory for the next one; NULL: none */
	struct { uint8_t text[4096]; size_t n; uint64_t lines; bool is_file, stuck; int64_t looked_ms; struct timer timer; } log;
	unsigned uploads, queries;
	struct jobs jobs;
	struct { int dir; bool closing; uint64_t unsaved; } kept;        /* dir: owned; -1: answers end with the gateway */
	bool running_waiting;
	TAILQ_HEAD(, request) waiting;   /* questions without an exchange yet */
	struct attestation_cache attestation;
	uint64_t cache_hits;
	struct gateway_counters counters;
	int64_t started_ms;
	bool draining, deaf;             /* deaf: listens no more */
};

/* --- gateway_request.c --------------------------------------------------------------------------- */
extern const struct http_handler gateway_handler;
/* r->answer is filled: sends it. */
void request_answer(struct request *r);
/* Fills r->answer with an error and sends it. */
void request_fail(struct request *r, unsigned status, enum outcome code, const char *text);
/* The enclave's exchange of r ended without a reply. */
void request_fail_upstream(struct request *r, const struct frame_client_result *result);
/* Answers r with f. */
void request_fail_with(struct request *r, const struct failure *f);
/* Answers everything under way. */
void requests_cancel(struct gateway *g);

/* --- gateway_route.c ----------------------------------------------------------------------------- */
/* The head is here: ends in READING, WAITING or with an answer. */
void request_begin(struct request *r, const struct http1_head *h, enum http1_result why);
void random_bytes(void *p, size_t n);

/* --- gateway_query.c ----------------------------------------------------------------------------- */
void query_start(struct request *r, enum query_kind kind);
/* Forgets r's question, if it has one, and lets the next in line go. */
void query_forget(struct request *r);
/* Answers r with the versions that p lists. */
void query_answer_versions(struct request *r, const struct frame_reply *p);

/* The body that an attestation reply makes, with a reference for the caller; NULL: the reply is none. */
struct answer_text *query_attestation_text(const struct frame_client_result *result);
/* Answers r with t. */
void query_answer_shared(struct request *r, struct answer_text *t);

/* --- gateway_attestation.c ----------------------------------------------------------------------- */
void attestation_init(struct gateway *g);
/* Answers GET /attestation without a nonce: from what is kept, or when the exchange for all ends. */
void attestation_ask(struct request *r);
/* r no longer waits; the last one to leave ends the exchange. */
void attestation_forget(struct request *r);
/* What is kept may be another enclave's. */
void attestation_drop(struct gateway *g);
void attestation_close(struct gateway *g);

/* --- gateway_prove.c ----------------------------------------------------------------------------- */
void prove_start(struct request *r);
/* Takes what it can of the body's text; returns how much that was. The rest is for later. */
size_t prove_feed(struct request *r, struct bytes text);
void prove_end(struct request *r);
void prove_forget(struct request *r);
/* The upload is over; its ciphertext stays. */
void prove_forget_upload(struct request *r);

/* --- gateway_kept.c ------------------------------------------------------------------------------ */
/* Takes the directory and what it has. */
int kept_open(struct gateway *g, struct err *err);
void kept_close(struct gateway *g);
/* j is done, or one of those who were promised its answer left: its file says what is now true. */
void kept_save(struct job *j);
/* j goes. */
void kept_forget(struct job *j);

/* --- gateway_operator.c -------------------------------------------------------------------------- */
/* Whoever is at the other end of fd may be the operator. */
bool operator_admits(const struct gateway *g, int fd);
void upload_start(struct request *r, struct bytes version);
/* Returns how much it took. */
size_t upload_feed(struct request *r, struct bytes data);
void upload_end(struct request *r);
void operator_jobs(struct request *r);
void operator_cancel(struct request *r, struct bytes number);

/* --- gateway.c ----------------------------------------------------------------------------------- */
/* As SIGTERM does, from the next turn of the loop on. */
void gateway_drain(struct gateway *g);
unsigned gateway_connections(const struct gateway *g);

/* --- gateway_metrics.c --------------------------------------------------------------------------- */
/* r is over. */
void metrics_count(const struct request *r);
/* Answers r with the page; p NULL: the enclave gave no metrics. */
void metrics_answer(struct request *r, const struct frame_reply *p);

/* --- gateway_log.c ------------------------------------------------------------------------------- */
void log_init_access(struct gateway *g);
/* One JSON line on standard output about a request that is over. */
void log_access(const struct request *r);
void log_flush(struct gateway *g);

#endif
