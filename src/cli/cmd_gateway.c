/* tee-rex gateway: the public HTTP API in front of an enclave. */
#include "base/log.h"
#include "base/options.h"
#include "cli/commands.h"
#include "cli/settings_args.h"
#include "host/run_dir.h"

#include <stdio.h>
#include <stdlib.h>

struct gateway_args { struct settings_args from; };
#define AT(member) offsetof(struct gateway_args, from.s.gateway.member)

static const struct option_spec options[] = {
	SETTINGS_OPTION(gateway_args, from),
	{ 'l', "listen", OPT_STRING, AT(listen), "ADDRESS", "where clients connect, as 127.0.0.1:8080, [::1]:8080 or unix:PATH" },
	{ 'e', "enclave", OPT_STRING, AT(enclave), "ADDRESS", "the enclave's service: unix:PATH" },
	{ 0, "also-listen", OPT_LIST, AT(also_listen), "ADDRESS", "where else; may be repeated" },
	{ 0, "operator", OPT_STRING, AT(operator), "ADDRESS", "unix:PATH for uploads and administration, by root (nowhere)" },
	{ 0, "operator-uid", OPT_U64, AT(operator_uid), "UID", "a user who may use it as well" },
	{ 0, "metrics", OPT_STRING, AT(metrics), "ADDRESS", "where GET /metrics is served, and nothing else (nowhere)" },
	{ 0, "body-max-mib", OPT_MIB, AT(body_max_mib), "MIB", "largest body of POST /prove (85)" },
	{ 0, "connections-max", OPT_U64, AT(connections_max), "N", "connections at once (1024)" },
	{ 0, "connections-per-address-max", OPT_U64, AT(connections_per_address_max), "N", "of them from one address (no limit)" },
	{ 0, "proves-max", OPT_U64, AT(proves_max), "N", "prove requests at once, waiting ones included (32)" },
	{ 0, "enclave-queue", OPT_U64, AT(enclave_queue), "N", "of them sent to the enclave and not started there (1)" },
	{ 0, "spool-mib", OPT_MIB, AT(spool_mib), "MIB", "memory for ciphertexts that come or wait (512)" },
	{ 0, "results-max", OPT_U64, AT(results_max), "N", "answers promised to asynchronous clients (64)" },
	{ 0, "result-keep", OPT_U64, AT(result_keep_s), "SECONDS", "how long an answer is kept (600)" },
	{ 0, "keep-dir", OPT_STRING, AT(keep_dir), "DIR", "where promised answers outlive the gateway (nowhere)" },
	{ 0, "leave-grace", OPT_U64, AT(leave_grace_s), "SECONDS", "from the last client leaving a job to its end (10)" },
	{ 0, "prove-rate", OPT_U64, AT(prove_rate), "PER_MINUTE", "prove requests of one client in the long run (no limit)" },
	{ 0, "prove-burst", OPT_U64, AT(prove_burst), "N", "of them at once, when it has saved them up (5)" },
	{ 0, "prove-rate-exempt", OPT_LIST, AT(prove_rate_exempt), "CIDR", "clients without that limit, or \"unix\"; may be repeated (nobody)" },
	{ 0, "header-timeout", OPT_U64, AT(header_s), "SECONDS", "for a client to send its headers (30)" },
	{ 0, "body-timeout", OPT_U64, AT(body_s), "SECONDS", "for a client to send its body (300)" },
	{ 0, "prove-timeout", OPT_U64, AT(prove_s), "SECONDS", "for the enclave to answer a prove request, or a client to wait for it (600)" },
	{ 0, "attestation-cache-ms", OPT_U64, AT(attestation_cache_ms), "MS", "how old a document without a nonce may be; 0: never shared (2000)" },
	{ 0, "grace", OPT_U64, AT(grace_s), "SECONDS", "for requests and accepted jobs under way when told to stop (10)" },
	{ 0, "trusted-proxy", OPT_LIST, AT(trusted_proxies), "CIDR", "whose X-Forwarded-For is believed, or \"unix\"; may be repeated (nobody)" },
	{ 'q', "quiet", OPT_FLAG, AT(quiet), NULL, "no access log on standard output" },
	OPTIONS_HELP,
	OPTIONS_END
};
static const char synopsis[] = "[NAME] [--listen ADDR:PORT|unix:PATH] [--enclave unix:PATH] [OPTIONS]";
static const char about[] = "Serves the public HTTP API in front of an enclave until SIGTERM or SIGINT. With NAME, in front of\n"
	"that instance, as its configuration says; options override it.";

int gateway_main(int argc, char **argv)
{
	static struct gateway_args a = { .from = SETTINGS_ARGS };
	struct gateway_options *o = &a.from.s.gateway;
	char dir[RUN_DIR_MAX], enclave[RUN_DIR_MAX + 32];
	struct err err;
	int ret = 0;
	enum option_result r = settings_args_parse("gateway", options, &a, sizeof a, argc, argv);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, "gateway", synopsis, about, options);
		return 0;
	}
	if (r != OPTIONS_OK)
		return 2;
	if (o->enclave == NULL && a.from.name[0] != '\0') {
		ret = run_dir_find(a.from.name, dir, sizeof dir, &err);
		snprintf(enclave, sizeof enclave, "unix:%s/service.sock", dir);
		o->enclave = enclave;
	}
	if (ret == 0)
		ret = settings_check_options(&a.from.s, "gateway", &err);
	if (ret == 0 && ((o->listen == NULL && getenv("LISTEN_FDS") == NULL) || o->enclave == NULL))
		ret = fail(&err, 0, a.from.name[0] != '\0' ? "the configuration has no gateway.listen, and there is no --listen"
		                                            : "both --listen and --enclave are needed, or the NAME of an instance");
	if (ret < 0) {
		log_error("%s; see tee-rex gateway --help", err.text);
		return 2;
	}
	log_init("tee-rex gateway");
	ret = gateway_run(o, &err);
	settings_close(&a.from.s);
	if (ret == 0)
		return 0;
	log_error("%s", err.text);
	return 1;
}
