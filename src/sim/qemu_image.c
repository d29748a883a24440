#include "sim/qemu_image.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/sign.h"

#include <sys/mman.h>

enum { IMAGE_OFFSET = 8 << 20 };                 /* where the hypervisor has the image; only for what it needs */

struct taker {
	struct eif_sink sink;
	const struct eif_file *f;
	struct qemu_image *q;
	size_t cmdline_n;
};

static int write_all(int fd, struct bytes b, struct err *err)
{
	while (b.n > 0) {
		ssize_t n = write(fd, b.p, b.n);
		if (n <= 0)
			return fail(err, errno, "keep the image's kernel and ramdisks in memory");
		b = bytes_of(b.p + n, b.n - (size_t)n);
	}
	return 0;
}

static int put(struct eif_sink *sink, size_t section, struct bytes piece, struct err *err)
{
	struct taker *t = CONTAINER_OF(sink, struct taker, sink);
	switch (t->f->eif.section[section].type) {
	case EIF_KERNEL:
		return write_all(t->q->kernel, piece, err);
	case EIF_RAMDISK:
		t->q->initrd_bytes += piece.n;
		return write_all(t->q->initrd, piece, err);
	case EIF_CMDLINE:
		if (piece.n >= sizeof t->q->cmdline - t->cmdline_n)
			return fail(err, EMSGSIZE, "the image's command line");
		if (piece.n > 0)
			memcpy(t->q->cmdline + t->cmdline_n, piece.p, piece.n);
		t->cmdline_n += piece.n;
		t->q->cmdline[t->cmdline_n] = '\0';
		return 0;
	default:
		return 0;
	}
}

/* PCR8, and only from a signature that the hypervisor would accept. */
static int read_signature(const struct eif_file *f, struct backend *b, struct err *err)
{
	static uint8_t section[EIF_SIGNATURE_MAX];
	static struct sign_certificate certificate;
	size_t at = eif_file_find(f, EIF_SIGNATURE), n;
	bool has = false;
	if (at == f->eif.count)
		return 0;
	int ret = eif_file_read(f, at, section, sizeof section, &n, err);
	if (ret < 0)
		return ret;
	enum eif_signature_result r = sign_check(bytes_of(section, n), b->pcr[0], &certificate, &has);
	if (r == EIF_SIGNATURE_OK)
		r = sign_certificate_check(&certificate, clock_wall_ms() / 1000);
	if (r != EIF_SIGNATURE_OK)
		return fail(err, 0, "%s: refused: %s: %s", f->path, eif_signature_name(r), eif_signature_message(r));
	return pcr_of_certificate(bytes_of(certificate.der, certificate.der_n), b->pcr[8]) ? 0 : fail(err, ENOMEM, "measure the certificate");
}

static int load(struct qemu_image *q, struct eif_file *f, struct backend *b, struct err *err)
{
	struct eif_measures measures;
	struct taker t = { .sink.put = put, .f = f, .q = q };
	if (f->eif.flags & EIF_FLAG_ARM64)
		return fail(err, 0, "%s is an image for arm64; this backend runs x86-64 ones", f->path);
	q->kernel = memfd_create("kernel", MFD_CLOEXEC);
	q->initrd = memfd_create("ramdisks", MFD_CLOEXEC);
	if (q->kernel < 0 || q->initrd < 0)
		return fail(err, errno, "make a memory file");
	int ret = eif_file_stream(f, &t.sink, &measures, err);
	if (ret == 0 && !measures.crc_ok)
		ret = eif_file_refuse_crc(f, err);
	if (ret < 0)
		return ret;
	memcpy(b->pcr[0], measures.pcr0, PCR_SIZE);
	memcpy(b->pcr[1], measures.pcr1, PCR_SIZE);
	memcpy(b->pcr[2], measures.pcr2, PCR_SIZE);
	memset(b->pcr[8], 0, PCR_SIZE);
	b->pcr_known |= 1 << 0 | 1 << 1 | 1 << 2 | 1 << 8;
	return read_signature(f, b, err);
}

int qemu_image_load(struct qemu_image *q, const char *path, struct backend *b, struct err *err)
{
	struct eif_file f = EIF_FILE_NONE;
	int ret = eif_file_open(&f, path, err);
	if (ret == 0)
		ret = load(q, &f, b, err);
	if (ret == 0)
		ret = enclave_need(&f, IMAGE_OFFSET, &q->need, err);
	eif_file_close(&f);
	return ret;
}

void qemu_image_close(struct qemu_image *q)
{
	close_fd(&q->kernel);
	close_fd(&q->initrd);
}
