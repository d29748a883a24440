/* tee-rex run: starts an enclave and stays with it. The process backend is the one there is now: the
 * enclave's programs as plain processes. What it "measures" is what it runs, so that a changed program or
 * configuration shows as another PCR0, as it would on hardware. */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "crypto/crypto.h"
#include "format/frame.h"
#include "host/process.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

struct run_args {
	const char *backend, *config, *gateway, *name, *state;
	struct option_list pcrs;
	bool debug, measure;
};

static const struct option_spec options[] = {
	{ 'b', "backend", OPT_STRING, offsetof(struct run_args, backend), "NAME", "where the enclave runs: process" },
	{ 'c', "config", OPT_STRING, offsetof(struct run_args, config), "FILE", "measured configuration (docs/CONFIG.md)" },
	{ 'g', "gateway", OPT_STRING, offsetof(struct run_args, gateway), "ADDR:PORT", "also serve the HTTP API there" },
	{ 'n', "name", OPT_STRING, offsetof(struct run_args, name), "NAME", "of the instance (default: default)" },
	{ 0, "state", OPT_STRING, offsetof(struct run_args, state), "DIR", "where the simulated NSM keeps its test root" },
	{ 0, "pcr", OPT_LIST, offsetof(struct run_args, pcrs), "N=HEX", "preset a PCR of the simulated NSM" },
	{ 0, "debug", OPT_FLAG, offsetof(struct run_args, debug), NULL, "PCR0, 1, 2 and 8 zero, as in a debug enclave" },
	{ 0, "measure", OPT_FLAG, offsetof(struct run_args, measure), NULL, "print the PCRs that a run would have, and end" },
	OPTIONS_HELP,
	OPTIONS_END
};

enum { PCR_TEXT = 2 * SHA384_SIZE + 8 };

static int hash_file(struct hash *h, const char *path, struct err *err)
{
	uint8_t buf[64 << 10];
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	while (fd >= 0 && (n = read(fd, buf, sizeof buf)) > 0)
		hash_update(h, bytes_of(buf, (size_t)n));
	return n == 0 ? 0 : fail(err, errno, "read %s", path);
}

/* "N=HEX" of SHA-384(0^48 || SHA-384(the files)), the way an image's registers are made (wire format of
 * EIF measurements). An absent file counts as an empty one. */
static int measure(int index, const char *const *files, size_t count, char ret_text[PCR_TEXT], struct err *err)
{
	uint8_t extended[2 * SHA384_SIZE] = { 0 }, pcr[SHA384_SIZE];
	struct hash *h = hash_new(HASH_SHA384);
	int ret = h == NULL ? fail(err, ENOMEM, "hash the programs") : 0;
	for (size_t i = 0; ret == 0 && i < count; i++)
		if (files[i] != NULL)
			ret = hash_file(h, files[i], err);
	if (ret == 0 && (!hash_peek(h, extended + SHA384_SIZE) || !crypto_hash(HASH_SHA384, BYTES_ARRAY(extended), pcr)))
		ret = fail(err, 0, "hash the programs");
	hash_free(h);
	if (ret == 0) {
		int n = snprintf(ret_text, PCR_TEXT, "%d=", index);
		hex_encode(BYTES_ARRAY(pcr), ret_text + n);
	}
	return ret;
}

static bool presets(const struct process_options *o, int index)
{
	for (size_t i = 0; i < o->pcr_count; i++)
		if (atol(o->pcrs[i]) == index && strchr(o->pcrs[i], '=') != NULL)
			return true;
	return false;
}

static int state_dir(const struct run_args *a, char *buf, size_t cap)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	if (a->state != NULL)
		return snprintf(buf, cap, "%s", a->state);
	if (geteuid() == 0)
		return snprintf(buf, cap, "/var/lib/tee-rex/simulated-nsm");
	if (xdg != NULL && xdg[0] == '/')
		return snprintf(buf, cap, "%s/tee-rex/simulated-nsm", xdg);
	return snprintf(buf, cap, "%s/.local/state/tee-rex/simulated-nsm", home != NULL ? home : "/tmp");
}

static int make_path(const char *path, struct err *err)
{
	char part[PATH_MAX];
	for (const char *slash = path; (slash = strchr(slash + 1, '/')) != NULL;) {
		snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
		if (mkdir(part, 0755) != 0 && errno != EEXIST)
			return fail(err, errno, "make the directory %s", part);
	}
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return fail(err, errno, "make the directory %s", path);
	return 0;
}

/* The other programs are beside this one (a build tree) or in ../libexec/tee-rex (an installation). */
static int find_programs(char self[PATH_MAX], char dir[PATH_MAX], struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", self, PATH_MAX - 1);
	if (n < 0)
		return fail(err, errno, "read /proc/self/exe");
	self[n] = '\0';
	char copy[PATH_MAX], probe[PATH_MAX + 32];
	strcpy(copy, self);
	const char *beside = dirname(copy);
	static const char *const places[] = { "", "/../libexec/tee-rex" };
	for (size_t i = 0; i < 2; i++) {
		snprintf(dir, PATH_MAX, "%.4000s%s", beside, places[i]);
		snprintf(probe, sizeof probe, "%s/tee-rex-prover", dir);
		if (access(probe, X_OK) == 0)
			return 0;
	}
	return fail(err, 0, "tee-rex-prover is neither beside %s nor in ../libexec/tee-rex; run make, or install again", self);
}

static int run(const struct run_args *a, struct err *err)
{
	char self[PATH_MAX], dir[PATH_MAX], state[PATH_MAX], program[3][PATH_MAX + 32], pcr[3][PCR_TEXT];
	struct process_options o = {
		.program_dir = dir, .self = self, .name = a->name != NULL ? a->name : "default", .config = a->config,
		.state_dir = state, .listen = a->gateway, .debug = a->debug,
	};
	if (!version_name_valid(bytes_str(o.name)))
		return fail(err, 0, "--name takes letters, digits and . _ + - (at most %d)", FRAME_VERSION_MAX);
	int ret = find_programs(self, dir, err);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < a->pcrs.n && i < PROCESS_PCRS_MAX; i++)
		o.pcrs[o.pcr_count++] = a->pcrs.value[i];
	state_dir(a, state, sizeof state);
	if (!a->measure)
		ret = make_path(state, err);

	/* PCR1 stands for what boots, PCR2 for the application, PCR0 for both (as in an EIF) */
	snprintf(program[0], sizeof program[0], "%s/tee-rex-launcher", dir);
	snprintf(program[1], sizeof program[1], "%s/tee-rex-prover", dir);
	const char *const files[] = { program[0], program[1], a->config };
	static const struct { size_t from, count; } parts[3] = { { 0, 3 }, { 0, 1 }, { 1, 2 } };
	for (int i = 0; ret == 0 && i < 3; i++)
		if (!presets(&o, i) && o.pcr_count < PROCESS_PCRS_MAX) {
			ret = measure(i, files + parts[i].from, parts[i].count, pcr[i], err);
			o.pcrs[o.pcr_count++] = pcr[i];
		}
	if (ret == 0 && a->measure) {
		for (size_t i = 0; i < o.pcr_count; i++)
			puts(o.pcrs[i]);
		return 0;
	}
	return ret < 0 ? ret : process_run(&o, err);
}

int run_main(int argc, char **argv)
{
	struct run_args a = { 0 };
	struct err err;
	size_t n;
	switch (options_parse(options, &a, argc, argv, NULL, 0, &n, &err)) {
	case OPTIONS_OK: break;
	case OPTIONS_WANT_HELP:
		options_help(stdout, "run", "--backend process [OPTIONS]", "Starts an enclave and stays in the foreground with it; "
		             "Ctrl-C stops it in order.", options);
		return 0;
	case OPTIONS_USAGE:
		fprintf(stderr, "tee-rex run: %s\n", err.text);
		return 2;
	}
	if (a.backend == NULL || strcmp(a.backend, "process") != 0) {
		fprintf(stderr, "tee-rex run: %s\n", a.backend == NULL ? "say where: --backend process"
		                : "the only backend there is now is \"process\"");
		return 2;
	}
	if (run(&a, &err) < 0) {
		log_error("run: %s", err.text);
		return 1;
	}
	return 0;
}
