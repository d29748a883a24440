/* Everything that is decided from a request's head alone: its id, who it is from, which route it names. The
 * target is judged as it was sent, not unescaped, so no spelling of a path reaches a route but the one. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <stdio.h>
#include <strings.h>
#include <sys/random.h>

/* --- header fields ---------------------------------------------------------------------------------- */

struct head {
	unsigned versions;
	bool bad_version;
	struct forwarded forwarded;
};

static bool id_valid(struct bytes id)
{
	if (id.n == 0 || id.n > FRAME_ID_MAX)
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (id.p[i] <= ' ' || id.p[i] > '~')
			return false;
	return true;
}

/* True when an Accept field (RFC 9110 section 12.5.1) names application/problem+json itself, with a weight
 * that is not zero: a client that takes anything gets what it always got. */
static bool accepts_problem(struct bytes value)
{
	static const char type[] = "application/problem+json";
	char text[1024];
	if (!bytes_to_cstr(value, text, sizeof text))
		return false;            /* nobody's Accept is that long */
	for (const char *p = text;;) {
		p += strspn(p, " \t,");
		size_t n = strcspn(p, ",");
		if (n == 0)
			return false;
		if (n >= sizeof type - 1 && strncasecmp(p, type, sizeof type - 1) == 0) {
			const char *q = p + sizeof type - 1, *end = p + n;
			q += strspn(q, " \t");
			bool whole = q == end || *q == ';', zero = false;
			for (; q < end && *q == ';'; q += strcspn(q, ";,")) {
				q += 1 + strspn(q + 1, " \t");
				zero = zero || (strncasecmp(q, "q=0", 3) == 0 && strspn(q + 3, ".0") == strcspn(q + 3, " \t;,"));
			}
			if (whole)
				return !zero;
		}
		p += n;
	}
}

/* "respond-async" and "wait=SECONDS" of RFC 7240; what is not understood is ignored, as it says. */
static void read_preferences(struct request *r, struct bytes value)
{
	for (size_t at = 0, n; at < value.n; at += n + 1) {
		for (n = 0; at + n < value.n && value.p[at + n] != ','; n++)
			;
		struct bytes p = bytes_of(value.p + at, n);
		while (p.n > 0 && (p.p[0] == ' ' || p.p[0] == '\t'))
			p = bytes_of(p.p + 1, p.n - 1);
		while (p.n > 0 && (p.p[p.n - 1] == ' ' || p.p[p.n - 1] == '\t'))
			p.n--;
		uint64_t s;
		if (http1_equal(p, "respond-async"))
			r->respond_async = true;
		else if (p.n > 5 && strncasecmp((const char *)p.p, "wait=", 5) == 0 && text_to_u64(bytes_of(p.p + 5, p.n - 5), UINT32_MAX, &s))
			r->prefer_wait_s = s < JOB_WAIT_MAX_S ? s : JOB_WAIT_MAX_S;
	}
}

static void read_field(struct request *r, const struct http1_field *f, struct head *h)
{
	switch (f->name.n) {             /* most fields are none of ours, and most of those differ in length */
	case 6:
		if (http1_equal(f->name, "Accept"))
			r->accepts_problem = r->accepts_problem || accepts_problem(f->value);
		else if (http1_equal(f->name, "Prefer"))
			read_preferences(r, f->value);
		break;
	case 8:
		if (http1_equal(f->name, "X-Sha256"))
			r->sha256_given = hex_decode(f->value, r->sha256, sizeof r->sha256);
		break;
	case 12:
		if (http1_equal(f->name, "X-Request-Id") && r->id[0] == '\0' && id_valid(f->value))
			bytes_to_cstr(f->value, r->id, sizeof r->id);
		break;
	case 15:
		if (http1_equal(f->name, "X-Forwarded-For"))
			forwarded_add(&h->forwarded, f->value);
		if (!http1_equal(f->name, "X-Aztec-Version"))
			break;
		h->versions++;
		if (version_name_valid(f->value))
			bytes_to_cstr(f->value, r->version, sizeof r->version);
		else
			h->bad_version = true;
		break;
	}
}

void random_bytes(void *p, size_t n)
{
	while (getrandom(p, n, 0) != (ssize_t)n)
		;                        /* only a signal during early boot can make it short */
}

static void make_id(char id[FRAME_ID_MAX + 1])
{
	static uint8_t pool[4096];       /* one system call for many */
	static size_t left;
	if (left == 0)
		random_bytes(pool, left = sizeof pool);
	left -= 16;
	hex_encode(bytes_of(pool + left, 16), id);
}

static void refuse_head(struct request *r, enum http1_result why)
{
	switch (why) {
	case HTTP1_BAD_VERSION:
		request_fail(r, 505, OUTCOME_BAD_REQUEST, "HTTP version not supported");
		break;
	case HTTP1_BAD_LENGTH:
		request_fail(r, 0, OUTCOME_BAD_REQUEST, "Malformed request: its length is ambiguous");
		break;
	case HTTP1_TOO_LONG:
		request_fail(r, 431, OUTCOME_BAD_REQUEST, "Request headers too large");
		break;
	case HTTP1_SLOW:
		request_fail(r, 408, OUTCOME_TIMED_OUT, "The request headers did not arrive in time");
		break;
	default:
		request_fail(r, 0, OUTCOME_BAD_REQUEST, why == HTTP1_BAD_FIELD ? "Malformed request headers" : "Malformed request");
		break;
	}
}

/* False when r was answered. */
static bool read_fields(struct request *r, const struct http1_head *head, enum http1_result why)
{
	struct head h;                   /* whose lines need no zeros */
	h.versions = 0;
	h.bad_version = false;
	h.forwarded.n = 0;
	for (size_t i = 0; i < head->field_n; i++)
		read_field(r, &head->field[i], &h);
	r->from = address_forwarded(&r->from, &h.forwarded, &r->g->trusted_proxies);
	if (r->id[0] == '\0')
		make_id(r->id);
	r->content_length = head->length;
	if (why != HTTP1_OK)
		refuse_head(r, why);
	else if (h.versions > 1 || h.bad_version)
		request_fail(r, 0, OUTCOME_BAD_REQUEST, "Invalid x-aztec-version");
	else
		return true;
	return false;
}

/* --- query strings ------------------------------------------------------------------------------------- */

/* Reads ?nonce=HEX. Other names are none of our business; a second nonce is. */
static bool read_nonce(struct request *r, const char *query)
{
	static const char name[] = "nonce=";
	while (query != NULL && *query != '\0') {
		size_t n = strcspn(query, "&");
		if (strncmp(query, name, sizeof name - 1) == 0) {
			struct bytes hex = bytes_of(query + sizeof name - 1, n - (sizeof name - 1));
			size_t size = hex.n / 2;
			if (r->nonce_n != 0 || size < FRAME_NONCE_MIN || size > FRAME_NONCE_MAX || !hex_decode(hex, r->nonce, size))
				return false;
			r->nonce_n = size;
		} else if (n >= 5 && strncmp(query, "nonce", 5) == 0 && (n == 5 || query[5] == '=')) {
			return false;
		}
		query += n + (query[n] == '&');
	}
	return true;
}

/* The path of a target: what is before '?', without the "http://host" that a proxy may send. */
static const char *split_target(const char *target, const char **ret_query)
{
	const char *path = target;
	if (path[0] != '/' && strncasecmp(path, "http://", 7) == 0) {
		path += 7 + strcspn(path + 7, "/?");
		if (*path != '/')
			path = "/";
	}
	const char *mark = strchr(path, '?');
	*ret_query = mark == NULL ? "" : mark + 1;
	return path;
}

/* --- routes --------------------------------------------------------------------------------------------- */

static void get_attestation(struct request *r, const char *query)
{
	if (!read_nonce(r, query))
		request_fail(r, 0, OUTCOME_BAD_REQUEST, "Invalid nonce: expected one of 16 to 64 bytes in hex");
	else if (r->nonce_n == 0 && r->g->o->attestation_cache_ms > 0)
		attestation_ask(r);
	else
		query_start(r, QUERY_ATTESTATION);
}

static void get_key(struct request *r, const char *query)
{
	(void)query;
	query_start(r, QUERY_KEY);
}

static void get_health(struct request *r, const char *query)
{
	(void)query;
	query_start(r, QUERY_HEALTH);
}

static void get_metrics(struct request *r, const char *query)
{
	(void)query;
	query_start(r, QUERY_METRICS);
}

static void post_prove(struct request *r, const char *query)
{
	(void)query;
	prove_start(r);
}

/* ?wait=SECONDS: how long the answer may be held back for news. False: it is no number. */
static bool read_wait(const char *query, uint64_t *ret_s)
{
	*ret_s = 0;
	for (; *query != '\0'; query += strcspn(query, "&"), query += *query == '&') {
		if (strncmp(query, "wait=", 5) != 0)
			continue;
		if (!text_to_u64(bytes_of(query + 5, strcspn(query + 5, "&")), UINT32_MAX, ret_s))
			return false;
		*ret_s = *ret_s < JOB_WAIT_MAX_S ? *ret_s : JOB_WAIT_MAX_S;
	}
	return true;
}

static const char jobs_path[] = "/jobs/";

static struct bytes job_id(const struct request *r)
{
	const char *query, *id = split_target(r->target, &query) + sizeof jobs_path - 1;
	return bytes_of(id, strcspn(id, "?"));
}

static void get_job(struct request *r, const char *query)
{
	uint64_t wait_s;
	if (read_wait(query, &wait_s))
		job_show(r, job_id(r), wait_s);
	else
		request_fail(r, 0, OUTCOME_BAD_REQUEST, "Invalid wait: expected seconds");
}

static void delete_job(struct request *r, const char *query)
{
	(void)query;
	job_leave(r, job_id(r));
}

/* --- the operator's ---------------------------------------------------------------------------------------- */

static const char versions_path[] = "/versions/";

static void get_versions(struct request *r, const char *query)
{
	(void)query;
	query_start(r, QUERY_VERSIONS);
}

static void post_version(struct request *r, const char *query)
{
	const char *name = split_target(r->target, &query) + sizeof versions_path - 1;
	upload_start(r, bytes_of(name, strcspn(name, "?")));
}

static void get_jobs(struct request *r, const char *query)
{
	(void)query;
	operator_jobs(r);
}

static void cancel_job(struct request *r, const char *query)
{
	(void)query;
	operator_cancel(r, job_id(r));
}

static void post_drain(struct request *r, const char *query)
{
	(void)query;
	gateway_drain(r->g);
	answer_nothing(&r->answer);
	request_answer(r);
}

enum { API = 1 << FRONT_API, METRICS = 1 << FRONT_METRICS, OPERATOR = 1 << FRONT_OPERATOR };

/* A path that ends in '/' is followed by a name. */
static const struct route {
	unsigned fronts;
	const char *path, *method, *allow;
	void (*start)(struct request *r, const char *query);
	enum request_route id;
} routes[] = {
	{ API, "/attestation", "GET", "GET, HEAD, OPTIONS", get_attestation, ROUTE_ATTESTATION },
	{ API, "/prove", "POST", "POST, OPTIONS", post_prove, ROUTE_PROVE },
	{ API, "/encryption-public-key", "GET", "GET, HEAD, OPTIONS", get_key, ROUTE_KEY },
	{ API | OPERATOR, "/health", "GET", "GET, HEAD, OPTIONS", get_health, ROUTE_HEALTH },
	{ METRICS | OPERATOR, "/metrics", "GET", "GET, HEAD, OPTIONS", get_metrics, ROUTE_METRICS },
	{ API, jobs_path, "GET", "GET, HEAD, DELETE, OPTIONS", get_job, ROUTE_JOBS },
	{ API, jobs_path, "DELETE", "GET, HEAD, DELETE, OPTIONS", delete_job, ROUTE_JOBS },
	{ OPERATOR, "/jobs", "GET", "GET, HEAD, OPTIONS", get_jobs, ROUTE_JOBS },
	{ OPERATOR, jobs_path, "DELETE", "DELETE, OPTIONS", cancel_job, ROUTE_JOBS },
	{ OPERATOR, "/versions", "GET", "GET, HEAD, OPTIONS", get_versions, ROUTE_VERSIONS },
	{ OPERATOR, versions_path, "POST", "POST, OPTIONS", post_version, ROUTE_VERSIONS },
	{ OPERATOR, "/drain", "POST", "POST, OPTIONS", post_drain, ROUTE_DRAIN },
};

static const char *known_method(struct bytes method)
{
	static const char *const known[] = { "GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH" };
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (bytes_equal(method, bytes_str(known[i])))
			return known[i];
	return "other";
}

static bool method_fits(const struct route *route, const char *method)
{
	return strcmp(method, route->method) == 0 ||
	       (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* The route for that path, with that method if there is one. */
static const struct route *find_route(struct bytes path, const char *method, enum front_kind front)
{
	const size_t n = path.n;
	const struct route *found = NULL;
	for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
		const struct route *x = &routes[i];
		size_t m = strlen(x->path);
		bool same = x->path[m - 1] == '/' ? n > m : n == m;
		if ((x->fronts & 1u << front) == 0 || !same || memcmp(x->path, path.p, m) != 0)
			continue;
		found = x;
		if (method_fits(x, method))
			break;
	}
	return found;
}

void request_begin(struct request *r, const struct http1_head *h, enum http1_result why)
{
	const char *query;
	r->method = known_method(h->method);
	size_t shown = h->target.n < GATEWAY_TARGET_MAX ? h->target.n : (size_t)GATEWAY_TARGET_MAX;
	if (shown > 0)
		memcpy(r->target, h->target.p, shown);
	if (!read_fields(r, h, why))
		return;
	if (h->target.n > GATEWAY_TARGET_MAX) {
		request_fail(r, 414, OUTCOME_BAD_REQUEST, "Request target too long");
		return;
	}
	if (strcmp(r->method, "OPTIONS") == 0) {
		answer_nothing(&r->answer);
		request_answer(r);
		return;
	}
	const char *path = split_target(r->target, &query);
	size_t n = *query != '\0' ? (size_t)(query - path) - 1 : strcspn(path, "?");
	const struct route *route = find_route(bytes_of(path, n), r->method, r->front->kind);
	if (route == NULL) {
		request_fail(r, 404, OUTCOME_BAD_REQUEST, "Not found");
		return;
	}
	r->route = route->id;
	if (!method_fits(route, r->method)) {
		answer_error(&r->answer, 405, OUTCOME_BAD_REQUEST, "Method not allowed", r->id, NULL);
		r->answer.allow = route->allow;
		request_answer(r);
		return;
	}
	if (r->content_length != 0 && strcmp(route->method, "POST") != 0) {
		request_fail(r, 0, OUTCOME_BAD_REQUEST, "This request takes no body");
		return;
	}
	route->start(r, query);
}
