/* tee-rex plan: what reserve would do and why. Touches nothing. */
#include "cli/commands.h"
#include "cli/reserve_args.h"

#include <errno.h>
#include <stdio.h>

static const struct option_spec options[] = { RESERVE_OPTIONS, OPTIONS_HELP, OPTIONS_END };

int plan_main(int argc, char **argv)
{
	static struct reserve_case c;
	struct reserve_args a = { 0 };
	struct err err;
	const char *none;
	size_t n;
	enum option_result parsed = options_parse(options, &a, argc, argv, &none, 0, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "plan", "[--memory MIB]... [OPTIONS]",
		             "Says what tee-rex reserve would do with the same options, and why, and changes nothing.\n"
		             "Exit status: 0 it can be done, 1 it is refused or the host could not be read, 2 used wrongly.", options);
		return 0;
	}
	int r = parsed == OPTIONS_OK ? reserve_case_make(&a, &c, &err) : -EINVAL;
	if (r < 0) {
		fprintf(stderr, "tee-rex plan: %s\n", err.text);
		return r == -EINVAL ? 2 : 1;
	}
	reserve_case_print(&a, &c);
	return c.plan.code == RESERVE_OK && fflush(stdout) == 0 ? 0 : 1;
}
