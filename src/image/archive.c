/* Members' names and links are kept as strings; the limit on their number and on the length of a name bounds
 * them. An archive with two files of one name is refused: tools disagree on which of them counts. */
#include "image/archive.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "image/layer.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { LINKS_MAX = 8, COPY_SIZE = 256 << 10 };

/* --- a file that can be read anywhere ----------------------------------------------------------------- */

static bool is_compressed(int fd)
{
	uint8_t magic[4];
	return pread(fd, magic, sizeof magic, 0) == sizeof magic &&
		(memcmp(magic, "\x1f\x8b", 2) == 0 || memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0 ||
		 memcmp(magic, "BZh", 3) == 0 || memcmp(magic, "\xfd" "7zX", 4) == 0 ||
		 ((magic[0] & 0xf0) == 0x50 && memcmp(magic + 1, "\x2a\x4d\x18", 3) == 0));
}

static enum image_code copy_to(struct stream *in, int fd, struct image_progress *progress, uint64_t *ret_n, struct err *err)
{
	CLEANUP(free_ptr) uint8_t *buf = malloc(COPY_SIZE);
	uint64_t total = 0;
	if (buf == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "unpack the archive");
	for (size_t n = 1; n > 0;) {
		enum image_code c = stream_fill(in, buf, COPY_SIZE, &n, err);
		if (c != IMAGE_OK)
			return c;
		for (size_t at = 0; at < n;) {
			ssize_t w = write(fd, buf + at, n - at);
			if (w < 0 && errno != EINTR)
				return image_fail(err, IMAGE_IO, errno, "unpack the archive into a temporary file");
			at += w > 0 ? (size_t)w : 0;
		}
		total += n;
		progress_tell(progress, "unpacking the archive", 0, 0, total, 0);
	}
	*ret_n = total;
	return IMAGE_OK;
}

/* Replaces *fd by a temporary file with its unpacked contents. */
static enum image_code spool(int *fd, const char *path, const struct source_options *o, uint64_t *ret_n,
                             struct err *err)
{
	struct expand_budget budget = { .left = o->bytes_max, .grace = 1 << 30, .ratio_max = 256 };
	CLEANUP(close_fd) int temporary = -1;
	struct stream *in = NULL;
	if (temporary_file(o->spill_dir, &temporary, err) < 0)
		return IMAGE_IO;
	enum image_code c = stream_of_pipe(fd_steal(fd), path, &in, err);
	if (c == IMAGE_OK)
		c = stream_expanded(in, &budget, path, &in, err);
	if (c != IMAGE_OK)
		return c;
	c = copy_to(in, temporary, o->progress, ret_n, err);
	stream_close(&in);
	if (c == IMAGE_OK)
		*fd = fd_steal(&temporary);
	return c;
}

static enum image_code open_any(const char *path, const struct source_options *o, struct archive *a, uint64_t *ret_size,
                                struct err *err)
{
	struct stat st;
	bool standard = strcmp(path, "-") == 0;
	a->fd = standard ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
	if (a->fd < 0 || fstat(a->fd, &st) != 0)
		return image_fail(err, errno == ENOENT ? IMAGE_NOT_FOUND : IMAGE_IO, errno, "open %s", standard ? "standard input" : path);
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
		return image_fail(err, IMAGE_BAD_SOURCE, 0, "%s is neither a file nor a pipe", path);
	if (!S_ISREG(st.st_mode) || is_compressed(a->fd)) {
		enum image_code c = spool(&a->fd, path, o, &a->spooled, err);
		*ret_size = a->spooled;
		return c;
	}
	*ret_size = (uint64_t)st.st_size;
	return IMAGE_OK;
}

/* --- the list of members ---------------------------------------------------------------------------------- */

static enum image_code add(struct archive *a, const char *path, struct bytes name, const struct tar_entry *t,
                           struct err *err)
{
	a->text += name.n + t->link.n;
	if (a->count == ARCHIVE_MEMBERS_MAX || a->text > ARCHIVE_TEXT_MAX)
		return image_fail(err, IMAGE_ENTRIES_LIMIT, 0, "%s has more than %d members, or very long names: it is no image archive",
		                  path, ARCHIVE_MEMBERS_MAX);
	if (a->count == a->cap) {
		size_t cap = a->cap == 0 ? 64 : a->cap * 2;
		struct member *grown = realloc(a->member, cap * sizeof *grown);
		if (grown == NULL)
			return image_fail(err, IMAGE_IO, ENOMEM, "list %s", path);
		a->member = grown;
		a->cap = cap;
	}
	struct member *m = &a->member[a->count];
	*m = (struct member){ .name = strndup((const char *)name.p, name.n), .at = t->data_at, .size = t->size };
	if (m->name != NULL && t->kind != TAR_FILE)
		m->link = strndup((const char *)t->link.p, t->link.n);
	if (m->name == NULL || (t->kind != TAR_FILE && m->link == NULL)) {
		free((void *)(uintptr_t)m->name);
		return image_fail(err, IMAGE_IO, ENOMEM, "list %s", path);
	}
	a->count++;
	return IMAGE_OK;
}

/* "a/b" + "../c/d" -> "c/d"; false when it leads out or is too long. */
static bool join_link(const char *from, const char *link, char *out, size_t cap)
{
	size_t n = link[0] == '/' ? 0 : (size_t)(strrchr(from, '/') != NULL ? strrchr(from, '/') - from : 0);
	if (n >= cap)
		return false;
	memcpy(out, from, n);
	while (*link != '\0') {
		size_t part = strcspn(link, "/");
		if (part == 2 && link[0] == '.' && link[1] == '.') {
			if (n == 0)
				return false;
			while (n > 0 && out[--n] != '/') {}
		} else if (part > 0 && !(part == 1 && link[0] == '.')) {
			if (part + 2 > cap - n)
				return false;
			if (n > 0)
				out[n++] = '/';
			memcpy(out + n, link, part);
			n += part;
		}
		link += part + (link[part] == '/');
	}
	out[n] = '\0';
	return n > 0;
}

static enum image_code list(struct archive *a, const char *path, struct stream *in, struct err *err)
{
	struct tar_reader tar;
	const struct tar_entry *t;
	uint8_t name[TREE_PATH_MAX + 1];
	char full[TREE_PATH_MAX + 1];
	size_t n;
	enum image_code c = tar_reader_open(&tar, in, path, err);
	while (c == IMAGE_OK && (c = tar_reader_next(&tar, &t, err)) == IMAGE_OK && t != NULL) {
		struct tar_entry member = *t;
		if (path_normalize(t->name, name, &n) != PATH_OK)
			c = image_fail(err, IMAGE_BAD_NAME, 0, "%s has a member with a name that no image archive has", path);
		else if (t->kind == TAR_FILE)
			c = add(a, path, bytes_of(name, n), t, err);
		else if (t->kind == TAR_SYMLINK || t->kind == TAR_HARD_LINK) {
			char from[TREE_PATH_MAX + 1], link[TREE_PATH_MAX + 1];
			/* a hard link's target counts from the top */
			if (!bytes_to_cstr(bytes_of(name, n), from, sizeof from) || !bytes_to_cstr(t->link, link, sizeof link) ||
			    !join_link(t->kind == TAR_SYMLINK ? from : "", link, full, sizeof full))
				continue;
			member.link = bytes_str(full);
			c = add(a, path, bytes_of(name, n), &member, err);
		}
	}
	tar_reader_close(&tar);
	return c;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static enum image_code sort(struct archive *a, const char *path, struct err *err)
{
	char shown[160];
	if (a->count == 0)
		return image_fail(err, IMAGE_BAD_SOURCE, 0, "%s is empty", path);
	qsort(a->member, a->count, sizeof *a->member, by_name);
	for (size_t i = 1; i < a->count; i++)
		if (strcmp(a->member[i - 1].name, a->member[i].name) == 0)
			return image_fail(err, IMAGE_DUPLICATE_ENTRY, 0, "%s has %s twice", path,
			                  text_escape(bytes_str(a->member[i].name), shown, sizeof shown));
	return IMAGE_OK;
}

enum image_code archive_open(const char *path, const struct source_options *o, struct archive *ret, struct err *err)
{
	struct archive a = { .fd = -1 };
	struct stream *in = NULL;
	uint64_t size;
	enum image_code c = open_any(path, o, &a, &size, err);
	if (c == IMAGE_OK)
		c = stream_of_fd(a.fd, false, 0, size, path, &in, err);
	if (c == IMAGE_OK)
		c = list(&a, path, in, err);
	stream_close(&in);
	if (c == IMAGE_OK)
		c = sort(&a, path, err);
	if (c != IMAGE_OK) {
		archive_close(&a);
		return c;
	}
	*ret = a;
	return IMAGE_OK;
}

void archive_close(struct archive *a)
{
	for (size_t i = 0; i < a->count; i++) {
		free((void *)(uintptr_t)a->member[i].name);
		free((void *)(uintptr_t)a->member[i].link);
	}
	free(a->member);
	close_fd(&a->fd);
	*a = (struct archive){ .fd = -1 };
}

const struct member *archive_find(const struct archive *a, const char *name)
{
	struct member key = { .name = name };
	for (int hops = 0; hops <= LINKS_MAX && a->count > 0; hops++) {
		const struct member *m = bsearch(&key, a->member, a->count, sizeof key, by_name);
		if (m == NULL || m->link == NULL)
			return m;
		key.name = m->link;
	}
	return NULL;
}

enum image_code archive_read(const struct archive *a, const struct member *m, struct stream **ret, struct err *err)
{
	return stream_of_fd(a->fd, false, m->at, m->size, "a member of the archive", ret, err);
}
