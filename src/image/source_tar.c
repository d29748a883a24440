/* Images in one tar file. Two kinds: an OCI layout (index.json and blobs under their digests), and what "docker save"
 * has always written (manifest.json, which names a configuration and layers by their paths). New archives have both;
 * the first is preferred, because there everything is under a digest. In the second the configuration's diff_ids are
 * what layers are checked against. */
#include "image/archive.h"
#include "image/json.h"
#include "image/source.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <stdio.h>

struct tar_source {
	struct source s;
	struct archive archive;              /* owned */
};

static enum image_code open_blob(struct source *s, const struct descriptor *d, struct stream **ret, struct err *err)
{
	struct tar_source *t = (struct tar_source *)(void *)s;
	char name[DESCRIPTOR_NAME_MAX], hex[2 * OCI_SHA256_SIZE + 1], shown[DESCRIPTOR_NAME_MAX];
	if (!d->by_name)
		snprintf(name, sizeof name, "blobs/sha256/%s", hex_encode(BYTES_ARRAY(d->sha256), hex));
	else
		snprintf(name, sizeof name, "%s", d->name);
	const struct member *m = archive_find(&t->archive, name);
	if (m == NULL)
		return image_fail(err, IMAGE_NOT_FOUND, 0, "the archive does not have %s", text_escape(bytes_str(name), shown, sizeof shown));
	return archive_read(&t->archive, m, ret, err);
}

static void close_source(struct source *s)
{
	struct tar_source *t = (struct tar_source *)(void *)s;
	archive_close(&t->archive);
	free(t);
}

static enum image_code read_member(const struct tar_source *t, const char *name, uint8_t **ret, size_t *ret_n,
                                   struct err *err)
{
	struct stream *in = NULL;
	const struct member *m = archive_find(&t->archive, name);
	if (m == NULL)
		return image_fail(err, IMAGE_BAD_SOURCE, 0, "it has no %s: it is no image archive", name);
	enum image_code c = archive_read(&t->archive, m, &in, err);
	if (c == IMAGE_OK)
		c = stream_slurp(in, JSON_DOCUMENT_MAX, name, ret, ret_n, err);
	stream_close(&in);
	return c;
}

/* --- an OCI layout -------------------------------------------------------------------------------------- */

static enum image_code find_in_layout(struct tar_source *t, const char *tag, const struct source_options *o,
                                      struct err *err)
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
		c = source_document(&t->s, &pinned, "the image's pinned document", &text, &n, err);
	} else {
		c = read_member(t, "index.json", &text, &n, err);
	}
	return c == IMAGE_OK ? source_resolve(&t->s, bytes_of(text, n), OCI_MEDIA_OTHER, tag, &o->platform, err) : c;
}

/* --- docker save ------------------------------------------------------------------------------------------ */

static bool has_tag(json_t *image, const char *tag)
{
	json_t *tags, *item;
	size_t i;
	if (!json_get_array(image, "RepoTags", &tags))
		return false;
	json_array_foreach(tags, i, item)
		if (json_is_string(item) && strcmp(json_string_value(item), tag) == 0)
			return true;
	return false;
}

static enum image_code choose(json_t *list, const char *tag, json_t **ret, struct err *err)
{
	json_t *image;
	size_t i, n = 0;
	char shown[160];
	if (!json_is_array(list))
		return image_fail(err, IMAGE_BAD_MANIFEST, 0, "manifest.json is no list of images");
	json_array_foreach(list, i, image)
		if (json_is_object(image) && (tag == NULL || has_tag(image, tag))) {
			*ret = image;
			n++;
		}
	if (n == 0 && tag != NULL)
		return image_fail(err, IMAGE_NOT_FOUND, 0, "it has no image named %s (names are written in full, as in manifest.json)",
		                  text_escape(bytes_str(tag), shown, sizeof shown));
	if (n != 1)
		return image_fail(err, n == 0 ? IMAGE_NOT_FOUND : IMAGE_AMBIGUOUS, 0, "it has %zu images%s", n,
		                  n > 1 ? "; name one after a colon" : "");
	return IMAGE_OK;
}

/* A path of the archive as a descriptor. The names of configurations carry their digests. */
static bool describe(const struct tar_source *t, json_t *path, struct descriptor *ret)
{
	struct descriptor d = { .size = UINT64_MAX, .by_name = true };
	const char *text = json_string_value(path);
	if (text == NULL || !bytes_to_cstr(bytes_str(text), d.name, sizeof d.name))
		return false;
	const char *base = strrchr(text, '/') != NULL ? strrchr(text, '/') + 1 : text;
	size_t n = strcspn(base, ".");
	d.has_digest = (base[n] == '\0' || strcmp(base + n, ".json") == 0) &&
		hex_decode(bytes_of(base, n), d.sha256, sizeof d.sha256);
	const struct member *m = archive_find(&t->archive, text);
	if (m != NULL)
		d.size = m->size;
	*ret = d;
	return true;
}

static enum image_code find_saved(struct tar_source *t, const char *tag, const struct source_options *o,
                                  struct err *err)
{
	CLEANUP(free_ptr) uint8_t *text = NULL;
	CLEANUP(json_cleanup) json_t *list = NULL;
	json_t *image = NULL, *layers;
	size_t n;
	struct manifest *m = &t->s.manifest;
	enum image_code c = read_member(t, "manifest.json", &text, &n, err);
	if (c == IMAGE_OK)
		c = document_parse(bytes_of(text, n), "manifest.json", &list, err);
	if (c == IMAGE_OK)
		c = choose(list, tag, &image, err);
	if (c != IMAGE_OK)
		return c;
	if (!json_get_array(image, "Layers", &layers) || layers == NULL || !describe(t, json_object_get(image, "Config"), &m->config))
		return image_fail(err, IMAGE_BAD_MANIFEST, 0, "manifest.json needs Config and Layers");
	if (json_array_size(layers) > TREE_LAYERS_MAX)
		return image_fail(err, IMAGE_TOO_MANY_LAYERS, 0, "it has %zu layers; %d are allowed", json_array_size(layers),
		                  TREE_LAYERS_MAX);
	m->layer = calloc(json_array_size(layers) + 1, sizeof *m->layer);
	if (m->layer == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read manifest.json");
	for (size_t i = 0; i < json_array_size(layers); i++)
		if (!describe(t, json_array_get(layers, i), &m->layer[m->layer_count++]))
			return image_fail(err, IMAGE_BAD_MANIFEST, 0, "manifest.json has a layer without a path");
	/* a layer's directory may be named after something else than its bytes */
	for (size_t i = 0; i < m->layer_count; i++)
		m->layer[i].has_digest = m->layer[i].has_digest && strncmp(m->layer[i].name, "blobs/sha256/", 13) == 0;
	return source_take_config(&t->s, &o->platform, err);
}

/* -------------------------------------------------------------------------------------------------------- */

enum image_code source_tar_open(const char *path, const char *tag, enum archive_kind kind,
                                const struct source_options *o, struct source **ret, struct err *err)
{
	static const struct source_ops ops = { .open_blob = open_blob, .close = close_source };
	struct tar_source *t = calloc(1, sizeof *t);
	if (t == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "open %s", path);
	t->s.ops = &ops;
	t->s.progress = o->progress;
	t->archive.fd = -1;
	enum image_code c = archive_open(path, o, &t->archive, err);
	if (c == IMAGE_OK && kind == ARCHIVE_ANY)
		kind = archive_find(&t->archive, "index.json") != NULL ? ARCHIVE_OCI : ARCHIVE_DOCKER;
	t->s.kind = kind == ARCHIVE_OCI ? "oci-archive" : "docker-archive";
	if (c == IMAGE_OK)
		c = kind == ARCHIVE_OCI ? find_in_layout(t, tag, o, err) : find_saved(t, tag, o, err);
	if (c != IMAGE_OK) {
		source_close(&t->s);
		return image_fail_in(err, c, "%s", strcmp(path, "-") == 0 ? "standard input" : path);
	}
	*ret = &t->s;
	return IMAGE_OK;
}
