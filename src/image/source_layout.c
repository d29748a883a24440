/* An OCI image layout: index.json names the images, blobs/sha256/ has everything else under its digest. */
#include "image/source.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "image/json.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

struct layout {
	struct source s;
	int dir_fd;                          /* owned */
};

/* Never waits for a peer (a FIFO) and takes regular files only. */
static enum image_code open_file(int dir_fd, const char *name, int *ret_fd, uint64_t *ret_size, struct err *err)
{
	struct stat st;
	CLEANUP(close_fd) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return image_fail(err, errno == ENOENT ? IMAGE_NOT_FOUND : IMAGE_IO, errno, "open %s of the layout", name);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return image_fail(err, IMAGE_IO, 0, "%s of the layout is not a file", name);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = fd_steal(&fd);
	return IMAGE_OK;
}

static enum image_code open_blob(struct source *s, const struct descriptor *d, struct stream **ret, struct err *err)
{
	struct layout *l = (struct layout *)(void *)s;
	char name[sizeof "blobs/sha256/" + 2 * OCI_SHA256_SIZE], hex[2 * OCI_SHA256_SIZE + 1];
	uint64_t size;
	int fd;
	snprintf(name, sizeof name, "blobs/sha256/%s", hex_encode(BYTES_ARRAY(d->sha256), hex));
	enum image_code c = open_file(l->dir_fd, name, &fd, &size, err);
	return c == IMAGE_OK ? stream_of_fd(fd, true, 0, size, "a blob of the layout", ret, err) : c;
}

static void close_layout(struct source *s)
{
	struct layout *l = (struct layout *)(void *)s;
	close_fd(&l->dir_fd);
	free(l);
}

static enum image_code read_file(int dir_fd, const char *name, uint8_t **ret, size_t *ret_n, struct err *err)
{
	struct stream *in = NULL;
	uint64_t size;
	int fd;
	enum image_code c = open_file(dir_fd, name, &fd, &size, err);
	if (c == IMAGE_OK)
		c = stream_of_fd(fd, true, 0, size, name, &in, err);
	if (c == IMAGE_OK)
		c = stream_slurp(in, JSON_DOCUMENT_MAX, name, ret, ret_n, err);
	stream_close(&in);
	return c;
}

static enum image_code find_image(struct layout *l, const char *tag, const struct source_options *o, struct err *err)
{
	CLEANUP(free_ptr) uint8_t *text = NULL;
	struct descriptor pinned = { .has_digest = true, .size = UINT64_MAX };
	size_t n;
	enum image_code c;
	if (tag != NULL && strncmp(tag, "sha256:", 7) == 0) {
		enum oci_result r = oci_digest_parse(bytes_str(tag), pinned.sha256);
		if (r != OCI_OK)
			return image_fail(err, IMAGE_BAD_REFERENCE, 0, "%s", oci_result_text(r));
		tag = NULL;
		c = source_document(&l->s, &pinned, "the image's pinned document", &text, &n, err);
	} else {
		c = read_file(l->dir_fd, "index.json", &text, &n, err);
	}
	return c == IMAGE_OK ? source_resolve(&l->s, bytes_of(text, n), OCI_MEDIA_OTHER, tag, &o->platform, err) : c;
}

enum image_code source_layout_open(const char *path, const char *tag, const struct source_options *o,
                                   struct source **ret, struct err *err)
{
	static const struct source_ops ops = { .open_blob = open_blob, .close = close_layout };
	CLEANUP(close_fd) int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return image_fail(err, errno == ENOENT ? IMAGE_NOT_FOUND : IMAGE_IO, errno, "open the image layout %s", path);
	struct layout *l = calloc(1, sizeof *l);
	if (l == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "open %s", path);
	l->s.ops = &ops;
	l->s.kind = "oci";
	l->s.progress = o->progress;
	l->dir_fd = fd_steal(&dir_fd);
	enum image_code c = find_image(l, tag, o, err);
	if (c != IMAGE_OK) {
		source_close(&l->s);
		return image_fail_in(err, c, "%s", path);
	}
	*ret = &l->s;
	return IMAGE_OK;
}
