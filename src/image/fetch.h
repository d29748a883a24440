/* HTTP requests to registries and their token servers, one at a time, over libcurl.
 *
 * Redirects are followed here and not by libcurl: Authorization goes to the origin (scheme, host, port) it was made
 * for and to no other, https never becomes http, and requests with a body are not repeated elsewhere. Plain http is for
 * this machine (and for the link-local address of instance metadata, where FETCH_METADATA says so). */
#ifndef IMAGE_FETCH_H
#define IMAGE_FETCH_H

#include "base/bytes.h"
#include "image/code.h"

#include <stdbool.h>

enum fetch_plain {
	FETCH_TLS,                           /* https only */
	FETCH_LOOPBACK,                      /* also http to localhost, 127.0.0.0/8, [::1] */
	FETCH_METADATA                       /* http to whatever the URL says, without proxies */
};

enum { FETCH_HEADERS_MAX = 8, FETCH_CHALLENGES_MAX = 4, FETCH_TEXT_MAX = 1024, FETCH_URL_MAX = 16 << 10 };

struct fetch_request {
	const char *method;                  /* "GET", "POST", "PUT" */
	const char *url;
	const char *authorization;           /* the header's value, or NULL */
	const char *header[FETCH_HEADERS_MAX];       /* "Name: value"; NULL ends them */
	struct bytes body;                   /* POST and PUT */
	uint64_t range_from;                 /* 0: from the start */
	enum fetch_plain plain;
	int64_t connect_ms;                  /* 0: 15 s */
	unsigned attempts;                   /* of fetch_document; 0: FETCH_ATTEMPTS */
	/* Gets the body of a 2xx answer as it comes; a code other than IMAGE_OK ends the transfer. */
	enum image_code (*on_body)(void *user, struct bytes piece, struct err *err);
	void *user;
};

struct fetch_answer {
	long status;                         /* 0: none came */
	bool elsewhere;                      /* it came from another origin than was asked: its challenges are not ours */
	char challenge[FETCH_CHALLENGES_MAX][FETCH_TEXT_MAX];        /* WWW-Authenticate */
	size_t challenge_count;
	char content_type[256];
	uint64_t range_start;                /* of a 206; UINT64_MAX: not said */
	uint64_t retry_after_s;
	char text[FETCH_TEXT_MAX];           /* the start of the body of an answer that is no success */
	bool transient;                      /* asking again may help: the network, 408, 429, 5xx */
};

struct fetcher;
/* ca_file NULL: the system's certificates. */
enum image_code fetcher_open(const char *ca_file, struct fetcher **ret, struct err *err);
void fetcher_close(struct fetcher *f);               /* NULL is fine */

/* IMAGE_OK: an answer came, whatever its status. NETWORK: none, or not all of it (a->transient says whether to try
 * again); BAD_REDIRECT; or what on_body said. */
enum image_code fetch(struct fetcher *f, const struct fetch_request *q, struct fetch_answer *a, struct err *err);

/* The same, asked again with growing pauses while that may help, and the body of a 2xx in memory (*ret owned by the
 * caller, zero-terminated, at most max bytes). */
enum image_code fetch_document(struct fetcher *f, const struct fetch_request *q, size_t max, struct fetch_answer *a,
                               uint8_t **ret, size_t *ret_n, struct err *err);
/* The pause before attempt (1, 2, …), in ms, a server's wish included. */
int64_t fetch_pause_ms(unsigned attempt, uint64_t retry_after_s);
enum { FETCH_ATTEMPTS = 5 };

/* Percent-encodes all but unreserved characters (RFC 3986) into w. */
void put_url_encoded(struct writer *w, struct bytes b);
/* True for localhost, 127.0.0.0/8 and [::1], each with or without a port. */
bool host_is_loopback(struct bytes host);

#endif
