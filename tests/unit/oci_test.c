#include "format/oci.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_references(void **state)
{
	static const struct { const char *text; enum oci_result r; const char *registry, *repository, *tag; bool pinned; } cases[] = {
		{ "reg.example/app", OCI_OK, "reg.example", "app", "", false },
		{ "reg.example:5000/team/sub/app:v1.2_3-x", OCI_OK, "reg.example:5000", "team/sub/app", "v1.2_3-x", false },
		{ "localhost/a", OCI_OK, "localhost", "a", "", false },
		{ "127.0.0.1:80/a", OCI_OK, "127.0.0.1:80", "a", "", false },
		{ "[::1]:5000/a", OCI_OK, "[::1]:5000", "a", "", false },
		{ "[2001:db8::1]/a", OCI_OK, "[2001:db8::1]", "a", "", false },
		{ "reg.example/a@sha256:" HEX, OCI_OK, "reg.example", "a", "", true },
		{ "reg.example/a:t@sha256:" HEX, OCI_OK, "reg.example", "a", "t", true },
		{ "reg.example/a.b/c__d/e--f/0", OCI_OK, "reg.example", "a.b/c__d/e--f/0", "", false },
		{ "Reg.Example/a", OCI_OK, "Reg.Example", "a", "", false },
		{ "xn--a-b.example/a", OCI_OK, "xn--a-b.example", "a", "", false },
		{ "", OCI_NO_REGISTRY, NULL, NULL, NULL, false },
		{ "alpine", OCI_NO_REGISTRY, NULL, NULL, NULL, false },
		{ "alpine:3", OCI_NO_REGISTRY, NULL, NULL, NULL, false },
		{ "library/alpine", OCI_NO_REGISTRY, NULL, NULL, NULL, false },
		{ "/a", OCI_NO_REGISTRY, NULL, NULL, NULL, false },
		{ "./a", OCI_NO_REGISTRY, NULL, NULL, NULL, false },
		{ "a..b/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "-a.b/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a-.b/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a.b-/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a.b./c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a.b:/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a.b:0/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a.b:65536/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a.b:80:80/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a_b.c/d", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "user@a.b/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a.b%2f/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "[::1/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "[::1]x/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "[fe80::1%eth0]/c", OCI_BAD_REGISTRY, NULL, NULL, NULL, false },
		{ "a.b/", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b//c", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/c/", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/C", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/../c", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/c..d", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/c___d", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/_c", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/c-", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/c?x", OCI_BAD_REPOSITORY, NULL, NULL, NULL, false },
		{ "a.b/c:", OCI_BAD_TAG, NULL, NULL, NULL, false },
		{ "a.b/c:.x", OCI_BAD_TAG, NULL, NULL, NULL, false },
		{ "a.b/c:-x", OCI_BAD_TAG, NULL, NULL, NULL, false },
		{ "a.b/c:x/y", OCI_BAD_TAG, NULL, NULL, NULL, false },
		{ "a.b/c:x:y", OCI_BAD_TAG, NULL, NULL, NULL, false },
		{ "a.b/c@", OCI_BAD_DIGEST, NULL, NULL, NULL, false },
		{ "a.b/c@sha256:12", OCI_BAD_DIGEST, NULL, NULL, NULL, false },
		{ "a.b/c@sha256:" HEX "00", OCI_BAD_DIGEST, NULL, NULL, NULL, false },
		{ "a.b/c@sha512:" HEX HEX, OCI_BAD_ALGORITHM, NULL, NULL, NULL, false },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct oci_reference ref;
		enum oci_result r = oci_reference_parse(bytes_str(cases[i].text), &ref);
		if (r != cases[i].r)
			fail_msg("%s: %s instead of %s", cases[i].text, oci_result_name(r), oci_result_name(cases[i].r));
		if (r != OCI_OK)
			continue;
		assert_true(bytes_equal(ref.registry, bytes_str(cases[i].registry)));
		assert_true(bytes_equal(ref.repository, bytes_str(cases[i].repository)));
		assert_true(bytes_equal(ref.tag, bytes_str(cases[i].tag)));
		assert_int_equal(ref.pinned, cases[i].pinned);
	}
}

static void test_reference_sizes(void **state)
{
	char text[OCI_REFERENCE_MAX + 2] = "a.b/";
	struct oci_reference ref;
	(void)state;
	memset(text + 4, 'c', OCI_REPOSITORY_MAX);
	assert_int_equal(oci_reference_parse(bytes_of(text, 4 + OCI_REPOSITORY_MAX), &ref), OCI_OK);
	text[4 + OCI_REPOSITORY_MAX] = 'c';
	assert_int_equal(oci_reference_parse(bytes_of(text, 5 + OCI_REPOSITORY_MAX), &ref), OCI_BAD_REPOSITORY);
	memcpy(text, "a.b/c:", 6);
	memset(text + 6, 't', OCI_TAG_MAX + 1);
	assert_int_equal(oci_reference_parse(bytes_of(text, 6 + OCI_TAG_MAX), &ref), OCI_OK);
	assert_int_equal(oci_reference_parse(bytes_of(text, 7 + OCI_TAG_MAX), &ref), OCI_BAD_TAG);
	assert_int_equal(oci_reference_parse(bytes_of(text, OCI_REFERENCE_MAX + 1), &ref), OCI_TOO_LONG);
	assert_int_equal(oci_reference_parse(bytes_of("a.b/c\0d", 7), &ref), OCI_BAD_REPOSITORY);
}

static void test_digests(void **state)
{
	uint8_t sha256[OCI_SHA256_SIZE];
	char text[OCI_DIGEST_TEXT_SIZE];
	(void)state;
	assert_int_equal(oci_digest_parse(BYTES_LIT("sha256:" HEX), sha256), OCI_OK);
	assert_string_equal(oci_digest_text(sha256, text), "sha256:" HEX);
	static const struct { const char *text; enum oci_result r; } bad[] = {
		{ "", OCI_BAD_DIGEST }, { HEX, OCI_BAD_DIGEST }, { ":" HEX, OCI_BAD_DIGEST }, { "sha256:", OCI_BAD_DIGEST },
		{ "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", OCI_BAD_DIGEST },
		{ "sha256:../3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", OCI_BAD_DIGEST },
		{ "SHA256:" HEX, OCI_BAD_DIGEST }, { "sha512:00", OCI_BAD_ALGORITHM }, { "sha256+b64:xx", OCI_BAD_ALGORITHM },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(oci_digest_parse(bytes_str(bad[i].text), sha256), bad[i].r);
}

static void test_platforms(void **state)
{
	static const struct { const char *want, *have; int fit; } cases[] = {
		{ "linux/amd64", "linux/amd64", 2 }, { "linux/amd64", "linux/arm64", 0 }, { "linux/amd64", "windows/amd64", 0 },
		{ "linux/arm64", "linux/arm64/v8", 2 }, { "linux/arm64/v8", "linux/arm64", 2 }, { "linux/arm64/v9", "linux/arm64", 0 },
		{ "linux/arm/v7", "linux/arm/v6", 0 }, { "linux/arm", "linux/arm/v6", 1 }, { "linux/amd64", "linux/amd64/v3", 1 },
		{ "linux/amd64/v3", "linux/amd64", 0 },
	};
	struct oci_platform want, have;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(oci_platform_parse(bytes_str(cases[i].want), &want), OCI_OK);
		assert_int_equal(oci_platform_parse(bytes_str(cases[i].have), &have), OCI_OK);
		assert_int_equal(oci_platform_match(&want, &have), cases[i].fit);
	}
	static const char *const bad[] = { "", "linux", "linux/", "/amd64", "linux/amd64/", "a/b/c/d", "linux/am d64",
		"linux/abcdefghijklmnopqrstuvwxyzabcdefghijklmnop", "linux//v8" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(oci_platform_parse(bytes_str(bad[i]), &want), OCI_BAD_PLATFORM);
}

static void test_media_types(void **state)
{
	(void)state;
	assert_int_equal(oci_media_parse(BYTES_LIT("application/vnd.oci.image.index.v1+json")), OCI_MEDIA_INDEX);
	assert_int_equal(oci_media_parse(BYTES_LIT("application/vnd.oci.image.manifest.v1+json; charset=utf-8")), OCI_MEDIA_MANIFEST);
	assert_int_equal(oci_media_parse(BYTES_LIT("application/vnd.docker.image.rootfs.diff.tar.gzip")), OCI_MEDIA_LAYER);
	assert_int_equal(oci_media_parse(BYTES_LIT("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")), OCI_MEDIA_LAYER_FOREIGN);
	assert_int_equal(oci_media_parse(BYTES_LIT("application/vnd.docker.distribution.manifest.v1+prettyjws")), OCI_MEDIA_SCHEMA1);
	assert_int_equal(oci_media_parse(BYTES_LIT("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")), OCI_MEDIA_OTHER);
	assert_int_equal(oci_media_parse(BYTES_NONE), OCI_MEDIA_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_reference_sizes),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_platforms),
		cmocka_unit_test(test_media_types),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
