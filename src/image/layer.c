/* Names are normalized once, here; everything behind this file sees clean relative paths. A whiteout is a name in the
 * last place: ".wh.NAME" hides NAME, ".wh..wh..opq" hides all of its directory; other ".wh..wh." names are what
 * AUFS left behind and are ignored wherever they are in a path. */
#include "image/layer.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>

static const char whiteout[] = ".wh.", aufs[] = ".wh..wh.", opaque[] = ".wh..wh..opq";
enum { WHITEOUT_SIZE = sizeof whiteout - 1, SHOWN = 160 };

enum image_code layer_open(struct layer *l, struct stream *in, const char *name, struct image_warnings *warnings,
                           struct err *err)
{
	l->warnings = warnings;
	l->name = name;
	l->next_ordinal = 0;
	l->xattrs = malloc(XATTRS_SIZE_MAX);
	if (l->xattrs == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read %s", name);
	enum image_code c = tar_reader_open(&l->tar, in, name, err);
	if (c != IMAGE_OK)
		layer_close(l);
	return c;
}

void layer_close(struct layer *l)
{
	tar_reader_close(&l->tar);
	free(l->xattrs);
	l->xattrs = NULL;
}

/* --- names ------------------------------------------------------------------------------------------ */

enum path_result path_normalize(struct bytes in, uint8_t out[TREE_PATH_MAX + 1], size_t *ret_n)
{
	size_t n = 0;
	if (in.n == 0)
		return PATH_EMPTY;
	/* umoci writes "/" for the root itself, which leads nowhere else */
	if (in.p[0] == '/' && in.n > 1)
		return PATH_ABSOLUTE;
	if (memchr(in.p, '\0', in.n) != NULL)
		return PATH_ZERO;
	for (size_t at = 0; at < in.n;) {
		size_t end = at;
		while (end < in.n && in.p[end] != '/')
			end++;
		struct bytes part = bytes_of(in.p + at, end - at);
		at = end + 1;
		if (part.n == 0 || bytes_equal(part, BYTES_LIT(".")))
			continue;
		if (bytes_equal(part, BYTES_LIT("..")))
			return PATH_DOT_DOT;
		if (part.n > TREE_NAME_MAX)
			return PATH_NAME_TOO_LONG;
		if (part.n + (n > 0) > TREE_PATH_MAX - n)
			return PATH_TOO_LONG;
		if (n > 0)
			out[n++] = '/';
		memcpy(out + n, part.p, part.n);
		n += part.n;
	}
	*ret_n = n;
	return PATH_OK;
}

static enum image_code path_failed(const struct layer *l, enum path_result r, struct bytes path, const char *what,
                                   struct err *err)
{
	static const struct { enum image_code code; const char *text; } why[] = {
		[PATH_EMPTY] = { IMAGE_BAD_NAME, "is empty" },
		[PATH_TOO_LONG] = { IMAGE_BAD_NAME, "is longer than 4095 bytes" },
		[PATH_NAME_TOO_LONG] = { IMAGE_BAD_NAME, "has a part longer than 255 bytes" },
		[PATH_ABSOLUTE] = { IMAGE_PATH_ESCAPES, "starts with a slash" },
		[PATH_DOT_DOT] = { IMAGE_PATH_ESCAPES, "goes up with \"..\"" },
		[PATH_ZERO] = { IMAGE_BAD_NAME, "holds a zero byte" },
	};
	char shown[SHOWN];
	return image_fail(err, why[r].code, 0, "%s: the %s \"%s\" %s", l->name, what, text_escape(path, shown, sizeof shown),
	                  why[r].text);
}

static bool starts_with(struct bytes b, const char *prefix)
{
	size_t n = strlen(prefix);
	return b.n >= n && memcmp(b.p, prefix, n) == 0;
}

static enum image_code bad_whiteout(struct layer *l, const char *why, struct err *err)
{
	char shown[SHOWN];
	return image_fail(err, IMAGE_BAD_WHITEOUT, 0, "%s: the whiteout %s %s", l->name,
	                  text_escape(l->entry.path, shown, sizeof shown), why);
}

/* Turns the entry into a whiteout when its name says so. */
static enum image_code take_whiteout(struct layer *l, struct err *err)
{
	struct entry *e = &l->entry;
	size_t last = e->path.n;
	while (last > 0 && e->path.p[last - 1] != '/')
		last--;
	for (size_t at = 0; at < last; at++) {
		struct bytes from = bytes_slice(e->path, at, e->path.n - at);
		if (at > 0 && e->path.p[at - 1] != '/')
			continue;
		if (starts_with(from, aufs))
			e->kind = ENTRY_IGNORED;
		else if (starts_with(from, whiteout))
			return bad_whiteout(l, "has something below it", err);
	}
	struct bytes name = bytes_slice(e->path, last, e->path.n - last);
	if (e->kind == ENTRY_IGNORED || !starts_with(name, whiteout))
		return IMAGE_OK;
	bool is_opaque = bytes_equal(name, bytes_str(opaque));
	if (starts_with(name, aufs) && !is_opaque) {
		e->kind = ENTRY_IGNORED;
		return IMAGE_OK;
	}
	/* AUFS made whiteouts as hard links to one file */
	if (e->kind != ENTRY_FILE && e->kind != ENTRY_HARD_LINK)
		return bad_whiteout(l, "is not a file", err);
	if (is_opaque) {
		e->kind = ENTRY_OPAQUE;
		e->path.n = last > 0 ? last - 1 : 0;
		return IMAGE_OK;
	}
	struct bytes hidden = bytes_slice(name, WHITEOUT_SIZE, name.n - WHITEOUT_SIZE);
	if (hidden.n == 0 || bytes_equal(hidden, BYTES_LIT(".")) || bytes_equal(hidden, BYTES_LIT("..")))
		return bad_whiteout(l, "hides no name", err);
	e->kind = ENTRY_WHITEOUT;
	memmove(l->path + last, hidden.p, hidden.n);
	e->path.n = last + hidden.n;
	return IMAGE_OK;
}

/* --- attributes ------------------------------------------------------------------------------------- */

static bool xattr_wanted(struct bytes name)
{
	return bytes_equal(name, BYTES_LIT("security.capability")) || (starts_with(name, "user.") && name.n > 5);
}

static int by_name(const void *a, const void *b)
{
	struct bytes x = ((const struct tar_xattr *)a)->name, y = ((const struct tar_xattr *)b)->name;
	int d = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
	return d != 0 ? d : (x.n > y.n) - (x.n < y.n);
}

static enum image_code take_xattrs(struct layer *l, const struct tar_entry *t, struct err *err)
{
	char shown[SHOWN];
	struct tar_xattr kept[TAR_READER_XATTRS_MAX];
	size_t n = 0;
	for (size_t i = 0; i < t->xattr_count; i++) {
		if (xattr_wanted(t->xattr[i].name))
			kept[n++] = t->xattr[i];
		else if (l->warnings != NULL)
			image_warn(l->warnings, WARNING_XATTR, l->entry.path, t->xattr[i].name);
	}
	qsort(kept, n, sizeof kept[0], by_name);
	struct writer w = writer_of(l->xattrs, XATTRS_SIZE_MAX);
	for (size_t i = 0; i < n; i++) {
		/* the kernel's own limit for one value */
		if (kept[i].value.n > 64 << 10)
			w.full = true;
		tree_xattr_put(&w, kept[i].name, kept[i].value);
	}
	if (w.full)
		return image_fail(err, IMAGE_BAD_XATTR, 0, "%s: the extended attributes of %s are too large", l->name,
		                  text_escape(l->entry.path, shown, sizeof shown));
	l->entry.xattrs = writer_bytes(&w);
	return IMAGE_OK;
}

/* --- entries ---------------------------------------------------------------------------------------- */

static enum entry_kind kind_of(enum tar_kind k)
{
	switch (k) {
	case TAR_HARD_LINK: return ENTRY_HARD_LINK;
	case TAR_SYMLINK: return ENTRY_SYMLINK;
	case TAR_DIRECTORY: return ENTRY_DIRECTORY;
	case TAR_FIFO: return ENTRY_FIFO;
	case TAR_CHARACTER: case TAR_BLOCK: return ENTRY_DEVICE;
	default: return ENTRY_FILE;
	}
}

static enum image_code take_link(struct layer *l, struct bytes link, struct err *err)
{
	size_t n;
	if (l->entry.kind == ENTRY_SYMLINK) {
		enum path_result r = link.n == 0 ? PATH_EMPTY : link.n > TREE_PATH_MAX ? PATH_TOO_LONG : PATH_OK;
		l->entry.link = link;
		return r == PATH_OK ? IMAGE_OK : path_failed(l, r, link, "target of the symbolic link", err);
	}
	while (link.n > 0 && link.p[0] == '/')
		link = bytes_slice(link, 1, link.n - 1);
	enum path_result r = path_normalize(link, l->link, &n);
	if (r != PATH_OK)
		return path_failed(l, r, link, "target of the hard link", err);
	l->entry.link = bytes_of(l->link, n);
	return IMAGE_OK;
}

enum image_code layer_next(struct layer *l, const struct entry **ret, struct err *err)
{
	const struct tar_entry *t;
	size_t n;
	enum image_code c = tar_reader_next(&l->tar, &t, err);
	*ret = NULL;
	if (c != IMAGE_OK || t == NULL)
		return c;
	enum path_result r = path_normalize(t->name, l->path, &n);
	if (r != PATH_OK)
		return path_failed(l, r, t->name, "name", err);
	l->entry = (struct entry){ .kind = kind_of(t->kind), .path = bytes_of(l->path, n), .mode = t->mode, .uid = t->uid,
		.gid = t->gid, .size = t->size, .mtime = t->mtime, .ordinal = l->next_ordinal++ };
	c = take_whiteout(l, err);
	if (c == IMAGE_OK && (l->entry.kind == ENTRY_SYMLINK || l->entry.kind == ENTRY_HARD_LINK))
		c = take_link(l, t->link, err);
	if (c == IMAGE_OK && l->entry.kind < ENTRY_HARD_LINK)
		c = take_xattrs(l, t, err);
	if (c != IMAGE_OK)
		return c;
	if (l->entry.kind == ENTRY_IGNORED && l->warnings != NULL)
		image_warn(l->warnings, WARNING_BOOKKEEPING, l->entry.path, BYTES_NONE);
	if (l->entry.kind == ENTRY_DEVICE && l->warnings != NULL)
		image_warn(l->warnings, WARNING_DEVICE, l->entry.path, BYTES_NONE);
	*ret = &l->entry;
	return IMAGE_OK;
}

enum image_code layer_data(struct layer *l, struct bytes *ret, struct err *err)
{
	return tar_reader_data(&l->tar, ret, err);
}
