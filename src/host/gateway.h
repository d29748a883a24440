/* The public HTTP API in front of an enclave: GET /attestation, /encryption-public-key, /health, POST
 * /prove. This process is the only HTTP parser; it holds no key and no plaintext, and towards the
 * enclave it speaks the frame protocol. See tee-rex-gateway(1) for the API as clients see it. */
#ifndef HOST_GATEWAY_H
#define HOST_GATEWAY_H

#include "base/fail.h"
#include "base/options.h"

#include <stdbool.h>
#include <stdint.h>

struct gateway_options {
	const char *listen;              /* ADDR:PORT, ADDR in [] when IPv6; port 0: any; or unix:PATH */
	struct option_list also_listen;  /* more of the same */
	const char *metrics;             /* as listen, for GET /metrics alone; NULL: none */
	const char *operator;            /* unix:PATH for root and operator_uid; NULL: none */
	uint64_t operator_uid;
	const char *enclave;             /* unix:PATH */
	uint64_t body_max_mib;           /* text of one POST /prove */
	uint64_t connections_max;
	uint64_t connections_per_address_max;    /* 0: no limit of its own */
	uint64_t proves_max;             /* uploads and jobs at once */
	uint64_t enclave_queue;          /* of them sent to the enclave and not started there; the others wait here */
	uint64_t spool_mib;              /* of ciphertexts that come or wait */
	uint64_t results_max;            /* answers promised to asynchronous clients; as many may be kept */
	uint64_t result_keep_s;          /* how long, from the end of the job */
	const char *keep_dir;            /* where answers promised outlive this process; NULL: nowhere */
	uint64_t leave_grace_s;          /* from the last client leaving a job to its end */
	uint64_t prove_rate;             /* POST /prove per client and minute; 0: no limit */
	uint64_t prove_burst;            /* of them at once, before the rate counts */
	struct option_list prove_rate_exempt;    /* ranges without that limit */
	uint64_t header_s;               /* from connecting, or the last answer, to the end of the headers */
	uint64_t body_s;                 /* for a whole request body */
	uint64_t prove_s;                /* for the enclave's answer, and for a synchronous client's wait */
	uint64_t attestation_cache_ms;   /* how old a document without a nonce may be; 0: none is kept or shared */
	uint64_t grace_s;                /* for requests and promised jobs under way at SIGTERM */
	struct option_list trusted_proxies;      /* ranges whose X-Forwarded-For is believed; see client_address.h */
	bool quiet;                      /* no access log */
};
#define GATEWAY_DEFAULTS { .body_max_mib = 85, .connections_max = 1024, .proves_max = 32, .enclave_queue = 1, .spool_mib = 512, \
	.results_max = 64, .result_keep_s = 600, .leave_grace_s = 10, .prove_burst = 5, .header_s = 30, .body_s = 300, .prove_s = 600, \
	.attestation_cache_ms = 2000, .grace_s = 10 }

/* Serves until SIGTERM or SIGINT, which it blocks and reads; the second one ends the grace. Before the end, jobs whose answer
 * was promised are finished. Sockets that were
 * inherited as LISTEN_FDS are served too: "metrics" and "operator" as their names say, others as listen is. 0 after an
 * orderly stop, -errno and a sentence otherwise. */
int gateway_run(const struct gateway_options *o, struct err *err);

#endif
