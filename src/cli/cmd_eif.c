/* tee-rex eif: puts an enclave image together from its parts, taken as they are. Same parts and options, same bytes, on any
 * machine: nothing of the host, the user or the clock goes in. `tee-rex build` makes the parts from a container image. */
#include "base/cleanup.h"
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/eif_args.h"
#include "image/eif_file.h"
#include "image/metadata.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct eif_args {
	const char *kernel, *cmdline, *arch, *name, *version, *metadata, *build_time, *output;
	struct option_list ramdisks;
	bool json;
};

static const struct option_spec options[] = {
	{ 'k', "kernel", OPT_STRING, offsetof(struct eif_args, kernel), "FILE", "bzImage (x86-64) or raw Image (arm64)" },
	{ 'c', "cmdline", OPT_STRING, offsetof(struct eif_args, cmdline), "TEXT", "kernel command line, or @FILE with it" },
	{ 'r', "ramdisk", OPT_LIST, offsetof(struct eif_args, ramdisks), "FILE", "in this order; the first counts for PCR1, the others for PCR2" },
	{ 0, "arch", OPT_STRING, offsetof(struct eif_args, arch), "ARCH", "x86_64 or aarch64; default: the kernel's" },
	{ 0, "name", OPT_STRING, offsetof(struct eif_args, name), "NAME", "of the image (default: enclave)" },
	{ 0, "version", OPT_STRING, offsetof(struct eif_args, version), "VERSION", "of the image (default: 1.0)" },
	{ 0, "metadata", OPT_STRING, offsetof(struct eif_args, metadata), "FILE", "JSON object to carry along as CustomMetadata" },
	{ 0, "build-time", OPT_STRING, offsetof(struct eif_args, build_time), "TIME", "seconds since 1970 or 2026-01-31T12:00:00Z (default: 0)" },
	{ 'o', "output", OPT_STRING, offsetof(struct eif_args, output), "FILE", "the image; appears whole or not at all" },
	{ 0, "json", OPT_FLAG, offsetof(struct eif_args, json), NULL, "print the PCRs as JSON" },
	OPTIONS_HELP,
	OPTIONS_END
};

/* --- the parts ----------------------------------------------------------------------------- */

static int open_part(const char *path, int *ret_fd, struct err *err)
{
	struct stat st;
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, 0, "%s is not a regular file", path);
	*ret_fd = fd_steal(&fd);
	return 0;
}

/* Zero padding or a length that does not end on 4 bytes is nothing to an archive by itself, but the kernel sees all
 * ramdisks as one piece of memory: behind such a one it does not find an uncompressed archive. */
struct seam { uint64_t size; const char *path; };

static void check_seam(struct seam *before, const char *path, int fd)
{
	char magic[6];
	struct stat st;
	bool cpio = pread(fd, magic, sizeof magic, 0) == sizeof magic && memcmp(magic, "070701", 6) == 0;
	if (cpio && before->size % 4 != 0)
		fprintf(stderr, "tee-rex eif: warning: %s has %llu bytes, no multiple of 4, so the kernel will not find the archive %s "
		        "behind it; pad it with zeros\n", before->path, (unsigned long long)before->size, path);
	before->size += fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	before->path = path;
}

static int add_file(struct eif_writer *w, enum eif_section_type type, const char *path, struct seam *seam, struct err *err)
{
	CLEANUP(close_fd) int fd = -1;
	CLEANUP(free_ptr) uint8_t *buf = malloc(EIF_FILE_BUFFER);
	int ret = buf == NULL ? fail(err, ENOMEM, "read %s", path) : open_part(path, &fd, err);
	if (ret == 0 && seam != NULL)
		check_seam(seam, path, fd);
	if (ret == 0)
		ret = eif_writer_begin(w, type, err);
	ssize_t n = 0;
	while (ret == 0 && ((n = read(fd, buf, EIF_FILE_BUFFER)) > 0 || (n < 0 && errno == EINTR)))
		if (n > 0)
			ret = eif_writer_put(w, bytes_of(buf, (size_t)n), err);
	if (ret == 0 && n < 0)
		ret = fail(err, errno, "read %s", path);
	return ret == 0 ? eif_writer_end(w, err) : ret;
}

static int choose_flags(const struct eif_args *a, int kernel_fd, uint16_t *ret, struct err *err)
{
	uint8_t head[EIF_KERNEL_HEAD];
	ssize_t n = pread(kernel_fd, head, sizeof head, 0);
	if (n < 0)
		return fail(err, errno, "read %s", a->kernel);
	int flags = eif_kernel_flags(bytes_of(head, (size_t)n));
	if (a->arch != NULL)
		flags = strcmp(a->arch, "aarch64") == 0 ? EIF_FLAG_ARM64 : 0;
	if (flags < 0)
		return fail(err, 0, "%s is neither an x86-64 bzImage nor a raw arm64 Image, the kernels that enclaves boot", a->kernel);
	/* that the kernel is of this architecture is checked when it is written */
	*ret = (uint16_t)flags;
	return 0;
}

/* --- the image -------------------------------------------------------------------------------- */

static int make_metadata(const struct eif_args *a, int kernel_fd, char **ret, size_t *ret_n, struct err *err)
{
	char release[KERNEL_RELEASE_MAX + 1];
	struct metadata m = {
		.name = a->name != NULL ? a->name : "enclave",
		.version = a->version != NULL ? a->version : "1.0",
		.kernel_version = release,
	};
	int r = a->build_time != NULL ? parse_build_time(a->build_time, &m.build_time_s, err) : 0;
	if (r == 0)
		r = kernel_release(kernel_fd, a->kernel, release, err);
	if (r == 0 && a->metadata != NULL)
		r = metadata_load_custom(a->metadata, &m.custom, err);
	if (r == 0)
		r = metadata_write(&m, ret, ret_n, err);
	json_decref(m.custom);
	return r;
}

static int assemble(const struct eif_args *a, struct eif_writer *w, struct eif_measures *ret_measures, struct err *err)
{
	CLEANUP(close_fd) int kernel = -1;
	CLEANUP(free_ptr) char *metadata = NULL;
	uint8_t buf[CMDLINE_BUFFER];
	struct bytes cmdline = BYTES_NONE;
	struct seam seam = { 0, NULL };
	size_t metadata_n = 0;
	uint16_t flags = 0;
	int ret = open_part(a->kernel, &kernel, err);
	if (ret == 0)
		ret = choose_flags(a, kernel, &flags, err);
	if (ret == 0)
		ret = load_cmdline(a->cmdline, buf, &cmdline, err);
	if (ret == 0)
		ret = make_metadata(a, kernel, &metadata, &metadata_n, err);
	if (ret == 0)
		ret = eif_writer_open(w, a->output, flags, err);
	if (ret == 0)
		ret = add_file(w, EIF_KERNEL, a->kernel, NULL, err);
	if (ret == 0)
		ret = eif_writer_section(w, EIF_CMDLINE, cmdline, err);
	if (ret == 0)
		ret = eif_writer_section(w, EIF_METADATA, bytes_of(metadata, metadata_n), err);
	for (size_t i = 0; ret == 0 && i < a->ramdisks.n; i++)
		ret = add_file(w, EIF_RAMDISK, a->ramdisks.value[i], &seam, err);
	return ret == 0 ? eif_writer_commit(w, ret_measures, err) : ret;
}

static void print_registers(const struct eif_measures *m, bool json)
{
	char pcr0[2 * PCR_SIZE + 1], pcr1[2 * PCR_SIZE + 1], pcr2[2 * PCR_SIZE + 1];
	printf(json ? "{\"PCR0\":\"%s\",\"PCR1\":\"%s\",\"PCR2\":\"%s\"}\n" : "0=%s\n1=%s\n2=%s\n",
	       hex_encode(BYTES_ARRAY(m->pcr0), pcr0), hex_encode(BYTES_ARRAY(m->pcr1), pcr1), hex_encode(BYTES_ARRAY(m->pcr2), pcr2));
}

static int check_args(const struct eif_args *a, struct err *err)
{
	if (a->kernel == NULL || a->cmdline == NULL || a->ramdisks.n == 0 || a->output == NULL)
		return fail(err, 0, "--kernel, --cmdline, at least one --ramdisk and --output are wanted (--help lists the options)");
	if (a->arch != NULL && strcmp(a->arch, "x86_64") != 0 && strcmp(a->arch, "aarch64") != 0)
		return fail(err, 0, "--arch wants x86_64 or aarch64, not \"%.40s\"", a->arch);
	int64_t ignored;
	return a->build_time != NULL ? parse_build_time(a->build_time, &ignored, err) : 0;
}

int eif_main(int argc, char **argv)
{
	struct eif_args a = { 0 };
	struct eif_writer w = EIF_WRITER_NONE;
	struct eif_measures m;
	size_t n;
	struct err err;
	enum option_result parsed = options_parse(options, &a, argc, argv, NULL, 0, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "eif", "--kernel FILE --cmdline TEXT --ramdisk FILE… -o FILE",
		             "Puts an enclave image (EIF) together from kernel, command line and ramdisks. Same parts, same\n"
		             "bytes. Prints PCR0 to PCR2.", options);
		return 0;
	}
	if (parsed != OPTIONS_OK || check_args(&a, &err) < 0) {
		fprintf(stderr, "tee-rex eif: %s\n", err.text);
		return 2;
	}
	int ret = assemble(&a, &w, &m, &err);
	eif_writer_close(&w);
	if (ret < 0) {
		fprintf(stderr, "tee-rex eif: %s%s\n", ret == -EBADMSG ? "refused: " : "", err.text);
		return 1;
	}
	print_registers(&m, a.json);
	return fflush(stdout) == 0 ? 0 : 1;
}
