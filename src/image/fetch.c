/* One libcurl handle, reused, so connections are kept. Everything an answer says is cut to fixed sizes; its body goes to
 * the caller piece by piece. Timeouts: a deadline for connecting, and no transfer may stay below a kilobyte a second for
 * a minute. */
#include "image/fetch.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

enum { REDIRECTS_MAX = 5, CONNECT_MS = 15000, SLOW_BYTES = 1000, SLOW_SECONDS = 60, RETRY_AFTER_MAX_S = 30,
       DOCUMENT_START = 16 << 10, ERROR_BODY_MAX = 256 << 10, SHOWN = 200 };

struct fetcher {
	CURL *easy;
	const struct fetch_request *request;
	struct fetch_answer *answer;
	enum image_code body_code;           /* of on_body */
	struct err *err;
	size_t text_n;                       /* kept of the body of an answer that is no success */
	size_t text_seen;
	char curl_text[CURL_ERROR_SIZE];
};

enum image_code fetcher_open(const char *ca_file, struct fetcher **ret, struct err *err)
{
	struct fetcher *f = calloc(1, sizeof *f);
	if (f == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || (f->easy = curl_easy_init()) == NULL) {
		free(f);
		return image_fail(err, IMAGE_IO, ENOMEM, "start the HTTP client");
	}
	if (ca_file != NULL)
		curl_easy_setopt(f->easy, CURLOPT_CAINFO, ca_file);
	*ret = f;
	return IMAGE_OK;
}

void fetcher_close(struct fetcher *f)
{
	if (f == NULL)
		return;
	curl_easy_cleanup(f->easy);
	free(f);
}

/* --- origins -------------------------------------------------------------------------------------------- */

bool host_is_loopback(struct bytes host)
{
	char name[64];
	struct in_addr v4;
	if (host.n > 0 && host.p[0] == '[')
		return host.n >= 5 && memcmp(host.p, "[::1]", 5) == 0 && (host.n == 5 || host.p[5] == ':');
	const uint8_t *colon = host.n > 0 ? memchr(host.p, ':', host.n) : NULL;
	if (colon != NULL)
		host.n = (size_t)(colon - host.p);
	if (!bytes_to_cstr(host, name, sizeof name))
		return false;
	return strcasecmp(name, "localhost") == 0 || (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

struct origin { char *scheme, *host, *port; };

static void origin_free(struct origin *o)
{
	curl_free(o->scheme);
	curl_free(o->host);
	curl_free(o->port);
}

static bool origin_of(const char *url, struct origin *ret)
{
	struct origin o = { NULL, NULL, NULL };
	char *user = NULL;
	CURLU *u = curl_url();
	bool ok = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
		curl_url_get(u, CURLUPART_SCHEME, &o.scheme, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_HOST, &o.host, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_PORT, &o.port, CURLU_DEFAULT_PORT) == CURLUE_OK;
	curl_free(user);
	curl_url_cleanup(u);
	if (!ok)
		origin_free(&o);
	else
		*ret = o;
	return ok;
}

/* Whether this URL may be asked at all. */
static enum image_code allowed(const char *url, enum fetch_plain plain, struct origin *ret, struct err *err)
{
	char shown[SHOWN];
	text_escape(bytes_str(url), shown, sizeof shown);
	if (strlen(url) > FETCH_URL_MAX || !origin_of(url, ret))
		return image_fail(err, IMAGE_BAD_REDIRECT, 0, "%s is no address that is followed", shown);
	bool https = strcasecmp(ret->scheme, "https") == 0, http = strcasecmp(ret->scheme, "http") == 0;
	if (https || (http && (plain == FETCH_METADATA || (plain == FETCH_LOOPBACK && host_is_loopback(bytes_str(ret->host))))))
		return IMAGE_OK;
	origin_free(ret);
	return image_fail(err, IMAGE_BAD_REDIRECT, 0, "%s is not https; plain http is for registries on this machine only "
	                  "(--plain-http)", shown);
}

static bool same_origin(const struct origin *a, const struct origin *b)
{
	return strcasecmp(a->scheme, b->scheme) == 0 && strcasecmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

/* --- answers -------------------------------------------------------------------------------------------- */

/* The value of header `name` in line, without surrounding space; false when it is another header. */
static bool header_is(struct bytes line, const char *name, struct bytes *ret)
{
	size_t n = strlen(name);
	if (line.n <= n || strncasecmp((const char *)line.p, name, n) != 0 || line.p[n] != ':')
		return false;
	size_t at = n + 1, end = line.n;
	while (at < end && (line.p[at] == ' ' || line.p[at] == '\t'))
		at++;
	while (end > at && (line.p[end - 1] == '\r' || line.p[end - 1] == '\n' || line.p[end - 1] == ' '))
		end--;
	*ret = bytes_slice(line, at, end - at);
	return true;
}

static size_t on_header(char *text, size_t size, size_t count, void *user)
{
	struct fetch_answer *a = ((struct fetcher *)user)->answer;
	struct bytes line = bytes_of(text, size * count), v;
	uint64_t number;
	if (line.n >= 5 && memcmp(line.p, "HTTP/", 5) == 0) {
		/* a new answer: an interim one, or that of a proxy, came before */
		a->challenge_count = 0;
		a->content_type[0] = '\0';
		a->range_start = UINT64_MAX;
		a->retry_after_s = 0;
	} else if (header_is(line, "www-authenticate", &v)) {
		if (a->challenge_count < FETCH_CHALLENGES_MAX && bytes_to_cstr(v, a->challenge[a->challenge_count], FETCH_TEXT_MAX))
			a->challenge_count++;
	} else if (header_is(line, "content-type", &v)) {
		if (!bytes_to_cstr(v, a->content_type, sizeof a->content_type))
			a->content_type[0] = '\0';
	} else if (header_is(line, "content-range", &v)) {
		size_t n = 6;
		while (n < v.n && v.p[n] >= '0' && v.p[n] <= '9')
			n++;
		if (v.n > 6 && memcmp(v.p, "bytes ", 6) == 0 && text_to_u64(bytes_slice(v, 6, n - 6), UINT64_MAX, &number))
			a->range_start = number;
	} else if (header_is(line, "retry-after", &v)) {
		if (text_to_u64(v, UINT32_MAX, &number))
			a->retry_after_s = number;
	}
	return size * count;
}

static size_t on_body(char *p, size_t size, size_t count, void *user)
{
	struct fetcher *f = user;
	size_t n = size * count;
	long status = 0;
	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	f->answer->status = status;
	if (status >= 200 && status < 300) {
		f->body_code = f->request->on_body != NULL ? f->request->on_body(f->request->user, bytes_of(p, n), f->err) : IMAGE_OK;
		return f->body_code == IMAGE_OK ? n : 0;
	}
	size_t room = sizeof f->answer->text - 1 - f->text_n, piece = n < room ? n : room;
	memcpy(f->answer->text + f->text_n, p, piece);
	f->text_n += piece;
	f->answer->text[f->text_n] = '\0';
	f->text_seen += n;
	return f->text_seen <= ERROR_BODY_MAX ? n : 0;
}

static bool worth_a_retry(CURLcode r)
{
	switch (r) {
	case CURLE_COULDNT_RESOLVE_HOST: case CURLE_COULDNT_CONNECT: case CURLE_PARTIAL_FILE: case CURLE_OPERATION_TIMEDOUT:
	case CURLE_GOT_NOTHING: case CURLE_SEND_ERROR: case CURLE_RECV_ERROR: case CURLE_HTTP2: case CURLE_HTTP2_STREAM:
	case CURLE_SSL_CONNECT_ERROR:
		return true;
	default:
		return false;
	}
}

/* --- requests ------------------------------------------------------------------------------------------- */

static bool set_options(struct fetcher *f, const char *url, const struct curl_slist *headers, bool no_proxy)
{
	const struct fetch_request *q = f->request;
	CURL *e = f->easy;
	char range[40];
	long connect_ms = (long)(q->connect_ms > 0 ? q->connect_ms : CONNECT_MS);
	snprintf(range, sizeof range, "%llu-", (unsigned long long)q->range_from);
	bool ok = curl_easy_setopt(e, CURLOPT_URL, url) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, q->plain == FETCH_TLS ? "https" : "http,https") == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_RANGE, q->range_from > 0 ? range : NULL) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_NOPROXY, no_proxy ? "*" : NULL) == CURLE_OK;
	curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, NULL);
	if (strcmp(q->method, "GET") != 0) {
		curl_easy_setopt(e, CURLOPT_POST, 1L);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, q->body.n > 0 ? (const char *)q->body.p : "");
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.n);
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
	}
	curl_easy_setopt(e, CURLOPT_USERAGENT, "tee-rex/" TEEREX_VERSION);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)SLOW_SECONDS);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->curl_text);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, f);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, f);
	return ok;
}

static struct curl_slist *header_list(const struct fetch_request *q, bool authorize)
{
	char line[80 << 10];
	struct curl_slist *list = NULL;
	for (size_t i = 0; i < FETCH_HEADERS_MAX && q->header[i] != NULL; i++)
		list = curl_slist_append(list, q->header[i]);
	/* curl would ask before sending a body */
	list = curl_slist_append(list, "Expect:");
	int n = authorize && q->authorization != NULL ? snprintf(line, sizeof line, "Authorization: %s", q->authorization) : 0;
	if (n > 0 && (size_t)n < sizeof line)
		list = curl_slist_append(list, line);
	return list;
}

/* One request, one answer. */
static enum image_code ask(struct fetcher *f, const char *url, bool authorize, bool no_proxy, struct err *err)
{
	struct curl_slist *headers = header_list(f->request, authorize);
	char shown[SHOWN];
	*f->answer = (struct fetch_answer){ .range_start = UINT64_MAX };
	f->body_code = IMAGE_OK;
	f->text_n = f->text_seen = 0;
	f->curl_text[0] = '\0';
	CURLcode r = set_options(f, url, headers, no_proxy) ? curl_easy_perform(f->easy) : CURLE_FAILED_INIT;
	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &f->answer->status);
	curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	long s = f->answer->status;
	if (f->body_code != IMAGE_OK)
		return f->body_code;
	/* an endless error page was cut on purpose */
	if (r == CURLE_OK || (r == CURLE_WRITE_ERROR && s >= 300)) {
		f->answer->transient = s == 408 || s == 429 || s >= 500;
		return IMAGE_OK;
	}
	f->answer->transient = worth_a_retry(r);
	return image_fail(err, IMAGE_NETWORK, 0, "%s: %s", text_escape(bytes_str(url), shown, sizeof shown),
	                  f->curl_text[0] != '\0' ? f->curl_text : curl_easy_strerror(r));
}

static bool is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

enum image_code fetch(struct fetcher *f, const struct fetch_request *q, struct fetch_answer *a, struct err *err)
{
	struct origin first, here;
	enum image_code c = allowed(q->url, q->plain, &first, err);
	char *url = NULL;
	bool authorize = true;
	*a = (struct fetch_answer){ .status = 0 };
	if (c != IMAGE_OK)
		return c;
	f->request = q;
	f->answer = a;
	f->err = err;
	for (int hops = 0; ; hops++) {
		bool no_proxy = q->plain == FETCH_METADATA ||
			(hops == 0 ? host_is_loopback(bytes_str(first.host)) : host_is_loopback(bytes_str(here.host)));
		if (hops > 0)
			origin_free(&here);
		c = ask(f, url != NULL ? url : q->url, authorize, no_proxy, err);
		a->elsewhere = !authorize;
		const char *next = NULL;
		if (c != IMAGE_OK || !is_redirect(a->status) || strcmp(q->method, "GET") != 0 || q->plain == FETCH_METADATA)
			break;
		curl_easy_getinfo(f->easy, CURLINFO_REDIRECT_URL, &next);
		if (next == NULL || hops == REDIRECTS_MAX) {
			c = image_fail(err, IMAGE_BAD_REDIRECT, 0, "the server redirects %s", next == NULL ? "to nowhere" : "too often");
			break;
		}
		char *copy = strdup(next);
		free(url);
		url = copy;
		if (url == NULL) {
			c = image_fail(err, IMAGE_IO, ENOMEM, "follow a redirect");
			break;
		}
		/* from https only to https: plain http was allowed for this machine, not for wherever it sends us */
		bool tls = strcasecmp(first.scheme, "https") == 0;
		if ((c = allowed(url, tls ? FETCH_TLS : q->plain, &here, err)) != IMAGE_OK) {
			image_fail_in(err, c, "redirected");
			break;
		}
		/* once it left, it does not come back */
		authorize = authorize && same_origin(&first, &here);
	}
	origin_free(&first);
	free(url);
	f->request = NULL;
	return c;
}

/* --- documents ------------------------------------------------------------------------------------------ */

int64_t fetch_pause_ms(unsigned attempt, uint64_t retry_after_s)
{
	int64_t own = INT64_C(125) << (attempt < 7 ? attempt : 7);
	int64_t wish = (int64_t)(retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S) * 1000;
	return wish > own ? wish : own;
}

struct collected { uint8_t *p; size_t n, cap, max; };

static enum image_code collect(void *user, struct bytes piece, struct err *err)
{
	struct collected *d = user;
	if (piece.n > d->max - d->n)
		return image_fail(err, IMAGE_TOO_LARGE, 0, "the answer is larger than %zu bytes", d->max);
	while (piece.n + 1 > d->cap - d->n) {
		size_t cap = d->cap == 0 ? DOCUMENT_START : d->cap * 2;
		uint8_t *grown = realloc(d->p, cap);
		if (grown == NULL)
			return image_fail(err, IMAGE_IO, ENOMEM, "hold an answer");
		d->p = grown;
		d->cap = cap;
	}
	if (piece.n > 0)
		memcpy(d->p + d->n, piece.p, piece.n);
	d->n += piece.n;
	d->p[d->n] = '\0';
	return IMAGE_OK;
}

enum image_code fetch_document(struct fetcher *f, const struct fetch_request *q, size_t max, struct fetch_answer *a,
                               uint8_t **ret, size_t *ret_n, struct err *err)
{
	struct fetch_request with_body = *q;
	struct collected d = { .max = max };
	enum image_code c = IMAGE_OK;
	with_body.on_body = collect;
	with_body.user = &d;
	for (unsigned attempt = 1; ; attempt++) {
		d.n = 0;
		c = fetch(f, &with_body, a, err);
		if (!a->transient || attempt == (q->attempts > 0 ? q->attempts : FETCH_ATTEMPTS))
			break;
		int64_t ms = fetch_pause_ms(attempt, a->retry_after_s);
		nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
	}
	if (c == IMAGE_OK && d.p == NULL)
		c = collect(&d, BYTES_NONE, err);
	if (c != IMAGE_OK) {
		free(d.p);
		return c;
	}
	*ret = d.p;
	*ret_n = d.n;
	return IMAGE_OK;
}

void put_url_encoded(struct writer *w, struct bytes b)
{
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i];
		if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c != '\0' && strchr("-._~", c) != NULL))
			put_u8(w, c);
		else
			put_fmt(w, "%%%02X", c);
	}
}
