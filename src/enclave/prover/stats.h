/* Counters of the service and their OpenMetrics text. Numbers only: nothing a client sent becomes a
 * label, so no metric can carry a byte of a request. */
#ifndef ENCLAVE_PROVER_STATS_H
#define ENCLAVE_PROVER_STATS_H

#include "format/frame.h"

#include <stdint.h>

struct stats {
	uint64_t requests[OP_COUNT][OUTCOME_COUNT];      /* by operation and how it ended */
	uint64_t malformed;                              /* no operation could be told */
	uint64_t refused_connections;
	uint64_t bytes_in;
	uint64_t key_rotations;
	int64_t started_ms;                              /* monotonic */
};

/* Values that live elsewhere, read at the moment of the request. */
struct stats_gauges { uint64_t connections, jobs_running, jobs_queued, versions, nsm_calls, log_dropped; };

void stats_put(const struct stats *s, const struct stats_gauges *g, struct writer *w);

#endif
