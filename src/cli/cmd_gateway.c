/* tee-rex gateway: the public HTTP API in front of an enclave. */
#include "base/log.h"
#include "base/options.h"
#include "cli/commands.h"
#include "host/gateway.h"

static const struct option_spec options[] = {
	{ 'l', "listen", OPT_STRING, offsetof(struct gateway_options, listen), "ADDRESS", "where clients connect, as 127.0.0.1:8080, [::1]:8080 or unix:PATH" },
	{ 'e', "enclave", OPT_STRING, offsetof(struct gateway_options, enclave), "ADDRESS", "the enclave's service: unix:PATH" },
	{ 0, "metrics", OPT_STRING, offsetof(struct gateway_options, metrics), "ADDRESS", "where GET /metrics is served, and nothing else (nowhere)" },
	{ 0, "body-max-mib", OPT_MIB, offsetof(struct gateway_options, body_max_mib), "MIB", "largest body of POST /prove (85)" },
	{ 0, "connections-max", OPT_U64, offsetof(struct gateway_options, connections_max), "N", "connections at once (1024)" },
	{ 0, "connections-per-address-max", OPT_U64, offsetof(struct gateway_options, connections_per_address_max), "N", "of them from one address (no limit)" },
	{ 0, "proves-max", OPT_U64, offsetof(struct gateway_options, proves_max), "N", "prove requests at once, waiting ones included (32)" },
	{ 0, "prove-rate", OPT_U64, offsetof(struct gateway_options, prove_rate), "PER_MINUTE", "prove requests of one client in the long run (no limit)" },
	{ 0, "prove-burst", OPT_U64, offsetof(struct gateway_options, prove_burst), "N", "of them at once, when it has saved them up (5)" },
	{ 0, "prove-rate-exempt", OPT_LIST, offsetof(struct gateway_options, prove_rate_exempt), "CIDR", "clients without that limit, or \"unix\"; may be repeated (nobody)" },
	{ 0, "header-timeout", OPT_U64, offsetof(struct gateway_options, header_s), "SECONDS", "for a client to send its headers (30)" },
	{ 0, "body-timeout", OPT_U64, offsetof(struct gateway_options, body_s), "SECONDS", "for a client to send its body (300)" },
	{ 0, "prove-timeout", OPT_U64, offsetof(struct gateway_options, prove_s), "SECONDS", "for the enclave to answer a prove request (600)" },
	{ 0, "attestation-cache-ms", OPT_U64, offsetof(struct gateway_options, attestation_cache_ms), "MS", "how old a document without a nonce may be; 0: never shared (2000)" },
	{ 0, "grace", OPT_U64, offsetof(struct gateway_options, grace_s), "SECONDS", "for requests under way when told to stop (10)" },
	{ 0, "trusted-proxy", OPT_LIST, offsetof(struct gateway_options, trusted_proxies), "CIDR", "whose X-Forwarded-For is believed, or \"unix\"; may be repeated (nobody)" },
	{ 'q', "quiet", OPT_FLAG, offsetof(struct gateway_options, quiet), NULL, "no access log on standard output" },
	OPTIONS_HELP,
	OPTIONS_END
};
static const char synopsis[] = "--listen ADDR:PORT|unix:PATH --enclave unix:PATH [OPTIONS]";
static const char about[] = "Serves the public HTTP API in front of an enclave until SIGTERM or SIGINT.";

/* A limit must be one: zero, or a number whose arithmetic would overflow, is a mistake. */
static int check_limits(const struct gateway_options *o, struct err *err)
{
	const struct { const char *name; uint64_t v, min, max; } limits[] = {
		{ "body-max-mib", o->body_max_mib, 1, 4096 },
		{ "connections-max", o->connections_max, 1, 100000 },
		{ "connections-per-address-max", o->connections_per_address_max, 0, 100000 },
		{ "proves-max", o->proves_max, 1, 1000 },
		{ "prove-rate", o->prove_rate, 0, 60000 },
		{ "prove-burst", o->prove_burst, 1, 10000 },
		{ "header-timeout", o->header_s, 1, 86400 },
		{ "body-timeout", o->body_s, 1, 86400 },
		{ "prove-timeout", o->prove_s, 1, 86400 },
		{ "attestation-cache-ms", o->attestation_cache_ms, 0, 60000 },
		{ "grace", o->grace_s, 0, 86400 },
	};
	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
		if (limits[i].v < limits[i].min || limits[i].v > limits[i].max)
			return fail(err, 0, "--%s must be between %llu and %llu", limits[i].name,
			            (unsigned long long)limits[i].min, (unsigned long long)limits[i].max);
	if (o->listen == NULL || o->enclave == NULL)
		return fail(err, 0, "both --listen and --enclave are needed");
	return 0;
}

int gateway_main(int argc, char **argv)
{
	struct gateway_options o = GATEWAY_DEFAULTS;
	struct err err;
	size_t n;
	enum option_result r = options_parse(options, &o, argc, argv, NULL, 0, &n, &err);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, "gateway", synopsis, about, options);
		return 0;
	}
	if (r != OPTIONS_OK || check_limits(&o, &err) < 0) {
		log_error("%s; see tee-rex gateway --help", err.text);
		return 2;
	}
	log_init("tee-rex gateway");
	if (gateway_run(&o, &err) == 0)
		return 0;
	log_error("%s", err.text);
	return 1;
}
