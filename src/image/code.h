/* How reading an image can end: one stable code for each reason, for scripts and tests; the sentence
 * that says what, where and what to do is in the struct err beside it.
 *
 * Functions of this layer return a code and fill err for all but IMAGE_OK. The order may change, the
 * names may not. */
#ifndef IMAGE_CODE_H
#define IMAGE_CODE_H

#include "base/fail.h"

#define IMAGE_CODES(X) \
	X(OK, "ok") \
	X(IO, "io")                                     /* the operating system refused something */ \
	/* which image */ \
	X(BAD_SOURCE, "bad-source")                     /* no such kind of source, or used wrongly */ \
	X(BAD_REFERENCE, "bad-reference") \
	X(NOT_FOUND, "not-found") \
	X(AMBIGUOUS, "ambiguous")                       /* several images, and nothing says which */ \
	X(NO_PLATFORM, "no-platform") \
	/* documents */ \
	X(TOO_LARGE, "too-large") \
	X(BAD_JSON, "bad-json") \
	X(BAD_INDEX, "bad-index") \
	X(BAD_MANIFEST, "bad-manifest") \
	X(BAD_CONFIG, "bad-config") \
	X(INDEX_TOO_DEEP, "index-too-deep") \
	X(TOO_MANY_LAYERS, "too-many-layers") \
	X(UNSUPPORTED, "unsupported-media-type") \
	X(FOREIGN_LAYER, "foreign-layer") \
	X(UNKNOWN_USER, "unknown-user") \
	/* blobs */ \
	X(SIZE_MISMATCH, "size-mismatch") \
	X(DIGEST_MISMATCH, "digest-mismatch") \
	X(DIFF_ID_MISMATCH, "diff-id-mismatch") \
	X(CHANGED, "source-changed")                    /* read twice, and the second time it differed */ \
	X(BAD_COMPRESSION, "bad-compression") \
	X(UNSUPPORTED_COMPRESSION, "unsupported-compression") \
	X(WINDOW_TOO_LARGE, "window-too-large") \
	X(EXPANSION_LIMIT, "expansion-limit")           /* grows out of proportion while unpacking */ \
	X(BYTES_LIMIT, "bytes-limit") \
	X(ENTRIES_LIMIT, "entries-limit") \
	X(TRUNCATED, "truncated") \
	/* tar entries */ \
	X(BAD_TAR, "bad-tar") \
	X(SPARSE_FILE, "sparse-file") \
	X(UNKNOWN_KIND, "unknown-entry-kind") \
	X(BAD_PAX, "bad-pax") \
	X(BAD_XATTR, "bad-xattr") \
	X(BAD_NAME, "bad-name")                         /* empty, a zero byte, or too long */ \
	X(PATH_ESCAPES, "path-escapes")                 /* absolute, or with .. */ \
	X(LINK_ESCAPES, "link-escapes")                 /* a parent is a symbolic link that leads out */ \
	X(LINK_LOOP, "link-loop") \
	X(PARENT_NOT_DIRECTORY, "parent-not-directory") \
	X(DUPLICATE_ENTRY, "duplicate-entry") \
	X(BAD_WHITEOUT, "bad-whiteout") \
	X(LINK_TARGET_MISSING, "link-target-missing") \
	X(LINK_TO_DIRECTORY, "link-to-directory") \
	/* registries */ \
	X(NETWORK, "network") \
	X(NOT_AUTHORIZED, "not-authorized") \
	X(REGISTRY_ERROR, "registry-error") \
	X(BAD_REDIRECT, "bad-redirect") \
	X(CREDENTIALS, "credentials")                   /* the configuration file or its helper program */ \
	/* building an enclave image */ \
	X(BAD_KERNEL, "bad-kernel") \
	X(BAD_INIT, "bad-init")                         /* not a static program of the kernel's architecture */ \
	X(NO_PROGRAM, "no-program")                     /* nothing to start, or not in the image */ \
	X(BAD_SERVICE, "bad-service")                   /* what is to be started cannot be written down */ \
	X(BAD_DIRECTORY, "bad-directory")               /* what has to be a directory is something else */ \
	X(LAYOUT_LIMIT, "layout-limit")                 /* the layout cannot hold it */

#define IMAGE_CODE_ENUM(id, name) IMAGE_##id,
enum image_code { IMAGE_CODES(IMAGE_CODE_ENUM) IMAGE_CODE_COUNT };

const char *image_code_name(enum image_code c);

/* Fills err as fail() does and returns c; errnum may be 0. */
enum image_code image_fail(struct err *err, enum image_code c, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Puts "text: " before what err says and returns c unchanged. */
enum image_code image_fail_in(struct err *err, enum image_code c, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
