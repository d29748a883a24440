/* Writing. Nothing needs to be known in advance: each section's header is written when the section ends, the file's
 * header at the commit. The checksum covers both before what follows them, so it is put together from the parts
 * (crc32_combine). */
#include "image/eif_file.h"

#include "base/cleanup.h"
#include "format/crc32.h"

enum { DEFAULT_CPUS = 2 };                       /* nobody reads these two; the stock tool's values, so that */
static const uint64_t default_mem = 1 << 30;     /* equal input gives equal files */

static int refuse(struct eif_writer *w, enum eif_result why, struct err *err)
{
	w->refused = why;
	fail(err, 0, "%s: %s", eif_result_name(why), eif_result_message(why));
	return -EBADMSG;
}

static int write_at(const struct eif_writer *w, uint64_t at, const uint8_t *p, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t done = pwrite(w->out.fd, p, n, (off_t)at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return fail(err, done < 0 ? errno : ENOSPC, "write %s", w->out.path);
		p += done;
		n -= (size_t)done;
		at += (uint64_t)done;
	}
	return 0;
}

static int flush(struct eif_writer *w, struct err *err)
{
	int ret = write_at(w, w->at - w->buffered, w->buf, w->buffered, err);
	w->buffered = 0;
	return ret;
}

int eif_writer_open(struct eif_writer *w, const char *path, uint16_t flags, struct err *err)
{
	*w = EIF_WRITER_NONE;
	w->eif = (struct eif){ .flags = flags, .default_mem = default_mem, .default_cpus = DEFAULT_CPUS };
	w->at = EIF_HEADER_SIZE;
	w->buf = malloc(EIF_FILE_BUFFER);
	if (w->buf == NULL || !pcr_meter_open(&w->meter))
		return fail(err, ENOMEM, "write %s", path);
	return out_file_open(&w->out, path, 0666, err);
}

int eif_writer_begin(struct eif_writer *w, enum eif_section_type type, struct err *err)
{
	if (w->eif.count == EIF_SECTIONS_MAX)
		return refuse(w, EIF_TOO_MANY_SECTIONS, err);
	int ret = flush(w, err);
	if (ret < 0)
		return ret;
	w->eif.section[w->eif.count++] = (struct eif_section){ .type = type, .offset = w->at };
	w->at += EIF_SECTION_HEADER_SIZE;
	w->section_crc = 0;
	w->head_n = 0;
	w->ramdisks += type == EIF_RAMDISK;
	w->open = true;
	return 0;
}

int eif_writer_put(struct eif_writer *w, struct bytes piece, struct err *err)
{
	struct eif_section *s = &w->eif.section[w->eif.count - 1];
	w->section_crc = crc32_update(w->section_crc, piece);
	if (s->type <= EIF_RAMDISK)
		pcr_meter_feed(&w->meter, s->type == EIF_RAMDISK && w->ramdisks > 1 ? PCR_APPLICATION : PCR_BOOT, piece);
	size_t head = piece.n < sizeof w->head - w->head_n ? piece.n : sizeof w->head - w->head_n;
	if (head > 0)
		memcpy(w->head + w->head_n, piece.p, head);
	w->head_n += head;
	s->size += piece.n;
	w->at += piece.n;
	if (w->buffered == 0 && piece.n >= EIF_FILE_BUFFER)
		return write_at(w, w->at - piece.n, piece.p, piece.n, err);
	while (piece.n > 0) {
		size_t n = piece.n < EIF_FILE_BUFFER - w->buffered ? piece.n : EIF_FILE_BUFFER - w->buffered;
		memcpy(w->buf + w->buffered, piece.p, n);
		w->buffered += n;
		piece = bytes_of(piece.p + n, piece.n - n);
		if (w->buffered < EIF_FILE_BUFFER)
			break;
		int ret = write_at(w, w->at - piece.n - w->buffered, w->buf, w->buffered, err);
		if (ret < 0)
			return ret;
		w->buffered = 0;
	}
	return 0;
}

int eif_writer_end(struct eif_writer *w, struct err *err)
{
	const struct eif_section *s = &w->eif.section[w->eif.count - 1];
	uint8_t header[EIF_SECTION_HEADER_SIZE];
	enum eif_result why = EIF_OK;
	if (s->type == EIF_KERNEL)
		why = eif_check_kernel(w->eif.flags, bytes_of(w->head, w->head_n));
	else if (s->type == EIF_CMDLINE && s->size > EIF_CMDLINE_MAX)
		why = EIF_CMDLINE_TOO_LARGE;
	if (why != EIF_OK)
		return refuse(w, why, err);
	eif_put_section(s, header);
	w->body_crc = crc32_combine(crc32_update(w->body_crc, BYTES_ARRAY(header)), w->section_crc, s->size);
	w->open = false;
	int ret = flush(w, err);
	return ret == 0 ? write_at(w, s->offset, header, sizeof header, err) : ret;
}

int eif_writer_section(struct eif_writer *w, enum eif_section_type type, struct bytes payload, struct err *err)
{
	enum eif_result why = type == EIF_CMDLINE ? eif_check_cmdline(payload) : EIF_OK;
	int ret = why == EIF_OK ? eif_writer_begin(w, type, err) : refuse(w, why, err);
	if (ret == 0)
		ret = eif_writer_put(w, payload, err);
	return ret == 0 ? eif_writer_end(w, err) : ret;
}

int eif_writer_measure(const struct eif_writer *w, struct eif_measures *ret, struct err *err)
{
	if (!pcr_meter_read(&w->meter, ret->pcr0, ret->pcr1, ret->pcr2))
		return fail(err, 0, "measure %s: libcrypto failed", w->out.path);
	return 0;
}

int eif_writer_commit(struct eif_writer *w, struct eif_measures *ret_measures, struct err *err)
{
	struct eif laid = w->eif;
	struct eif_measures m = { .crc_ok = true };
	uint8_t header[EIF_HEADER_SIZE];
	uint64_t size = 0;
	enum eif_result why = eif_lay_out(&laid, &size);
	if (why != EIF_OK)
		return refuse(w, why, err);
	if (w->open || size != w->at)
		return fail(err, 0, "write %s: a section was not ended", w->out.path);
	int ret = eif_writer_measure(w, &m, err);
	if (ret < 0)
		return ret;
	eif_put_header(&laid, header);
	m.crc32 = crc32_combine(crc32_update(0, bytes_of(header, EIF_CRC_AT)), w->body_crc, size - EIF_HEADER_SIZE);
	laid.crc32 = m.crc32;
	eif_put_header(&laid, header);
	ret = write_at(w, 0, header, sizeof header, err);
	if (ret == 0)
		ret = out_file_commit(&w->out, err);
	if (ret == 0)
		*ret_measures = m;
	return ret;
}

void eif_writer_close(struct eif_writer *w)
{
	out_file_close(&w->out);
	pcr_meter_close(&w->meter);
	free(w->buf);
	w->buf = NULL;
}
