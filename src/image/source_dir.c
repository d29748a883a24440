/* A plain directory as an image of one layer without a configuration. Entries come in the tree's own order (sorted,
 * parents first), so two walks see the same sequence as long as nothing changes; that nothing did is checked by size.
 *
 * The directory may belong to somebody else: every path is opened below the root without following symbolic links
 * (openat2), so nothing outside of it is read, and only regular files are opened for their bytes. */
#include "image/source.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "image/layer.h"
#include "image/slab.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

enum { DEPTH_MAX = TREE_PATH_MAX / 2 + 1, READ_SIZE = 128 << 10, LINK_MEMORY = 8 << 20, SHOWN = 160 };

struct directory {
	struct source s;
	int root_fd;                         /* owned */
	char path[TREE_PATH_MAX + 1];
	const char *spill_dir;               /* borrowed */
};

/* The names of one directory on the way down. */
struct level { char **name; size_t n, next; size_t path_n; };

/* The first name of a file that has several. */
struct known { uint64_t dev, ino; uint32_t path; uint32_t spare; };

struct dir_entries {
	struct entries e;
	struct directory *dir;
	struct image_warnings *warnings;
	uint32_t ordinal;
	bool started;
	struct level level[DEPTH_MAX];
	size_t depth;
	struct slab_pool pool;
	struct slab text, links;
	uint32_t *table;                     /* open addressing over links; owned */
	size_t table_size;
	struct entry entry;
	int fd;                              /* of the current file; -1 */
	uint64_t left;
	uint64_t done;                       /* bytes read of all files */
	size_t path_n;
	char path[TREE_PATH_MAX + 1];
	char target[TREE_PATH_MAX + 1];
	uint8_t xattrs[XATTRS_SIZE_MAX];
	uint8_t buf[READ_SIZE];
};

static int open_below(const struct directory *d, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	return (int)syscall(SYS_openat2, d->root_fd, path[0] != '\0' ? path : ".", &how, sizeof how);
}

static enum image_code failed(const struct dir_entries *d, int errnum, const char *what, struct err *err)
{
	char shown[SHOWN];
	return image_fail(err, errnum == ENOENT || errnum == ELOOP ? IMAGE_CHANGED : IMAGE_IO, errnum, "%s %s/%s", what,
	                  d->dir->path, text_escape(bytes_str(d->path), shown, sizeof shown));
}

/* --- names ------------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void free_level(struct level *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->name[i]);
	free(l->name);
	*l = (struct level){ .n = 0 };
}

static bool add_name(struct level *l, size_t *cap, const char *name)
{
	if (l->n == *cap) {
		size_t want = *cap == 0 ? 32 : *cap * 2;
		char **grown = realloc(l->name, want * sizeof *grown);
		if (grown == NULL)
			return false;
		l->name = grown;
		*cap = want;
	}
	l->name[l->n] = strdup(name);
	return l->name[l->n] != NULL && ++l->n > 0;
}

/* Reads the directory at d->path into the next level. */
static enum image_code enter(struct dir_entries *d, struct err *err)
{
	struct level *l = &d->level[d->depth];
	size_t cap = 0;
	int fd = open_below(d->dir, d->path, O_RDONLY | O_DIRECTORY);
	CLEANUP(close_dir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (dir == NULL) {
		close_fd(&fd);
		return failed(d, errno, "read the directory", err);
	}
	*l = (struct level){ .path_n = d->path_n };
	d->depth++;
	struct dirent *e;
	while (errno = 0, (e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !add_name(l, &cap, e->d_name))
			return image_fail(err, IMAGE_IO, ENOMEM, "read a directory");
	if (errno != 0)
		return failed(d, errno, "read the directory", err);
	if (l->n > 0)
		qsort(l->name, l->n, sizeof *l->name, by_name);
	return IMAGE_OK;
}

/* --- hard links --------------------------------------------------------------------------------------- */

static size_t slot(const struct dir_entries *d, uint64_t dev, uint64_t ino)
{
	uint64_t h = (ino ^ dev << 32) * UINT64_C(0x9e3779b97f4a7c15);
	size_t at = (size_t)(h >> 20) & (d->table_size - 1);
	while (d->table[at] != 0) {
		const struct known *k = slab_at(&d->links, d->table[at]);
		if (k->dev == dev && k->ino == ino)
			break;
		at = (at + 1) & (d->table_size - 1);
	}
	return at;
}

static bool grow_table(struct dir_entries *d)
{
	if (d->table != NULL && (size_t)d->links.count * 2 < d->table_size)
		return true;
	size_t want = d->table_size == 0 ? 1024 : d->table_size * 2;
	uint32_t *table = calloc(want, sizeof *table);
	if (table == NULL)
		return false;
	free(d->table);
	d->table = table;
	d->table_size = want;
	for (uint32_t i = 1; i < d->links.count; i++) {
		const struct known *k = slab_at(&d->links, i);
		d->table[slot(d, k->dev, k->ino)] = i;
	}
	return true;
}

/* Turns the entry into a hard link when the file was seen before; remembers it otherwise. */
static enum image_code note_link(struct dir_entries *d, const struct stat *st, struct err *err)
{
	uint32_t i, text;
	if (!grow_table(d))
		return image_fail(err, IMAGE_IO, ENOMEM, "remember hard links");
	size_t at = slot(d, st->st_dev, st->st_ino);
	if (d->table[at] != 0) {
		const struct known *k = slab_at(&d->links, d->table[at]);
		d->entry.kind = ENTRY_HARD_LINK;
		d->entry.link = bytes_str(slab_at(&d->text, k->path));
		return IMAGE_OK;
	}
	enum image_code c = slab_append(&d->text, (uint32_t)d->path_n + 1, &text, err);
	if (c == IMAGE_OK)
		c = slab_append(&d->links, 1, &i, err);
	if (c != IMAGE_OK)
		return c;
	memcpy(slab_at(&d->text, text), d->path, d->path_n + 1);
	*(struct known *)slab_at(&d->links, i) = (struct known){ st->st_dev, st->st_ino, text, 0 };
	d->table[at] = i;
	return IMAGE_OK;
}

/* --- attributes ----------------------------------------------------------------------------------------- */

static enum image_code read_xattrs(struct dir_entries *d, int fd, struct err *err)
{
	char names[16 << 10], link[40];
	char *sorted[TAR_READER_XATTRS_MAX];
	uint8_t value[64 << 10];
	size_t n = 0;
	/* works for what may only be looked at (O_PATH), too */
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t size = listxattr(link, names, sizeof names);
	if (size < 0 && (errno == EOPNOTSUPP || errno == ENOENT))
		return IMAGE_OK;
	if (size < 0)
		return failed(d, errno, "list the attributes of", err);
	for (char *name = names; name < names + size; name += strlen(name) + 1) {
		bool wanted = strcmp(name, "security.capability") == 0 || strncmp(name, "user.", 5) == 0;
		if (wanted && n == TAR_READER_XATTRS_MAX)
			return image_fail(err, IMAGE_BAD_XATTR, 0, "%s has more than %d extended attributes", d->path, TAR_READER_XATTRS_MAX);
		if (wanted)
			sorted[n++] = name;
		else if (d->warnings != NULL)
			image_warn(d->warnings, WARNING_XATTR, bytes_str(d->path), bytes_str(name));
	}
	if (n > 0)
		qsort(sorted, n, sizeof *sorted, by_name);
	struct writer w = writer_of(d->xattrs, sizeof d->xattrs);
	for (size_t i = 0; i < n; i++) {
		ssize_t got = getxattr(link, sorted[i], value, sizeof value);
		if (got < 0)
			return failed(d, errno, "read an attribute of", err);
		tree_xattr_put(&w, bytes_str(sorted[i]), bytes_of(value, (size_t)got));
	}
	if (w.full)
		return image_fail(err, IMAGE_BAD_XATTR, 0, "the extended attributes of %s are too large", d->path);
	d->entry.xattrs = writer_bytes(&w);
	return IMAGE_OK;
}

static enum image_code read_target(struct dir_entries *d, int fd, struct err *err)
{
	ssize_t n = readlinkat(fd, "", d->target, sizeof d->target);
	if (n <= 0 || (size_t)n == sizeof d->target)
		return failed(d, n < 0 ? errno : ENAMETOOLONG, "read the link", err);
	d->entry.link = bytes_of(d->target, (size_t)n);
	return IMAGE_OK;
}

/* What is at d->path; kind ENTRY_IGNORED for what no image has. */
static enum image_code describe(struct dir_entries *d, struct err *err)
{
	struct stat st;
	enum image_code c = IMAGE_OK;
	CLEANUP(close_fd) int fd = open_below(d->dir, d->path, O_PATH | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) != 0)
		return failed(d, errno, "look at", err);
	d->entry = (struct entry){ .path = bytes_of(d->path, d->path_n), .mode = st.st_mode & 07777, .uid = st.st_uid,
		.gid = st.st_gid, .mtime = st.st_mtime };
	switch (st.st_mode & S_IFMT) {
	case S_IFREG: d->entry.kind = ENTRY_FILE; d->entry.size = (uint64_t)st.st_size; break;
	case S_IFDIR: d->entry.kind = ENTRY_DIRECTORY; break;
	case S_IFLNK: d->entry.kind = ENTRY_SYMLINK; break;
	case S_IFIFO: d->entry.kind = ENTRY_FIFO; break;
	case S_IFSOCK: d->entry.kind = ENTRY_IGNORED; break;
	default: d->entry.kind = ENTRY_DEVICE; break;
	}
	if (d->warnings != NULL && d->entry.kind == ENTRY_DEVICE)
		image_warn(d->warnings, WARNING_DEVICE, d->entry.path, BYTES_NONE);
	if (d->warnings != NULL && d->entry.kind == ENTRY_IGNORED)
		image_warn(d->warnings, WARNING_SOCKET, d->entry.path, BYTES_NONE);
	if (d->entry.kind == ENTRY_SYMLINK)
		c = read_target(d, fd, err);
	if (c == IMAGE_OK && st.st_nlink > 1 && d->entry.kind != ENTRY_DIRECTORY && d->entry.kind != ENTRY_IGNORED)
		c = note_link(d, &st, err);
	if (c == IMAGE_OK && (d->entry.kind == ENTRY_FILE || d->entry.kind == ENTRY_DIRECTORY))
		c = read_xattrs(d, fd, err);
	return c;
}

/* --- the walk --------------------------------------------------------------------------------------------- */

/* Moves to the next path; false at the end. */
static bool advance(struct dir_entries *d)
{
	while (d->depth > 0) {
		struct level *l = &d->level[d->depth - 1];
		if (l->next < l->n)
			return true;
		free_level(l);
		d->depth--;
	}
	return false;
}

static enum image_code next(struct entries *e, const struct entry **ret, struct err *err)
{
	struct dir_entries *d = (struct dir_entries *)(void *)e;
	enum image_code c = IMAGE_OK;
	close_fd(&d->fd);
	*ret = NULL;
	if (d->started) {
		/* what was handed out last is entered now */
		if (d->entry.kind == ENTRY_DIRECTORY && d->depth == DEPTH_MAX)
			return failed(d, ENAMETOOLONG, "go into", err);
		if (d->entry.kind == ENTRY_DIRECTORY && (c = enter(d, err)) != IMAGE_OK)
			return c;
		if (!advance(d))
			return IMAGE_OK;
		struct level *l = &d->level[d->depth - 1];
		const char *name = l->name[l->next++];
		int n = snprintf(d->path + l->path_n, sizeof d->path - l->path_n, "%s%s", l->path_n > 0 ? "/" : "", name);
		if (n < 0 || (size_t)n >= sizeof d->path - l->path_n)
			return failed(d, ENAMETOOLONG, "look at", err);
		d->path_n = l->path_n + (size_t)n;
	}
	d->started = true;
	if ((c = describe(d, err)) != IMAGE_OK)
		return c;
	d->entry.ordinal = d->ordinal++;
	d->left = d->entry.kind == ENTRY_FILE ? d->entry.size : 0;
	*ret = &d->entry;
	return IMAGE_OK;
}

static enum image_code data(struct entries *e, struct bytes *ret, struct err *err)
{
	struct dir_entries *d = (struct dir_entries *)(void *)e;
	char shown[SHOWN];
	ssize_t n;
	*ret = BYTES_NONE;
	if (d->fd < 0 && d->left > 0) {
		d->fd = open_below(d->dir, d->path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
		if (d->fd < 0)
			return failed(d, errno, "open", err);
	}
	if (d->fd < 0)
		return IMAGE_OK;
	/* one byte more than the size shows that the file grew */
	do
		n = read(d->fd, d->buf, sizeof d->buf);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return failed(d, errno, "read", err);
	if ((uint64_t)n > d->left || (n == 0 && d->left > 0))
		return image_fail(err, IMAGE_CHANGED, 0, "%s/%s changed while it was read", d->dir->path,
		                  text_escape(bytes_str(d->path), shown, sizeof shown));
	d->left -= (uint64_t)n;
	d->done += (uint64_t)n;
	progress_tell(d->dir->s.progress, source_reading(&d->dir->s), 0, 0, d->done, 0);
	if (n == 0)
		close_fd(&d->fd);
	*ret = bytes_of(d->buf, (size_t)n);
	return IMAGE_OK;
}

static enum image_code finish(struct entries *e, enum image_code so_far, struct err *err)
{
	(void)e, (void)err;
	return so_far;
}

static void close_entries(struct entries *e)
{
	struct dir_entries *d = (struct dir_entries *)(void *)e;
	while (d->depth > 0)
		free_level(&d->level[--d->depth]);
	slab_close(&d->text);
	slab_close(&d->links);
	slab_pool_close(&d->pool);
	free(d->table);
	close_fd(&d->fd);
	free(d);
}

static enum image_code open_entries(struct source *s, struct image_warnings *warnings, struct entries **ret,
                                    struct err *err)
{
	struct directory *dir = (struct directory *)(void *)s;
	struct dir_entries *d = calloc(1, sizeof *d);
	if (d == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read %s", dir->path);
	d->e = (struct entries){ next, data, finish, close_entries };
	d->dir = dir;
	d->warnings = warnings;
	d->fd = -1;
	slab_pool_init(&d->pool, LINK_MEMORY, dir->spill_dir);
	slab_init(&d->text, &d->pool, 1);
	slab_init(&d->links, &d->pool, 32);
	*ret = &d->e;
	return IMAGE_OK;
}
_Static_assert(sizeof(struct known) <= 32, "fits its slab element");

static void close_source(struct source *s)
{
	struct directory *d = (struct directory *)(void *)s;
	close_fd(&d->root_fd);
	free(d);
}

enum image_code source_directory_open(const char *path, const struct source_options *o, struct source **ret,
                                      struct err *err)
{
	static const struct source_ops ops = { .open_entries = open_entries, .close = close_source };
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return image_fail(err, errno == ENOENT ? IMAGE_NOT_FOUND : IMAGE_IO, errno, "open the directory %s", path);
	struct directory *d = calloc(1, sizeof *d);
	if (d == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "open %s", path);
	d->s.ops = &ops;
	d->s.kind = "dir";
	d->s.progress = o->progress;
	d->root_fd = fd_steal(&fd);
	snprintf(d->path, sizeof d->path, "%s", path);
	d->spill_dir = o->spill_dir;
	enum image_code c = image_config_empty(&o->platform.want, &d->s.config, err);
	if (c != IMAGE_OK) {
		source_close(&d->s);
		return c;
	}
	*ret = &d->s;
	return IMAGE_OK;
}
