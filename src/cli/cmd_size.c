/* tee-rex size: how much memory an image and its jobs need, and what for. */
#include "base/options.h"
#include "cli/commands.h"
#include "cli/json_out.h"
#include "host/enclave_budget.h"

#include <errno.h>

typedef unsigned long long ull;

struct size_args { uint64_t gates, jobs, payload_mib, uploads_mib; bool json; };

static const struct option_spec options[] = {
	{ 0, "gates", OPT_U64, offsetof(struct size_args, gates), "N", "gates of the largest circuit (bb gates tells); default: unknown, 320 MiB a job" },
	{ 0, "jobs", OPT_U64, offsetof(struct size_args, jobs), "N", "at once (default 1)" },
	{ 0, "payload", OPT_MIB, offsetof(struct size_args, payload_mib), "MIB", "of each job's input, as payload_max_mib has it (default 64)" },
	{ 0, "uploads", OPT_MIB, offsetof(struct size_args, uploads_mib), "MIB", "of prover versions that are uploaded (default 0)" },
	{ 0, "json", OPT_FLAG, offsetof(struct size_args, json), NULL, "print JSON" },
	OPTIONS_HELP,
	OPTIONS_END
};
enum { LOAD_OFFSET = 8 << 20, JOBS_MAX = 1024, GATES_MAX = 1 << 30 };

static uint64_t in_mib(uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

static void print_json(const struct enclave_budget *b)
{
	const struct enclave_need *n = &b->need;
	json_out(json_pack("{s:I, s:{s:I, s:I, s:I, s:I, s:I, s:b}, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:s}",
	                   "memory_mib", (json_int_t)b->total_mib,
	                   "image", "file", (json_int_t)n->image, "kernel", (json_int_t)n->kernel, "ramdisks", (json_int_t)n->ramdisks,
	                   "unpacked", (json_int_t)n->unpacked, "system", (json_int_t)n->system, "exact", n->exact,
	                   "work", "service", (json_int_t)b->service, "payloads", (json_int_t)b->payloads, "uploads", (json_int_t)b->uploads,
	                   "jobs", (json_int_t)b->jobs, "job", (json_int_t)b->job,
	                   "boot_mib", (json_int_t)in_mib(n->total), "working_mib", (json_int_t)in_mib(b->working),
	                   "largest", b->boots_larger ? "boot" : "work"));
}

static void row(const char *what, uint64_t bytes, const char *why) { printf("  %-22s %6llu MiB   %s\n", what, (ull)in_mib(bytes), why); }

static void print_text(const struct enclave_budget *b)
{
	const struct enclave_need *n = &b->need;
	char why[160];
	printf("to boot:%*s%6llu MiB\n", 17, "", (ull)in_mib(n->total));
	row("kernel", n->kernel, "while it starts");
	row("ramdisks", n->ramdisks, "as they came; given back once unpacked");
	row("unpacked", n->unpacked, n->exact ? "every file in pages of 4 KiB; compressed file systems as they are; the CRS, if it is in the image" : "at least: a ramdisk is packed in a way not read here");
	row("kernel's own", n->system, "page records, slabs, init");
	printf("to work:%*s%6llu MiB\n", 17, "", (ull)in_mib(b->working));
	row("kernel, unpacked", n->kernel + n->unpacked, "stay");
	row("service", b->service, "prover, launcher, init: fixed buffers");
	snprintf(why, sizeof why, "%llu at once, each as large as payload_max_mib", (ull)b->jobs);
	row("payloads", b->payloads, why);
	row("uploads", b->uploads, "prover versions that are not in the image");
	snprintf(why, sizeof why, "%llu of %llu MiB: 60 MiB + 1.75 KiB a gate of the largest circuit, at least 320", (ull)b->jobs, (ull)in_mib(b->job));
	row("jobs", b->jobs * b->job, why);
	printf("memory: %llu MiB  (tee-rex plan --memory %llu)\n", (ull)b->total_mib, (ull)b->total_mib);
}

static int usage(const struct err *err)
{
	fprintf(stderr, "tee-rex size: %s\n", err->text);
	return 2;
}

int size_main(int argc, char **argv)
{
	struct size_args a = { .jobs = 1, .payload_mib = BUDGET_PAYLOAD_MIB };
	struct enclave_need need;
	struct enclave_budget budget;
	struct err err;
	const char *path;
	size_t n;
	enum option_result parsed = options_parse(options, &a, argc, argv, &path, 1, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "size", "FILE [OPTIONS]",
		             "Says how much memory an enclave with this image needs, to boot and to work, and what for.\n"
		             "Exit status: 0 said, 1 the image is refused, 2 used wrongly or not readable.", options);
		return 0;
	}
	if (parsed != OPTIONS_OK)
		return usage(&err);
	if (n != 1) {
		fail(&err, 0, "which image? tee-rex size FILE (--help lists the options)");
		return usage(&err);
	}
	if (a.jobs == 0 || a.jobs > JOBS_MAX || a.gates > GATES_MAX || a.payload_mib > 1 << 20 || a.uploads_mib > 1 << 20) {
		fail(&err, 0, "--jobs is 1 to %d, --gates at most %d, --payload and --uploads at most %d", JOBS_MAX, GATES_MAX, 1 << 20);
		return usage(&err);
	}
	struct eif_file file = EIF_FILE_NONE;
	int r = eif_file_open(&file, path, &err);
	if (r == 0)
		r = enclave_need(&file, LOAD_OFFSET, &need, &err);
	eif_file_close(&file);
	if (r < 0) {
		fprintf(stderr, "tee-rex size: %s\n", err.text);
		return r == -EBADMSG ? 1 : 2;
	}
	enclave_budget_make(&need, a.gates, a.jobs, a.payload_mib, a.uploads_mib, &budget);
	if (a.json)
		print_json(&budget);
	else
		print_text(&budget);
	return fflush(stdout) == 0 ? 0 : 2;
}
