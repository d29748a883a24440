/* HTTP/1.1 on one listening socket in a loop: connections, deadlines, back-pressure, and answers that reach
 * their readers. What a request means is the handler's, which answers with http_answer, at once or later.
 *
 *     HEAD ──> BODY ──> WAIT ──> REPLY ──> HEAD (kept alive), or LINGER ──> closed
 *              └── an answer may come ─┘
 *
 * on_request comes for every head, malformed ones included, and on_end once for each on_request. An answer in
 * BODY goes out at once and ends the connection, unless the rest of the body is short: then that is read first. */
#ifndef HOST_HTTP_SERVER_H
#define HOST_HTTP_SERVER_H

#include "base/loop.h"
#include "format/http1.h"

#include <sys/queue.h>
#include <sys/socket.h>

enum { HTTP_INPUT_MAX = HTTP1_HEAD_MAX };        /* bytes read ahead of what a request takes */

enum http_stage { HTTP_HEAD, HTTP_BODY, HTTP_WAIT, HTTP_REPLY, HTTP_LINGER };

struct http_conn;
struct http_server;

struct http_limits {
	unsigned connections_max;
	unsigned per_address_max;                /* 0: no limit of its own */
	size_t input_bytes_max;                  /* kept between reads, in all connections together */
	int64_t head_ms, body_ms, reply_ms;      /* for the whole of each */
	int64_t idle_ms;                         /* without a byte moving while it is the client's turn */
	int64_t linger_ms;                       /* for a client to read the last answer on its connection */
};

struct http_handler {
	/* False: the new connection is closed at once. NULL: everybody may connect. */
	bool (*admit)(struct http_server *s, int fd);
	/* HTTP1_OK: h is the head, borrowed for the call, and a body follows unless its length is 0. Otherwise
	 * say why not; h has what was understood. */
	void (*on_request)(struct http_conn *c, const struct http1_head *h, enum http1_result why);
	/* Returns how much it took; when that is less than all, no more comes until http_resume. */
	size_t (*on_body)(struct http_conn *c, struct bytes data);
	void (*on_body_end)(struct http_conn *c);
	/* The body will not come to its end: answer. HTTP1_SLOW or HTTP1_BAD_CHUNK. */
	void (*on_body_failed)(struct http_conn *c, enum http1_result why);
	/* The answer was sent; or gone: the client left before that. c->user must not be used again. */
	void (*on_end)(struct http_conn *c, bool gone);
};

struct http_answer {
	unsigned status;
	struct bytes fields;                     /* whole lines; copied */
	struct bytes body;                       /* borrowed until on_end */
	bool close;
};

TAILQ_HEAD(http_conns, http_conn);

struct http_server {
	struct loop *loop;                       /* these four are the owner's to set */
	const struct http_handler *handler;
	struct http_limits limits;
	void *owner;

	/* private */
	struct watch listener;
	struct timer sweep, soon;
	unsigned count;
	size_t input_bytes;
	bool accepts, draining;
	struct http_conns heads;                 /* in HEAD, the longest there first */
	struct http_conns others, runnable;
	int64_t now_ms;                          /* monotonic; of the event that is handled */
	int64_t date_s;
	char date[40];
	struct http1_head head;
	uint8_t scratch[HTTP_INPUT_MAX];
};

struct http_conn {
	struct http_server *server;
	void *user;                              /* the handler's */
	struct sockaddr_storage peer;

	/* private */
	struct watch watch;
	uint32_t told;                           /* by the edge that is handled: EPOLLIN, EPOLLRDHUP; not used up yet */
	enum http_stage stage;
	int64_t deadline_ms, moved_ms;
	bool in_exchange, answered, paused, running, queued, broken;
	bool left;                               /* the client has shut down its side */
	bool listed_head;                        /* in server.heads, not server.others */
	bool close, head_only, old, is_chunked, continue_due;
	struct bytes input;                      /* not taken yet: in the server's scratch, or at buf */
	uint8_t *buf;                            /* owned */
	size_t buf_cap, scanned;
	size_t data_n;                           /* of input: body data without framing */
	uint64_t body_left;
	struct http1_chunked chunked;
	uint8_t *out;                            /* owned: the answer's head */
	size_t out_n, out_at;                    /* out_at counts through head and body */
	struct bytes out_body;
	TAILQ_ENTRY(http_conn) link, run_link;
};

/* Takes over a listening, non-blocking socket. -errno. */
int http_server_open(struct http_server *s, int listen_fd);
/* Accepts no more and closes what is idle; answers are the last on their connections from now on. */
void http_server_drain(struct http_server *s);
/* Ends everything, with on_end for what is under way. Harmless on a zeroed server. */
void http_server_close(struct http_server *s);

/* Once for each request. */
void http_answer(struct http_conn *c, const struct http_answer *a);
/* The handler takes body data again. */
void http_resume(struct http_conn *c);

#endif
