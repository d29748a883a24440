/* Names are judged in one place, for writing and reading: a layer of an image may hold any name, and what the
 * kernel would make of "../x" or of a file called like the trailer is not left to chance. The reader trusts
 * nothing it is fed: it keeps at most one header and one name, and checks sizes before it uses them. */
#include "format/cpio.h"

#include "base/text.h"

#include <sys/stat.h>

#define MAGIC "070701"
#define TRAILER "TRAILER!!!"

bool cpio_name_valid(struct bytes name)
{
	if (name.n == 0 || name.n > CPIO_NAME_MAX || memchr(name.p, 0, name.n) != NULL ||
	    bytes_equal(name, BYTES_LIT(TRAILER)))
		return false;
	if (bytes_equal(name, BYTES_LIT(".")))
		return true;
	for (size_t at = 0; at <= name.n;) {
		const uint8_t *slash = at == name.n ? NULL : memchr(name.p + at, '/', name.n - at);
		size_t end = slash == NULL ? name.n : (size_t)(slash - name.p);
		struct bytes part = bytes_of(name.p + at, end - at);
		if (part.n == 0 || bytes_equal(part, BYTES_LIT(".")) || bytes_equal(part, BYTES_LIT("..")))
			return false;
		at = end + 1;
	}
	return true;
}

static enum cpio_result check_entry(const struct cpio_entry *e)
{
	if (!cpio_name_valid(e->name))
		return CPIO_BAD_NAME;
	if (e->mode > 0177777)
		return CPIO_BAD_MODE;
	switch (e->mode & S_IFMT) {
	case S_IFREG:
		if (e->size > UINT32_MAX)
			return CPIO_BAD_SIZE;
		break;
	case S_IFLNK:
		if (e->size == 0 || e->size > CPIO_LINK_MAX)
			return CPIO_BAD_LINK_TARGET;
		break;
	case S_IFDIR: case S_IFCHR: case S_IFBLK: case S_IFIFO: case S_IFSOCK:
		if (e->size != 0)
			return CPIO_BAD_SIZE;
		break;
	default:
		return CPIO_BAD_MODE;
	}
	if (e->name.n == 1 && e->name.p[0] == '.' && !S_ISDIR(e->mode))
		return CPIO_BAD_NAME;
	return CPIO_OK;
}

/* --- writing -------------------------------------------------------------------------------- */

static void put_zeros(struct writer *out, size_t n)
{
	while (n-- > 0)
		put_u8(out, 0);
}

static void put_hex8(struct writer *out, uint32_t v)
{
	uint8_t text[8];
	for (int i = 7; i >= 0; i--, v >>= 4)
		text[i] = (uint8_t)"0123456789ABCDEF"[v & 15];
	put_bytes(out, BYTES_ARRAY(text));
}

static void put_header(struct writer *out, const struct cpio_entry *e, uint32_t mtime_s)
{
	const uint32_t fields[] = {
		e->ino, e->mode, e->uid, e->gid, e->nlink, mtime_s, (uint32_t)e->size, 0, 0,
		e->rdev_major, e->rdev_minor, (uint32_t)e->name.n + 1, 0
	};
	put_str(out, MAGIC);
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		put_hex8(out, fields[i]);
	put_bytes(out, e->name);
	put_zeros(out, 1 + cpio_padding(CPIO_HEADER_SIZE + e->name.n + 1));
}

enum cpio_result cpio_put_entry(struct cpio_writer *c, struct writer *out, const struct cpio_entry *e, uint32_t *ret_ino)
{
	enum cpio_result r = check_entry(e);
	if (r != CPIO_OK)
		return r;
	struct cpio_entry put = *e;
	if (put.ino == 0 && c->last_ino == UINT32_MAX)
		return CPIO_TOO_MANY;
	if (put.ino == 0)
		put.ino = ++c->last_ino;
	else if (put.ino > c->last_ino)
		c->last_ino = put.ino;
	if (put.nlink == 0)
		put.nlink = 1;
	if (!S_ISCHR(put.mode) && !S_ISBLK(put.mode))
		put.rdev_major = put.rdev_minor = 0;
	size_t before = out->at;
	put_header(out, &put, c->mtime_s);
	c->at += out->at - before + put.size + cpio_padding(put.size);
	if (ret_ino != NULL)
		*ret_ino = put.ino;
	return CPIO_OK;
}

void cpio_put_padding(struct writer *out, uint64_t size) { put_zeros(out, cpio_padding(size)); }

void cpio_put_trailer(struct cpio_writer *c, struct writer *out)
{
	size_t before = out->at;
	put_header(out, &(struct cpio_entry){ .name = BYTES_LIT(TRAILER), .nlink = 1 }, 0);
	c->at += out->at - before;
	size_t fill = (size_t)(-c->at & (CPIO_BLOCK - 1));
	put_zeros(out, fill);
	c->at += fill;
}

/* --- reading ---------------------------------------------------------------------------------- */

void cpio_reader_init(struct cpio_reader *r)
{
	memset(r, 0, sizeof *r);
	r->left = CPIO_HEADER_SIZE;
}

static enum cpio_event refuse(struct cpio_reader *r, enum cpio_result why)
{
	r->result = why;
	return CPIO_REFUSED;
}

/* Moves bytes of the current part from *in to buf; true when the part is complete. */
static bool gather(struct cpio_reader *r, struct bytes *in)
{
	size_t n = in->n < r->left ? in->n : (size_t)r->left;
	if (n > 0)
		memcpy(r->buf + r->have, in->p, n);
	r->have += n;
	r->left -= n;
	*in = bytes_of(in->p + n, in->n - n);
	return r->left == 0;
}

/* The header in buf; on success the name is what comes next. */
static enum cpio_result take_header(struct cpio_reader *r)
{
	uint32_t f[13];
	if (memcmp(r->buf, MAGIC, 6) != 0)
		return CPIO_BAD_MAGIC;
	for (size_t i = 0; i < 13; i++) {
		uint8_t be[4];
		if (!hex_decode(bytes_of(r->buf + 6 + 8 * i, 8), be, sizeof be))
			return CPIO_BAD_NUMBER;
		f[i] = (uint32_t)be[0] << 24 | (uint32_t)be[1] << 16 | (uint32_t)be[2] << 8 | be[3];
	}
	if (f[11] == 0 || f[11] > CPIO_NAME_MAX + 1)
		return CPIO_BAD_NAME_SIZE;
	if (f[12] != 0)
		return CPIO_BAD_CHECK;
	r->entry = (struct cpio_entry){
		.ino = f[0], .mode = f[1], .uid = f[2], .gid = f[3], .nlink = f[4], .mtime_s = f[5], .size = f[6],
		.rdev_major = f[9], .rdev_minor = f[10],
	};
	r->state = CPIO_AT_NAME;
	r->left = f[11];
	r->have = 0;
	return CPIO_OK;
}

static enum cpio_result take_name(struct cpio_reader *r)
{
	struct bytes name = bytes_of(r->buf, r->have - 1);
	if (r->buf[name.n] != 0 || (name.n > 0 && memchr(name.p, 0, name.n) != NULL))
		return CPIO_NAME_NOT_TERMINATED;
	r->entry.name = name;
	r->state = CPIO_AT_NAME_PADDING;
	r->left = cpio_padding(CPIO_HEADER_SIZE + r->have);
	if (!bytes_equal(name, BYTES_LIT(TRAILER)))
		return check_entry(&r->entry);
	return r->entry.size == 0 ? CPIO_OK : CPIO_BAD_TRAILER;
}

static bool skip_zeros(struct cpio_reader *r, struct bytes *in)
{
	while (in->n > 0 && r->left > 0 && in->p[0] == 0) {
		*in = bytes_of(in->p + 1, in->n - 1);
		r->left--;
	}
	return in->n == 0 || r->left == 0;
}

static enum cpio_event take_contents(struct cpio_reader *r, struct bytes *in, struct bytes *ret_contents)
{
	size_t n = in->n < r->left ? in->n : (size_t)r->left;
	*ret_contents = bytes_of(in->p, n);
	*in = bytes_of(in->p + n, in->n - n);
	r->left -= n;
	if (S_ISLNK(r->entry.mode) && memchr(ret_contents->p, 0, n) != NULL)
		return refuse(r, CPIO_BAD_LINK_TARGET);
	if (r->left == 0) {
		r->state = CPIO_AT_PADDING;
		r->left = cpio_padding(r->entry.size);
	}
	return CPIO_CONTENTS;
}

enum cpio_event cpio_read(struct cpio_reader *r, struct bytes *in, struct bytes *ret_contents)
{
	enum cpio_result why;
	*ret_contents = BYTES_NONE;
	if (r->result != CPIO_OK)
		return CPIO_REFUSED;
	for (;;) {
		switch (r->state) {
		case CPIO_AT_HEADER:
			if (!gather(r, in))
				return CPIO_MORE;
			if ((why = take_header(r)) != CPIO_OK)
				return refuse(r, why);
			break;
		case CPIO_AT_NAME:
			if (!gather(r, in))
				return CPIO_MORE;
			if ((why = take_name(r)) != CPIO_OK)
				return refuse(r, why);
			break;
		case CPIO_AT_NAME_PADDING:
			if (!skip_zeros(r, in))
				return refuse(r, CPIO_BAD_PADDING);
			if (r->left > 0)
				return CPIO_MORE;
			if (bytes_equal(r->entry.name, BYTES_LIT(TRAILER))) {
				r->state = CPIO_AT_END;
				break;
			}
			r->state = CPIO_AT_CONTENTS;
			r->left = r->entry.size;
			r->entries++;
			return CPIO_ENTRY;
		case CPIO_AT_CONTENTS:
			if (r->left == 0) {
				r->state = CPIO_AT_PADDING;
				break;
			}
			if (in->n == 0)
				return CPIO_MORE;
			return take_contents(r, in, ret_contents);
		case CPIO_AT_PADDING:
			if (!skip_zeros(r, in))
				return refuse(r, CPIO_BAD_PADDING);
			if (r->left > 0)
				return CPIO_MORE;
			r->state = CPIO_AT_HEADER;
			r->left = CPIO_HEADER_SIZE;
			r->have = 0;
			break;
		case CPIO_AT_END:
			r->left = in->n;
			if (!skip_zeros(r, in))
				return refuse(r, CPIO_TRAILING_BYTES);
			return CPIO_MORE;
		}
	}
}

enum cpio_result cpio_reader_end(const struct cpio_reader *r)
{
	if (r->result != CPIO_OK)
		return r->result;
	return r->state == CPIO_AT_END ? CPIO_OK : CPIO_TRUNCATED;
}

const char *cpio_result_name(enum cpio_result r)
{
	static const char *const names[CPIO_RESULT_COUNT] = {
		[CPIO_OK] = "ok",
		[CPIO_BAD_MAGIC] = "cpio-bad-magic",
		[CPIO_BAD_NUMBER] = "cpio-bad-number",
		[CPIO_BAD_NAME_SIZE] = "cpio-bad-name-size",
		[CPIO_NAME_NOT_TERMINATED] = "cpio-name-not-terminated",
		[CPIO_BAD_NAME] = "cpio-bad-name",
		[CPIO_BAD_MODE] = "cpio-bad-mode",
		[CPIO_BAD_SIZE] = "cpio-bad-size",
		[CPIO_BAD_LINK_TARGET] = "cpio-bad-link-target",
		[CPIO_BAD_CHECK] = "cpio-bad-check",
		[CPIO_BAD_PADDING] = "cpio-bad-padding",
		[CPIO_BAD_TRAILER] = "cpio-bad-trailer",
		[CPIO_TRUNCATED] = "cpio-truncated",
		[CPIO_TRAILING_BYTES] = "cpio-trailing-bytes",
		[CPIO_TOO_MANY] = "cpio-too-many",
	};
	return (unsigned)r < CPIO_RESULT_COUNT ? names[r] : "cpio-unknown";
}
