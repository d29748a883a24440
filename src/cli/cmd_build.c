/* tee-rex build: from a container image to a measured enclave image. Reads the layers as streams, writes the image as a
 * stream, and leaves nothing behind when it fails. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/build_print.h"
#include "cli/commands.h"
#include "cli/eif_args.h"
#include "cli/image_args.h"
#include "cli/image_print.h"
#include "cli/image_progress.h"
#include "cli/own_program.h"
#include "cli/policy_args.h"

#include <string.h>

struct build_args {
	struct image_args image;
	const char *output, *kernel, *kernel_config, *module, *init, *cmdline;
	const char *name, *version, *metadata, *build_time;
	const char *layout, *compress, *service, *user, *workdir, *log;
	struct option_list entrypoint, cmd, env, bridge;
	uint64_t epoch, writable_mib;
	bool nsm, json;
};

enum { NOT_GIVEN = -1, WRITABLE_MIB = 64 };

static const struct option_spec options[] = {
	{ 'o', "output", OPT_STRING, offsetof(struct build_args, output), "FILE", "the enclave image; appears whole or not at all" },
	{ 'k', "kernel", OPT_STRING, offsetof(struct build_args, kernel), "FILE", "bzImage (x86-64) or raw Image (arm64); scripts/guest-kernel makes one" },
	{ 0, "config", OPT_STRING, offsetof(struct build_args, kernel_config), "FILE", "the kernel's configuration, where it does not carry it" },
	{ 0, "module", OPT_STRING, offsetof(struct build_args, module), "FILE", "nsm.ko, for a kernel that has it as a module" },
	{ 0, "init", OPT_STRING, offsetof(struct build_args, init), "FILE", "the first program (default: this installation's tee-rex-init)" },
	{ 'c', "cmdline", OPT_STRING, offsetof(struct build_args, cmdline), "TEXT", "kernel command line, or @FILE with it" },
	{ 0, "layout", OPT_STRING, offsetof(struct build_args, layout), "NAME", "of the application in the enclave: squashfs or plain (default: squashfs)" },
	{ 0, "compress", OPT_STRING, offsetof(struct build_args, compress), "NAME", "ramdisks: none, gzip or zstd (default: zstd)" },
	{ 0, "entrypoint", OPT_LIST, offsetof(struct build_args, entrypoint), "ARG", "in place of the image's ENTRYPOINT and CMD; one for each argument" },
	{ 0, "cmd", OPT_LIST, offsetof(struct build_args, cmd), "ARG", "in place of the image's CMD; one for each argument" },
	{ 0, "env", OPT_LIST, offsetof(struct build_args, env), "NAME[=VALUE]", "sets a variable, or takes it away" },
	{ 0, "user", OPT_STRING, offsetof(struct build_args, user), "USER[:GROUP]", "in place of the image's USER" },
	{ 0, "workdir", OPT_STRING, offsetof(struct build_args, workdir), "DIR", "in place of the image's WORKDIR" },
	{ 0, "bridge", OPT_LIST, offsetof(struct build_args, bridge), "PORT[:TCP]", "vsock ports that lead to TCP ports, in place of EXPOSE" },
	{ 0, "nsm", OPT_FLAG, offsetof(struct build_args, nsm), NULL, "the service may use /dev/nsm, and with it be the enclave" },
	{ 0, "log", OPT_STRING, offsetof(struct build_args, log), "WHAT", "what of it leaves the enclave: events (the default) or stderr, its output too" },
	{ 0, "service", OPT_STRING, offsetof(struct build_args, service), "FILE", "a whole service table instead (docs/SERVICES.md)" },
	{ 0, "epoch", OPT_U64, offsetof(struct build_args, epoch), "N", "of the image; only ever goes up (default: 0)" },
	{ 0, "writable", OPT_MIB, offsetof(struct build_args, writable_mib), "MIB", "the application may write that much over its files (default: 64; 0: read-only)" },
	{ 0, "name", OPT_STRING, offsetof(struct build_args, name), "NAME", "of the image (default: SOURCE's)" },
	{ 0, "version", OPT_STRING, offsetof(struct build_args, version), "VERSION", "of the image (default: 1.0)" },
	{ 0, "metadata", OPT_STRING, offsetof(struct build_args, metadata), "FILE", "JSON object to carry along as CustomMetadata" },
	{ 0, "build-time", OPT_STRING, offsetof(struct build_args, build_time), "TIME", "seconds since 1970 or 2026-01-31T12:00:00Z (default: 0)" },
	{ 0, "json", OPT_FLAG, offsetof(struct build_args, json), NULL, "print the result as one JSON object" },
	IMAGE_OPTIONS(build_args, image),
	OPTIONS_HELP,
	OPTIONS_END
};

/* --- the service table ----------------------------------------------------------------------------------- */

static bool overrides_given(const struct build_args *a)
{
	return a->entrypoint.n > 0 || a->cmd.n > 0 || a->env.n > 0 || a->bridge.n > 0 || a->user != NULL || a->workdir != NULL || a->log != NULL || a->nsm;
}

static enum image_code load_table(const char *path, struct service_table *ret, struct err *err)
{
	CLEANUP(free_ptr) uint8_t *text = malloc(SERVICE_TABLE_MAX + 1);
	size_t n = 0;
	if (text == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read %s", path);
	if (read_some(path, text, SERVICE_TABLE_MAX + 1, &n, err) < 0)
		return IMAGE_IO;
	return service_table_parse(bytes_of(text, n), path, ret, err) == 0 ? IMAGE_OK : IMAGE_BAD_SERVICE;
}

static enum image_code make_table(const struct build_args *a, struct rootfs *r, struct app_service *ret, enum layout layout, struct err *err)
{
	const struct app_overrides o = { &a->entrypoint, &a->cmd, &a->env, &a->bridge, a->user, a->workdir, a->nsm };
	enum image_code c;
	if (a->service != NULL) {
		c = load_table(a->service, &ret->table, err);
		if (c == IMAGE_OK)
			c = app_service_mount_points(r, err);
		if (c == IMAGE_OK)
			c = app_service_check(r, &ret->table, err);
	} else {
		c = app_service_make(r, &o, ret, err);
		ret->table.writable_mib = WRITABLE_MIB;
		if (a->log != NULL && strcmp(a->log, "stderr") == 0)
			ret->table.service[0].log = SERVICE_LOG_STDERR;
	}
	ret->table.layout = layout;
	if (a->epoch != (uint64_t)NOT_GIVEN)
		ret->table.epoch = (uint32_t)a->epoch;
	if (a->writable_mib != (uint64_t)NOT_GIVEN)
		ret->table.writable_mib = (uint32_t)a->writable_mib;
	return c;
}

/* --- the work ---------------------------------------------------------------------------------------------- */

struct work {
	struct source_options source_options;
	struct rootfs_limits limits;
	struct source *source;
	struct rootfs *rootfs;
	struct app_service service;
	struct build_plan plan;
	struct build_report report;
	char init[PATH_MAX];
	uint8_t cmdline[CMDLINE_BUFFER + 1];
};

static enum image_code build(const struct build_args *a, const char *spec, struct work *w, struct err *err)
{
	enum image_code c = source_open(spec, &w->source_options, &w->source, err);
	if (c == IMAGE_OK)
		c = build_check(&w->plan, &w->source->config.platform, &w->report, err);
	if (c == IMAGE_OK)
		c = rootfs_scan(w->source, &w->limits, NULL, &w->rootfs, err);
	if (c == IMAGE_OK)
		c = make_table(a, w->rootfs, &w->service, w->service.table.layout, err);
	return c == IMAGE_OK ? build_image(w->rootfs, &w->plan, &w->report, err) : c;
}

/* A name for the image when none is given: what the source is called, without path and tag. */
static const char *name_of(const char *spec, char *buf, size_t cap)
{
	const char *end = spec + strcspn(spec, "@"), *start = end;
	while (start > spec && start[-1] != '/' && start[-1] != ':')
		start--;
	if (start > spec && start[-1] == ':' && memchr(spec, '/', (size_t)(start - spec)) != NULL)
		for (end = --start; start > spec && start[-1] != '/' && start[-1] != ':'; start--) {}
	snprintf(buf, cap, "%.*s", (int)(end - start), start);
	return buf[0] != '\0' && strcmp(buf, ".") != 0 && strcmp(buf, "-") != 0 ? buf : "enclave";
}

static int take_choices(const struct build_args *a, struct work *w, struct err *err)
{
	struct build_plan *p = &w->plan;
	if (a->output == NULL || a->kernel == NULL)
		return fail(err, 0, "--kernel and --output are wanted (--help lists the options)");
	if (a->service != NULL && overrides_given(a))
		return fail(err, 0, "--service says everything about services; what would override the image's has no place beside it");
	if ((a->epoch != (uint64_t)NOT_GIVEN && a->epoch > UINT32_MAX) || (a->writable_mib != (uint64_t)NOT_GIVEN && a->writable_mib > UINT32_MAX))
		return fail(err, 0, "--epoch and --writable are below 2^32");
	w->service.table.layout = a->layout == NULL || strcmp(a->layout, "squashfs") == 0 ? LAYOUT_SQUASHFS : LAYOUT_PLAIN;
	if (w->service.table.layout == LAYOUT_PLAIN && strcmp(a->layout, "plain") != 0)
		return fail(err, 0, "--layout wants squashfs or plain, not \"%.40s\"", a->layout);
	if (a->log != NULL && strcmp(a->log, "events") != 0 && strcmp(a->log, "stderr") != 0)
		return fail(err, 0, "--log wants events or stderr, not \"%.40s\"", a->log);
	p->packing = RAMDISK_ZSTD;
	if (a->compress != NULL && !ramdisk_packing_parse(a->compress, &p->packing))
		return fail(err, 0, "--compress wants none, gzip or zstd, not \"%.40s\"", a->compress);
	return a->build_time != NULL ? parse_build_time(a->build_time, &p->build_time_s, err) : 0;
}

static int take_files(const struct build_args *a, const char *spec, struct work *w, struct err *err)
{
	static char name[128];
	struct build_plan *p = &w->plan;
	struct bytes cmdline;
	p->kernel = a->kernel;
	p->output = a->output;
	p->kernel_config = a->kernel_config;
	p->module = a->module;
	p->name = a->name != NULL ? a->name : name_of(spec, name, sizeof name);
	p->version = a->version != NULL ? a->version : "1.0";
	p->table = &w->service.table;
	p->init = a->init != NULL ? a->init : w->init;
	int ret = a->init == NULL ? own_program("tee-rex-init", w->init, err) : 0;
	if (ret == 0 && a->metadata != NULL)
		ret = metadata_load_custom(a->metadata, &p->custom, err);
	if (ret == 0 && a->cmdline != NULL) {
		ret = load_cmdline(a->cmdline, w->cmdline, &cmdline, err);
		if (ret == 0 && cmdline.n > EIF_CMDLINE_MAX)
			ret = fail(err, 0, "the command line is longer than %d bytes", EIF_CMDLINE_MAX);
		if (ret == 0 && cmdline.n > 0)
			memmove(w->cmdline, cmdline.p, cmdline.n);
		w->cmdline[ret == 0 ? cmdline.n : 0] = '\0';
		p->cmdline = (char *)w->cmdline;
	}
	return ret;
}

static int run(const struct build_args *a, const char *spec, struct work *w)
{
	struct image_progress_line line;
	struct err err;
	int64_t start = clock_monotonic_ms();
	w->source_options.progress = image_progress_start(&line);
	enum image_code c = take_files(a, spec, w, &err) == 0 ? build(a, spec, w, &err) : IMAGE_IO;
	image_progress_end(&line);
	if (c == IMAGE_OK) {
		const struct build_result b = { w->rootfs, &w->plan, &w->report, w->service.ports_left_out,
			(double)(clock_monotonic_ms() - start) / 1000 };
		if (a->json)
			build_print_json(stdout, &b);
		else
			build_print_registers(stdout, &b);
		if (!a->json)
			build_print_remarks(stderr, &b);
		if (fflush(stdout) != 0 || ferror(stdout))
			c = image_fail(&err, IMAGE_IO, errno, "write to standard output");
	}
	rootfs_close(w->rootfs);
	source_close(w->source);
	json_decref(w->plan.custom);
	if (c == IMAGE_OK)
		return 0;
	if (a->json)
		image_print_error(stdout, c, &err);
	fprintf(stderr, "tee-rex build: %s: %s\n", image_code_name(c), err.text);
	return 1;
}

int build_main(int argc, char **argv)
{
	static struct build_args a = { .image = IMAGE_ARGS, .epoch = (uint64_t)NOT_GIVEN, .writable_mib = (uint64_t)NOT_GIVEN };
	static struct work w;
	const char *spec[1];
	struct err err;
	size_t n;
	enum option_result r = options_parse(options, &a, argc, argv, spec, 1, &n, &err);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, "build", "SOURCE --kernel FILE -o FILE [OPTIONS]",
		             "Makes an enclave image (EIF) from a container image: a directory, an OCI layout, an OCI or docker\n"
		             "archive (- for standard input), or REGISTRY/REPOSITORY[:TAG][@DIGEST]. Same input, same bytes.\n"
		             "Prints PCR0 to PCR2.", options);
		return 0;
	}
	if (r == OPTIONS_OK && n != 1) {
		fail(&err, 0, "one argument is wanted: SOURCE");
		r = OPTIONS_USAGE;
	}
	if (r == OPTIONS_OK && (!image_args_take(&a.image, &w.source_options, &w.limits, &err) || take_choices(&a, &w, &err) < 0))
		r = OPTIONS_USAGE;
	if (r == OPTIONS_USAGE) {
		fprintf(stderr, "tee-rex build: %s\n", err.text);
		return 2;
	}
	return run(&a, spec[0], &w);
}
