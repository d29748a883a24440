/* tee-rex reserve: makes a plan and carries it out. With --boot, from the record of the last time: what the early boot unit runs. */
#include "base/cleanup.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/reserve_args.h"

#include <signal.h>
#include <stdio.h>

static const struct option_spec options[] = {
	RESERVE_OPTIONS,
	{ 0, "take-over", OPT_FLAG, offsetof(struct reserve_args, take_over), NULL, "replace values in allocator.yaml that are not ours" },
	{ 0, "boot", OPT_FLAG, offsetof(struct reserve_args, boot), NULL, "reserve again what was reserved before the reboot" },
	OPTIONS_HELP,
	OPTIONS_END
};

static void say(const char *sentence) { fprintf(stderr, "%s\n", sentence); }

/* A change that has begun is finished or undone; interrupting it would only leave that to the next run. */
static void hold_signals(void)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

static int refused(const struct reserve_args *a, const struct reserve_case *c, const char *why)
{
	if (a->json)
		reserve_case_print(a, c);
	fprintf(stderr, "tee-rex reserve: nothing was changed: %s\n", why);
	return 1;
}

static int carry_out(const struct reserve_args *a, const struct reserve_host *h, struct reserve_case *c)
{
	struct reserve_record made;
	struct err err;
	char list[CPULIST_TEXT_MAX];
	if (c->plan.code != RESERVE_OK)
		return refused(a, c, c->plan.refusal.text);
	bool objection = reserve_case_objection(a, c, &err);
	if (objection && !a->boot)
		return refused(a, c, err.text);
	if (objection)
		log_warn("reserve: going by tee-rex's own record: %s", err.text);
	hold_signals();
	if (reserve_apply(h, &c->request, &c->plan, c->state.threads, objection, &made, &err) < 0) {
		fprintf(stderr, "tee-rex reserve: %s\n", err.text);
		return 1;
	}
	memcpy(c->plan.pages, made.taken.pages, sizeof c->plan.pages);
	if (a->json)
		reserve_case_print(a, c);
	else
		printf("reserved on node %d: %llu pages of 1 GiB, %llu of 2 MiB%s%s\n", made.taken.node, (unsigned long long)made.taken.pages[HUGE_1G],
		       (unsigned long long)made.taken.pages[HUGE_2M], made.taken.has_pool ? "; CPU pool " : "",
		       made.taken.has_pool ? cpulist_text(&made.taken.pool, list) : "");
	if (c->allocator.service_enabled && !a->boot)
		say("note: nitro-enclaves-allocator.service is enabled and sets its own values at boot: systemctl disable --now nitro-enclaves-allocator.service");
	return fflush(stdout) == 0 ? 0 : 1;
}

int reserve_main(int argc, char **argv)
{
	static struct reserve_case c;
	struct reserve_args a = { 0 };
	struct err err;
	const char *none;
	size_t n;
	enum option_result parsed = options_parse(options, &a, argc, argv, &none, 0, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "reserve", "[--memory MIB]... [OPTIONS]",
		             "Reserves huge pages and CPUs for enclaves, or leaves everything as it was. tee-rex plan shows\n"
		             "what it would do. Exit status: 0 reserved, 1 refused or failed, 2 used wrongly.", options);
		return 0;
	}
	if (parsed != OPTIONS_OK) {
		fprintf(stderr, "tee-rex reserve: %s\n", err.text);
		return 2;
	}
	struct reserve_host h = { .root = a.root != NULL ? a.root : "", .say = say };
	CLEANUP(close_fd) int lock = -1;
	bool found = false;
	int r = reserve_lock(&h, &lock, &err);
	if (r == 0)
		r = reserve_recover(&h, &found, &err);
	if (found)
		say(r == 0 ? "an earlier reserve or release was interrupted; it was undone or finished first" : "an earlier reserve or release was interrupted");
	if (r == 0)
		r = reserve_case_make(&a, &c, &err);
	if (r < 0) {
		fprintf(stderr, "tee-rex reserve: %s\n", err.text);
		return r == -EINVAL ? 2 : 1;
	}
	if (a.boot && !c.has_record) {
		printf("nothing was reserved by tee-rex before: nothing to do\n");
		return 0;
	}
	return carry_out(&a, &h, &c);
}
