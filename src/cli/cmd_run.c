/* tee-rex run: starts an enclave and stays with it (host/run.h); this file opens the backend that the options name. What
 * the process backend "measures" is what it runs, so that a changed program or configuration shows as another PCR0, as it
 * would on hardware. */
#include "attest/pcr.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/make_path.h"
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/own_program.h"
#include "cli/settings_args.h"
#include "crypto/crypto.h"
#include "format/frame.h"
#include "host/nitro.h"
#include "host/process.h"
#include "host/run.h"
#include "sim/qemu.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>

struct run_args {
	struct settings_args from;
	const char *gateway, *name, *ready, *role, *instance, *accel;
	bool backoff, measure, console_stuck, push_back;
};
#define ENCLAVE(member) offsetof(struct run_args, from.s.enclave.member)

static const struct option_spec options[] = {
	SETTINGS_OPTION(run_args, from),
	{ 'b', "backend", OPT_STRING, ENCLAVE(backend), "NAME", "where the enclave runs: nitro, process, qemu" },
	{ 'i', "image", OPT_STRING, ENCLAVE(image), "EIF", "the enclave image; not with process" },
	{ 'm', "memory", OPT_MIB, ENCLAVE(memory_mib), "MIB", "of the enclave (what the image needs)" },
	{ 0, "cpus", OPT_U64, ENCLAVE(cpus), "N", "of the enclave; on hardware whole cores (one core)" },
	{ 0, "cid", OPT_U64, ENCLAVE(cid), "N", "vsock address of the enclave, from 4 on (any)" },
	{ 'c', "config", OPT_STRING, ENCLAVE(config), "FILE", "measured configuration (docs/CONFIG.md); only with process" },
	{ 'g', "gateway", OPT_STRING, offsetof(struct run_args, gateway), "ADDR:PORT", "also serve the HTTP API there" },
	{ 'n', "name", OPT_STRING, offsetof(struct run_args, name), "NAME", "of the instance (the configuration's, or default)" },
	{ 0, "state", OPT_STRING, ENCLAVE(state), "DIR", "where the simulated NSM keeps its test root" },
	{ 0, "pcr", OPT_LIST, ENCLAVE(pcrs), "N=HEX", "preset a PCR of the simulated NSM" },
	{ 0, "role", OPT_STRING, offsetof(struct run_args, role), "ARN", "the parent's role, for PCR3 (qemu)" },
	{ 0, "instance", OPT_STRING, offsetof(struct run_args, instance), "ID", "the parent's instance, for PCR4 (qemu)" },
	{ 0, "debug", OPT_FLAG, ENCLAVE(debug), NULL, "PCR0, 1, 2 and 8 zero and a console, as in a debug enclave" },
	{ 0, "ready", OPT_STRING, offsetof(struct run_args, ready), "WHEN", "ready when: service (default), heartbeat or started" },
	{ 0, "accel", OPT_STRING, offsetof(struct run_args, accel), "HOW", "auto (default), kvm or tcg (qemu)" },
	{ 0, "console-stuck", OPT_FLAG, offsetof(struct run_args, console_stuck), NULL, "a console that nobody reads, for tests (qemu)" },
	{ 0, "push-back", OPT_FLAG, offsetof(struct run_args, push_back), NULL, "a parent that can stop receiving, for tests (qemu)" },
	{ 0, "backoff", OPT_FLAG, offsetof(struct run_args, backoff), NULL, "wait before a start that follows short lives: 1 s, doubled, up to 60" },
	{ 0, "measure", OPT_FLAG, offsetof(struct run_args, measure), NULL, "print the PCRs that a run would have, and end" },
	OPTIONS_HELP,
	OPTIONS_END
};

static int hash_file(struct hash *h, const char *path, struct err *err)
{
	uint8_t buf[64 << 10];
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	while (fd >= 0 && (n = read(fd, buf, sizeof buf)) > 0)
		hash_update(h, bytes_of(buf, (size_t)n));
	return n == 0 ? 0 : fail(err, errno, "read %s", path);
}

/* SHA-384(0^48 || SHA-384(the files)), the way an image's registers are made (wire format of EIF measurements). An
 * absent file counts as an empty one. */
static int measure(const char *const *files, size_t count, uint8_t ret_pcr[PCR_SIZE], struct err *err)
{
	uint8_t digest[PCR_SIZE];
	struct hash *h = hash_new(HASH_SHA384);
	int ret = h == NULL ? fail(err, ENOMEM, "hash the programs") : 0;
	for (size_t i = 0; ret == 0 && i < count; i++)
		if (files[i] != NULL)
			ret = hash_file(h, files[i], err);
	memset(ret_pcr, 0, PCR_SIZE);
	if (ret == 0 && (!hash_peek(h, digest) || !pcr_extend(ret_pcr, BYTES_ARRAY(digest))))
		ret = fail(err, 0, "hash the programs");
	hash_free(h);
	return ret;
}

/* "N=HEX" */
static int preset(struct backend *b, const char *text, struct err *err)
{
	uint64_t index;
	size_t n = strcspn(text, "=");
	if (text[n] != '=' || !text_to_u64(bytes_of(text, n), BACKEND_PCRS - 1, &index))
		return fail(err, 0, "--pcr %.40s: N=HEX is wanted, N from 0 to %d", text, BACKEND_PCRS - 1);
	if (!hex_decode(bytes_str(text + n + 1), b->pcr[index], BACKEND_PCR_SIZE))
		return fail(err, 0, "--pcr %u: the value must be %d hex digits (SHA-384)", (unsigned)index, 2 * BACKEND_PCR_SIZE);
	if (b->pcr_known >> index & 1)
		return fail(err, 0, "--pcr %u was given twice", (unsigned)index);
	b->pcr_known |= UINT32_C(1) << index;
	return 0;
}

static int state_dir(const struct settings_enclave *a, char *buf, size_t cap, struct err *err)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n;
	if (a->state != NULL)
		n = snprintf(buf, cap, "%s", a->state);
	else if (geteuid() == 0)
		n = snprintf(buf, cap, "/var/lib/tee-rex/simulated-nsm");
	else if (xdg != NULL && xdg[0] == '/')
		n = snprintf(buf, cap, "%s/tee-rex/simulated-nsm", xdg);
	else if (home != NULL && home[0] == '/')
		n = snprintf(buf, cap, "%s/.local/state/tee-rex/simulated-nsm", home);
	else     /* below /tmp it would be whoever's is first */
		return fail(err, 0, "neither XDG_STATE_HOME nor HOME is set: say with --state where the test root is kept");
	return n < 0 || (size_t)n >= cap ? fail(err, ENAMETOOLONG, "the directory of the test root") : 0;
}

/* dir: where the programs of this installation are. */
static int find_programs(char self[PATH_MAX], char dir[PATH_MAX], struct err *err)
{
	char prover[PATH_MAX];
	int ret = own_path(self, err);
	if (ret == 0)
		ret = own_program("tee-rex-prover", prover, err);
	if (ret == 0)
		snprintf(dir, PATH_MAX, "%s", dirname(prover));
	return ret;
}

/* PCR1 stands for what boots, PCR2 for the application, PCR0 for both (as in an EIF). */
static int measure_programs(struct backend *b, const char *dir, const char *config, struct err *err)
{
	char launcher[PATH_MAX + 32], prover[PATH_MAX + 32];
	snprintf(launcher, sizeof launcher, "%s/tee-rex-launcher", dir);
	snprintf(prover, sizeof prover, "%s/tee-rex-prover", dir);
	const char *const files[] = { launcher, prover, config };
	static const struct { size_t from, count; } parts[3] = { { 0, 3 }, { 0, 1 }, { 1, 2 } };
	int ret = 0;
	for (unsigned i = 0; ret == 0 && i < 3; i++)
		if (!(b->pcr_known >> i & 1)) {
			ret = measure(files + parts[i].from, parts[i].count, b->pcr[i], err);
			b->pcr_known |= UINT32_C(1) << i;
		}
	return ret;
}

static int open_process(const struct run_args *args, const char *dir, const char *state, struct backend **ret, struct err *err)
{
	const struct settings_enclave *a = &args->from.s.enclave;
	static struct process_options o;
	o = (struct process_options){ .program_dir = dir, .config = a->config, .state_dir = state, .debug = a->debug };
	struct backend *b = process_backend_open(&o);
	int ok = 0;
	for (size_t i = 0; ok == 0 && i < a->pcrs.n; i++)
		ok = preset(b, a->pcrs.value[i], err);
	if (ok == 0)
		ok = measure_programs(b, dir, a->config, err);
	*ret = b;
	return ok;
}

/* word's place in words (NULL ends them), 0 when it is NULL; -1: not there. */
static int choose(const char *word, const char *const *words)
{
	for (int i = 0; word != NULL && words[i] != NULL; i++)
		if (strcmp(word, words[i]) == 0)
			return i;
	return word == NULL ? 0 : -1;
}

static int open_qemu(const struct run_args *args, const char *dir, const char *state, struct backend **ret, struct err *err)
{
	static const char *const accels[] = { [QEMU_AUTO] = "auto", [QEMU_KVM] = "kvm", [QEMU_TCG] = "tcg", NULL };
	static struct qemu_options o;
	const struct settings_enclave *a = &args->from.s.enclave;
	int accel = choose(args->accel, accels);
	if (accel < 0)
		return fail(err, 0, "--accel takes auto, kvm or tcg");
	if (a->config != NULL || a->pcrs.n > 0)
		return fail(err, 0, "--config and --pcr belong to the process backend: an image carries its configuration, and is what is measured");
	o = (struct qemu_options){
		.program_dir = dir, .image = a->image, .state_dir = state, .role_arn = args->role, .instance_id = args->instance,
		.memory_mib = a->memory_mib, .cpus = a->cpus != 0 ? a->cpus : 1, .cid = (uint32_t)a->cid, .accel = (enum qemu_accel)accel,
		.console = args->console_stuck ? QEMU_CONSOLE_STUCK : QEMU_CONSOLE_AUTO, .push_back = args->push_back, .debug = a->debug,
	};
	*ret = qemu_backend_open(&o);
	return 0;
}

static int open_nitro(const struct run_args *args, const char *dir, const char *state, struct backend **ret, struct err *err)
{
	static struct nitro_options o;
	const struct settings_enclave *a = &args->from.s.enclave;
	(void)dir;
	(void)state;
	if (a->image == NULL)
		return fail(err, 0, "--image is missing: the enclave image (EIF) that tee-rex build or tee-rex eif made");
	o = (struct nitro_options){ .image = a->image, .memory_mib = a->memory_mib, .cpus = (unsigned)a->cpus, .cid = a->cid,
	                            .debug = a->debug };
	*ret = nitro_backend_open(&o);
	return 0;
}

/* state: where the simulated NSM keeps its root. */
static const struct {
	const char *name;
	int (*open)(const struct run_args *args, const char *dir, const char *state, struct backend **ret, struct err *err);
} backends[] = {
	{ "nitro", open_nitro },
	{ "process", open_process },
	{ "qemu", open_qemu },
};
enum { BACKENDS = sizeof backends / sizeof backends[0] };

static size_t backend_find(const char *name)
{
	size_t i = 0;
	while (i < BACKENDS && strcmp(backends[i].name, name) != 0)
		i++;
	return i;
}

static int print_registers(struct backend *b, struct err *err)
{
	char hex[2 * BACKEND_PCR_SIZE + 1];
	int ret = b->ops->prepare(b, err);
	for (unsigned i = 0; ret == 0 && i < BACKEND_PCRS; i++)
		if (b->pcr_known >> i & 1)
			printf("%u=%s\n", i, hex_encode(BYTES_ARRAY(b->pcr[i]), hex));
	return ret;
}

static int run(const struct run_args *a, struct err *err)
{
	char self[PATH_MAX], dir[PATH_MAX], state[PATH_MAX] = "";
	const struct settings_enclave *e = &a->from.s.enclave;
	const char *configured = a->from.name[0] != '\0' ? a->from.name : "default";
	struct run_options o = { .self = self, .name = a->name != NULL ? a->name : configured, .listen = a->gateway, .backoff = a->backoff };
	static const char *const whens[] = {
		[RUN_READY_SERVICE] = "service", [RUN_READY_HEARTBEAT] = "heartbeat", [RUN_READY_STARTED] = "started", NULL
	};
	int when = choose(a->ready, whens);
	if (when < 0)
		return fail(err, 0, "--ready takes service, heartbeat or started");
	o.ready = (enum run_ready)when;
	/* where the gateway listens is --gateway's to say, which enclave is behind it and who holds its operator's socket, ours */
	struct settings given = a->from.s;
	static struct settings_words words;
	o.operator = given.gateway.operator;
	o.gateway_keep_dir = given.gateway.keep_dir;
	o.gateway_grace_s = given.gateway.grace_s;
	given.gateway.listen = given.gateway.enclave = given.gateway.operator = NULL;
	settings_words(&given, "gateway", &words);
	o.gateway = &words;
	if (!version_name_valid(bytes_str(o.name)))
		return fail(err, 0, "--name takes letters, digits and . _ + - (at most %d)", FRAME_VERSION_MAX);
	int ret = find_programs(self, dir, err);
	bool keeps_root = !a->measure && strcmp(e->backend, "nitro") != 0;
	if (ret == 0 && keeps_root)
		ret = state_dir(e, state, sizeof state, err);
	if (ret == 0 && keeps_root)
		ret = make_path(state, 0755, err);
	if (ret == 0)
		ret = backends[backend_find(e->backend)].open(a, dir, state, &o.backend, err);
	if (ret < 0)
		return ret;
	return a->measure ? print_registers(o.backend, err) : run_enclave(&o, err);
}

int run_main(int argc, char **argv)
{
	static struct run_args a = { .from = SETTINGS_ARGS };
	a.from.takes_image = true;
	struct err err;
	switch (settings_args_parse("run", options, &a, sizeof a, argc, argv)) {
	case OPTIONS_OK: break;
	case OPTIONS_WANT_HELP:
		options_help(stdout, "run", "[NAME|IMAGE.eif] [--backend NAME] [OPTIONS]", "Starts an enclave and stays in the foreground with it; "
		             "Ctrl-C stops it in order. With NAME, the\ninstance of that name, as its configuration says; options override it.",
		             options);
		return 0;
	case OPTIONS_USAGE:
		return 2;
	}
	if (backend_find(a.from.s.enclave.backend) == BACKENDS) {
		fprintf(stderr, "tee-rex run: there is no backend \"%.40s\" here; say where with --backend:", a.from.s.enclave.backend);
		for (size_t i = 0; i < BACKENDS; i++)
			fprintf(stderr, " %s", backends[i].name);
		fputc('\n', stderr);
		return 2;
	}
	if (settings_check_options(&a.from.s, "enclave", &err) < 0) {
		fprintf(stderr, "tee-rex run: %s\n", err.text);
		return 2;
	}
	int ret = run(&a, &err);
	settings_close(&a.from.s);
	if (ret < 0) {
		log_error("run: %s", err.text);
		return 1;
	}
	return 0;
}
