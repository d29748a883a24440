/* The parts of talking to registries that need no registry: signatures, challenges, names, pauses. */
#include "image/credentials.h"
#include "image/registry_auth.h"
#include "image/sigv4.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

/* get-vanilla and post-vanilla of Amazon's Signature Version 4 test suite. */
static void test_published_signatures(void **state)
{
	static const struct sigv4_header headers[] = { { "host", "example.amazonaws.com" }, { "x-amz-date", "20150830T123600Z" } };
	struct sigv4_request q = { .method = "GET", .path = "/", .header = headers, .header_count = 2, .region = "us-east-1",
		.service = "service", .date = "20150830T123600Z", .access_key = "AKIDEXAMPLE",
		.secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
	static const char before[] = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
		"SignedHeaders=host;x-amz-date, Signature=";
	char out[SIGV4_AUTHORIZATION_MAX], date[SIGV4_DATE_SIZE];
	(void)state;
	assert_true(sigv4_authorization(&q, out));
	assert_memory_equal(out, before, sizeof before - 1);
	assert_string_equal(out + sizeof before - 1, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	q.method = "POST";
	assert_true(sigv4_authorization(&q, out));
	assert_string_equal(out + sizeof before - 1, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
	sigv4_date(1440938160, date);
	assert_string_equal(date, "20150830T123600Z");
	q.date = "2015";
	assert_false(sigv4_authorization(&q, out));
}

static void test_challenges(void **state)
{
	static const struct { const char *challenge, *key, *value; } cases[] = {
		{ "Bearer realm=\"https://a/t\",service=\"s\",scope=\"x:y:pull,push\"", "realm", "https://a/t" },
		{ "Bearer realm=\"https://a/t\",service=\"s\",scope=\"x:y:pull,push\"", "service", "s" },
		{ "Bearer realm=\"https://a/t\",service=\"s\",scope=\"x:y:pull,push\"", "scope", "x:y:pull,push" },
		{ "Bearer REALM=token , Service = x", "realm", "token" },
		{ "Bearer a=\"\\\"realm=\\\"\", realm=\"\\a\\\"b\"", "realm", "a\"b" },
		{ "Bearer xrealm=\"no\",realm=\"yes\"", "realm", "yes" },
		{ "Bearer realm=\"\"", "realm", "" },
		{ "Bearer realm=\"open", "realm", "open" },
		{ "Bearer", "realm", NULL }, { "Bearer ", "realm", NULL }, { "Bearer realm", "realm", NULL }, { "Bearer ,,,", "realm", NULL },
		{ "Bearer realm=\"0123456789012345678901234567890123456789\"", "realm", NULL },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char out[32];
		bool found = challenge_parameter(cases[i].challenge, cases[i].key, out, sizeof out);
		if (found != (cases[i].value != NULL) || (found && strcmp(out, cases[i].value) != 0))
			fail_msg("%s: %s", cases[i].challenge, found ? out : "(none)");
	}
}

static void test_this_machine(void **state)
{
	static const char *const yes[] = { "localhost", "LocalHost:5000", "127.0.0.1", "127.255.1.2:80", "[::1]", "[::1]:5000" };
	static const char *const no[] = { "", "localhost.example", "127.0.0.1.example", "127.1", "10.0.0.1", "0.0.0.0", "[::2]", "[::1", "[::1]x", "::1",
		"2130706433", "0x7f.0.0.1", "localhost@example", "169.254.169.254" };
	(void)state;
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		if (!host_is_loopback(bytes_str(yes[i])))
			fail_msg("%s", yes[i]);
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		if (host_is_loopback(bytes_str(no[i])))
			fail_msg("%s", no[i]);
}

static void test_ecr_names(void **state)
{
	struct ecr_registry r;
	(void)state;
	assert_true(ecr_registry_parse(BYTES_LIT("123456789012.dkr.ecr.eu-west-1.amazonaws.com"), &r));
	assert_string_equal(r.region, "eu-west-1");
	assert_string_equal(r.endpoint, "https://api.ecr.eu-west-1.amazonaws.com");
	assert_true(ecr_registry_parse(BYTES_LIT("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com"), &r));
	assert_string_equal(r.endpoint, "https://ecr-fips.us-gov-west-1.amazonaws.com");
	assert_true(ecr_registry_parse(BYTES_LIT("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"), &r));
	assert_string_equal(r.region, "cn-north-1");
	assert_string_equal(r.endpoint, "https://api.ecr.cn-north-1.amazonaws.com.cn");
	static const char *const no[] = { "", "12345678901.dkr.ecr.eu-west-1.amazonaws.com", "123456789012.dkr.ecr..amazonaws.com",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
		"x123456789012.dkr.ecr.eu-west-1.amazonaws.com", "123456789012.dkr.ecr.a.b.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.org",
		"123456789012.dkr.ecr.abcdefghijklmnopqrstuvwxyz-abcdefgh-1.amazonaws.com" };
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		if (ecr_registry_parse(bytes_str(no[i]), &r))
			fail_msg("%s", no[i]);
}

static void test_small_things(void **state)
{
	uint8_t buf[128];
	struct writer w = writer_of(buf, sizeof buf);
	struct credentials *k = calloc(1, sizeof *k);
	(void)state;
	put_url_encoded(&w, BYTES_LIT("a-Z_0.~ /:\"\0\xff"));
	assert_true(bytes_equal(writer_bytes(&w), BYTES_LIT("a-Z_0.~%20%2F%3A%22%00%FF")));
	assert_int_equal(fetch_pause_ms(1, 0), 250);
	assert_int_equal(fetch_pause_ms(4, 0), 2000);
	assert_int_equal(fetch_pause_ms(1, 3), 3000);
	assert_int_equal(fetch_pause_ms(1, 86400), 30000);
	assert_int_equal(fetch_pause_ms(1000, UINT64_MAX), 30000);
	assert_non_null(k);
	strcpy(k->user, "user");
	strcpy(k->secret, "pass:word");
	w = writer_of(buf, sizeof buf);
	credentials_put_basic(k, &w);
	assert_string_equal((const char *)buf, "Basic dXNlcjpwYXNzOndvcmQ=");
	free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_signatures),
		cmocka_unit_test(test_challenges),
		cmocka_unit_test(test_this_machine),
		cmocka_unit_test(test_ecr_names),
		cmocka_unit_test(test_small_things),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
