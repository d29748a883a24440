#include "host/enclave_need.h"

#include "base/cleanup.h"
#include "format/cpio.h"
#include "image/expand.h"
#include "image/kernel.h"

#include <string.h>

enum {
	PAGE = 4096,
	INODE = 1024,                            /* inode, directory entry and their share of a slab */
	SYSTEM = 24 << 20,                       /* what a small kernel and its init take of memory of any size … */
	SYSTEM_SHARE = 32                        /* … and its part of all memory: records of pages, hash tables */
};
#define KERNEL_MAX (UINT64_C(1) << 30)

static uint64_t pages(uint64_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

static int kernel_size(const struct eif_file *f, size_t section, uint64_t *ret, struct err *err)
{
	uint64_t size = f->eif.section[section].size;
	struct kernel_image k;
	size_t n;
	if (size > KERNEL_MAX)
		return fail(err, EFBIG, "%s: a kernel of %llu MiB", f->path, (unsigned long long)(size >> 20));
	CLEANUP(free_ptr) uint8_t *buf = malloc(size);
	if (buf == NULL)
		return fail(err, ENOMEM, "read the kernel of %s", f->path);
	int ret_code = eif_file_read(f, section, buf, size, &n, err);
	if (ret_code < 0)
		return ret_code;
	/* a kernel that does not say it is at least as large as its file */
	*ret = kernel_parse(bytes_of(buf, n), &k) == KERNEL_OK && k.start_size > size ? k.start_size : size;
	return 0;
}

/* Adds what the archive's entries will occupy. False: it is no archive that is read here. */
static bool add_entries(struct stream *in, uint64_t *unpacked, struct err *err, enum image_code *ret)
{
	static uint8_t buf[1 << 16];
	struct cpio_reader r;
	size_t n;
	cpio_reader_init(&r);
	while ((*ret = stream_read(in, buf, sizeof buf, &n, err)) == IMAGE_OK && n > 0) {
		struct bytes left = bytes_of(buf, n), contents;
		enum cpio_event e;
		while ((e = cpio_read(&r, &left, &contents)) != CPIO_MORE) {
			if (e == CPIO_REFUSED)
				return false;
			if (e == CPIO_ENTRY)
				*unpacked += pages(r.entry.size) + INODE;
		}
	}
	if (*ret == IMAGE_IO || cpio_reader_end(&r) != CPIO_OK)
		return false;
	*ret = IMAGE_OK;                         /* the archive is whole; behind a packed one there may be padding */
	return true;
}

static int add_ramdisk(const struct eif_file *f, size_t section, struct enclave_need *need, struct err *err)
{
	const struct eif_section *s = &f->eif.section[section];
	struct expand_budget budget = { .left = UINT64_C(64) << 30, .grace = UINT64_C(8) << 30, .ratio_max = 1000 };
	CLEANUP(stream_close) struct stream *in = NULL;
	enum image_code code = stream_of_fd(f->fd, false, s->offset + EIF_SECTION_HEADER_SIZE, s->size, f->path, &in, err);
	if (code == IMAGE_OK)
		code = stream_expanded(stream_steal(&in), &budget, f->path, &in, err);
	need->ramdisks += s->size;
	if (code == IMAGE_OK && !add_entries(in, &need->unpacked, err, &code))
		need->exact = false;
	if (code == IMAGE_IO)
		return -EIO;
	if (code != IMAGE_OK)
		need->exact = false;
	return 0;
}

/* Unless told otherwise the kernel unpacks into a tmpfs, which holds half of all memory and no more. */
static bool root_is_tmpfs(const struct eif_file *f)
{
	uint8_t line[EIF_CMDLINE_MAX];
	char text[EIF_CMDLINE_MAX + 1];
	size_t n, i = eif_file_find(f, EIF_CMDLINE);
	if (i >= f->eif.count || eif_file_read(f, i, line, sizeof line, &n, NULL) < 0)
		return true;
	while (n > 0 && line[n - 1] == '\0')
		n--;
	if (!bytes_to_cstr(bytes_of(line, n), text, sizeof text))
		return true;
	const char *type = strstr(text, "rootfstype=");
	return type != NULL ? strncmp(type + 11, "tmpfs", 5) == 0 : strncmp(text, "root=", 5) != 0 && strstr(text, " root=") == NULL;
}

int enclave_need(const struct eif_file *f, uint64_t offset, struct enclave_need *ret, struct err *err)
{
	struct enclave_need n = { .image = f->size, .exact = true };
	int code = 0;
	for (size_t i = 0; i < f->eif.count && code == 0; i++) {
		if (f->eif.section[i].type == EIF_KERNEL)
			code = kernel_size(f, i, &n.kernel, err);
		else if (f->eif.section[i].type == EIF_RAMDISK)
			code = add_ramdisk(f, i, &n, err);
	}
	if (code < 0)
		return code;
	uint64_t held = n.kernel + n.ramdisks + n.unpacked + SYSTEM;
	if (root_is_tmpfs(f) && held < 2 * n.unpacked + SYSTEM)
		held = 2 * n.unpacked + SYSTEM;
	n.system = SYSTEM + held / (SYSTEM_SHARE - 1);
	n.booting = held + held / (SYSTEM_SHARE - 1);
	n.loading = offset + n.image + n.kernel + n.ramdisks;
	n.total = n.booting > n.loading ? n.booting : n.loading;
	n.total = (n.total + (1 << 20) - 1) >> 20 << 20;
	*ret = n;
	return 0;
}

char *enclave_need_text(const struct enclave_need *n, char *buf, size_t cap)
{
	bool loads = n->loading >= n->booting;
	snprintf(buf, cap, "%llu MiB to %s: %llu for the kernel, %llu for ramdisks, %llu for %s%s",
	         (unsigned long long)(n->total >> 20), loads ? "load" : "boot", (unsigned long long)(n->kernel >> 20),
	         (unsigned long long)(n->ramdisks >> 20), (unsigned long long)((loads ? n->image : n->unpacked) >> 20),
	         loads ? "the image" : "what they unpack to", n->exact ? "" : " (and more: a ramdisk is packed in a way not read here)");
	return buf;
}
