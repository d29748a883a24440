/* The rows of the configuration. A key ends in its unit; the help says what it is, a default that is no number is in
 * `fallback`. */
#include "host/settings.h"

#define ENCLAVE(member) offsetof(struct settings, enclave.member)
#define GATEWAY(member) offsetof(struct settings, gateway.member)
#define NUMBER(unit, at, min, max) SETTING_NUMBER, unit, at, min, max, NULL
#define OF(type, at) type, UNIT_NONE, at, 0, 0, NULL

static const struct setting table[] = {
	{ "enclave.backend", SETTING_CHOICE, UNIT_NONE, ENCLAVE(backend), 0, 0, "nitro qemu process", "backend", NULL,
	  "where the enclave runs: real hardware, a virtual machine, or plain processes (the last two are simulations)" },
	{ "enclave.image", OF(SETTING_PATH, ENCLAVE(image)), "image", "none: nitro and qemu need it", "the enclave image (EIF)" },
	{ "enclave.config", OF(SETTING_PATH, ENCLAVE(config)), "config", "the prover's defaults",
	  "measured configuration; only with the process backend, elsewhere it is inside the image" },
	{ "enclave.memory_mib", NUMBER(UNIT_MIB, ENCLAVE(memory_mib), 0, 1 << 24), "memory", "0: what the image needs", "memory of the enclave" },
	{ "enclave.cpus", NUMBER(UNIT_NONE, ENCLAVE(cpus), 0, 1024), "cpus", "0: one core", "virtual CPUs of the enclave; on hardware whole cores" },
	{ "enclave.cid", NUMBER(UNIT_NONE, ENCLAVE(cid), 0, UINT32_MAX - 1), "cid", "0: any free one", "vsock address of the enclave, from 4 on" },
	{ "enclave.debug", OF(SETTING_SWITCH, ENCLAVE(debug)), "debug", NULL,
	  "a console that can be read, and PCRs of zeros: nobody should trust such an enclave" },
	{ "enclave.state", OF(SETTING_PATH, ENCLAVE(state)), "state", "/var/lib/tee-rex/simulated-nsm",
	  "where a simulated NSM keeps its test root; not with nitro" },
	{ "enclave.pcrs", OF(SETTING_PCRS, ENCLAVE(pcrs)), "pcr", "measured", "presets of the simulated NSM's registers, as N=HEX; only with process" },

	{ "gateway.listen", OF(SETTING_ADDRESS, GATEWAY(listen)), "listen", "no gateway",
	  "where clients connect: ADDR:PORT, \"[ADDR]:PORT\" (with the quotes) or unix:PATH" },
	{ "gateway.also_listen", OF(SETTING_ADDRESSES, GATEWAY(also_listen)), "also-listen", "nowhere else", "more addresses of the same kind" },
	{ "gateway.operator", OF(SETTING_SERVICE, GATEWAY(operator)), "operator", "nowhere",
	  "the operator's socket, for uploads and administration" },
	{ "gateway.operator_uid", NUMBER(UNIT_NONE, GATEWAY(operator_uid), 0, UINT32_MAX - 1), "operator-uid", "0: only root",
	  "a user who may use it, beside root" },
	{ "gateway.enclave", OF(SETTING_SERVICE, GATEWAY(enclave)), "enclave", "unix:/run/tee-rex/NAME/service.sock, or where the user's own instance is",
	  "the enclave's service, when it is not this instance's" },
	{ "gateway.metrics", OF(SETTING_ADDRESS, GATEWAY(metrics)), "metrics", "nowhere", "where GET /metrics is served, and nothing else" },
	{ "gateway.body_max_mib", NUMBER(UNIT_MIB, GATEWAY(body_max_mib), 1, 4096), "body-max-mib", NULL, "largest body of POST /prove" },
	{ "gateway.connections_max", NUMBER(UNIT_NONE, GATEWAY(connections_max), 1, 100000), "connections-max", NULL, "connections at once" },
	{ "gateway.connections_per_address_max", NUMBER(UNIT_NONE, GATEWAY(connections_per_address_max), 0, 100000),
	  "connections-per-address-max", "0: no limit of its own", "of them from one address" },
	{ "gateway.proves_max", NUMBER(UNIT_NONE, GATEWAY(proves_max), 1, 1000), "proves-max", NULL, "prove requests at once, waiting ones included" },
	{ "gateway.enclave_queue", NUMBER(UNIT_NONE, GATEWAY(enclave_queue), 1, 32), "enclave-queue", NULL,
	  "of them sent to the enclave and not started there; the others wait in the gateway, fairly" },
	{ "gateway.spool_mib", NUMBER(UNIT_MIB, GATEWAY(spool_mib), 1, 1 << 20), "spool-mib", NULL, "memory for ciphertexts that come or wait" },
	{ "gateway.results_max", NUMBER(UNIT_NONE, GATEWAY(results_max), 0, 1000), "results-max", NULL,
	  "answers promised to asynchronous clients; as many may be kept" },
	{ "gateway.result_keep_s", NUMBER(UNIT_SECONDS, GATEWAY(result_keep_s), 0, 86400), "result-keep", NULL, "how long an answer is kept" },
	{ "gateway.keep_dir", OF(SETTING_PATH, GATEWAY(keep_dir)), "keep-dir", "nowhere; the packaged unit: /var/lib/tee-rex-gateway/NAME",
	  "a directory where promised answers outlive the gateway" },
	{ "gateway.leave_grace_s", NUMBER(UNIT_SECONDS, GATEWAY(leave_grace_s), 0, 3600), "leave-grace", NULL,
	  "from the last client leaving a job to its end" },
	{ "gateway.prove_rate_per_minute", NUMBER(UNIT_PER_MINUTE, GATEWAY(prove_rate), 0, 60000), "prove-rate", "0: no limit",
	  "prove requests of one client in the long run" },
	{ "gateway.prove_burst", NUMBER(UNIT_NONE, GATEWAY(prove_burst), 1, 10000), "prove-burst", NULL,
	  "of them at once, when it has saved them up" },
	{ "gateway.prove_rate_exempt", OF(SETTING_RANGES, GATEWAY(prove_rate_exempt)), "prove-rate-exempt", "nobody",
	  "clients without that limit: addresses, ranges, or \"unix\"" },
	{ "gateway.header_timeout_s", NUMBER(UNIT_SECONDS, GATEWAY(header_s), 1, 86400), "header-timeout", NULL, "for a client to send its headers" },
	{ "gateway.body_timeout_s", NUMBER(UNIT_SECONDS, GATEWAY(body_s), 1, 86400), "body-timeout", NULL, "for a client to send its body" },
	{ "gateway.prove_timeout_s", NUMBER(UNIT_SECONDS, GATEWAY(prove_s), 1, 86400), "prove-timeout", NULL, "for the enclave to answer a prove request, or a client to wait for it" },
	{ "gateway.attestation_cache_ms", NUMBER(UNIT_MILLISECONDS, GATEWAY(attestation_cache_ms), 0, 60000), "attestation-cache-ms", NULL,
	  "how old a document without a nonce may be; 0: never shared" },
	{ "gateway.grace_s", NUMBER(UNIT_SECONDS, GATEWAY(grace_s), 0, 86400), "grace", NULL, "for requests and accepted jobs under way when told to stop" },
	{ "gateway.trusted_proxies", OF(SETTING_RANGES, GATEWAY(trusted_proxies)), "trusted-proxy", "nobody",
	  "whose X-Forwarded-For is believed: addresses, ranges, or \"unix\"" },
	{ "gateway.quiet", OF(SETTING_SWITCH, GATEWAY(quiet)), "quiet", NULL, "no access log" },
};
_Static_assert(sizeof table / sizeof table[0] <= SETTINGS_KEYS_MAX, "SETTINGS_KEYS_MAX is too small");

const struct setting *settings_table(size_t *ret_n)
{
	*ret_n = sizeof table / sizeof table[0];
	return table;
}

const char *setting_unit_name(enum setting_unit unit)
{
	static const char *const name[] = { "", "MiB", "seconds", "milliseconds", "per minute" };
	return name[unit];
}
