/* Every grammar here is a small loop over bytes with an explicit character class, so that what is
 * accepted can be read off; nothing depends on the locale. */
#include "format/oci.h"

#include "base/text.h"

static const struct { const char *name, *text; } results[] = {
	[OCI_OK] = { "ok", "fine" },
	[OCI_TOO_LONG] = { "too-long", "it is too long" },
	[OCI_NO_REGISTRY] = { "no-registry", "it does not start with a registry; write registry.example/repository:tag" },
	[OCI_BAD_REGISTRY] = { "bad-registry", "the registry is not a host name or host:port" },
	[OCI_BAD_REPOSITORY] = { "bad-repository",
	                         "a repository is lower-case words of a-z 0-9 joined by . _ - and separated by /" },
	[OCI_BAD_TAG] = { "bad-tag", "a tag has 1 to 128 of A-Z a-z 0-9 _ . - and does not start with . or -" },
	[OCI_BAD_DIGEST] = { "bad-digest", "a digest is sha256: and 64 lower-case hex digits" },
	[OCI_BAD_ALGORITHM] = { "bad-algorithm", "only sha256 digests are taken" },
	[OCI_BAD_PLATFORM] = { "bad-platform", "a platform is os/architecture or os/architecture/variant, as in linux/arm64" },
};

const char *oci_result_name(enum oci_result r) { return results[r].name; }
const char *oci_result_text(enum oci_result r) { return results[r].text; }

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_lower(uint8_t c) { return c >= 'a' && c <= 'z'; }
static bool is_alnum(uint8_t c) { return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z'); }

static bool starts_with(struct bytes b, const char *prefix)
{
	size_t n = strlen(prefix);
	return b.n >= n && memcmp(b.p, prefix, n) == 0;
}

/* --- digests ---------------------------------------------------------------------------------- */

enum oci_result oci_digest_parse(struct bytes text, uint8_t ret_sha256[OCI_SHA256_SIZE])
{
	static const char prefix[] = "sha256:";
	const uint8_t *colon = text.n > 0 ? memchr(text.p, ':', text.n) : NULL;
	if (colon == NULL || colon == text.p)
		return OCI_BAD_DIGEST;
	if (!starts_with(text, prefix)) {
		for (const uint8_t *c = text.p; c < colon; c++)
			if (!is_lower(*c) && !is_digit(*c) && memchr("+._-", *c, 4) == NULL)
				return OCI_BAD_DIGEST;
		return OCI_BAD_ALGORITHM;
	}
	struct bytes hex = bytes_slice(text, sizeof prefix - 1, text.n - (sizeof prefix - 1));
	/* the hex is part of names (files, addresses): one spelling only */
	for (size_t i = 0; i < hex.n; i++)
		if (!is_digit(hex.p[i]) && !(hex.p[i] >= 'a' && hex.p[i] <= 'f'))
			return OCI_BAD_DIGEST;
	return hex_decode(hex, ret_sha256, OCI_SHA256_SIZE) ? OCI_OK : OCI_BAD_DIGEST;
}

char *oci_digest_text(const uint8_t sha256[OCI_SHA256_SIZE], char buf[OCI_DIGEST_TEXT_SIZE])
{
	memcpy(buf, "sha256:", 7);
	hex_encode(bytes_of(sha256, OCI_SHA256_SIZE), buf + 7);
	return buf;
}

/* --- references ------------------------------------------------------------------------------- */

bool oci_tag_valid(struct bytes tag)
{
	if (tag.n == 0 || tag.n > OCI_TAG_MAX || tag.p[0] == '.' || tag.p[0] == '-')
		return false;
	for (size_t i = 0; i < tag.n; i++)
		if (!is_alnum(tag.p[i]) && memchr("_.-", tag.p[i], 3) == NULL)
			return false;
	return true;
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool repository_word_valid(struct bytes w)
{
	if (w.n == 0)
		return false;
	for (size_t i = 0; i < w.n;) {
		if (!is_lower(w.p[i]) && !is_digit(w.p[i]))
			return false;
		while (i < w.n && (is_lower(w.p[i]) || is_digit(w.p[i])))
			i++;
		if (i == w.n)
			return true;
		uint8_t separator = w.p[i];
		size_t run = 0;
		while (i < w.n && w.p[i] == separator)
			i++, run++;
		if (!(separator == '-' || (separator == '.' && run == 1) || (separator == '_' && run <= 2)))
			return false;
	}
	return false;    /* ends in a separator */
}

static bool repository_valid(struct bytes name)
{
	for (size_t at = 0; at <= name.n;) {
		const uint8_t *slash = at < name.n ? memchr(name.p + at, '/', name.n - at) : NULL;
		size_t end = slash != NULL ? (size_t)(slash - name.p) : name.n;
		if (!repository_word_valid(bytes_slice(name, at, end - at)))
			return false;
		at = end + 1;
	}
	return name.n <= OCI_REPOSITORY_MAX;
}

static bool port_valid(struct bytes port)
{
	uint64_t v;
	return text_to_u64(port, 65535, &v) && v > 0;
}

/* [IPv6], or labels of letters, digits and inner hyphens joined by single dots; then maybe :port */
static bool registry_valid(struct bytes r)
{
	size_t at = 0;
	if (r.n > 0 && r.p[0] == '[') {
		for (at = 1; at < r.n && r.p[at] != ']'; at++)
			if (!is_digit(r.p[at]) && !((r.p[at] | 0x20) >= 'a' && (r.p[at] | 0x20) <= 'f') && r.p[at] != ':')
				return false;
		if (at == r.n || at < 3)
			return false;
		at++;
	} else {
		uint8_t before = '.';
		for (; at < r.n && r.p[at] != ':'; before = r.p[at++]) {
			bool edge = before == '.' || at + 1 == r.n || r.p[at + 1] == '.' || r.p[at + 1] == ':';
			if (!is_alnum(r.p[at]) && !(r.p[at] == '-' && !edge) && !(r.p[at] == '.' && before != '.'))
				return false;
		}
		if (before == '.')
			return false;
	}
	return at == r.n || (r.p[at] == ':' && port_valid(bytes_slice(r, at + 1, r.n - at - 1)));
}

bool oci_has_registry(struct bytes text)
{
	const uint8_t *slash = text.n > 0 ? memchr(text.p, '/', text.n) : NULL;
	if (slash == NULL)
		return false;
	struct bytes host = bytes_of(text.p, (size_t)(slash - text.p));
	return bytes_equal(host, BYTES_LIT("localhost")) ||
		(host.n > 0 && host.p[0] != '.' && (memchr(host.p, '.', host.n) != NULL || memchr(host.p, ':', host.n) != NULL));
}

enum oci_result oci_reference_parse(struct bytes text, struct oci_reference *ret)
{
	struct oci_reference r = { .tag = BYTES_NONE };
	if (text.n > OCI_REFERENCE_MAX)
		return OCI_TOO_LONG;
	if (!oci_has_registry(text))
		return OCI_NO_REGISTRY;
	size_t slash = (size_t)((const uint8_t *)memchr(text.p, '/', text.n) - text.p);
	r.registry = bytes_of(text.p, slash);
	struct bytes rest = bytes_slice(text, slash + 1, text.n - slash - 1);
	if (!registry_valid(r.registry))
		return OCI_BAD_REGISTRY;
	const uint8_t *sign = rest.n > 0 ? memchr(rest.p, '@', rest.n) : NULL;
	if (sign != NULL) {
		size_t at = (size_t)(sign - rest.p);
		enum oci_result bad = oci_digest_parse(bytes_slice(rest, at + 1, rest.n - at - 1), r.sha256);
		if (bad != OCI_OK)
			return bad;
		r.pinned = true;
		rest.n = at;
	}
	const uint8_t *colon = rest.n > 0 ? memchr(rest.p, ':', rest.n) : NULL;
	if (colon != NULL) {
		size_t at = (size_t)(colon - rest.p);
		r.tag = bytes_slice(rest, at + 1, rest.n - at - 1);
		if (!oci_tag_valid(r.tag))
			return OCI_BAD_TAG;
		rest.n = at;
	}
	r.repository = rest;
	if (!repository_valid(rest))
		return OCI_BAD_REPOSITORY;
	*ret = r;
	return OCI_OK;
}

/* --- platforms -------------------------------------------------------------------------------- */

static bool platform_part(struct bytes part, char buf[OCI_PLATFORM_PART_MAX])
{
	if (part.n == 0)
		return false;
	for (size_t i = 0; i < part.n; i++)
		if (!is_alnum(part.p[i]) && memchr("_.-", part.p[i], 3) == NULL)
			return false;
	return bytes_to_cstr(part, buf, OCI_PLATFORM_PART_MAX);
}

enum oci_result oci_platform_parse(struct bytes text, struct oci_platform *ret)
{
	struct oci_platform p = { .variant = "" };
	char *part[] = { p.os, p.architecture, p.variant };
	size_t n = 0;
	for (size_t at = 0; at <= text.n; n++) {
		const uint8_t *slash = at < text.n ? memchr(text.p + at, '/', text.n - at) : NULL;
		size_t end = slash != NULL ? (size_t)(slash - text.p) : text.n;
		if (n == 3 || !platform_part(bytes_slice(text, at, end - at), part[n]))
			return OCI_BAD_PLATFORM;
		at = end + 1;
	}
	if (n < 2)
		return OCI_BAD_PLATFORM;
	*ret = p;
	return OCI_OK;
}

static const char *variant_of(const struct oci_platform *p)
{
	bool arm64 = strcmp(p->architecture, "arm64") == 0;
	return p->variant[0] == '\0' && arm64 ? "v8" : p->variant;
}

int oci_platform_match(const struct oci_platform *want, const struct oci_platform *have)
{
	if (strcmp(want->os, have->os) != 0 || strcmp(want->architecture, have->architecture) != 0)
		return 0;
	if (strcmp(variant_of(want), variant_of(have)) == 0)
		return 2;
	return want->variant[0] == '\0' ? 1 : 0;
}

/* --- media types ------------------------------------------------------------------------------ */

#define OCI "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."
static const struct { const char *type; enum oci_media media; } media_types[] = {
	{ OCI "index.v1+json", OCI_MEDIA_INDEX },
	{ DOCKER "distribution.manifest.list.v2+json", OCI_MEDIA_INDEX },
	{ OCI "manifest.v1+json", OCI_MEDIA_MANIFEST },
	{ DOCKER "distribution.manifest.v2+json", OCI_MEDIA_MANIFEST },
	{ OCI "config.v1+json", OCI_MEDIA_CONFIG },
	{ DOCKER "container.image.v1+json", OCI_MEDIA_CONFIG },
	{ OCI "layer.v1.tar", OCI_MEDIA_LAYER },
	{ OCI "layer.v1.tar+gzip", OCI_MEDIA_LAYER },
	{ OCI "layer.v1.tar+zstd", OCI_MEDIA_LAYER },
	{ DOCKER "image.rootfs.diff.tar", OCI_MEDIA_LAYER },
	{ DOCKER "image.rootfs.diff.tar.gzip", OCI_MEDIA_LAYER },
	{ DOCKER "image.rootfs.diff.tar.zstd", OCI_MEDIA_LAYER },
	{ OCI "layer.nondistributable.v1.tar", OCI_MEDIA_LAYER_FOREIGN },
	{ OCI "layer.nondistributable.v1.tar+gzip", OCI_MEDIA_LAYER_FOREIGN },
	{ OCI "layer.nondistributable.v1.tar+zstd", OCI_MEDIA_LAYER_FOREIGN },
	{ DOCKER "image.rootfs.foreign.diff.tar", OCI_MEDIA_LAYER_FOREIGN },
	{ DOCKER "image.rootfs.foreign.diff.tar.gzip", OCI_MEDIA_LAYER_FOREIGN },
	{ DOCKER "distribution.manifest.v1+json", OCI_MEDIA_SCHEMA1 },
	{ DOCKER "distribution.manifest.v1+prettyjws", OCI_MEDIA_SCHEMA1 },
};
const char oci_accept_manifests[] = OCI "index.v1+json, " OCI "manifest.v1+json, "
	DOCKER "distribution.manifest.list.v2+json, " DOCKER "distribution.manifest.v2+json";

enum oci_media oci_media_parse(struct bytes type)
{
	const uint8_t *parameters = type.n > 0 ? memchr(type.p, ';', type.n) : NULL;
	if (parameters != NULL)
		type.n = (size_t)(parameters - type.p);
	while (type.n > 0 && type.p[type.n - 1] == ' ')
		type.n--;
	for (size_t i = 0; i < sizeof media_types / sizeof media_types[0]; i++)
		if (bytes_equal(type, bytes_str(media_types[i].type)))
			return media_types[i].media;
	return OCI_MEDIA_OTHER;
}
