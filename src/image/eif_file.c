/* Reading: header, table, section headers, kernel's head and command line are read and checked first (some kilobytes),
 * so that a malformed image is refused before gigabytes of it are hashed. Then one pass streams everything. The file
 * is a stranger's; sizes come from a table that was checked against the size the file had when it was opened, and a
 * file that is cut meanwhile is an error of reading. */
#include "image/eif_file.h"

#include "base/cleanup.h"
#include "format/crc32.h"

#include <fcntl.h>
#include <sys/stat.h>

static int refuse(struct eif_file *f, enum eif_result why, struct err *err)
{
	f->refused = why;
	fail(err, 0, "%s: %s: %s", eif_result_name(why), f->path, eif_result_message(why));
	return -EBADMSG;
}

int eif_file_refuse_crc(struct eif_file *f, struct err *err) { return refuse(f, EIF_BAD_CRC, err); }

static int read_at(const struct eif_file *f, uint64_t at, uint8_t *buf, size_t n, struct err *err)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(f->fd, buf + done, n - done, (off_t)(at + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(err, errno, "read %s", f->path);
		if (got == 0)
			return fail(err, EIO, "read %s: it was cut while it was read", f->path);
		done += (size_t)got;
	}
	return 0;
}

static uint64_t payload_at(const struct eif_file *f, size_t section)
{
	return f->eif.section[section].offset + EIF_SECTION_HEADER_SIZE;
}

static int check_contents(struct eif_file *f, struct err *err)
{
	uint8_t buf[EIF_CMDLINE_MAX > EIF_KERNEL_HEAD ? EIF_CMDLINE_MAX : EIF_KERNEL_HEAD];
	enum eif_result why = EIF_OK;
	for (size_t i = 0; i < f->eif.count && why == EIF_OK; i++) {
		const struct eif_section *s = &f->eif.section[i];
		if (s->type != EIF_KERNEL && s->type != EIF_CMDLINE)
			continue;
		size_t n = s->type == EIF_KERNEL && s->size > EIF_KERNEL_HEAD ? EIF_KERNEL_HEAD : (size_t)s->size;
		int ret = read_at(f, payload_at(f, i), buf, n, err);
		if (ret < 0)
			return ret;
		why = s->type == EIF_KERNEL ? eif_check_kernel(f->eif.flags, bytes_of(buf, n)) : eif_check_cmdline(bytes_of(buf, n));
	}
	return why == EIF_OK ? 0 : refuse(f, why, err);
}

static int check(struct eif_file *f, struct err *err)
{
	size_t n = f->size < EIF_HEADER_SIZE ? (size_t)f->size : EIF_HEADER_SIZE;
	int ret = read_at(f, 0, f->header, n, err);
	if (ret < 0)
		return ret;
	enum eif_result why = eif_parse_header(bytes_of(f->header, n), f->size, &f->eif);
	for (size_t i = 0; why == EIF_OK && i < f->eif.count; i++) {
		uint8_t section[EIF_SECTION_HEADER_SIZE];
		if ((ret = read_at(f, f->eif.section[i].offset, section, sizeof section, err)) < 0)
			return ret;
		why = eif_parse_section(BYTES_ARRAY(section), &f->eif, i);
	}
	if (why == EIF_OK)
		why = eif_check_sections(&f->eif);
	return why == EIF_OK ? check_contents(f, err) : refuse(f, why, err);
}

int eif_file_open(struct eif_file *f, const char *path, struct err *err)
{
	struct stat st;
	*f = (struct eif_file){ .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .path = path };
	if (f->fd < 0 || fstat(f->fd, &st) != 0)
		return fail(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, 0, "%s is not a regular file; name an enclave image", path);
	f->size = (uint64_t)st.st_size;
	return check(f, err);
}

void eif_file_close(struct eif_file *f) { close_fd(&f->fd); }

size_t eif_file_find(const struct eif_file *f, enum eif_section_type type)
{
	size_t i = 0;
	while (i < f->eif.count && f->eif.section[i].type != type)
		i++;
	return i;
}

int eif_file_read(const struct eif_file *f, size_t section, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	uint64_t size = f->eif.section[section].size;
	if (size > cap)
		return fail(err, EMSGSIZE, "read the %s of %s", eif_section_name(f->eif.section[section].type), f->path);
	int ret = read_at(f, payload_at(f, section), buf, (size_t)size, err);
	if (ret == 0)
		*ret_n = (size_t)size;
	return ret;
}

struct pass {                                    /* what one pass over the file carries along */
	uint8_t *buf;                            /* EIF_FILE_BUFFER bytes */
	struct pcr_meter meter;
	uint32_t crc;
	size_t ramdisks;
};

static int stream_section(struct eif_file *f, size_t i, struct pass *p, struct eif_sink *sink, struct err *err)
{
	const struct eif_section *s = &f->eif.section[i];
	bool measured = s->type == EIF_KERNEL || s->type == EIF_CMDLINE || s->type == EIF_RAMDISK;
	enum pcr_part part = s->type == EIF_RAMDISK && p->ramdisks++ > 0 ? PCR_APPLICATION : PCR_BOOT;
	uint8_t header[EIF_SECTION_HEADER_SIZE];
	/* read again, not made again: the checksum is of what is there */
	int ret = read_at(f, s->offset, header, sizeof header, err);
	p->crc = crc32_update(p->crc, BYTES_ARRAY(header));
	for (uint64_t at = 0; ret == 0 && at < s->size;) {
		size_t n = s->size - at < EIF_FILE_BUFFER ? (size_t)(s->size - at) : EIF_FILE_BUFFER;
		if ((ret = read_at(f, payload_at(f, i) + at, p->buf, n, err)) < 0)
			break;
		struct bytes piece = bytes_of(p->buf, n);
		p->crc = crc32_update(p->crc, piece);
		if (measured)
			pcr_meter_feed(&p->meter, part, piece);
		if (sink != NULL)
			ret = sink->put(sink, i, piece, err);
		at += n;
	}
	return ret == 0 && sink != NULL ? sink->put(sink, i, BYTES_NONE, err) : ret;
}

int eif_file_stream(struct eif_file *f, struct eif_sink *sink, struct eif_measures *ret_measures, struct err *err)
{
	struct pass p = { .buf = malloc(EIF_FILE_BUFFER), .crc = crc32_update(0, bytes_of(f->header, EIF_CRC_AT)) };
	int ret = p.buf != NULL && pcr_meter_open(&p.meter) ? 0 : fail(err, ENOMEM, "measure %s", f->path);
	(void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	for (size_t i = 0; ret == 0 && i < f->eif.count; i++)
		ret = stream_section(f, i, &p, sink, err);
	struct eif_measures m = { .crc32 = p.crc, .crc_ok = p.crc == f->eif.crc32 };
	if (ret == 0 && !pcr_meter_read(&p.meter, m.pcr0, m.pcr1, m.pcr2))
		ret = fail(err, 0, "measure %s: libcrypto failed", f->path);
	if (ret == 0)
		*ret_measures = m;
	pcr_meter_close(&p.meter);
	free(p.buf);
	return ret;
}
