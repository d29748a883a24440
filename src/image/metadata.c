/* The members and their order are the stock tool's, which refuses metadata without any of them. Parsing is for images of
 * strangers: jansson with a depth limit of its own, on at most EIF_METADATA_MAX bytes, names twice refused. */
#include "image/metadata.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "format/eif.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

static bool add(json_t *to, const char *key, json_t *value) { return json_object_set_new(to, key, value) == 0; }

static json_t *time_text(int64_t s)
{
	time_t at = (time_t)s;
	struct tm t;
	char text[64];
	if (gmtime_r(&at, &t) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &t) == 0)
		return NULL;
	return json_string(text);
}

static json_t *build_metadata(const struct metadata *m)
{
	json_t *b = json_object();
	if (add(b, "BuildTime", time_text(m->build_time_s)) && add(b, "BuildTool", json_string("tee-rex")) &&
	    add(b, "BuildToolVersion", json_string(TEEREX_VERSION)) && add(b, "OperatingSystem", json_string("Linux")) &&
	    add(b, "KernelVersion", json_string(m->kernel_version)))
		return b;
	json_decref(b);
	return NULL;
}

int metadata_write(const struct metadata *m, char **ret, size_t *ret_n, struct err *err)
{
	json_t *all = json_object();
	char *text = NULL;
	bool ok = add(all, "ImageName", json_string(m->name)) && add(all, "ImageVersion", json_string(m->version)) &&
	          add(all, "BuildMetadata", build_metadata(m)) &&
	          add(all, "DockerInfo", m->docker_info != NULL ? json_incref(m->docker_info) : json_object()) &&
	          add(all, "CustomMetadata", m->custom != NULL ? json_incref(m->custom) : json_null());
	if (ok)
		text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	if (text == NULL)
		return fail(err, 0, "make the metadata: name and version must be UTF-8 and the build time a date");
	size_t n = strlen(text);
	if (n > EIF_METADATA_MAX) {
		free(text);
		return fail(err, 0, "the metadata is larger than %d KiB; give less of it", EIF_METADATA_MAX >> 10);
	}
	*ret = text;
	*ret_n = n;
	return 0;
}

const char *metadata_name(enum metadata_result r)
{
	static const char *const names[METADATA_RESULT_COUNT] = {
		"ok", "metadata-not-json", "metadata-not-object", "metadata-bad-member" };
	return (unsigned)r < METADATA_RESULT_COUNT ? names[r] : "metadata-unknown";
}

const char *metadata_message(enum metadata_result r)
{
	static const char *const messages[METADATA_RESULT_COUNT] = {
		[METADATA_OK] = "the metadata is complete",
		[METADATA_NOT_JSON] = "the metadata is not JSON, or says something twice; build the image again",
		[METADATA_NOT_OBJECT] = "the metadata is not a JSON object; build the image again",
		[METADATA_BAD_MEMBER] = "the metadata lacks a member that every image has, or it is of another type; build the image again",
	};
	return (unsigned)r < METADATA_RESULT_COUNT ? messages[r] : "unknown";
}

static bool has_strings(json_t *object, const char *const *keys)
{
	for (; *keys != NULL; keys++)
		if (!json_is_string(json_object_get(object, *keys)))
			return false;
	return true;
}

enum metadata_result metadata_parse(struct bytes section, json_t **ret)
{
	static const char *const image[] = { "ImageName", "ImageVersion", NULL };
	static const char *const build[] = { "BuildTime", "BuildTool", "BuildToolVersion", "OperatingSystem", "KernelVersion", NULL };
	*ret = NULL;
	json_t *all = json_loadb((const char *)section.p, section.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	if (all == NULL)
		return METADATA_NOT_JSON;
	enum metadata_result r = METADATA_OK;
	if (!json_is_object(all))
		r = METADATA_NOT_OBJECT;
	else if (!has_strings(all, image) || !has_strings(json_object_get(all, "BuildMetadata"), build) ||
	         json_object_get(all, "DockerInfo") == NULL)
		r = METADATA_BAD_MEMBER;
	if (r == METADATA_OK)
		*ret = all;
	else
		json_decref(all);
	return r;
}

int metadata_load_custom(const char *path, json_t **ret, struct err *err)
{
	struct stat st;
	json_error_t e;
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, 0, "%s is not a regular file", path);
	if (st.st_size > METADATA_CUSTOM_MAX)
		return fail(err, EFBIG, "%s: custom metadata is at most %d KiB", path, METADATA_CUSTOM_MAX >> 10);
	json_t *j = json_loadfd(fd, JSON_REJECT_DUPLICATES, &e);
	if (!json_is_object(j)) {
		json_decref(j);
		return fail(err, 0, "%s holds no JSON object: line %d: %s", path, j == NULL ? e.line : 1, j == NULL ? e.text : "an array");
	}
	*ret = j;
	return 0;
}

/* --- the kernel's name ---------------------------------------------------------------------------- */

/* The release at the start of text, up to the first character that has no place in one. */
static bool take_release(struct bytes text, char ret[KERNEL_RELEASE_MAX + 1])
{
	size_t n = 0;
	while (n < text.n && (isalnum(text.p[n]) || (text.p[n] != 0 && strchr(".-_+~", text.p[n]) != NULL)))
		n++;
	return n > 0 && n < text.n && isdigit(text.p[0]) && bytes_to_cstr(bytes_of(text.p, n), ret, KERNEL_RELEASE_MAX + 1);
}

/* A bzImage says at 0x20e where its version string is (boot protocol 2.00, offset less 0x200). */
static bool bzimage_release(int fd, struct bytes head, char ret[KERNEL_RELEASE_MAX + 1])
{
	uint8_t text[KERNEL_RELEASE_MAX + 1];
	int at = 0x200 + (head.p[0x20e] | head.p[0x20f] << 8);
	ssize_t n = pread(fd, text, sizeof text, at);
	return at > 0x200 && n > 0 && take_release(bytes_of(text, (size_t)n), ret);
}

/* A raw Image carries its banner somewhere in the read-only data. */
static bool image_release(int fd, char ret[KERNEL_RELEASE_MAX + 1])
{
	static const char banner[] = "Linux version ";
	enum { PIECE = 256 << 10, OVERLAP = sizeof banner + KERNEL_RELEASE_MAX + 1 };
	CLEANUP(free_ptr) uint8_t *buf = malloc(PIECE);
	ssize_t n;
	for (off_t at = 0; buf != NULL && (n = pread(fd, buf, PIECE, at)) > OVERLAP; at += n - OVERLAP) {
		for (const uint8_t *p = buf, *end = buf + n; (p = memmem(p, (size_t)(end - p), banner, sizeof banner - 1)) != NULL;) {
			p += sizeof banner - 1;
			if (take_release(bytes_of(p, (size_t)(end - p)), ret))
				return true;
		}
	}
	return false;
}

int kernel_release(int fd, const char *path, char ret[KERNEL_RELEASE_MAX + 1], struct err *err)
{
	uint8_t head[EIF_KERNEL_HEAD] = { 0 };
	ssize_t n = pread(fd, head, sizeof head, 0);
	if (n < 0)
		return fail(err, errno, "read %s", path);
	int flags = eif_kernel_flags(bytes_of(head, (size_t)n));
	bool found = flags == 0 ? bzimage_release(fd, BYTES_ARRAY(head), ret) : flags == EIF_FLAG_ARM64 && image_release(fd, ret);
	if (!found)
		strcpy(ret, "Unknown");
	return 0;
}
