/* Names of the OCI world: references, digests, media types, platforms. Pure text, no I/O.
 *
 *     registry[:port] / repository [ :tag ] [ @sha256:64 hex ]
 *
 * The registry is never implied: a name without one would mean whatever some default says, and what
 * is built here is measured. Grammar: OCI distribution specification 1.1 (repository, tag) and image
 * specification 1.1 (descriptor, digest, media types); Docker's image manifest version 2 uses the same
 * shapes under other media types. Everything parsed here comes from strangers. */
#ifndef FORMAT_OCI_H
#define FORMAT_OCI_H

#include "base/bytes.h"

enum {
	OCI_SHA256_SIZE = 32,
	OCI_DIGEST_TEXT_SIZE = sizeof "sha256:" + 64,    /* with the terminating zero */
	OCI_REFERENCE_MAX = 512,
	OCI_REPOSITORY_MAX = 255,
	OCI_TAG_MAX = 128,
	OCI_PLATFORM_PART_MAX = 32                       /* with the terminating zero */
};

enum oci_result {
	OCI_OK,
	OCI_TOO_LONG,
	OCI_NO_REGISTRY,             /* the first part is no host name */
	OCI_BAD_REGISTRY,
	OCI_BAD_REPOSITORY,
	OCI_BAD_TAG,
	OCI_BAD_DIGEST,              /* not algorithm:hex, or not 64 lower-case hex digits */
	OCI_BAD_ALGORITHM,           /* a digest of another algorithm than sha256 */
	OCI_BAD_PLATFORM
};
const char *oci_result_name(enum oci_result r);
/* What is wrong and what to do about it, as half a sentence. */
const char *oci_result_text(enum oci_result r);

/* "sha256:" and 64 lower-case hex digits. */
enum oci_result oci_digest_parse(struct bytes text, uint8_t ret_sha256[OCI_SHA256_SIZE]);
char *oci_digest_text(const uint8_t sha256[OCI_SHA256_SIZE], char buf[OCI_DIGEST_TEXT_SIZE]);

struct oci_reference {
	struct bytes registry;       /* host or host:port; borrowed, like the others */
	struct bytes repository;
	struct bytes tag;            /* empty: none given */
	bool pinned;                 /* a digest was given; it wins over the tag */
	uint8_t sha256[OCI_SHA256_SIZE];
};
/* *ret is written only for OCI_OK. */
enum oci_result oci_reference_parse(struct bytes text, struct oci_reference *ret);
/* True when text starts with something that can only be a registry: a dot or colon, or "localhost". */
bool oci_has_registry(struct bytes text);
bool oci_tag_valid(struct bytes tag);

struct oci_platform {                /* zero-terminated; variant may be empty */
	char os[OCI_PLATFORM_PART_MAX], architecture[OCI_PLATFORM_PART_MAX], variant[OCI_PLATFORM_PART_MAX];
};
/* os/architecture[/variant] */
enum oci_result oci_platform_parse(struct bytes text, struct oci_platform *ret);
/* 0: not for this platform. 1: fits. 2: fits and names the same variant. An arm64 image without
 * variant is v8. */
int oci_platform_match(const struct oci_platform *want, const struct oci_platform *have);

enum oci_media {
	OCI_MEDIA_OTHER,
	OCI_MEDIA_INDEX,
	OCI_MEDIA_MANIFEST,
	OCI_MEDIA_CONFIG,
	OCI_MEDIA_LAYER,             /* tar, plain or compressed: the bytes themselves say how */
	OCI_MEDIA_LAYER_FOREIGN,     /* not for distribution: to be had from elsewhere */
	OCI_MEDIA_SCHEMA1            /* Docker's first manifest format, without content addresses */
};
/* A media type, parameters after ';' ignored. */
enum oci_media oci_media_parse(struct bytes type);
/* What a client accepts for a manifest: the value of the Accept header. */
extern const char oci_accept_manifests[];

#endif
