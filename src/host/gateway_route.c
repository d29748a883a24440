/* Everything that is decided from a request's head alone: its id, whether its length is beyond doubt,
 * which route it names. The target is judged as it was sent, not as libmicrohttpd unescapes it, so no
 * spelling of a path reaches a route but the one. A length that two programs could read differently
 * (RFC 9112 section 6.3) is refused, because libmicrohttpd takes the first of several and prefers
 * Transfer-Encoding silently. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <errno.h>
#include <microhttpd.h>
#include <strings.h>
#include <sys/random.h>

/* --- header fields ---------------------------------------------------------------------------------- */

struct head {
	struct request *r;
	unsigned lengths, encodings, versions, ids;
	bool chunked;                    /* the one Transfer-Encoding is exactly that */
	bool bad_name;
	bool bad_length, bad_version;
	struct forwarded forwarded;
};

static bool token_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool token(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++)
		if (!token_char((uint8_t)*s))
			return false;
	return true;
}

static bool id_valid(const char *id)
{
	size_t n = strlen(id);
	if (n == 0 || n > FRAME_ID_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (id[i] <= ' ' || id[i] > '~')
			return false;
	return true;
}

/* A field that libmicrohttpd 0.9.75 read across a folded line: it puts the second line behind the name. */
static bool folded(const char *name)
{
	static const char *const lengths[] = { "Content-Length", "Transfer-Encoding" };
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		size_t n = strlen(lengths[i]);
		if (strncasecmp(name, lengths[i], n) == 0 && name[n] != '\0')
			return true;
	}
	return false;
}

/* True when an Accept field (RFC 9110 section 12.5.1) names application/problem+json itself, with a weight
 * that is not zero: a client that takes anything gets what it always got. */
static bool accepts_problem(const char *value)
{
	static const char type[] = "application/problem+json";
	for (;;) {
		value += strspn(value, " \t,");
		size_t n = strcspn(value, ",");
		if (n == 0)
			return false;
		if (n >= sizeof type - 1 && strncasecmp(value, type, sizeof type - 1) == 0) {
			const char *p = value + sizeof type - 1, *end = value + n;
			p += strspn(p, " \t");
			bool whole = p == end || *p == ';', zero = false;
			for (; p < end && *p == ';'; p += strcspn(p, ";,")) {
				p += 1 + strspn(p + 1, " \t");
				zero = zero || (strncasecmp(p, "q=0", 3) == 0 && strspn(p + 3, ".0") == strcspn(p + 3, " \t;,"));
			}
			if (whole)
				return !zero;
		}
		value += n;
	}
}

static enum MHD_Result on_field(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct head *h = arg;
	struct request *r = h->r;
	(void)kind;
	value = value == NULL ? "" : value;
	if (!token(name) || folded(name))
		h->bad_name = true;
	if (strcasecmp(name, "Content-Length") == 0) {
		h->lengths++;
		h->bad_length = h->bad_length || !text_to_u64(bytes_str(value), UINT64_MAX - 1, &r->content_length);
	} else if (strcasecmp(name, "Transfer-Encoding") == 0) {
		h->encodings++;
		h->chunked = strcasecmp(value, "chunked") == 0;
	} else if (strcasecmp(name, "Expect") == 0) {
		r->expect = strcasecmp(value, "100-continue") == 0;
	} else if (strcasecmp(name, "X-Aztec-Version") == 0) {
		h->versions++;
		if (version_name_valid(bytes_str(value)))
			bytes_to_cstr(bytes_str(value), r->version, sizeof r->version);
		else
			h->bad_version = true;
	} else if (strcasecmp(name, "Accept") == 0) {
		r->accepts_problem = r->accepts_problem || accepts_problem(value);
	} else if (strcasecmp(name, "X-Forwarded-For") == 0) {
		forwarded_add(&h->forwarded, value);
	} else if (strcasecmp(name, "X-Request-Id") == 0 && h->ids++ == 0 && id_valid(value)) {
		bytes_to_cstr(bytes_str(value), r->id, sizeof r->id);
	}
	return MHD_YES;
}

static void make_id(char id[FRAME_ID_MAX + 1])
{
	uint8_t random[16];
	while (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		;                        /* only a signal during early boot can make it short */
	hex_encode(BYTES_ARRAY(random), id);
}

/* False when r was answered. */
static bool read_fields(struct request *r, const char *version)
{
	struct head h = { .r = r };
	MHD_get_connection_values(r->connection, MHD_HEADER_KIND, on_field, &h);
	r->from = address_forwarded(&r->client->peer, &h.forwarded, &r->g->trusted_proxies);
	if (r->id[0] == '\0')
		make_id(r->id);
	bool old = strcmp(version, "HTTP/1.1") != 0;
	if (h.bad_name || h.bad_length || h.lengths > 1 || h.encodings > 1 || (h.lengths > 0 && h.encodings > 0) ||
	    (h.encodings == 1 && (!h.chunked || old))) {
		r->answer_first = true;  /* where the body ends nobody can say, so it is not read */
		answer_error(&r->answer, 0, OUTCOME_BAD_REQUEST, "Malformed request: its length is ambiguous", r->id, NULL);
		r->answer.close = true;
		request_answer(r);
		return false;
	}
	if (h.encodings == 1)
		r->content_length = UINT64_MAX;
	r->body_done = r->content_length == 0;
	if (h.versions > 1 || h.bad_version) {
		request_fail(r, 0, OUTCOME_BAD_REQUEST, "Invalid x-aztec-version");
		return false;
	}
	return true;
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

static const struct route {
	const char *path, *method, *allow;
	void (*start)(struct request *r, const char *query);
	enum request_route id;           /* ROUTE_METRICS: on the operator's listener, the others on the public one */
} routes[] = {
	{ "/attestation", "GET", "GET, HEAD, OPTIONS", get_attestation, ROUTE_ATTESTATION },
	{ "/prove", "POST", "POST, OPTIONS", post_prove, ROUTE_PROVE },
	{ "/encryption-public-key", "GET", "GET, HEAD, OPTIONS", get_key, ROUTE_KEY },
	{ "/health", "GET", "GET, HEAD, OPTIONS", get_health, ROUTE_HEALTH },
	{ "/metrics", "GET", "GET, HEAD, OPTIONS", get_metrics, ROUTE_METRICS },
};

static const char *known_method(const char *method)
{
	static const char *const known[] = { "GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH" };
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(method, known[i]) == 0)
			return known[i];
	return "other";
}

/* The path of a target: what is before '?', without the "http://host" that a proxy may send. */
static const char *split_target(const char *target, const char **ret_query)
{
	const char *path = target;
	if (strncasecmp(path, "http://", 7) == 0) {
		path += 7 + strcspn(path + 7, "/?");
		if (*path != '/')
			path = "/";
	}
	const char *mark = strchr(path, '?');
	*ret_query = mark == NULL ? "" : mark + 1;
	return path;
}

static const struct route *find_route(const char *path, bool metrics)
{
	size_t n = strcspn(path, "?");
	for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
		if ((routes[i].id == ROUTE_METRICS) == metrics && strlen(routes[i].path) == n && memcmp(routes[i].path, path, n) == 0)
			return &routes[i];
	return NULL;
}

static bool method_fits(const struct route *route, const char *method)
{
	return strcmp(method, route->method) == 0 ||
	       (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

void request_begin(struct request *r, const char *method, const char *version)
{
	const char *query;
	r->method = known_method(method);
	if (!read_fields(r, version))
		return;
	if (r->target_too_long) {
		request_fail(r, MHD_HTTP_URI_TOO_LONG, OUTCOME_BAD_REQUEST, "Request target too long");
		return;
	}
	if (strcmp(r->method, "OPTIONS") == 0) {
		answer_nothing(&r->answer);
		request_answer(r);
		return;
	}
	const char *path = split_target(r->target, &query);
	const struct route *route = find_route(path, r->client->http->metrics);
	if (route == NULL) {
		request_fail(r, MHD_HTTP_NOT_FOUND, OUTCOME_BAD_REQUEST, "Not found");
		return;
	}
	r->route = route->id;
	if (!method_fits(route, r->method)) {
		answer_error(&r->answer, MHD_HTTP_METHOD_NOT_ALLOWED, OUTCOME_BAD_REQUEST, "Method not allowed", r->id, NULL);
		r->answer.allow = route->allow;
		request_answer(r);
		return;
	}
	if (!r->body_done && strcmp(route->method, "GET") == 0) {
		request_fail(r, 0, OUTCOME_BAD_REQUEST, "This request takes no body");
		return;
	}
	route->start(r, query);
}
