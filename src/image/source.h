/* Where images come from: one interface, five kinds.
 *
 *     oci:DIR[:TAG]              an OCI image layout            source_layout.c
 *     oci-archive:FILE[:TAG]     the same in a tar archive      source_tar.c
 *     docker-archive:FILE[:TAG]  what "docker save" writes      source_tar.c
 *     dir:DIR                    a plain directory              source_dir.c
 *     docker://REGISTRY/REPOSITORY[:TAG][@sha256:...]           source_registry.c
 *
 * Archives may be compressed, and "-" is standard input. DIR and FILE may also have @sha256:... in place of the tag.
 * Without a prefix: what starts with / or . or exists is a path, and what it holds decides; what starts with a
 * host name is a registry reference.
 *
 * Opening a source finds the one image that is meant (index, platform, tag) and reads its configuration. Layers are
 * then read as often as needed, each time as a stream that was checked when its end was reached. */
#ifndef IMAGE_SOURCE_H
#define IMAGE_SOURCE_H

#include "image/config.h"
#include "image/entry.h"
#include "image/expand.h"
#include "image/manifest.h"
#include "image/warnings.h"

/* Told about as bytes go by, for whoever shows it. */
struct image_progress {
	/* what: "fetching", "unpacking", "reading", "packing", "measuring" ..., a string that stays; layer counts from 1, layers 0:
	 * none; total 0: not known */
	void (*update)(struct image_progress *p, const char *what, size_t layer, size_t layers, uint64_t done,
	               uint64_t total);
};

static inline void progress_tell(struct image_progress *p, const char *what, size_t layer, size_t layers, uint64_t done, uint64_t total)
{
	if (p != NULL)
		p->update(p, what, layer, layers, done, total != UINT64_MAX ? total : 0);
}

struct source_options {
	struct platform_choice platform;
	const char *cache_dir;               /* of blobs from registries; NULL: image/cache.h says */
	uint64_t cache_limit;                /* bytes; 0: keep nothing */
	const char *spill_dir;               /* temporary files; NULL: image/slab.h says */
	uint64_t bytes_max;                  /* of an archive that has to be unpacked first */
	const char *ca_file;                 /* registries: certificates to trust; NULL: the system's */
	bool plain_http;                     /* registries on this machine: without TLS */
	struct image_progress *progress;     /* NULL: nobody looks; borrowed, as long as the source */
};

struct source;
struct source_ops {
	/* The blob's bytes, not yet checked; d->size may be UINT64_MAX. */
	enum image_code (*open_blob)(struct source *s, const struct descriptor *d, struct stream **ret, struct err *err);
	/* NULL, except for what has files instead of layers. */
	enum image_code (*open_entries)(struct source *s, struct image_warnings *warnings, struct entries **ret,
	                                struct err *err);
	/* A blob was not what it should be: a cache forgets it. May be NULL. */
	void (*damaged)(struct source *s, const struct descriptor *d);
	void (*close)(struct source *s);
};

struct source {
	const struct source_ops *ops;
	const char *kind;                    /* "oci", "docker-archive" ... */
	struct manifest manifest;
	struct image_config config;
	bool has_digest;                     /* of the manifest; docker-archive and directories have none */
	uint8_t digest[OCI_SHA256_SIZE];
	uint8_t config_digest[OCI_SHA256_SIZE];      /* the image id; zeros for directories */
	struct image_progress *progress;
	const char *reading;                 /* what reading layers is for, as progress says it; NULL: "reading" */
	uint64_t fetched, from_cache;        /* bytes of blobs over the network, and not */
};

/* *ret is to be closed with source_close. spec: borrowed, as long as the source. */
enum image_code source_open(const char *spec, const struct source_options *o, struct source **ret, struct err *err);
void source_close(struct source *s);                 /* NULL is fine */

/* A directory counts as one layer. */
static inline size_t source_layer_count(const struct source *s)
{
	return s->ops->open_entries != NULL ? 1 : s->manifest.layer_count;
}

static inline const char *source_reading(const struct source *s) { return s->reading != NULL ? s->reading : "reading"; }

/* Reads layer i, lowest first. again: it was read to its end before, so what the blob's own digest does not prove
 * needs no second check. warnings may be NULL. */
enum image_code source_layer(struct source *s, size_t i, bool again, struct expand_budget *budget,
                             struct image_warnings *warnings, struct entries **ret, struct err *err);

/* --- for the kinds of sources ---------------------------------------------------------------------- */

/* The blob as a checked stream. */
enum image_code source_blob(struct source *s, const struct descriptor *d, const char *what, struct stream **ret,
                            struct err *err);
/* A small document, checked; *ret owned by the caller. */
enum image_code source_document(struct source *s, const struct descriptor *d, const char *what, uint8_t **ret,
                                size_t *ret_n, struct err *err);
/* From the first document (an index or a manifest) to manifest, configuration and digests of s. tag: applies to the
 * first document only; may be NULL. */
enum image_code source_resolve(struct source *s, struct bytes document, enum oci_media announced, const char *tag,
                               const struct platform_choice *p, struct err *err);
/* Configuration and platform of an image whose manifest is in place already. */
enum image_code source_take_config(struct source *s, const struct platform_choice *p, struct err *err);

enum image_code source_layout_open(const char *path, const char *tag, const struct source_options *o,
                                   struct source **ret, struct err *err);
enum archive_kind { ARCHIVE_ANY, ARCHIVE_OCI, ARCHIVE_DOCKER };
enum image_code source_tar_open(const char *path, const char *tag, enum archive_kind kind,
                                const struct source_options *o, struct source **ret, struct err *err);
enum image_code source_directory_open(const char *path, const struct source_options *o, struct source **ret,
                                      struct err *err);
enum image_code source_registry_open(const char *reference, const struct source_options *o, struct source **ret,
                                     struct err *err);

#endif
