#include "image/squashfs_file.h"

#include "base/cleanup.h"
#include "image/slab.h"

enum { SPOOL_BUFFER = 256 << 10 };

enum image_code spool_open(struct spool *s, const char *dir, struct err *err)
{
	*s = SPOOL_NONE;
	s->buf = malloc(SPOOL_BUFFER);
	if (s->buf == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "hold a temporary file");
	return temporary_file(dir, &s->fd, err) == 0 ? IMAGE_OK : IMAGE_IO;
}

void spool_close(struct spool *s)
{
	close_fd(&s->fd);
	free(s->buf);
	s->buf = NULL;
}

static enum image_code write_all(int fd, struct bytes b, struct err *err)
{
	while (b.n > 0) {
		ssize_t done = write(fd, b.p, b.n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return image_fail(err, IMAGE_IO, done < 0 ? errno : ENOSPC, "write a temporary file (TMPDIR says where)");
		b = bytes_of(b.p + done, b.n - (size_t)done);
	}
	return IMAGE_OK;
}

enum image_code spool_flush(struct spool *s, struct err *err)
{
	enum image_code c = write_all(s->fd, bytes_of(s->buf, s->buffered), err);
	s->buffered = 0;
	return c;
}

enum image_code spool_put(struct spool *s, struct bytes b, struct err *err)
{
	s->at += b.n;
	if (b.n > SPOOL_BUFFER - s->buffered) {
		enum image_code c = spool_flush(s, err);
		if (c != IMAGE_OK || b.n >= SPOOL_BUFFER)
			return c != IMAGE_OK ? c : write_all(s->fd, b, err);
	}
	if (b.n > 0)
		memcpy(s->buf + s->buffered, b.p, b.n);
	s->buffered += b.n;
	return IMAGE_OK;
}

enum image_code spool_read(struct spool *s, struct spool_reader *r, struct err *err)
{
	enum image_code c = IMAGE_OK;
	for (uint64_t at = 0; at < s->at && c == IMAGE_OK;) {
		ssize_t n = pread(s->fd, s->buf, SPOOL_BUFFER, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return image_fail(err, IMAGE_IO, n < 0 ? errno : EIO, "read a temporary file");
		at += (uint64_t)n;
		c = r->take(r, bytes_of(s->buf, (size_t)n), err);
	}
	return c;
}

void metadata_open(struct metadata_stream *m, struct spool *out, struct block_pool *pool)
{
	m->out = out;
	m->pool = pool;
	m->base = out->at;
	m->n = 0;
}

enum image_code metadata_end(struct metadata_stream *m, struct err *err)
{
	uint8_t head[2];
	struct writer w = writer_of(head, sizeof head);
	bool stored;
	if (m->n == 0)
		return IMAGE_OK;
	struct bytes packed = block_pool_pack(m->pool, bytes_of(m->buf, m->n), &stored);
	squashfs_put_u16(&w, (uint16_t)(packed.n | (stored ? (unsigned)SQUASHFS_STORED : 0)));
	enum image_code c = spool_put(m->out, writer_bytes(&w), err);
	m->n = 0;
	return c == IMAGE_OK ? spool_put(m->out, packed, err) : c;
}

enum image_code metadata_put(struct metadata_stream *m, struct bytes b, struct err *err)
{
	enum image_code c = IMAGE_OK;
	while (b.n > 0 && c == IMAGE_OK) {
		size_t n = b.n < sizeof m->buf - m->n ? b.n : sizeof m->buf - m->n;
		memcpy(m->buf + m->n, b.p, n);
		m->n += n;
		b = bytes_of(b.p + n, b.n - n);
		if (m->n == sizeof m->buf)
			c = metadata_end(m, err);
	}
	return c;
}
