#include "host/metrics_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define T "# TYPE teerex_prover_"
#define P "teerex_prover_"

static void lines(void **state)
{
	(void)state;
	static const struct { const char *in, *out; size_t dropped; } cases[] = {
		{ "", "", 0 }, { "# EOF\n", "", 0 }, { "# EOF", "", 0 },
		{ T "a gauge\n" P "a 1\n# EOF\n", T "a gauge\n" P "a 1\n", 0 },
		{ T "a counter\n" P "a_total{op=\"prove\",code=\"ok\"} 18446744073709551615\n", T "a counter\n" P "a_total{op=\"prove\",code=\"ok\"} 18446744073709551615\n", 0 },
		{ T "a gauge\n" P "a 1", T "a gauge\n" P "a 1\n", 0 },
		{ P "a 1\n", "", 1 },                                            /* no TYPE */
		{ T "a gauge\n" P "b 1\n", T "a gauge\n", 1 },                    /* another's TYPE */
		{ T "a gauge\n" P "a_total 1\n", T "a gauge\n", 1 },
		{ T "a counter\n" P "a 1\n", T "a counter\n", 1 },
		{ T "a gauge\n" T "a gauge\n" P "a 1\n", T "a gauge\n", 2 },     /* twice */
		{ T "a histogram\n" P "a 1\n", "", 2 }, { T "a gauge \n", "", 1 }, { "# TYPE teerex_gateway_a gauge\n", "", 1 }, { T " gauge\n", "", 1 },
		{ "# EOF\n" T "a gauge\n", T "a gauge\n", 1 },                   /* not the last line */
		{ "# HELP " P "a <script>\n", "", 1 }, { "\n", "", 1 },
		{ T "a gauge\n" P "a{x=\"\\\"} 1\n", T "a gauge\n", 1 }, { T "a gauge\n" P "a{x=\"a b\"} 1\n", T "a gauge\n", 1 },
		{ T "a gauge\n" P "a{x=\"a\",} 1\n", T "a gauge\n", 1 }, { T "a gauge\n" P "a{} 1\n", T "a gauge\n", 1 },
		{ T "a gauge\n" P "a{x=\"y\" 1\n", T "a gauge\n", 1 }, { T "a gauge\n" P "a{x=\"\"} 1\n", T "a gauge\n" P "a{x=\"\"} 1\n", 0 },
		{ T "a gauge\n" P "a  1\n", T "a gauge\n", 1 }, { T "a gauge\n" P "a 1 2\n", T "a gauge\n", 1 }, { T "a gauge\n" P "a \n", T "a gauge\n", 1 },
		{ T "a gauge\n" P "a -1\n", T "a gauge\n", 1 }, { T "a gauge\n" P "a NaN\n", T "a gauge\n", 1 }, { T "a gauge\r\n", "", 1 },
		{ T "a gauge\n" P "a 123456789012345678901\n", T "a gauge\n", 1 }, { "\x1b[31m\n\xff\n", "", 2 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char out[1024] = "";
		struct writer w = writer_of(out, sizeof out - 1);
		size_t dropped = metrics_text_copy(bytes_str(cases[i].in), &w);
		out[w.at] = '\0';
		if (strcmp(out, cases[i].out) != 0 || dropped != cases[i].dropped)
			fail_msg("case %zu: %zu dropped, \"%s\"", i, dropped, out);
	}
}

static void zero_bytes_and_floods(void **state)
{
	(void)state;
	static char text[200 * 1024], out[200 * 1024];
	struct writer in = writer_of(text, sizeof text), w = writer_of(out, sizeof out);
	put_str(&in, T "a gauge\n");
	for (int i = 0; i < 5000; i++)
		put_str(&in, P "a{x=\"y\"} 1\n");
	assert_false(in.full);
	assert_int_equal(metrics_text_copy(writer_bytes(&in), &w), 5001 - METRICS_LINES_MAX);
	w = writer_of(out, sizeof out);
	assert_int_equal(metrics_text_copy(bytes_of(T "a gauge\0\n", sizeof T "a gauge\0\n" - 1), &w), 1);
	memset(text, 'a', sizeof text);
	assert_int_equal(metrics_text_copy(BYTES_ARRAY(text), &w), 1);
	assert_int_equal(w.at, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lines), cmocka_unit_test(zero_bytes_and_floods) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
