/* Extended headers are collected into memory of their own size (bounded) and stay there while the entry that they
 * describe is current, so names and attributes are borrowed from them. Of two sources for a name the later kind
 * wins: header, GNU long name, pax. Everything in the archive is distrusted. */
#include "image/tar_reader.h"

#include "base/cleanup.h"
#include "base/text.h"

enum { LONG_NAME_MAX = 64 << 10 };

enum image_code tar_reader_open(struct tar_reader *r, struct stream *in, const char *archive, struct err *err)
{
	memset(r, 0, sizeof *r);
	r->in = in;
	r->archive = archive;
	r->buf = malloc(TAR_READER_BUFFER);
	return r->buf != NULL ? IMAGE_OK : image_fail(err, IMAGE_IO, ENOMEM, "read %s", archive);
}

static void forget(uint8_t **p, size_t *n)
{
	free(*p);
	*p = NULL;
	*n = 0;
}

static void forget_extended(struct tar_reader *r)
{
	forget(&r->pax, &r->pax_n);
	forget(&r->long_name, &r->long_name_n);
	forget(&r->long_link, &r->long_link_n);
}

void tar_reader_close(struct tar_reader *r)
{
	forget_extended(r);
	free(r->buf);
	r->buf = NULL;
}

/* --- bytes ------------------------------------------------------------------------------------------ */

static enum image_code truncated(const struct tar_reader *r, struct err *err)
{
	return image_fail(err, IMAGE_TRUNCATED, 0, "%s ends in the middle of an entry", r->archive);
}

/* Makes the buffer hold something; buf_n is 0 only at the end of the stream. */
static enum image_code refill(struct tar_reader *r, struct err *err)
{
	if (r->buf_at < r->buf_n)
		return IMAGE_OK;
	r->buf_at = 0;
	return stream_read(r->in, r->buf, TAR_READER_BUFFER, &r->buf_n, err);
}

static enum image_code take(struct tar_reader *r, uint8_t *to, size_t n, size_t *ret_n, struct err *err)
{
	size_t at = 0;
	while (at < n) {
		enum image_code c = refill(r, err);
		if (c != IMAGE_OK)
			return c;
		if (r->buf_n == 0)
			break;
		size_t piece = n - at < r->buf_n - r->buf_at ? n - at : r->buf_n - r->buf_at;
		memcpy(to + at, r->buf + r->buf_at, piece);
		r->buf_at += piece;
		at += piece;
	}
	r->at += at;
	*ret_n = at;
	return IMAGE_OK;
}

static enum image_code pass(struct tar_reader *r, uint64_t n, struct err *err)
{
	r->at += n;
	while (n > 0) {
		uint64_t have = r->buf_n - r->buf_at;
		if (have == 0 && n > TAR_READER_BUFFER && r->in->skip != NULL)
			return r->in->skip(r->in, n, err);
		enum image_code c = refill(r, err);
		if (c != IMAGE_OK)
			return c;
		if (r->buf_n == 0)
			return truncated(r, err);
		have = r->buf_n - r->buf_at;
		size_t piece = n < have ? (size_t)n : (size_t)have;
		r->buf_at += piece;
		n -= piece;
	}
	return IMAGE_OK;
}

enum image_code tar_reader_data(struct tar_reader *r, struct bytes *ret, struct err *err)
{
	*ret = BYTES_NONE;
	if (r->left == 0)
		return IMAGE_OK;
	enum image_code c = refill(r, err);
	if (c != IMAGE_OK)
		return c;
	if (r->buf_n == 0)
		return truncated(r, err);
	size_t have = r->buf_n - r->buf_at, n = r->left < have ? (size_t)r->left : have;
	*ret = bytes_of(r->buf + r->buf_at, n);
	r->buf_at += n;
	r->left -= n;
	r->at += n;
	return IMAGE_OK;
}

/* --- extended headers ------------------------------------------------------------------------------- */

/* The data of the current header into memory of its own. */
static enum image_code collect(struct tar_reader *r, size_t max, uint8_t **ret, size_t *ret_n, struct err *err)
{
	uint64_t size = r->header.size;
	if (size > max)
		return image_fail(err, IMAGE_BAD_PAX, 0, "%s has an extended header of %llu bytes; %zu are allowed", r->archive,
		                  (unsigned long long)size, max);
	forget(ret, ret_n);
	*ret = malloc((size_t)size + 1);
	if (*ret == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read %s", r->archive);
	enum image_code c = take(r, *ret, (size_t)size, ret_n, err);
	if (c != IMAGE_OK)
		return c;
	r->left = 0;
	return *ret_n == size ? IMAGE_OK : truncated(r, err);
}

static bool is(struct bytes key, const char *name) { return bytes_equal(key, bytes_str(name)); }

static bool has_prefix(struct bytes key, const char *prefix)
{
	size_t n = strlen(prefix);
	return key.n > n && memcmp(key.p, prefix, n) == 0;
}

static enum image_code bad_pax(const struct tar_reader *r, const char *what, struct err *err)
{
	return image_fail(err, IMAGE_BAD_PAX, 0, "%s has an extended header with a malformed %s", r->archive, what);
}

static enum image_code add_xattr(struct tar_reader *r, struct bytes name, struct bytes value, struct err *err)
{
	struct tar_entry *e = &r->entry;
	for (size_t i = 0; i < e->xattr_count; i++)
		if (bytes_equal(e->xattr[i].name, name)) {
			e->xattr[i].value = value;
			return IMAGE_OK;
		}
	if (e->xattr_count == TAR_READER_XATTRS_MAX)
		return image_fail(err, IMAGE_BAD_XATTR, 0, "%s has an entry with more than %d extended attributes", r->archive,
		                  TAR_READER_XATTRS_MAX);
	if (name.n > 255 || memchr(name.p, '\0', name.n) != NULL)
		return image_fail(err, IMAGE_BAD_XATTR, 0, "%s has an extended attribute whose name is too long or holds a zero byte",
		                  r->archive);
	e->xattr[e->xattr_count++] = (struct tar_xattr){ name, value };
	return IMAGE_OK;
}

/* Applies one record to the entry. Keys that mean nothing to us are skipped. */
static enum image_code apply(struct tar_reader *r, const struct tar_pax *p, struct err *err)
{
	struct tar_entry *e = &r->entry;
	uint64_t v;
	if (is(p->key, "path")) {
		if (p->value.n > 0)
			e->name = p->value;
	} else if (is(p->key, "linkpath")) {
		if (p->value.n > 0)
			e->link = p->value;
	} else if (is(p->key, "size")) {
		if (!text_to_u64(p->value, INT64_MAX, &v))
			return bad_pax(r, "size", err);
		e->size = tar_kind_has_data(e->kind) ? v : 0;
	} else if (is(p->key, "uid") || is(p->key, "gid")) {
		if (!text_to_u64(p->value, UINT32_MAX, &v))
			return bad_pax(r, "owner", err);
		*(p->key.p[0] == 'u' ? &e->uid : &e->gid) = (uint32_t)v;
	} else if (is(p->key, "mtime")) {
		if (p->value.n > 0 && !tar_pax_seconds(p->value, &e->mtime))
			return bad_pax(r, "mtime", err);
	} else if (has_prefix(p->key, "SCHILY.xattr.")) {
		return add_xattr(r, bytes_slice(p->key, 13, p->key.n - 13), p->value, err);
	} else if (has_prefix(p->key, "GNU.sparse.")) {
		return image_fail(err, IMAGE_SPARSE_FILE, 0, "%s: %s", r->archive, tar_result_text(TAR_SPARSE_FILE));
	}
	return IMAGE_OK;
}

static enum image_code apply_pax(struct tar_reader *r, struct err *err)
{
	struct reader in = reader_of(bytes_of(r->pax, r->pax_n));
	while (reader_left(&in) > 0) {
		struct tar_pax p;
		enum tar_result t = tar_pax_next(&in, &p);
		if (t != TAR_OK)
			return image_fail(err, IMAGE_BAD_PAX, 0, "%s: %s", r->archive, tar_result_text(t));
		enum image_code c = apply(r, &p, err);
		if (c != IMAGE_OK)
			return c;
	}
	return IMAGE_OK;
}

/* Records for all entries to come: tools disagree on whether they count, so those that would matter are refused
 * and the harmless ones (a comment with a commit, as git writes) are skipped. */
static enum image_code check_global(struct tar_reader *r, struct err *err)
{
	uint8_t *text = NULL;
	size_t n = 0;
	enum image_code c = collect(r, TAR_READER_PAX_MAX, &text, &n, err);
	struct reader in = reader_of(bytes_of(text, n));
	while (c == IMAGE_OK && reader_left(&in) > 0) {
		struct tar_pax p;
		enum tar_result t = tar_pax_next(&in, &p);
		if (t != TAR_OK)
			c = image_fail(err, IMAGE_BAD_PAX, 0, "%s: %s", r->archive, tar_result_text(t));
		else if (is(p.key, "path") || is(p.key, "linkpath") || is(p.key, "size") || is(p.key, "uid") ||
		         is(p.key, "gid") || has_prefix(p.key, "SCHILY.xattr.") || has_prefix(p.key, "GNU.sparse."))
			c = image_fail(err, IMAGE_BAD_PAX, 0, "%s has a global header that sets names, sizes or owners; tools disagree "
			               "on what it means", r->archive);
	}
	free(text);
	return c;
}

/* Takes in a header that describes the next one. */
static enum image_code extended(struct tar_reader *r, struct err *err)
{
	enum image_code c;
	switch (r->header.kind) {
	case TAR_PAX:
		return collect(r, TAR_READER_PAX_MAX, &r->pax, &r->pax_n, err);
	case TAR_PAX_GLOBAL:
		return check_global(r, err);
	case TAR_LONG_NAME:
		c = collect(r, LONG_NAME_MAX, &r->long_name, &r->long_name_n, err);
		if (c == IMAGE_OK)       /* written with its terminating zero */
			r->long_name_n = strnlen((const char *)r->long_name, r->long_name_n);
		return c;
	case TAR_LONG_LINK:
		c = collect(r, LONG_NAME_MAX, &r->long_link, &r->long_link_n, err);
		if (c == IMAGE_OK)       /* written with its terminating zero */
			r->long_link_n = strnlen((const char *)r->long_link, r->long_link_n);
		return c;
	default:
		return IMAGE_OK;
	}
}

/* --- entries ---------------------------------------------------------------------------------------- */

static enum image_code code_of(enum tar_result t)
{
	return t == TAR_SPARSE_FILE ? IMAGE_SPARSE_FILE : t == TAR_UNKNOWN_KIND ? IMAGE_UNKNOWN_KIND : IMAGE_BAD_TAR;
}

/* The next header; kind TAR_END also where the stream ends between entries. */
static enum image_code read_header(struct tar_reader *r, struct err *err)
{
	uint8_t block[TAR_BLOCK_SIZE];
	size_t n;
	bool ended = false;
	enum image_code c = pass(r, r->left, err);
	if (c == IMAGE_OK && r->padding > 0) {
		/* umoci ends an archive with the last byte of the last file: its digest says that this is all */
		c = refill(r, err);
		ended = c == IMAGE_OK && r->buf_n == 0;
	}
	if (c == IMAGE_OK && !ended)
		c = pass(r, r->padding, err);
	r->left = r->padding = 0;
	if (c == IMAGE_OK)
		c = take(r, block, sizeof block, &n, err);
	if (c != IMAGE_OK)
		return c;
	if (n != 0 && n != sizeof block)
		return r->at == n ? image_fail(err, IMAGE_BAD_TAR, 0, "%s is no tar archive", r->archive) : truncated(r, err);
	if (n == 0) {
		r->header.kind = TAR_END;
		return IMAGE_OK;
	}
	enum tar_result t = tar_header_parse(block, &r->header);
	if (t != TAR_OK)
		return image_fail(err, code_of(t), 0, "%s, at byte %llu: %s", r->archive,
		                  (unsigned long long)(r->at - TAR_BLOCK_SIZE), tar_result_text(t));
	r->left = r->header.size;
	r->padding = (TAR_BLOCK_SIZE - r->left % TAR_BLOCK_SIZE) % TAR_BLOCK_SIZE;
	return IMAGE_OK;
}

static enum image_code finish_entry(struct tar_reader *r, struct err *err)
{
	const struct tar_header *h = &r->header;
	struct tar_entry *e = &r->entry;
	*e = (struct tar_entry){ .kind = h->kind, .mode = h->mode, .uid = h->uid, .gid = h->gid, .size = h->size,
		.mtime = h->mtime, .name = bytes_of(h->name, h->name_n), .link = bytes_of(h->link, h->link_n) };
	if (r->long_name != NULL)
		e->name = bytes_of(r->long_name, r->long_name_n);
	if (r->long_link != NULL)
		e->link = bytes_of(r->long_link, r->long_link_n);
	enum image_code c = apply_pax(r, err);
	if (c != IMAGE_OK)
		return c;
	if ((e->name.n > 0 && memchr(e->name.p, '\0', e->name.n) != NULL) ||
	    (e->link.n > 0 && memchr(e->link.p, '\0', e->link.n) != NULL))
		return image_fail(err, IMAGE_BAD_NAME, 0, "%s has an entry whose name holds a zero byte", r->archive);
	/* the oldest format has no type for directories: their names end in a slash. Readers disagree on whether one that
	 * has data is followed by it */
	if (e->kind == TAR_FILE && e->name.n > 0 && e->name.p[e->name.n - 1] == '/') {
		e->kind = TAR_DIRECTORY;
		if (e->size > 0)
			return image_fail(err, IMAGE_BAD_TAR, 0, "%s has a directory with contents", r->archive);
	}
	r->left = e->size;
	r->padding = (TAR_BLOCK_SIZE - r->left % TAR_BLOCK_SIZE) % TAR_BLOCK_SIZE;
	e->data_at = r->at;
	return IMAGE_OK;
}

enum image_code tar_reader_next(struct tar_reader *r, const struct tar_entry **ret, struct err *err)
{
	forget_extended(r);
	for (;;) {
		enum image_code c = read_header(r, err);
		if (c != IMAGE_OK)
			return c;
		enum tar_kind k = r->header.kind;
		if (k == TAR_END) {
			if (r->pax != NULL || r->long_name != NULL || r->long_link != NULL)
				return truncated(r, err);
			*ret = NULL;
			return IMAGE_OK;
		}
		bool describes_next = k == TAR_PAX || k == TAR_PAX_GLOBAL || k == TAR_LONG_NAME || k == TAR_LONG_LINK;
		if (k == TAR_VOLUME_LABEL)
			continue;
		c = describes_next ? extended(r, err) : finish_entry(r, err);
		if (c != IMAGE_OK)
			return c;
		if (!describes_next) {
			*ret = &r->entry;
			return IMAGE_OK;
		}
	}
}
