/* tee-rex kernel check: whether a kernel runs an enclave, before an image is made of it. The verdict is the table's
 * (image/kernel_rules.h); here files are read and findings printed. */
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "image/kernel_check.h"
#include "image/map_file.h"

#include <errno.h>

enum { TEXT_OFFSET_KNOWN = 2 << 20 };

struct kernel_args { const char *config, *module; bool json; };

static const struct option_spec options[] = {
	{ 0, "config", OPT_STRING, offsetof(struct kernel_args, config), "FILE",
	  "its configuration, where the kernel does not carry it" },
	{ 0, "module", OPT_STRING, offsetof(struct kernel_args, module), "FILE",
	  "the nsm.ko that goes into the image with it" },
	{ 0, "json", OPT_FLAG, offsetof(struct kernel_args, json), NULL, "print the verdict as one JSON object" },
	OPTIONS_HELP,
	OPTIONS_END
};

static int map_optional(const char *path, struct bytes *ret, struct err *err)
{
	*ret = BYTES_NONE;
	return path == NULL ? 0 : map_file(path, ret, err);
}

/* --- for people --------------------------------------------------------------------------------- */

static void print_kernel(const struct kernel_check *v)
{
	char release[256];
	if (!v->has_kernel)
		return;
	printf("%-12s %s, %s, %s\n", "kernel", kernel_arch_name(v->kernel.arch), kernel_packing_name(v->kernel.packing),
	       v->kernel.release.n == 0 ? "release unknown" : text_escape(v->kernel.release, release, sizeof release));
	if (v->kernel.arch == KERNEL_ARM64 && v->kernel.text_offset != TEXT_OFFSET_KNOWN)
		printf("%-12s text_offset is %#llx; what is known to work on Nitro is %#x\n", "WARNING",
		       (unsigned long long)v->kernel.text_offset, TEXT_OFFSET_KNOWN);
	if (v->config_from != NULL)
		printf("%-12s from %s\n", "options", v->config_from);
}

static void print_findings(const struct kernel_report *r)
{
	for (int verdict = 0; verdict < KERNEL_VERDICTS; verdict++)
		for (size_t i = 0; i < r->n; i++) {
			const struct kernel_finding *f = &r->finding[i];
			if ((int)f->verdict == verdict)
				printf("%-12s CONFIG_%s%s: %s\n", kernel_verdict_name(f->verdict), f->rule->option,
				       f->module ? " (is a module, and none is loaded)" : "", f->rule->why);
		}
}

static void print_text(const struct kernel_check *v)
{
	bool fits = v->code == KERNEL_OK;
	print_kernel(v);
	print_findings(&v->report);
	if (fits && v->report.count[KERNEL_DEGRADED] > 0)
		printf("%-12s fits, with less: %zu degraded\n", "verdict", v->report.count[KERNEL_DEGRADED]);
	else if (fits)
		printf("%-12s fits\n", "verdict");
	else if (v->code == KERNEL_UNFIT)
		printf("%-12s does not fit: %zu missing, %zu forbidden, %zu degraded\n", "verdict", v->report.count[KERNEL_MISSING],
		       v->report.count[KERNEL_FORBIDDEN], v->report.count[KERNEL_DEGRADED]);
}

/* --- for programs ------------------------------------------------------------------------------- */

static void print_json(const struct kernel_check *v)
{
	static uint8_t buf[64 << 10];            /* every finding at once takes a third of it */
	struct writer w = writer_of(buf, sizeof buf);
	put_fmt(&w, "{\"fits\":%s,\"code\":\"%s\"", v->code == KERNEL_OK ? "true" : "false", kernel_code_name(v->code));
	if (v->has_kernel) {
		put_fmt(&w, ",\"arch\":\"%s\",\"packing\":\"%s\",\"start_size\":%llu,\"release\":", kernel_arch_name(v->kernel.arch),
		        kernel_packing_name(v->kernel.packing), (unsigned long long)v->kernel.start_size);
		put_json_string(&w, v->kernel.release);
	}
	for (int verdict = 0; verdict < KERNEL_VERDICTS; verdict++) {
		const char *comma = "";
		put_fmt(&w, ",\"%s\":[", kernel_verdict_name((enum kernel_verdict)verdict));
		for (size_t i = 0; i < v->report.n; i++) {
			const struct kernel_finding *f = &v->report.finding[i];
			if ((int)f->verdict != verdict)
				continue;
			put_fmt(&w, "%s{\"option\":\"CONFIG_%s\",\"module\":%s,\"why\":", comma, f->rule->option, f->module ? "true" : "false");
			put_json_string(&w, bytes_str(f->rule->why));
			put_str(&w, "}");
			comma = ",";
		}
		put_str(&w, "]");
	}
	put_str(&w, "}\n");
	fwrite(buf, 1, writer_bytes(&w).n, stdout);      /* the caller asks ferror() */
}

/* --- the command -------------------------------------------------------------------------------- */

static int usage(const struct err *err)
{
	fprintf(stderr, "tee-rex kernel: %s\n", err->text);
	return 2;
}

static int check(const struct kernel_args *a, const char *path)
{
	static struct kernel_check v;
	struct bytes file, config, module;
	struct err err;
	if (map_optional(path, &file, &err) < 0 || map_optional(a->config, &config, &err) < 0 ||
	    map_optional(a->module, &module, &err) < 0)
		return usage(&err);
	kernel_check_run(&v, path, file, a->config, config, a->module, module, 0);
	if (v.code == KERNEL_BAD_CONFIG && v.report.bad_line > 0)
		fprintf(stderr, "tee-rex kernel: %s: %s: %s (line %zu)\n", kernel_code_name(v.code), v.about,
		        kernel_code_text(v.code), v.report.bad_line);
	else if (v.code != KERNEL_OK)
		fprintf(stderr, "tee-rex kernel: %s: %s %s\n", kernel_code_name(v.code), v.about, kernel_code_text(v.code));
	if (a->config != NULL && v.config_from != NULL && v.config_from != a->config)
		fprintf(stderr, "tee-rex kernel: %s carries its own configuration; %s was not read\n", path, a->config);
	if (a->json)
		print_json(&v);
	else
		print_text(&v);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fail(&err, errno, "print the verdict");
		return usage(&err);
	}
	return v.code == KERNEL_OK ? 0 : 1;
}

int kernel_main(int argc, char **argv)
{
	struct kernel_args a = { 0 };
	const char *args[2];
	struct err err;
	size_t n;
	enum option_result r = options_parse(options, &a, argc, argv, args, 2, &n, &err);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, "kernel", "check [KERNEL] [OPTIONS]",
		             "Says whether a kernel (x86-64 bzImage, arm64 Image) runs an enclave: what is missing, what must\n"
		             "not be in it, and what works with less. Without KERNEL, --config alone is checked. Exit status:\n"
		             "0 it fits, 1 it does not or cannot be told, 2 used wrongly or a file could not be read.", options);
		return 0;
	}
	if (r == OPTIONS_OK && (n == 0 || strcmp(args[0], "check") != 0)) {
		fail(&err, 0, "what to do? the one action is: tee-rex kernel check KERNEL");
		r = OPTIONS_USAGE;
	}
	if (r == OPTIONS_OK && n == 1 && a.config == NULL) {
		fail(&err, 0, "which kernel? tee-rex kernel check KERNEL (or --config FILE alone)");
		r = OPTIONS_USAGE;
	}
	if (r == OPTIONS_OK && n == 1 && a.module != NULL) {
		fail(&err, 0, "--module is checked against a kernel: tee-rex kernel check KERNEL --module FILE");
		r = OPTIONS_USAGE;
	}
	return r == OPTIONS_USAGE ? usage(&err) : check(&a, n == 2 ? args[1] : NULL);
}
