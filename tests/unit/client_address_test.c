#include "host/client_address.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct address_ranges ranges(const char *a, const char *b)
{
	struct option_list l = { .value = { a, b }, .n = b != NULL ? 2 : a != NULL ? 1 : 0 };
	struct address_ranges r;
	struct err err;
	assert_int_equal(address_ranges_parse(&l, "trusted-proxy", &r, &err), 0);
	return r;
}

static struct client_address address(const char *text)
{
	struct client_address a = { 0 };
	if (strcmp(text, "unix") != 0)
		assert_true(address_parse(bytes_str(text), &a));
	return a;
}

static void texts(void **state)
{
	(void)state;
	static const struct { const char *in, *out; } good[] = {
		{ "192.0.2.1", "192.0.2.1" }, { "::ffff:192.0.2.1", "192.0.2.1" }, { "2001:DB8::1", "2001:db8::1" }, { "::", "::" },
	};
	static const char *const bad[] = { "", " ", "1.2.3", "1.2.3.4:80", "[::1]", "::1%lo", "1.2.3.4 ", "01.2.3.4", "unknown", "_hidden",
		"1.2.3.4/8", "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", "256.1.1.1", "0x7f.1.1.1", "2130706433" };
	char buf[CLIENT_ADDRESS_TEXT_MAX];
	struct client_address a;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		a = address(good[i].in);
		assert_string_equal(address_text(&a, buf), good[i].out);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(address_parse(bytes_str(bad[i]), &a));
	assert_false(address_parse(bytes_of("1.2.3.4\0", 8), &a));
}

static void in_ranges(void **state)
{
	(void)state;
	static const struct { const char *range, *address; bool in; } cases[] = {
		{ "10.0.0.0/8", "10.255.255.255", true }, { "10.0.0.0/8", "11.0.0.0", false }, { "10.0.0.0/8", "unix", false },
		{ "10.0.0.0/8", "::ffff:10.1.2.3", true }, { "10.64.0.0/10", "10.127.0.1", true }, { "10.64.0.0/10", "10.128.0.1", false },
		{ "192.0.2.1", "192.0.2.1", true }, { "192.0.2.1", "192.0.2.0", false }, { "0.0.0.0/0", "8.8.8.8", true },
		{ "0.0.0.0/0", "::1", false }, { "::/0", "8.8.8.8", false }, { "::/0", "2001:db8::1", true }, { "fd00::/8", "fdff::1", true },
		{ "fd00::/8", "fe00::1", false }, { "2001:db8::/33", "2001:db8:8000::", false }, { "2001:db8::/33", "2001:db8:7fff::", true },
		{ "::1", "::1", true }, { "::ffff:10.0.0.0/104", "10.2.3.4", true }, { "unix", "unix", true }, { "unix", "127.0.0.1", false },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct address_ranges r = ranges(cases[i].range, NULL);
		struct client_address a = address(cases[i].address);
		if (address_in(&a, &r) != cases[i].in)
			fail_msg("%s in %s: not %d", cases[i].address, cases[i].range, cases[i].in);
	}
}

static void bad_ranges(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "x", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.1/8", "::/129", "::1/64",
		"10.0.0.0/8/8", "localhost", "[::1]", "10.0.0.0/8,::1", "UNIX", "10.0.0.0/8 " };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct option_list l = { .value = { bad[i] }, .n = 1 };
		struct address_ranges r;
		struct err err;
		assert_int_equal(address_ranges_parse(&l, "trusted-proxy", &r, &err), -EINVAL);
		assert_non_null(strstr(err.text, "--trusted-proxy"));
	}
}

static void forwarded_for(void **state)
{
	(void)state;
	static const struct { const char *peer, *line1, *line2, *client; } cases[] = {
		{ "127.0.0.1", NULL, NULL, "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.9", NULL, "203.0.113.9" },
		{ "203.0.113.1", "198.51.100.7", NULL, "203.0.113.1" },                          /* the peer is not trusted */
		{ "127.0.0.1", "1.1.1.1, 203.0.113.9", NULL, "203.0.113.9" },                    /* the client's own fiction */
		{ "127.0.0.1", "1.1.1.1,203.0.113.9 ,\t10.0.0.2", NULL, "203.0.113.9" },         /* through two proxies */
		{ "127.0.0.1", "1.1.1.1", "203.0.113.9", "203.0.113.9" },                        /* the last line counts */
		{ "127.0.0.1", "203.0.113.9", "10.0.0.2", "203.0.113.9" },
		{ "127.0.0.1", "10.0.0.3, 10.0.0.2", NULL, "10.0.0.3" },                         /* all trusted: the first */
		{ "127.0.0.1", "", NULL, "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.9,", NULL, "127.0.0.1" },                              /* nothing is no address */
		{ "127.0.0.1", "203.0.113.9, unknown", NULL, "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.9, 10.0.0.2:4711", NULL, "127.0.0.1" },
		{ "127.0.0.1", "junk, 10.0.0.2", NULL, "10.0.0.2" },
		{ "127.0.0.1", "127.0.0.1, 203.0.113.9", NULL, "203.0.113.9" },                  /* "localhost" asked by a stranger */
		{ "127.0.0.1", "2001:db8::7", NULL, "2001:db8::7" },
		{ "::1", "203.0.113.9", NULL, "::1" },
		{ "unix", "203.0.113.9", NULL, "unix" },
	};
	struct address_ranges trusted = ranges("127.0.0.1", "10.0.0.0/8"), none = ranges(NULL, NULL), local = ranges("unix", NULL);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct forwarded f = { .n = 0 };
		char got[CLIENT_ADDRESS_TEXT_MAX];
		struct client_address peer = address(cases[i].peer), a;
		if (cases[i].line1 != NULL)
			forwarded_add(&f, bytes_str(cases[i].line1));
		if (cases[i].line2 != NULL)
			forwarded_add(&f, bytes_str(cases[i].line2));
		a = address_forwarded(&peer, &f, &trusted);
		if (strcmp(address_text(&a, got), cases[i].client) != 0)
			fail_msg("case %zu: %s, not %s", i, got, cases[i].client);
		a = address_forwarded(&peer, &f, &none);
		assert_string_equal(address_text(&a, got), cases[i].peer);
		if (i == 1) {
			peer = address("unix");
			a = address_forwarded(&peer, &f, &local);
			assert_string_equal(address_text(&a, got), "203.0.113.9");
		}
	}
}

static void many_lines_keep_the_last(void **state)
{
	(void)state;
	struct address_ranges trusted = ranges("127.0.0.1", NULL);
	struct client_address peer = address("127.0.0.1"), a;
	struct forwarded f = { .n = 0 };
	char got[CLIENT_ADDRESS_TEXT_MAX];
	for (int i = 0; i < 100; i++)
		forwarded_add(&f, bytes_str("1.1.1.1"));
	forwarded_add(&f, bytes_str("203.0.113.9"));
	a = address_forwarded(&peer, &f, &trusted);
	assert_string_equal(address_text(&a, got), "203.0.113.9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts), cmocka_unit_test(in_ranges), cmocka_unit_test(bad_ranges), cmocka_unit_test(forwarded_for),
		cmocka_unit_test(many_lines_keep_the_last),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
