/* tee-rex release: gives back what reserve took. */
#include "base/cleanup.h"
#include "base/options.h"
#include "cli/commands.h"
#include "host/reserve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

struct release_args { const char *root; };

static const struct option_spec options[] = {
	{ 0, "root", OPT_STRING, offsetof(struct release_args, root), "DIR", "the system under DIR instead of the running one" },
	OPTIONS_HELP,
	OPTIONS_END
};

static void say(const char *sentence) { fprintf(stderr, "%s\n", sentence); }

int release_main(int argc, char **argv)
{
	struct release_args a = { 0 };
	struct err err;
	const char *none;
	size_t n;
	enum option_result parsed = options_parse(options, &a, argc, argv, &none, 0, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "release", "[OPTIONS]",
		             "Gives back the huge pages and CPUs that tee-rex reserve took: pools, record and allocator.yaml are as they\n"
		             "were before. Exit status: 0 released, 1 refused or failed, 2 used wrongly.", options);
		return 0;
	}
	if (parsed != OPTIONS_OK) {
		fprintf(stderr, "tee-rex release: %s\n", err.text);
		return 2;
	}
	struct reserve_host h = { .root = a.root != NULL ? a.root : "", .say = say };
	CLEANUP(close_fd) int lock = -1;
	bool found = false;
	signal(SIGINT, SIG_IGN);                 /* a change that has begun is finished or undone */
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	int r = reserve_lock(&h, &lock, &err);
	if (r == 0)
		r = reserve_recover(&h, &found, &err);
	if (r == 0)
		r = reserve_release(&h, &err);
	if (r == -ENOENT && found) {
		printf("an interrupted release was finished\n");
		return 0;
	}
	if (r < 0) {
		fprintf(stderr, "tee-rex release: %s\n", err.text);
		return 1;
	}
	printf("released\n");
	return fflush(stdout) == 0 ? 0 : 1;
}
