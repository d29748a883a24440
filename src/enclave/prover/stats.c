#include "enclave/prover/stats.h"

#include "base/clock.h"

static void put_one(struct writer *w, const char *name, const char *type, uint64_t v)
{
	/* OpenMetrics: a counter's samples end in _total, its metadata does not */
	bool counter = type[0] == 'c';
	put_fmt(w, "# TYPE teerex_prover_%s %s\nteerex_prover_%s%s %llu\n", name, type, name,
	        counter ? "_total" : "", (unsigned long long)v);
}

void stats_put(const struct stats *s, const struct stats_gauges *g, struct writer *w)
{
	put_str(w, "# TYPE teerex_prover_requests counter\n");
	for (int op = 0; op < OP_COUNT; op++)
		for (int code = 0; code < OUTCOME_COUNT; code++)
			if (s->requests[op][code] > 0)
				put_fmt(w, "teerex_prover_requests_total{op=\"%s\",code=\"%s\"} %llu\n",
				        frame_op_name((enum frame_op)op), outcome_name((enum outcome)code),
				        (unsigned long long)s->requests[op][code]);
	put_one(w, "malformed_requests", "counter", s->malformed);
	put_one(w, "refused_connections", "counter", s->refused_connections);
	put_one(w, "received_bytes", "counter", s->bytes_in);
	put_one(w, "key_rotations", "counter", s->key_rotations);
	put_one(w, "nsm_calls", "counter", g->nsm_calls);
	put_one(w, "log_lines_dropped", "counter", g->log_dropped);
	put_one(w, "connections", "gauge", g->connections);
	put_one(w, "jobs_running", "gauge", g->jobs_running);
	put_one(w, "jobs_queued", "gauge", g->jobs_queued);
	put_one(w, "versions", "gauge", g->versions);
	put_one(w, "uptime_seconds", "gauge", (uint64_t)(clock_monotonic_ms() - s->started_ms) / 1000);
	put_str(w, "# EOF\n");
}
