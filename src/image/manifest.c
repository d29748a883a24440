/* Everything comes from a registry or an archive and is distrusted; what is taken out is copied into fixed fields, so
 * the parsed JSON does not outlive the function. */
#include "image/manifest.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "image/json.h"

static enum image_code bad(struct err *err, enum image_code c, const char *what, const char *why)
{
	return image_fail(err, c, 0, "%s %s", what, why);
}

/* --- what it is --------------------------------------------------------------------------------- */

enum image_code document_kind(struct bytes text, enum oci_media announced, const char *what, enum oci_media *ret,
                              struct err *err)
{
	CLEANUP(json_cleanup) json_t *j = NULL;
	const char *type;
	uint64_t schema;
	enum image_code c = document_parse(text, what, &j, err);
	if (c != IMAGE_OK)
		return c;
	if (!json_is_object(j) || !json_get_string(j, "mediaType", &type, NULL) ||
	    !json_get_u64(j, "schemaVersion", &schema, 0))
		return bad(err, IMAGE_BAD_MANIFEST, what, "is not an image manifest");
	if (schema == 1 || announced == OCI_MEDIA_SCHEMA1)
		return bad(err, IMAGE_UNSUPPORTED, what, "is in Docker's first manifest format, whose layers have no digests; push it again");
	bool index = json_object_get(j, "manifests") != NULL, manifest = json_object_get(j, "layers") != NULL;
	if (index == manifest)
		return bad(err, IMAGE_BAD_MANIFEST, what, index ? "is both an index and a manifest" : "is neither an index nor a manifest");
	enum oci_media shape = index ? OCI_MEDIA_INDEX : OCI_MEDIA_MANIFEST;
	if (type != NULL && oci_media_parse(bytes_str(type)) != shape)
		return bad(err, IMAGE_BAD_MANIFEST, what, "has a media type that does not fit its contents");
	if (announced != OCI_MEDIA_OTHER && announced != shape)
		return bad(err, IMAGE_BAD_MANIFEST, what, "was announced as another kind of document");
	*ret = shape;
	return IMAGE_OK;
}

/* --- descriptors -------------------------------------------------------------------------------- */

static bool copy(const char *from, char *to, size_t cap) { return bytes_to_cstr(bytes_str(from), to, cap); }

static bool parse_platform(json_t *j, struct descriptor *d)
{
	json_t *p;
	const char *os, *architecture, *variant;
	if (!json_get_object(j, "platform", &p))
		return false;
	if (p == NULL)
		return true;
	if (!json_get_string(p, "os", &os, "") || !json_get_string(p, "architecture", &architecture, "") ||
	    !json_get_string(p, "variant", &variant, ""))
		return false;
	d->has_platform = true;
	d->for_other_use = d->for_other_use || strcmp(os, "unknown") == 0 || strcmp(architecture, "unknown") == 0;
	return copy(os, d->platform.os, OCI_PLATFORM_PART_MAX) &&
		copy(architecture, d->platform.architecture, OCI_PLATFORM_PART_MAX) &&
		copy(variant, d->platform.variant, OCI_PLATFORM_PART_MAX);
}

/* False: malformed. */
static bool parse_descriptor(json_t *j, struct descriptor *ret)
{
	struct descriptor d = { .has_digest = true };
	const char *type, *digest, *name, *full_name, *purpose, *artifact;
	json_t *annotations;
	if (!json_is_object(j) || !json_get_string(j, "mediaType", &type, NULL) || type == NULL ||
	    !json_get_string(j, "digest", &digest, NULL) || digest == NULL || !json_is_integer(json_object_get(j, "size")) ||
	    !json_get_u64(j, "size", &d.size, 0) || !json_get_object(j, "annotations", &annotations) ||
	    !json_get_string(j, "artifactType", &artifact, ""))
		return false;
	if (oci_digest_parse(bytes_str(digest), d.sha256) != OCI_OK)
		return false;
	if (!json_get_string(annotations, "org.opencontainers.image.ref.name", &name, "") ||
	    !json_get_string(annotations, "io.containerd.image.name", &full_name, "") ||
	    !json_get_string(annotations, "vnd.docker.reference.type", &purpose, "") || !copy(name, d.name, sizeof d.name) ||
	    !copy(full_name, d.full_name, sizeof d.full_name))
		return false;
	d.media = oci_media_parse(bytes_str(type));
	d.for_other_use = purpose[0] != '\0' || artifact[0] != '\0';
	if (!parse_platform(j, &d))
		return false;
	*ret = d;
	return true;
}

/* Allocates *ret and fills it from the array j. */
static enum image_code parse_list(json_t *j, size_t max, enum image_code too_many, enum image_code malformed,
                                  const char *what, const char *item, struct descriptor **ret, size_t *ret_n,
                                  struct err *err)
{
	size_t n = json_array_size(j);
	if (n > max)
		return image_fail(err, too_many, 0, "%s has %zu %ss; %zu are allowed", what, n, item, max);
	CLEANUP(free_ptr) struct descriptor *v = calloc(n + 1, sizeof *v);
	if (v == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read %s", what);
	for (size_t i = 0; i < n; i++)
		if (!parse_descriptor(json_array_get(j, i), &v[i]))
			return image_fail(err, malformed, 0, "%s has a malformed descriptor (%s %zu): it needs a mediaType, a sha256 "
			                  "digest and a size", what, item, i + 1);
	*ret = v;
	*ret_n = n;
	v = NULL;
	return IMAGE_OK;
}

/* --- indexes ------------------------------------------------------------------------------------ */

void index_free(struct index *x)
{
	free(x->v);
	*x = (struct index){ NULL, 0 };
}

enum image_code index_parse(struct bytes text, const char *what, struct index *ret, struct err *err)
{
	CLEANUP(json_cleanup) json_t *j = NULL;
	json_t *list;
	enum image_code c = document_parse(text, what, &j, err);
	if (c != IMAGE_OK)
		return c;
	if (!json_is_object(j) || !json_get_array(j, "manifests", &list) || list == NULL)
		return bad(err, IMAGE_BAD_INDEX, what, "is not an image index");
	return parse_list(list, INDEX_ENTRIES_MAX, IMAGE_TOO_LARGE, IMAGE_BAD_INDEX, what, "manifest", &ret->v, &ret->n, err);
}

static bool has_name(const struct descriptor *d, const char *name)
{
	return strcmp(d->name, name) == 0 || strcmp(d->full_name, name) == 0;
}

/* 0: not this one. Higher is better; without a platform an entry may still be what is wanted. */
static int score(const struct descriptor *d, const struct platform_choice *p, const char *tag)
{
	if (d->for_other_use || (d->media != OCI_MEDIA_INDEX && d->media != OCI_MEDIA_MANIFEST))
		return 0;
	if (tag != NULL && !has_name(d, tag))
		return 0;
	if (!d->has_platform)
		return 1;
	int fit = oci_platform_match(&p->want, &d->platform);
	return fit == 0 ? 0 : fit + 1;
}

/* Puts up to a handful of names into buf, for the sentence that says what there is. */
static void list_names(const struct index *x, bool tags, const char *tag, char *buf, size_t cap)
{
	size_t at = 0, shown = 0;
	buf[0] = '\0';
	for (size_t i = 0; i < x->n && at < cap; i++) {
		const struct descriptor *d = &x->v[i];
		char name[80];
		const char *called = d->full_name[0] != '\0' ? d->full_name : d->name;
		if (d->for_other_use || (tags ? called[0] == '\0' : !d->has_platform) || (!tags && tag != NULL && !has_name(d, tag)))
			continue;
		if (++shown > 6) {
			snprintf(buf + at, cap - at, ", ...");
			return;
		}
		if (tags)
			text_escape(bytes_str(called), name, sizeof name);
		else
			snprintf(name, sizeof name, "%.24s/%.24s%s%.24s", d->platform.os, d->platform.architecture,
			         d->platform.variant[0] != '\0' ? "/" : "", d->platform.variant);
		int n = snprintf(buf + at, cap - at, "%s%s", shown > 1 ? ", " : "", name);
		at += n > 0 ? (size_t)n : 0;
	}
}

static enum image_code none_fits(const struct index *x, const struct platform_choice *p, const char *tag,
                                 const char *what, struct err *err)
{
	char there[300], wanted[OCI_TAG_MAX * 4];
	bool tag_there = tag == NULL;
	for (size_t i = 0; i < x->n; i++)
		tag_there = tag_there || has_name(&x->v[i], tag);
	list_names(x, !tag_there, tag, there, sizeof there);
	if (!tag_there)
		return image_fail(err, IMAGE_NOT_FOUND, 0, "%s has no image named %s; it has: %s", what,
		                  text_escape(bytes_str(tag), wanted, sizeof wanted), there[0] != '\0' ? there : "no names");
	char escaped[400];
	return image_fail(err, IMAGE_NO_PLATFORM, 0, "%s has no image for %s/%s%s%s; it has: %s. Choose one with --platform", what,
	                  p->want.os, p->want.architecture, p->want.variant[0] != '\0' ? "/" : "", p->want.variant,
	                  there[0] != '\0' ? text_escape(bytes_str(there), escaped, sizeof escaped) : "none at all");
}

enum image_code index_choose(const struct index *x, const struct platform_choice *p, const char *tag,
                             const char *what, size_t *ret, struct err *err)
{
	int best = 0;
	size_t at = 0, equal = 0;
	for (size_t i = 0; i < x->n; i++) {
		int s = score(&x->v[i], p, tag);
		if (s > best) {
			best = s;
			at = i;
			equal = 1;
		} else if (s == best && s > 0 && memcmp(x->v[i].sha256, x->v[at].sha256, OCI_SHA256_SIZE) != 0) {
			equal++;
		}
	}
	if (best == 0)
		return none_fits(x, p, tag, what, err);
	/* of several for one platform the first counts, as the specification has it, but only under one name */
	bool told_apart = x->v[at].has_platform;
	for (size_t i = 0; i < x->n && told_apart; i++)
		told_apart = score(&x->v[i], p, tag) < best || (strcmp(x->v[i].name, x->v[at].name) == 0 &&
			strcmp(x->v[i].full_name, x->v[at].full_name) == 0);
	if (equal > 1 && !told_apart) {
		char there[300];
		list_names(x, true, NULL, there, sizeof there);
		return image_fail(err, IMAGE_AMBIGUOUS, 0, "%s has several images; name one after a colon: %s", what,
		                  there[0] != '\0' ? there : "(they have no names: copy the one you want into a layout of its own)");
	}
	*ret = at;
	return IMAGE_OK;
}

/* --- manifests ---------------------------------------------------------------------------------- */

void manifest_free(struct manifest *m)
{
	free(m->layer);
	*m = (struct manifest){ .layer = NULL };
}

static enum image_code check_media(const struct manifest *m, const char *what, struct err *err)
{
	if (m->config.media != OCI_MEDIA_CONFIG)
		return bad(err, IMAGE_UNSUPPORTED, what, "is an artifact, not an image: its configuration is of another kind");
	for (size_t i = 0; i < m->layer_count; i++) {
		if (m->layer[i].media == OCI_MEDIA_LAYER_FOREIGN)
			return image_fail(err, IMAGE_FOREIGN_LAYER, 0, "%s: layer %zu is not for distribution and would have to be fetched "
			                  "from somewhere else; such images are not taken", what, i + 1);
		if (m->layer[i].media != OCI_MEDIA_LAYER)
			return image_fail(err, IMAGE_UNSUPPORTED, 0, "%s: layer %zu is no tar archive (encrypted, or an artifact)", what, i + 1);
	}
	return IMAGE_OK;
}

enum image_code manifest_parse(struct bytes text, const char *what, struct manifest *ret, struct err *err)
{
	CLEANUP(json_cleanup) json_t *j = NULL;
	json_t *layers;
	struct manifest m = { .layer = NULL };
	enum image_code c = document_parse(text, what, &j, err);
	if (c != IMAGE_OK)
		return c;
	if (!json_is_object(j) || !json_get_array(j, "layers", &layers) || layers == NULL ||
	    !parse_descriptor(json_object_get(j, "config"), &m.config))
		return bad(err, IMAGE_BAD_MANIFEST, what, "is not an image manifest: it needs a config descriptor and a list of layers");
	c = parse_list(layers, TREE_LAYERS_MAX, IMAGE_TOO_MANY_LAYERS, IMAGE_BAD_MANIFEST, what, "layer", &m.layer,
	               &m.layer_count, err);
	if (c == IMAGE_OK)
		c = check_media(&m, what, err);
	if (c != IMAGE_OK) {
		manifest_free(&m);
		return c;
	}
	*ret = m;
	return IMAGE_OK;
}
