/* What the gateway answers: status, JSON body, headers. */
#ifndef HOST_GATEWAY_ANSWER_H
#define HOST_GATEWAY_ANSWER_H

#include "format/frame.h"

#include <stdbool.h>

struct http_conn;

/* A body that many answers share; its bytes are behind it. */
struct answer_text { unsigned refs; size_t n, cap; uint8_t p[]; };

/* Room for cap bytes and one reference, the caller's. NULL: out of memory. */
struct answer_text *answer_text_new(size_t cap);
/* One more reference. */
struct answer_text *answer_text_share(struct answer_text *t);
/* One less; NULL is harmless. */
void answer_text_drop(struct answer_text *t);

struct answer {
	unsigned status;                 /* HTTP; 0: none yet */
	enum outcome code;
	char *body;                      /* owned, from malloc; NULL: none */
	struct answer_text *shared;      /* instead of body: a reference; NULL: none */
	size_t shared_at;                /* body_n bytes from there on */
	size_t body_n;
	bool no_store;
	const char *type;                /* static; NULL: JSON, which any origin may read */
	bool problem;                    /* an error for a client that accepts application/problem+json */
	bool close;                      /* the connection must not be used again */
	unsigned retry_after_s;          /* 0: no header */
	bool timed;                      /* the two durations are known */
	uint64_t decrypt_ms, prove_ms;   /* rounded */
	const char *allow;               /* static; for 405 */
	char location[64];               /* empty: none */
	bool async;                      /* Prefer: respond-async was honoured */
};

/* Extra members of an error body. */
struct answer_details {
	struct bytes detail;             /* a sentence from the enclave; escaped and cut */
	uint64_t limit_bytes, peak_bytes, signal;        /* 0: left out */
};

/* {"error": text, "requestId": id, "code": …} and the members of problem details (RFC 9457): type, title,
 * status, detail. text NULL: the outcome's own; status 0: likewise. What the
 * answer held before is released. */
void answer_error(struct answer *a, unsigned status, enum outcome code, const char *text, const char *id,
                  const struct answer_details *d);
/* 200 with a body that the answer takes over. */
void answer_json(struct answer *a, char *body, size_t n);
/* 200 with a body that others share; the answer takes a reference of its own. */
void answer_shared(struct answer *a, struct answer_text *t);
/* … with n bytes of it, from at on. */
void answer_shared_part(struct answer *a, struct answer_text *t, size_t at, size_t n);
/* The body of answer_error alone. */
void answer_error_put(struct writer *w, unsigned status, enum outcome code, const char *text, const char *id,
                      const struct answer_details *d);
enum { ANSWER_ERROR_MAX = 6 * (FRAME_ID_MAX + 2 * FRAME_MESSAGE_MAX) + 1024 };   /* a byte escapes to at most six */
/* 204 without a body. */
void answer_nothing(struct answer *a);
void answer_release(struct answer *a);

/* Sends a; its body must stay until the exchange has ended. */
void answer_send(const struct answer *a, struct http_conn *to, const char *id);

/* Numbers as outsiders may read them: how long and how much a witness needed says something about it. */
uint64_t rounded_ms(uint64_t ms);                /* up to the next 10 ms */
uint64_t rounded_bytes(uint64_t bytes);          /* up to the next MiB */

#endif
