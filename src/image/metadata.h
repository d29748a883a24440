/* The metadata section: what an image says about itself. Nobody measures or checks it, so it is a label, not evidence.
 *
 *     {"ImageName":…,"ImageVersion":…,
 *      "BuildMetadata":{"BuildTime":…,"BuildTool":…,"BuildToolVersion":…,"OperatingSystem":…,"KernelVersion":…},
 *      "DockerInfo":{…},"CustomMetadata":{…} or null} */
#ifndef IMAGE_METADATA_H
#define IMAGE_METADATA_H

#include "base/bytes.h"
#include "base/fail.h"

#include <jansson.h>

enum { METADATA_CUSTOM_MAX = 64 << 10, KERNEL_RELEASE_MAX = 64 };

struct metadata {                                /* all borrowed */
	const char *name, *version;
	int64_t build_time_s;                    /* since 1970; 0 unless asked otherwise, so that builds repeat */
	const char *kernel_version;
	json_t *docker_info;                     /* object; NULL: {} */
	json_t *custom;                          /* object; NULL: null */
};

/* The section's text, on one line (*ret owned by the caller). -errno when it is not UTF-8 or too large. */
int metadata_write(const struct metadata *m, char **ret, size_t *ret_n, struct err *err);

enum metadata_result {
	METADATA_OK,
	METADATA_NOT_JSON,                       /* or a name twice in one object */
	METADATA_NOT_OBJECT,
	METADATA_BAD_MEMBER,                     /* one that is required is missing or of another type */
	METADATA_RESULT_COUNT
};
const char *metadata_name(enum metadata_result r);
const char *metadata_message(enum metadata_result r);
/* *ret: a new reference, NULL unless METADATA_OK. */
enum metadata_result metadata_parse(struct bytes section, json_t **ret);

/* A file with a JSON object for CustomMetadata. *ret: a new reference. */
int metadata_load_custom(const char *path, json_t **ret, struct err *err);

/* "6.12.9" of a bzImage or raw arm64 Image; "Unknown" when it does not say. */
int kernel_release(int fd, const char *path, char ret[KERNEL_RELEASE_MAX + 1], struct err *err);

#endif
