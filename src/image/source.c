/* What all sources share: how a name is read, the way from the first document to the image, and the stack of streams
 * that a layer is:
 *
 *     blob -> size and digest -> decompression and its limits -> diff_id -> tar -> checked entries
 *
 * A digest that someone pinned or that a checked document names is the only thing believed. */
#include "image/source.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/crypto.h"
#include "image/json.h"
#include "image/layer.h"

#include <stdio.h>
#include <sys/stat.h>

/* --- blobs and documents ------------------------------------------------------------------------------ */

enum image_code source_blob(struct source *s, const struct descriptor *d, const char *what, struct stream **ret,
                            struct err *err)
{
	struct stream *raw = NULL;
	const struct stream_check check = { .sha256 = d->has_digest ? d->sha256 : NULL, .size = d->size,
		.mismatch = IMAGE_DIGEST_MISMATCH, .name = what };
	enum image_code c = s->ops->open_blob(s, d, &raw, err);
	if (c != IMAGE_OK)
		return image_fail_in(err, c, "%s", what);
	return stream_checked(raw, &check, ret, err);
}

static enum image_code note_damage(struct source *s, const struct descriptor *d, enum image_code c)
{
	if ((c == IMAGE_SIZE_MISMATCH || c == IMAGE_DIGEST_MISMATCH || c == IMAGE_TRUNCATED) && s->ops->damaged != NULL)
		s->ops->damaged(s, d);
	return c;
}

enum image_code source_document(struct source *s, const struct descriptor *d, const char *what, uint8_t **ret,
                                size_t *ret_n, struct err *err)
{
	struct stream *in = NULL;
	if (d->size != UINT64_MAX && d->size > JSON_DOCUMENT_MAX)
		return image_fail(err, IMAGE_TOO_LARGE, 0, "%s has %llu bytes; %d are allowed", what,
		                  (unsigned long long)d->size, JSON_DOCUMENT_MAX);
	enum image_code c = source_blob(s, d, what, &in, err);
	if (c == IMAGE_OK)
		c = stream_slurp(in, JSON_DOCUMENT_MAX, what, ret, ret_n, err);
	stream_close(&in);
	return note_damage(s, d, c);
}

/* --- from the first document to the image --------------------------------------------------------------- */

enum image_code source_take_config(struct source *s, const struct platform_choice *p, struct err *err)
{
	static const char what[] = "the image's configuration";
	CLEANUP(free_ptr) uint8_t *text = NULL;
	size_t n;
	enum image_code c = source_document(s, &s->manifest.config, what, &text, &n, err);
	if (c == IMAGE_OK)
		c = image_config_parse(bytes_of(text, n), what, &s->config, err);
	if (c != IMAGE_OK)
		return c;
	if (!crypto_hash(HASH_SHA256, bytes_of(text, n), s->config_digest))
		return image_fail(err, IMAGE_IO, 0, "hash %s", what);
	if (s->config.layer_count != s->manifest.layer_count)
		return image_fail(err, IMAGE_BAD_MANIFEST, 0, "the image has %zu layers and its configuration names %zu",
		                  s->manifest.layer_count, s->config.layer_count);
	/* the index that was chosen from often says the variant, and the configuration does not */
	struct oci_platform have = s->config.platform;
	if (have.variant[0] == '\0')
		memcpy(have.variant, p->want.variant, sizeof have.variant);
	if (p->given && oci_platform_match(&p->want, &have) == 0)
		return image_fail(err, IMAGE_NO_PLATFORM, 0, "the image is for %s/%s%s%s, not for %s/%s%s%s", have.os,
		                  have.architecture, have.variant[0] != '\0' ? "/" : "", have.variant, p->want.os,
		                  p->want.architecture, p->want.variant[0] != '\0' ? "/" : "", p->want.variant);
	return IMAGE_OK;
}

static enum image_code take_manifest(struct source *s, struct bytes text, const char *what, struct err *err)
{
	if (!crypto_hash(HASH_SHA256, text, s->digest))
		return image_fail(err, IMAGE_IO, 0, "hash %s", what);
	s->has_digest = true;
	return manifest_parse(text, what, &s->manifest, err);
}

/* Chooses from an index: *ret is the entry. */
static enum image_code choose(struct bytes text, const char *what, const char *tag, const struct platform_choice *p,
                              struct descriptor *ret, struct err *err)
{
	struct index x = { NULL, 0 };
	size_t at;
	enum image_code c = index_parse(text, what, &x, err);
	if (c == IMAGE_OK)
		c = index_choose(&x, p, tag, what, &at, err);
	if (c == IMAGE_OK)
		*ret = x.v[at];
	index_free(&x);
	return c;
}

enum image_code source_resolve(struct source *s, struct bytes document, enum oci_media announced, const char *tag,
                               const struct platform_choice *p, struct err *err)
{
	CLEANUP(free_ptr) uint8_t *owned = NULL;
	struct descriptor next;
	const char *what = "the image's first document";
	for (int depth = 0; depth <= INDEX_DEPTH_MAX; depth++) {
		enum oci_media kind;
		enum image_code c = document_kind(document, announced, what, &kind, err);
		if (c == IMAGE_OK && kind == OCI_MEDIA_MANIFEST) {
			c = take_manifest(s, document, what, err);
			return c == IMAGE_OK ? source_take_config(s, p, err) : c;
		}
		if (c == IMAGE_OK)
			c = choose(document, what, tag, p, &next, err);
		if (c != IMAGE_OK)
			return c;
		tag = NULL;
		announced = next.media;
		what = announced == OCI_MEDIA_INDEX ? "the image's index" : "the image's manifest";
		free(owned);
		owned = NULL;
		c = source_document(s, &next, what, &owned, &document.n, err);
		if (c != IMAGE_OK)
			return c;
		document.p = owned;
	}
	return image_fail(err, IMAGE_INDEX_TOO_DEEP, 0, "the image's indexes are nested deeper than %d", INDEX_DEPTH_MAX);
}

/* --- layers ------------------------------------------------------------------------------------------- */

struct layer_entries {
	struct entries e;
	struct stream_meter meter;
	struct source *source;
	const struct descriptor *descriptor;
	size_t number;                       /* from 1 */
	uint64_t done;
	char name[40];
	struct stream *blob;                 /* checked; owned by `unpacked` once that is there */
	struct stream *unpacked;
	bool blob_proves_all;                /* its digest alone shows that nothing changed */
	struct layer layer;
};

static enum image_code layer_entries_next(struct entries *e, const struct entry **ret, struct err *err)
{
	return layer_next(&((struct layer_entries *)(void *)e)->layer, ret, err);
}

static enum image_code layer_entries_data(struct entries *e, struct bytes *ret, struct err *err)
{
	return layer_data(&((struct layer_entries *)(void *)e)->layer, ret, err);
}

/* What was found wrong in the contents may be due to bytes that are not what was announced. */
static enum image_code explain(struct layer_entries *l, enum image_code c, struct err *err)
{
	struct err other;
	if (c == IMAGE_OK || c == IMAGE_IO || c == IMAGE_SIZE_MISMATCH || c == IMAGE_DIGEST_MISMATCH)
		return c;
	enum image_code blob = stream_drain(l->blob, &other);
	if (blob != IMAGE_SIZE_MISMATCH && blob != IMAGE_DIGEST_MISMATCH)
		return c;
	*err = other;
	return blob;
}

static enum image_code layer_entries_finish(struct entries *e, enum image_code so_far, struct err *err)
{
	struct layer_entries *l = (struct layer_entries *)(void *)e;
	enum image_code c = so_far;
	if (c == IMAGE_OK)
		c = stream_drain(l->blob_proves_all ? l->blob : l->unpacked, err);
	return note_damage(l->source, l->descriptor, explain(l, c, err));
}

static void layer_entries_close(struct entries *e)
{
	struct layer_entries *l = (struct layer_entries *)(void *)e;
	layer_close(&l->layer);
	stream_close(&l->unpacked);
	free(l);
}

static void count(struct stream_meter *m, size_t n)
{
	struct layer_entries *l = (struct layer_entries *)(void *)((char *)m - offsetof(struct layer_entries, meter));
	l->done += n;
	progress_tell(l->source->progress, source_reading(l->source), l->number, l->source->manifest.layer_count, l->done, l->descriptor->size);
}

static enum image_code stack_streams(struct layer_entries *l, bool again, struct expand_budget *budget, struct err *err)
{
	const struct stream_check diff_id = { .sha256 = l->source->config.diff_id[l->number - 1], .size = UINT64_MAX,
		.mismatch = IMAGE_DIFF_ID_MISMATCH, .name = l->name };
	enum image_code c = source_blob(l->source, l->descriptor, l->name, &l->blob, err);
	if (c == IMAGE_OK)
		c = stream_metered(l->blob, &l->meter, &l->blob, err);
	if (c == IMAGE_OK)
		c = stream_expanded(l->blob, budget, l->name, &l->unpacked, err);
	l->blob_proves_all = again && l->descriptor->has_digest;
	if (c == IMAGE_OK && !l->blob_proves_all) {
		struct stream *plain = stream_steal(&l->unpacked);
		c = stream_checked(plain, &diff_id, &l->unpacked, err);
	}
	return c;
}

enum image_code source_layer(struct source *s, size_t i, bool again, struct expand_budget *budget,
                             struct image_warnings *warnings, struct entries **ret, struct err *err)
{
	if (s->ops->open_entries != NULL)
		return s->ops->open_entries(s, warnings, ret, err);
	struct layer_entries *l = calloc(1, sizeof *l);
	if (l == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read a layer");
	l->e = (struct entries){ layer_entries_next, layer_entries_data, layer_entries_finish, layer_entries_close };
	l->meter.add = count;
	l->source = s;
	l->descriptor = &s->manifest.layer[i];
	l->number = i + 1;
	snprintf(l->name, sizeof l->name, "layer %zu of %zu", i + 1, s->manifest.layer_count);
	enum image_code c = stack_streams(l, again, budget, err);
	if (c == IMAGE_OK)
		c = layer_open(&l->layer, l->unpacked, l->name, warnings, err);
	if (c != IMAGE_OK) {
		layer_entries_close(&l->e);
		return note_damage(s, &s->manifest.layer[i], c);
	}
	*ret = &l->e;
	return IMAGE_OK;
}

/* --- which kind --------------------------------------------------------------------------------------- */

void source_close(struct source *s)
{
	if (s == NULL)
		return;
	manifest_free(&s->manifest);
	image_config_free(&s->config);
	s->ops->close(s);
}

enum guess { GUESS_NONE, GUESS_LAYOUT, GUESS_ARCHIVE, GUESS_DIRECTORY };

static enum guess look_at(const char *path)
{
	struct stat st;
	char inside[TREE_PATH_MAX + 16];
	if (strcmp(path, "-") == 0)
		return GUESS_ARCHIVE;
	if (stat(path, &st) != 0)
		return GUESS_NONE;
	if (!S_ISDIR(st.st_mode))
		return GUESS_ARCHIVE;
	snprintf(inside, sizeof inside, "%s/oci-layout", path);
	return access(inside, F_OK) == 0 ? GUESS_LAYOUT : GUESS_DIRECTORY;
}

/* Splits "PATH:TAG" or "PATH@sha256:..." when PATH alone is what exists. path: room for the copy. */
static const char *split_tag(const char *name, char *path, size_t cap)
{
	snprintf(path, cap, "%s", name);
	if (strlen(name) >= cap || look_at(path) != GUESS_NONE)
		return NULL;
	char *at = strstr(path, "@sha256:");
	if (at != NULL) {
		*at = '\0';
		return at + 1;
	}
	for (char *colon = strchr(path, ':'); colon != NULL; colon = strchr(colon + 1, ':')) {
		*colon = '\0';
		if (look_at(path) != GUESS_NONE)
			return colon + 1;
		*colon = ':';
	}
	return NULL;
}

enum image_code source_open(const char *spec, const struct source_options *o, struct source **ret, struct err *err)
{
	static const struct { const char *prefix; enum { LAYOUT, OCI_TAR, DOCKER_TAR, DIRECTORY, REGISTRY } kind; } kinds[] = {
		{ "oci:", LAYOUT }, { "oci-archive:", OCI_TAR }, { "docker-archive:", DOCKER_TAR }, { "dir:", DIRECTORY },
		{ "docker://", REGISTRY } };
	char path[TREE_PATH_MAX + 1], shown[160];
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		size_t n = strlen(kinds[i].prefix);
		if (strncmp(spec, kinds[i].prefix, n) != 0)
			continue;
		const char *tag = kinds[i].kind <= DOCKER_TAR ? split_tag(spec + n, path, sizeof path) : NULL;
		switch (kinds[i].kind) {
		case LAYOUT: return source_layout_open(path, tag, o, ret, err);
		case OCI_TAR: return source_tar_open(path, tag, ARCHIVE_OCI, o, ret, err);
		case DOCKER_TAR: return source_tar_open(path, tag, ARCHIVE_DOCKER, o, ret, err);
		case DIRECTORY: return source_directory_open(spec + n, o, ret, err);
		case REGISTRY: return source_registry_open(spec + n, o, ret, err);
		}
	}
	const char *tag = split_tag(spec, path, sizeof path);
	enum guess g = look_at(path);
	if (g == GUESS_LAYOUT)
		return source_layout_open(path, tag, o, ret, err);
	if (g == GUESS_ARCHIVE)
		return source_tar_open(path, tag, ARCHIVE_ANY, o, ret, err);
	if (g == GUESS_DIRECTORY && tag == NULL)
		return source_directory_open(path, o, ret, err);
	if (spec[0] != '.' && spec[0] != '/' && oci_has_registry(bytes_str(spec)))
		return source_registry_open(spec, o, ret, err);
	return image_fail(err, g == GUESS_NONE && (spec[0] == '.' || spec[0] == '/') ? IMAGE_NOT_FOUND : IMAGE_BAD_SOURCE, 0,
	                  "%s is no file or directory here and does not start with a registry's name (REGISTRY/REPOSITORY:TAG)",
	                  text_escape(bytes_str(spec), shown, sizeof shown));
}
