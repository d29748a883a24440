/* GET /metrics, on the operator's listener only: what clients may know of each other is nothing. Routes
 * and statuses are tables of ours, so no text of a client becomes a label; durations are rounded as those
 * that clients see. The enclave's own lines follow, as far as metrics_text.h lets them pass; without an
 * enclave the page is there all the same, and says so. */
#include "base/clock.h"
#include "host/gateway_server.h"
#include "host/metrics_text.h"

#include <stdlib.h>

enum { OWN_TEXT_MAX = 64 << 10, ENCLAVE_TEXT_MAX = METRICS_LINES_MAX * (METRICS_LINE_MAX + 1) };

static const char *const routes[ROUTE_COUNT] = { "other", "attestation", "prove", "encryption-public-key", "health", "metrics", "jobs",
	"versions", "drain" };
/* 0: no whole answer went out. */
static const unsigned statuses[] = { 0, 200, 202, 204, 400, 403, 404, 405, 408, 409, 410, 413, 414, 422, 429, 431, 500, 502, 503, 504, 505 };
_Static_assert(sizeof statuses / sizeof statuses[0] <= GATEWAY_STATUSES_MAX, "every status has a counter");
static const struct { uint64_t ms; const char *le; } buckets[GATEWAY_BUCKETS] = {
	{ 10, "0.01" }, { 100, "0.1" }, { 1000, "1.0" }, { 10000, "10.0" }, { 60000, "60.0" }, { 300000, "300.0" },
};

void metrics_count(const struct request *r)
{
	struct gateway_counters *c = &r->g->counters;
	uint64_t ms = rounded_ms((uint64_t)(r->ended_ms - r->started_ms));
	size_t status = 0;
	for (size_t i = 0; !r->gone && i < sizeof statuses / sizeof statuses[0] && status == 0; i++)
		if (statuses[i] == r->answer.status)
			status = i;
	c->requests[r->route][status]++;
	c->body_bytes += r->text_n;
	c->duration_ms[r->route] += ms;
	for (size_t i = 0; i < GATEWAY_BUCKETS; i++)
		c->within[r->route][i] += ms <= buckets[i].ms;
}

static void put_requests(struct writer *w, const struct gateway_counters *c)
{
	put_str(w, "# TYPE teerex_gateway_requests counter\n");
	for (size_t route = 0; route < ROUTE_COUNT; route++)
		for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
			if (c->requests[route][i] == 0)
				continue;
			put_fmt(w, "teerex_gateway_requests_total{route=\"%s\",status=\"", routes[route]);
			if (statuses[i] == 0)
				put_str(w, "none");
			else
				put_fmt(w, "%u", statuses[i]);
			put_fmt(w, "\"} %llu\n", (unsigned long long)c->requests[route][i]);
		}
}

static void put_durations(struct writer *w, const struct gateway_counters *c)
{
	static const char name[] = "teerex_gateway_request_duration_seconds";
	put_fmt(w, "# TYPE %s histogram\n", name);
	for (size_t route = 0; route < ROUTE_COUNT; route++) {
		unsigned long long n = 0, ms = c->duration_ms[route];
		for (size_t i = 0; i < GATEWAY_STATUSES_MAX; i++)
			n += c->requests[route][i];
		if (n == 0)
			continue;
		for (size_t i = 0; i < GATEWAY_BUCKETS; i++)
			put_fmt(w, "%s_bucket{route=\"%s\",le=\"%s\"} %llu\n", name, routes[route], buckets[i].le,
			        (unsigned long long)c->within[route][i]);
		put_fmt(w, "%s_bucket{route=\"%s\",le=\"+Inf\"} %llu\n", name, routes[route], n);
		put_fmt(w, "%s_sum{route=\"%s\"} %llu.%02llu\n", name, routes[route], ms / 1000, ms % 1000 / 10);
		put_fmt(w, "%s_count{route=\"%s\"} %llu\n", name, routes[route], n);
	}
}

static void put_one(struct writer *w, const char *name, bool counter, uint64_t v)
{
	put_fmt(w, "# TYPE teerex_gateway_%s %s\nteerex_gateway_%s%s %llu\n", name, counter ? "counter" : "gauge", name,
	        counter ? "_total" : "", (unsigned long long)v);
}

void metrics_answer(struct request *r, const struct frame_reply *p)
{
	struct gateway *g = r->g;
	size_t cap = OWN_TEXT_MAX + (p == NULL || p->metrics.n == 0 ? 0 : (size_t)ENCLAVE_TEXT_MAX);
	struct writer w = writer_of(malloc(cap), cap);
	if (w.p == NULL) {
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		return;
	}
	if (p != NULL)
		g->counters.lines_dropped += metrics_text_copy(p->metrics, &w);
	put_requests(&w, &g->counters);
	put_durations(&w, &g->counters);
	put_one(&w, "body_bytes", true, g->counters.body_bytes);
	put_one(&w, "attestation_cache_hits", true, g->cache_hits);
	put_one(&w, "rate_limited_requests", true, g->rate_limited);
	put_one(&w, "enclave_lines_dropped", true, g->counters.lines_dropped);
	put_one(&w, "log_lines_lost", true, g->counters.log_lines_lost);
	put_one(&w, "enclave_up", false, p != NULL);
	put_one(&w, "connections", false, gateway_connections(g));
	put_one(&w, "proves", false, g->uploads + g->jobs.unfinished);
	put_one(&w, "jobs_waiting", false, g->jobs.waiting);
	put_one(&w, "jobs_joined", true, g->jobs.joined);
	put_one(&w, "answers_kept", false, g->jobs.kept);
	put_one(&w, "answers_promised", false, g->jobs.promised);
	put_one(&w, "answers_unsaved", true, g->kept.unsaved);
	put_one(&w, "draining", false, g->draining);
	put_one(&w, "spool_bytes", false, g->jobs.budget.used);
	put_one(&w, "uptime_seconds", false, (uint64_t)(clock_monotonic_ms() - g->started_ms) / 1000);
	put_str(&w, "# EOF\n");
	if (w.full) {
		free(w.p);
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		return;
	}
	answer_json(&r->answer, (char *)w.p, w.at);
	r->answer.no_store = true;
	r->answer.type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
	request_answer(r);
}
