/* Indexes, manifests and configurations: every document of tests/vectors/oci ends with the code beside it. Users. */
#include "image_helpers.h"

#include "image/manifest.h"

#include <signal.h>

static const struct platform_choice amd64 = { { .os = "linux", .architecture = "amd64" }, false };

static enum image_code try_manifest(struct bytes text, struct err *err)
{
	struct manifest m = { .layer = NULL };
	enum oci_media kind;
	enum image_code c = document_kind(text, OCI_MEDIA_OTHER, "the manifest", &kind, err);
	if (c == IMAGE_OK)
		c = manifest_parse(text, "the manifest", &m, err);
	manifest_free(&m);
	return c;
}

static enum image_code try_index(struct bytes text, struct err *err)
{
	struct index x = { NULL, 0 };
	size_t at;
	enum image_code c = index_parse(text, "the index", &x, err);
	if (c == IMAGE_OK)
		c = index_choose(&x, &amd64, NULL, "the index", &at, err);
	if (c == IMAGE_OK)
		assert_int_equal(at, 0);
	index_free(&x);
	return c;
}

static enum image_code try_config(struct bytes text, struct err *err)
{
	struct image_config config;
	enum image_code c = image_config_parse(text, "the configuration", &config, err);
	if (c == IMAGE_OK)
		image_config_free(&config);
	return c;
}

static void test_document_vectors(void **state)
{
	static uint8_t data[1 << 20];
	FILE *list = fopen("tests/vectors/oci/manifest.txt", "r");
	char line[512], name[200], code[64], path[300];
	size_t n = 0, wrong = 0;
	(void)state;
	assert_non_null(list);
	while (fgets(line, sizeof line, list) != NULL) {
		struct err err = { "" };
		if (sscanf(line, "%199s %63s", name, code) != 2 || strncmp(name, "documents/", 10) != 0)
			continue;
		snprintf(path, sizeof path, "tests/vectors/oci/%s", name);
		FILE *f = fopen(path, "rb");
		assert_non_null(f);
		size_t size = fread(data, 1, sizeof data, f);
		fclose(f);
		struct bytes text = bytes_of(data, size);
		const char *base = name + 10;
		enum image_code c = base[0] == 'm' ? try_manifest(text, &err) : base[0] == 'i' ? try_index(text, &err) : try_config(text, &err);
		if (strcmp(image_code_name(c), code) != 0) {
			print_error("%s: %s instead of %s: %s\n", name, image_code_name(c), code, err.text);
			wrong++;
		}
		n++;
	}
	fclose(list);
	assert_true(n > 60);
	assert_int_equal(wrong, 0);
}

static void test_choice(void **state)
{
	static const char entry[] = "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":1,\"digest\":\"sha256:"
		"%02x00000000000000000000000000000000000000000000000000000000000000\"%s}";
	static const struct { const char *extra[4]; const char *platform, *tag; enum image_code code; size_t at; } cases[] = {
		{ { "" }, "linux/amd64", NULL, IMAGE_OK, 0 },                    /* says nothing: it may be the one */
		{ { "", ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}" }, "linux/amd64", NULL, IMAGE_OK, 1 },
		{ { ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"}",
		    ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"}" }, "linux/arm/v7", NULL, IMAGE_OK, 1 },
		{ { ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"}",
		    ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"}" }, "linux/arm", NULL, IMAGE_OK, 0 },
		{ { "", "" }, "linux/amd64", NULL, IMAGE_AMBIGUOUS, 0 },
		{ { ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"}", ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"b\"}" },
		  "linux/amd64", "b", IMAGE_OK, 1 },
		{ { ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"}" }, "linux/amd64", "c", IMAGE_NOT_FOUND, 0 },
		{ { ",\"artifactType\":\"application/x\"" }, "linux/amd64", NULL, IMAGE_NO_PLATFORM, 0 },
		{ { ",\"platform\":{\"os\":\"windows\",\"architecture\":\"amd64\"}" }, "linux/amd64", NULL, IMAGE_NO_PLATFORM, 0 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[4096], one[1024];
		struct index x = { NULL, 0 };
		struct platform_choice p = { .given = true };
		struct err err = { "" };
		size_t at = 0;
		struct writer w = writer_of(text, sizeof text);
		put_str(&w, "{\"manifests\":[");
		for (size_t k = 0; k < 4 && cases[i].extra[k] != NULL; k++) {
			assert_true(snprintf(one, sizeof one, entry, (unsigned)k, cases[i].extra[k]) > 0);
			put_fmt(&w, "%s%s", k > 0 ? "," : "", one);
		}
		put_str(&w, "]}");
		assert_int_equal(oci_platform_parse(bytes_str(cases[i].platform), &p.want), OCI_OK);
		assert_int_equal(index_parse(writer_bytes(&w), "x", &x, &err), IMAGE_OK);
		enum image_code c = index_choose(&x, &p, cases[i].tag, "x", &at, &err);
		if (c != cases[i].code || (c == IMAGE_OK && at != cases[i].at))
			fail_msg("case %zu: %s, %zu: %s", i, image_code_name(c), at, err.text);
		index_free(&x);
	}
}

static void test_configuration(void **state)
{
	static const char text[] = "{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\",\"config\":{\"Env\":[\"A=1=2\",\"B=\"],"
		"\"ExposedPorts\":{\"90/udp\":{},\"80\":{},\"8000-8010/tcp\":{}},\"StopSignal\":\"SIGRTMIN+3\",\"User\":\"a:b\",\"WorkingDir\":\"w\"}}";
	struct image_config c;
	struct err err;
	(void)state;
	assert_int_equal(image_config_parse(BYTES_LIT(text), "x", &c, &err), IMAGE_OK);
	assert_string_equal(c.platform.variant, "v8");
	assert_int_equal(c.env.n, 2);
	assert_string_equal(c.env.v[0], "A=1=2");
	assert_int_equal(c.exposed_ports.n, 3);
	assert_string_equal(c.exposed_ports.v[0], "80");
	assert_string_equal(c.exposed_ports.v[2], "90/udp");
	assert_int_equal(c.stop_signal_number, 37);
	assert_int_equal(c.layer_count, 0);
	image_config_free(&c);
}

static void test_stop_signals(void **state)
{
	static const struct { const char *name; int number; } cases[] = { { "TERM", SIGTERM }, { "SIGKILL", SIGKILL }, { "9", 9 },
		{ "SIGRTMAX-1", 63 }, { "RTMIN", 34 }, { "SIGPOLL", SIGPOLL }, { "64", 64 } };
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[200];
		struct image_config c;
		struct err err;
		snprintf(text, sizeof text, "{\"os\":\"l\",\"architecture\":\"a\",\"config\":{\"StopSignal\":\"%s\"}}", cases[i].name);
		if (image_config_parse(bytes_str(text), "x", &c, &err) != IMAGE_OK)
			fail_msg("%s: %s", cases[i].name, err.text);
		assert_int_equal(c.stop_signal_number, cases[i].number);
		image_config_free(&c);
	}
}

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nshort:x:1\nnonumber:x:a:b:::\n:x:5:5:::\n"
	"web:x:101:102::/srv:\n33:x:44:45::/named:\ntwin:x:101:200::/twin:\nnohome:x:7:8\nlast:x:9:10::/last";
static const char group[] = "root:x:0:\nweb:x:102:\nlogs:x:44:web,other\nmany:x:45:other,web\nwebby:x:46:webby\nself:x:102:web\n77:x:78:\nlast:x:99:last";

static void test_users(void **state)
{
	static const struct { const char *user; enum image_code code; uint32_t uid, gid; const char *groups, *home; } cases[] = {
		{ "", IMAGE_OK, 0, 0, "", "/root" }, { "root", IMAGE_OK, 0, 0, "", "/root" }, { "web", IMAGE_OK, 101, 102, "44 45 ", "/srv" },
		{ "101", IMAGE_OK, 101, 102, "44 45 ", "/srv" }, { "twin", IMAGE_OK, 101, 200, "", "/twin" }, { "33", IMAGE_OK, 44, 45, "", "/named" },
		{ "44", IMAGE_OK, 44, 45, "", "/named" }, { "web:logs", IMAGE_OK, 101, 44, "", "/srv" }, { "web:77", IMAGE_OK, 101, 78, "", "/srv" },
		{ "1234", IMAGE_OK, 1234, 0, "", "/" }, { "1234:5678", IMAGE_OK, 1234, 5678, "", "/" }, { ":logs", IMAGE_OK, 0, 44, "", "/root" },
		{ "web:", IMAGE_OK, 101, 102, "44 45 ", "/srv" }, { "nohome", IMAGE_OK, 7, 8, "", "/" }, { "last", IMAGE_OK, 9, 10, "99 ", "/last" },
		{ "nobody", IMAGE_UNKNOWN_USER, 0, 0, "", "" }, { "short", IMAGE_UNKNOWN_USER, 0, 0, "", "" }, { "nonumber", IMAGE_UNKNOWN_USER, 0, 0, "", "" },
		{ "web:nogroup", IMAGE_UNKNOWN_USER, 0, 0, "", "" }, { "-1", IMAGE_UNKNOWN_USER, 0, 0, "", "" }, { "4294967295", IMAGE_UNKNOWN_USER, 0, 0, "", "" },
		{ "0x0", IMAGE_UNKNOWN_USER, 0, 0, "", "" }, { " root", IMAGE_UNKNOWN_USER, 0, 0, "", "" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct image_user u;
		struct err err = { "" };
		char groups[100] = "";
		enum image_code c = user_resolve(cases[i].user, BYTES_LIT(passwd), BYTES_LIT(group), &u, &err);
		if (c != cases[i].code)
			fail_msg("%s: %s %s", cases[i].user, image_code_name(c), err.text);
		if (c != IMAGE_OK)
			continue;
		for (size_t k = 0; k < u.group_count; k++)
			snprintf(groups + strlen(groups), sizeof groups - strlen(groups), "%u ", u.group[k]);
		if (u.uid != cases[i].uid || u.gid != cases[i].gid || strcmp(groups, cases[i].groups) != 0 || strcmp(u.home, cases[i].home) != 0)
			fail_msg("%s: %u:%u %s%s", cases[i].user, u.uid, u.gid, groups, u.home);
	}
	struct image_user u;
	struct err err;
	assert_int_equal(user_resolve("5:6", BYTES_NONE, BYTES_NONE, &u, &err), IMAGE_OK);
	assert_int_equal(user_resolve("root", BYTES_NONE, BYTES_NONE, &u, &err), IMAGE_UNKNOWN_USER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document_vectors),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_stop_signals),
		cmocka_unit_test(test_users),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
