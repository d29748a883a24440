/* tee-rex-launcher: starts jobs for the prover, each in a cell of its own.
 *
 * Inherits one socket called "prover" (linux/listen_fds.h) that speaks format/launch.h, and reads the
 * measured configuration. It is the only program that can change uid and make namespaces, and does
 * nothing else. As an ordinary user it runs with less, as far as the configuration allows it, and
 * says so. Ends when the prover does. */
#include "base/log.h"
#include "base/options.h"
#include "enclave/launcher/launcher.h"
#include "enclave/launcher/probe.h"
#include "linux/listen_fds.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

struct args { const char *config; bool check; };

static const struct option_spec options[] = {
	{ 'c', "config", OPT_STRING, offsetof(struct args, config), "FILE", "the measured configuration (docs/CONFIG.md)" },
	{ 0, "check", OPT_FLAG, offsetof(struct args, check), NULL, "say which guards this machine gives, and end" },
	OPTIONS_HELP,
	OPTIONS_END
};

static int load(const char *path, struct config *ret, struct err *err)
{
	if (path != NULL)
		return config_load(path, ret, err);
	log_info("no --config: running with the compiled-in defaults");
	config_defaults(ret);
	return 0;
}

/* The descriptor of the prover's socket, or -errno. */
static int take_prover_socket(struct err *err)
{
	struct listen_fds fds;
	int type = 0, bad = listen_fds_take(&fds, err);
	socklen_t n = sizeof type;
	if (bad != 0)
		return bad;
	int fd = listen_fds_find(&fds, "prover");
	if (fd < 0)
		return fail(err, 0, "no inherited descriptor is called \"prover\" (LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID): "
		            "this program is started by tee-rex-init or tee-rex run, not by hand");
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) != 0)
		return fail(err, errno, "the inherited descriptor \"prover\"");
	if (type != SOCK_SEQPACKET)
		return fail(err, 0, "the inherited descriptor \"prover\" is not a SOCK_SEQPACKET socket");
	return fd;
}

static int refuse(const struct err *err)
{
	log_error("%s", err->text);
	return 1;
}

int main(int argc, char **argv)
{
	static struct config config;
	static struct launcher launcher;
	struct args args = { NULL, false };
	struct err err;
	size_t positional;
	int prover = -1;

	log_init("tee-rex-launcher");
	switch (options_parse(options, &args, argc, argv, NULL, 0, &positional, &err)) {
	case OPTIONS_OK:
		break;
	case OPTIONS_WANT_HELP:
		options_help(stdout, "launcher", "[--config FILE]", "Starts prover jobs, each in a cell of its own.", options);
		return 0;
	case OPTIONS_USAGE:
		log_error("%s", err.text);
		return 2;
	}
	if (!args.check && (prover = take_prover_socket(&err)) < 0)
		return refuse(&err);
	if (load(args.config, &config, &err) != 0 || launcher_open(&launcher, &config, &err) != 0)
		return refuse(&err);

	char line[512];
	struct writer w = writer_of(line, sizeof line);
	guards_line(&launcher.guards, &w);
	log_info("guards: %.*s", (int)writer_bytes(&w).n, line);
	int code = probe_accept(&launcher.guards, &config) ? 0 : 1;
	if (args.check && launcher_check_crs(&launcher, &err) != 0)
		code = refuse(&err);
	if (args.check)
		printf("%.*s\n", (int)writer_bytes(&w).n, line);
	else if (code == 0)
		code = launcher_serve(&launcher, prover);
	launcher_close(&launcher);
	return code;
}
