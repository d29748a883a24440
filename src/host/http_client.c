/* A libcurl handle per request: nothing is kept between two, no cookie, no connection. */
#include "host/http_client.h"

#include "base/text.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADERS_TOTAL_MAX = 64 << 10 };

struct transfer {
	const struct http_request *q;
	struct http_answer answer;
	size_t cap, header_bytes;
	bool too_large, pull_failed;
	char error[CURL_ERROR_SIZE];
};

int http_base_parse(const char *text, struct http_base *ret, struct err *err)
{
	static const char unix_prefix[] = "unix:";
	struct http_base b = { 0 };
	bool is_unix = strncmp(text, unix_prefix, sizeof unix_prefix - 1) == 0;
	if (is_unix) {
		if (!bytes_to_cstr(bytes_str(text + sizeof unix_prefix - 1), b.unix_socket, sizeof b.unix_socket) || b.unix_socket[0] == '\0')
			return fail(err, 0, "\"%.80s\": a socket path has 1 to 107 bytes", text);
		text = "http://localhost";
	}
	bool known = strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
	size_t n = strlen(text);
	while (n > 0 && text[n - 1] == '/')
		n--;
	if (!known || n < 8)
		return fail(err, 0, "\"%.80s\" is no URL; give http://HOST:PORT, https://HOST or unix:PATH", text);
	if (n >= sizeof b.prefix || strcspn(text, "?#") < n)
		return fail(err, 0, "\"%.80s\": the URL must be short and without ? and #", text);
	memcpy(b.prefix, text, n);
	*ret = b;
	return 0;
}

/* --- callbacks ------------------------------------------------------------------------------------- */

static size_t on_body(char *p, size_t one, size_t n, void *arg)
{
	struct transfer *t = arg;
	(void)one;
	if (n > t->q->answer_max - t->answer.body_n) {
		t->too_large = true;
		return 0;
	}
	if (t->answer.body_n + n > t->cap) {
		size_t cap = (t->answer.body_n + n) * 2;
		uint8_t *larger = realloc(t->answer.body, cap);
		if (larger == NULL)
			return 0;
		t->answer.body = larger;
		t->cap = cap;
	}
	memcpy(t->answer.body + t->answer.body_n, p, n);
	t->answer.body_n += n;
	return n;
}

static size_t on_header(char *p, size_t one, size_t n, void *arg)
{
	static const char name[] = "x-request-id:";
	struct transfer *t = arg;
	(void)one;
	t->header_bytes += n;
	if (t->header_bytes > HEADERS_TOTAL_MAX) {
		t->too_large = true;
		return 0;
	}
	if (n > sizeof name && strncasecmp(p, name, sizeof name - 1) == 0) {
		struct bytes v = bytes_of(p + sizeof name - 1, n - (sizeof name - 1));
		while (v.n > 0 && (v.p[0] == ' ' || v.p[0] == '\t'))
			v = bytes_of(v.p + 1, v.n - 1);
		while (v.n > 0 && (v.p[v.n - 1] == '\r' || v.p[v.n - 1] == '\n' || v.p[v.n - 1] == ' '))
			v.n--;
		text_escape(v, t->answer.request_id, sizeof t->answer.request_id);
	}
	return n;
}

static size_t on_pull(char *to, size_t one, size_t cap, void *arg)
{
	struct transfer *t = arg;
	(void)one;
	long n = t->q->pull(t->q->arg, (uint8_t *)to, cap);
	if (n >= 0)
		return (size_t)n;
	t->pull_failed = true;
	return CURL_READFUNC_ABORT;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	struct transfer *t = arg;
	(void)down_total;
	(void)down;
	(void)up_total;
	t->q->progress(t->q->arg, up < 0 ? 0 : (uint64_t)up);
	return 0;
}

/* --- the request ------------------------------------------------------------------------------------ */

static bool set_options(CURL *c, struct transfer *t, const char *url, struct curl_slist *headers)
{
	const struct http_request *q = t->q;
	bool ok = curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->error) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_USERAGENT, "tee-rex/" TEEREX_VERSION) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, q->connect_ms) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, q->total_ms) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_WRITEDATA, t) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
		curl_easy_setopt(c, CURLOPT_HEADERDATA, t) == CURLE_OK;
	if (ok && q->base->unix_socket[0] != '\0')
		ok = curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, q->base->unix_socket) == CURLE_OK;
	if (ok && q->pull != NULL)
		ok = curl_easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK &&
			curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_size) == CURLE_OK &&
			curl_easy_setopt(c, CURLOPT_READFUNCTION, on_pull) == CURLE_OK &&
			curl_easy_setopt(c, CURLOPT_READDATA, t) == CURLE_OK &&
			curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, 128L << 10) == CURLE_OK;
	if (ok && q->method != NULL)
		ok = curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method) == CURLE_OK;
	if (ok && q->progress != NULL)
		ok = curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
			curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
			curl_easy_setopt(c, CURLOPT_XFERINFODATA, t) == CURLE_OK;
	return ok;
}

static struct curl_slist *header_list(const struct http_request *q, bool *ret_ok)
{
	struct curl_slist *list = NULL;
	*ret_ok = true;
	for (size_t i = 0; i < HTTP_HEADERS_MAX && q->headers[i] != NULL; i++) {
		struct curl_slist *longer = curl_slist_append(list, q->headers[i]);
		*ret_ok = *ret_ok && longer != NULL;
		list = longer != NULL ? longer : list;
	}
	return list;
}

static int explain(CURL *c, CURLcode code, struct transfer *t, const char *url, struct err *err)
{
	char shown[300];
	text_escape(bytes_str(t->error[0] != '\0' ? t->error : curl_easy_strerror(code)), shown, sizeof shown);
	if (t->pull_failed)
		return -ECANCELED;
	if (t->too_large)
		return fail(err, EMSGSIZE, "the answer of %.150s is larger than it may be", url);
	long os_error = 0;
	curl_easy_getinfo(c, CURLINFO_OS_ERRNO, &os_error);
	if (t->q->base->unix_socket[0] != '\0' && code == CURLE_COULDNT_CONNECT)
		fail(err, os_error > 0 ? (int)os_error : 0, "connect to %s", t->q->base->unix_socket);
	else
		fail(err, 0, "%.150s: %s", url, shown);
	return code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : code == CURLE_COULDNT_CONNECT ? -ECONNREFUSED :
		os_error > 0 ? -(int)os_error : -EIO;
}

int http_perform(const struct http_request *q, struct http_answer *ret, struct err *err)
{
	static bool initialised;
	struct transfer t = { .q = q };
	char url[HTTP_URL_MAX + 256];
	if (!initialised && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return fail(err, ENOMEM, "start libcurl");
	initialised = true;
	if (snprintf(url, sizeof url, "%s%s", q->base->prefix, q->path) >= (int)sizeof url)
		return fail(err, ENAMETOOLONG, "make the URL");
	bool ok;
	struct curl_slist *headers = header_list(q, &ok);
	CURL *c = curl_easy_init();
	int result;
	if (c == NULL || !ok || !set_options(c, &t, url, headers)) {
		result = fail(err, ENOMEM, "prepare the request to %.150s", url);
	} else {
		CURLcode code = curl_easy_perform(c);
		result = code == CURLE_OK ? 0 : explain(c, code, &t, url, err);
		curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &t.answer.status);
	}
	curl_easy_cleanup(c);
	curl_slist_free_all(headers);
	if (result == 0)
		*ret = t.answer;
	else
		free(t.answer.body);
	return result;
}

void http_answer_free(struct http_answer *a)
{
	free(a->body);
	a->body = NULL;
	a->body_n = 0;
}
