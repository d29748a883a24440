/* One HTTP request at a time over libcurl, for commands: http, https, or HTTP over a unix socket; answers
 * and times are bounded, redirects are not followed, bodies are pulled while they are sent. The server is
 * distrusted: what it says is bytes and a status, and cut off at the caller's cap. */
#ifndef HOST_HTTP_CLIENT_H
#define HOST_HTTP_CLIENT_H

#include "base/bytes.h"
#include "base/fail.h"

#include <stdint.h>

enum { HTTP_HEADERS_MAX = 4, HTTP_URL_MAX = 1024, HTTP_ID_MAX = 64, HTTP_PULL_FAILED = -1 };

/* http://HOST[:PORT][/PREFIX], https://…, or unix:PATH. Slashes at the end do not count. */
struct http_base {
	char prefix[HTTP_URL_MAX];               /* what a path is appended to */
	char unix_socket[108];                   /* empty: TCP */
};
int http_base_parse(const char *text, struct http_base *ret, struct err *err);

struct http_request {
	const struct http_base *base;
	const char *path;                        /* begins with '/' */
	const char *method;                      /* NULL: GET, or POST with pull */
	const char *headers[HTTP_HEADERS_MAX];   /* "Name: value"; the first NULL ends them */
	size_t answer_max;                       /* bytes of the answer's body; more is an error */
	long connect_ms, total_ms;
	/* POST when set: up to cap bytes of the next piece of the body; 0 only at its end, after exactly
	 * body_size bytes; HTTP_PULL_FAILED to give up. */
	long (*pull)(void *arg, uint8_t *to, size_t cap);
	uint64_t body_size;
	/* Called about once a second and while data moves. NULL: not wanted. */
	void (*progress)(void *arg, uint64_t sent);
	void *arg;                               /* of both */
};

struct http_answer {
	long status;
	uint8_t *body;                           /* owned; NULL when empty */
	size_t body_n;
	char request_id[HTTP_ID_MAX + 1];        /* X-Request-Id; printable, may be empty */
};

/* 0 whatever the status. -errno and a sentence when there is no whole answer; -ECANCELED when pull gave
 * up. Not for several threads. */
int http_perform(const struct http_request *q, struct http_answer *ret, struct err *err);
void http_answer_free(struct http_answer *a);    /* harmless on a zeroed one */

#endif
