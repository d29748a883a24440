/* Indexes and manifests: which blobs an image is made of (OCI image specification, "Image Index" and "Image
 * Manifest"; Docker's manifest list and image manifest version 2, schema 2, have the same shape).
 *
 * A document that could be read as both an index and a manifest is refused, and so is one whose own media type is
 * not what was announced. */
#ifndef IMAGE_MANIFEST_H
#define IMAGE_MANIFEST_H

#include "format/oci.h"
#include "image/code.h"
#include "image/tree.h"

enum { INDEX_ENTRIES_MAX = 4096, INDEX_DEPTH_MAX = 4, DESCRIPTOR_NAME_MAX = 300 };

struct descriptor {
	enum oci_media media;
	bool has_digest;                     /* false only in docker-archive */
	bool by_name;                        /* docker-archive: name is the member's path */
	uint8_t sha256[OCI_SHA256_SIZE];
	uint64_t size;                       /* bytes of the blob */
	bool has_platform, for_other_use;    /* other use: attestations and the like */
	struct oci_platform platform;
	/* index: the entry's tag (org.opencontainers.image.ref.name); docker-archive: the archive member; "" if none */
	char name[DESCRIPTOR_NAME_MAX];
	char full_name[DESCRIPTOR_NAME_MAX]; /* index: as containerd and docker note it (io.containerd.image.name) */
};

struct index { struct descriptor *v; size_t n; };                       /* v owned */
void index_free(struct index *x);
enum image_code index_parse(struct bytes text, const char *what, struct index *ret, struct err *err);

struct platform_choice { struct oci_platform want; bool given; };       /* given: asked for, not just assumed */

/* Which entry to go on with. tag may be NULL: any. Skips attestations and unknown platforms; prefers the entry that
 * names the same variant. NO_PLATFORM lists what there is, AMBIGUOUS the tags. */
enum image_code index_choose(const struct index *x, const struct platform_choice *p, const char *tag,
                             const char *what, size_t *ret, struct err *err);

struct manifest { struct descriptor config; struct descriptor *layer; size_t layer_count; };    /* layer owned */
void manifest_free(struct manifest *m);
enum image_code manifest_parse(struct bytes text, const char *what, struct manifest *ret, struct err *err);

/* What kind of document text is, from its media type or, without one, its members; announced is what it was
 * fetched as (OCI_MEDIA_OTHER: not said). */
enum image_code document_kind(struct bytes text, enum oci_media announced, const char *what, enum oci_media *ret,
                              struct err *err);

#endif
