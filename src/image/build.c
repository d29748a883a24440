/* The order of the sections is the measured one; the application ramdisk comes last because it is the large one. */
#include "image/build.h"

#include "base/cleanup.h"
#include "image/app_plain.h"
#include "image/map_file.h"
#include "image/squashfs.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>

enum { BOOT_INIT_MAX = 64 << 20 };

const char *build_cmdline(enum kernel_arch arch)
{
	/* what kernel/x86_64.config has built in; arm64 knows no built-in line that is put before another */
	return arch == KERNEL_ARM64 ? BUILD_CMDLINE_COMMON " root=/dev/ram0 random.trust_bootloader=off swiotlb=noforce page_alloc.shuffle=1"
		: BUILD_CMDLINE_COMMON " i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd";
}

/* --- what is checked first --------------------------------------------------------------------------- */

/* init runs before there is anything to link it to. */
static enum image_code check_init(struct bytes file, const char *path, enum kernel_arch arch, struct err *err)
{
	Elf64_Ehdr e;
	Elf64_Phdr p;
	if (file.n < sizeof e || memcmp(file.p, ELFMAG, SELFMAG) != 0 || file.p[EI_CLASS] != ELFCLASS64)
		return image_fail(err, IMAGE_BAD_INIT, 0, "%s is no 64-bit ELF program", path);
	memcpy(&e, file.p, sizeof e);
	if (e.e_machine != (arch == KERNEL_ARM64 ? EM_AARCH64 : EM_X86_64))
		return image_fail(err, IMAGE_BAD_INIT, 0, "%s is for another architecture than the kernel (%s)", path, kernel_arch_name(arch));
	for (unsigned i = 0; i < e.e_phnum; i++) {
		struct bytes b = e.e_phoff < file.n ? bytes_slice(file, (size_t)e.e_phoff + i * sizeof p, sizeof p) : BYTES_NONE;
		if (b.n != sizeof p)
			return image_fail(err, IMAGE_BAD_INIT, 0, "%s is cut off", path);
		memcpy(&p, b.p, sizeof p);
		if (p.p_type == PT_INTERP)
			return image_fail(err, IMAGE_BAD_INIT, 0, "%s is linked dynamically; nothing it could load is there yet", path);
	}
	return IMAGE_OK;
}

static enum image_code check_kernel(const struct build_plan *p, struct build_report *report, struct err *err)
{
	struct bytes file = BYTES_NONE, config = BYTES_NONE, module = BYTES_NONE;
	unsigned needs = (p->packing == RAMDISK_GZIP ? (unsigned)KERNEL_NEED_RD_GZIP : 0) | (p->packing == RAMDISK_ZSTD ? (unsigned)KERNEL_NEED_RD_ZSTD : 0) |
		(p->table->layout == LAYOUT_SQUASHFS ? (unsigned)KERNEL_NEED_SQUASHFS : 0);
	struct kernel_check *k = &report->kernel;
	enum image_code c = IMAGE_IO;
	if (map_file(p->kernel, &file, err) == 0 && (p->kernel_config == NULL || map_file(p->kernel_config, &config, err) == 0) &&
	    (p->module == NULL || map_file(p->module, &module, err) == 0)) {
		kernel_check_run(k, p->kernel, file, p->kernel_config, config, p->module, module, needs);
		c = k->code == KERNEL_OK ? IMAGE_OK : image_fail(err, IMAGE_BAD_KERNEL, 0, "%s: %s %s", kernel_code_name(k->code), k->about,
		                                                 kernel_code_text(k->code));
		report->arch = k->kernel.arch;
		k->kernel.payload = k->kernel.release = BYTES_NONE;
	}
	for (size_t i = 0; k->code == KERNEL_UNFIT && i < k->report.n; i++)
		if (k->report.finding[i].verdict != KERNEL_DEGRADED) {
			c = image_fail(err, IMAGE_BAD_KERNEL, 0, "%s: %s %s, first of all CONFIG_%s: %s (tee-rex kernel check lists all)",
			               kernel_code_name(k->code), p->kernel, kernel_code_text(k->code), k->report.finding[i].rule->option,
			               k->report.finding[i].rule->why);
			break;
		}
	unmap_file(&file);
	unmap_file(&config);
	unmap_file(&module);
	return c;
}

enum image_code build_check(const struct build_plan *p, const struct oci_platform *platform, struct build_report *report,
                            struct err *err)
{
	struct bytes init = BYTES_NONE;
	enum image_code c = check_kernel(p, report, err);
	if (c != IMAGE_OK)
		return c;
	report->cmdline = p->cmdline != NULL ? p->cmdline : build_cmdline(report->arch);
	if (strcmp(platform->architecture, report->arch == KERNEL_ARM64 ? "arm64" : "amd64") != 0)
		return image_fail(err, IMAGE_BAD_KERNEL, 0, "the image is for %s and the kernel for %s; --platform chooses the image",
		                  platform->architecture, kernel_arch_name(report->arch));
	if (map_file(p->init, &init, err) < 0)
		return IMAGE_IO;
	c = check_init(init, p->init, report->arch, err);
	unmap_file(&init);
	return c;
}

/* --- sections ------------------------------------------------------------------------------------------ */

static enum image_code put_kernel(struct eif_writer *w, const struct build_plan *p, struct build_report *report, struct err *err)
{
	struct bytes file;
	CLEANUP(close_fd) int fd = open(p->kernel, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return image_fail(err, IMAGE_IO, errno, "open %s", p->kernel);
	if (kernel_release(fd, p->kernel, report->kernel_release, err) < 0 || map_file(p->kernel, &file, err) < 0)
		return IMAGE_IO;
	report->kernel_bytes = file.n;
	int ret = eif_writer_section(w, EIF_KERNEL, file, err);
	unmap_file(&file);
	return ret == 0 ? IMAGE_OK : IMAGE_IO;
}

/* What the image was, as the stock tool's readers look for it. */
static json_t *docker_info(const struct source *s)
{
	char text[OCI_DIGEST_TEXT_SIZE];
	json_t *j = json_pack("{s:s, s:s}", "Architecture", s->config.platform.architecture, "Os", s->config.platform.os);
	if (j != NULL && s->ops->open_blob != NULL)
		json_object_set_new(j, "Id", json_string(oci_digest_text(s->config_digest, text)));
	if (j != NULL && s->has_digest)
		json_object_set_new(j, "Digest", json_string(oci_digest_text(s->digest, text)));
	return j;
}

static enum image_code put_metadata(struct eif_writer *w, const struct source *s, const struct build_plan *p,
                                    const struct build_report *report, struct err *err)
{
	CLEANUP(free_ptr) char *text = NULL;
	size_t n;
	struct metadata m = { .name = p->name, .version = p->version, .build_time_s = p->build_time_s,
		.kernel_version = report->kernel_release, .docker_info = docker_info(s), .custom = p->custom };
	int ret = metadata_write(&m, &text, &n, err);
	json_decref(m.docker_info);
	if (ret == 0)
		ret = eif_writer_section(w, EIF_METADATA, bytes_of(text, n), err);
	return ret == 0 ? IMAGE_OK : IMAGE_IO;
}

static enum image_code put_file(struct ramdisk *rd, const char *path, const char *name, uint32_t mode, struct err *err)
{
	struct bytes file;
	if (map_file(path, &file, err) < 0)
		return IMAGE_IO;
	enum image_code c = file.n <= BOOT_INIT_MAX ? ramdisk_file(rd, name, mode, file, err)
		: image_fail(err, IMAGE_TOO_LARGE, 0, "%s has more than %d MiB", path, BOOT_INIT_MAX >> 20);
	unmap_file(&file);
	return c;
}

struct application {
	struct rootfs *rootfs;
	const struct build_plan *plan;
	struct build_report *report;
	struct spool squashfs;
};

static enum image_code put_boot(struct ramdisk *rd, const struct build_plan *p, struct err *err)
{
	static const char *const directories[] = { "app", "dev", "etc", "etc/tee-rex", "proc", "run", "sys", "tmp" };
	CLEANUP(free_ptr) uint8_t *text = malloc(SERVICE_TABLE_MAX);
	struct writer w = writer_of(text, SERVICE_TABLE_MAX);
	enum image_code c = IMAGE_OK;
	if (text == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "write the service table");
	if (service_table_check(p->table, err) < 0)
		return image_fail_in(err, IMAGE_BAD_SERVICE, "the service table");
	service_table_put(&w, p->table);
	if (w.full)
		return image_fail(err, IMAGE_BAD_SERVICE, 0, "the service table is larger than %d KiB", SERVICE_TABLE_MAX >> 10);
	for (size_t i = 0; i < sizeof directories / sizeof directories[0] && c == IMAGE_OK; i++)
		c = ramdisk_directory(rd, directories[i], strcmp(directories[i], "tmp") == 0 ? 01777 : 0755, err);
	if (c == IMAGE_OK)
		c = ramdisk_file(rd, "etc/tee-rex/init.conf", 0444, writer_bytes(&w), err);
	if (c == IMAGE_OK)
		c = put_file(rd, p->init, "init", 0555, err);
	if (c == IMAGE_OK && p->module != NULL)
		c = put_file(rd, p->module, "nsm.ko", 0444, err);
	return c;
}

/* One ramdisk after the other; each function below fills one that was begun. */
static enum image_code put_ramdisk(struct eif_writer *w, enum ramdisk_packing packing, struct application *a,
                                   enum image_code (*fill)(struct ramdisk *rd, struct application *a, struct err *err),
                                   uint64_t *ret_bytes, struct err *err)
{
	struct ramdisk rd;
	enum image_code c = ramdisk_begin(&rd, w, packing, err);
	if (c == IMAGE_OK)
		c = fill(&rd, a, err);
	if (c == IMAGE_OK)
		c = ramdisk_end(&rd, err);
	ramdisk_close(&rd);
	*ret_bytes = rd.packed;
	return c;
}

static enum image_code fill_boot(struct ramdisk *rd, struct application *a, struct err *err) { return put_boot(rd, a->plan, err); }

static enum image_code fill_plain(struct ramdisk *rd, struct application *a, struct err *err)
{
	return app_plain_write(rd, a->rootfs, &a->report->xattrs_lost, err);
}

struct to_ramdisk { struct spool_reader reader; struct ramdisk *rd; struct image_progress *progress; uint64_t done, total; };

static enum image_code take_piece(struct spool_reader *r, struct bytes piece, struct err *err)
{
	struct to_ramdisk *to = (struct to_ramdisk *)(void *)r;
	to->done += piece.n;
	progress_tell(to->progress, "measuring", 0, 0, to->done, to->total);
	return ramdisk_data(to->rd, piece, err);
}

static enum image_code fill_squashfs(struct ramdisk *rd, struct application *a, struct err *err)
{
	struct to_ramdisk to = { { take_piece }, rd, a->rootfs->source->progress, 0, a->squashfs.at };
	const struct cpio_entry e = { .name = BYTES_LIT("app.squashfs"), .mode = S_IFREG | 0444, .size = a->squashfs.at };
	enum image_code c = ramdisk_entry(rd, &e, NULL, err);
	return c == IMAGE_OK ? spool_read(&a->squashfs, &to.reader, err) : c;
}

static enum image_code put_ramdisks(struct eif_writer *w, struct application *a, struct err *err)
{
	const struct build_plan *p = a->plan;
	enum image_code c = put_ramdisk(w, p->packing, a, fill_boot, &a->report->boot_bytes, err);
	if (c != IMAGE_OK || p->table->layout == LAYOUT_PLAIN)
		return c == IMAGE_OK ? put_ramdisk(w, p->packing, a, fill_plain, &a->report->application_bytes, err) : c;
	/* what is packed already is not packed again: it would cost time and memory at boot and save nothing */
	return put_ramdisk(w, RAMDISK_PLAIN, a, fill_squashfs, &a->report->application_bytes, err);
}

static enum image_code put_sections(struct eif_writer *w, struct application *a, struct err *err)
{
	enum image_code c = put_kernel(w, a->plan, a->report, err);
	if (c == IMAGE_OK && eif_writer_section(w, EIF_CMDLINE, bytes_str(a->report->cmdline), err) < 0)
		c = IMAGE_IO;
	if (c == IMAGE_OK)
		c = put_metadata(w, a->rootfs->source, a->plan, a->report, err);
	return c == IMAGE_OK ? put_ramdisks(w, a, err) : c;
}

enum image_code build_image(struct rootfs *r, const struct build_plan *p, struct build_report *report, struct err *err)
{
	struct eif_writer w;
	struct application a = { r, p, report, SPOOL_NONE };
	uint16_t flags = report->arch == KERNEL_ARM64 ? EIF_FLAG_ARM64 : 0;
	report->unpacked_bytes = r->tree->live_bytes;
	r->source->reading = "packing";
	enum image_code c = eif_writer_open(&w, p->output, flags, err) == 0 ? IMAGE_OK : IMAGE_IO;
	if (c == IMAGE_OK && p->table->layout == LAYOUT_SQUASHFS) {
		c = spool_open(&a.squashfs, r->limits.spill_dir, err);
		if (c == IMAGE_OK)
			c = squashfs_write(r, &a.squashfs, err);
		report->spooled_bytes = a.squashfs.at;
	}
	if (c == IMAGE_OK)
		c = put_sections(&w, &a, err);
	if (c == IMAGE_OK) {
		progress_tell(r->source->progress, "writing to the disk", 0, 0, w.at, 0);
		if (eif_writer_commit(&w, &report->measures, err) < 0)
			c = IMAGE_IO;
	}
	eif_writer_close(&w);
	spool_close(&a.squashfs);
	return c;
}
