/* tee-rex doctor: what is wrong with this host. The findings quote files and command lines of others: escaped. */
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/json_out.h"
#include "host/doctor.h"

#include <stdlib.h>
#include <string.h>

struct doctor_args { const char *root; bool json, list; };

static const struct option_spec options[] = {
	{ 0, "root", OPT_STRING, offsetof(struct doctor_args, root), "DIR", "the system under DIR (a mounted disk, a copy) instead of the running one" },
	{ 0, "list", OPT_FLAG, offsetof(struct doctor_args, list), NULL, "list what is looked for" },
	{ 0, "json", OPT_FLAG, offsetof(struct doctor_args, json), NULL, "print JSON" },
	OPTIONS_HELP,
	OPTIONS_END
};

static void print_list(bool as_json)
{
	size_t n;
	const struct doctor_check *c = doctor_checks(&n);
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		if (as_json)
			json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "code", c[i].code, "why", c[i].why, "fix", c[i].fix));
		else
			printf("%-22s %s\n", c[i].code, c[i].why);
	if (as_json)
		json_out(json_pack("{s:o}", "checks", list));
	else
		json_decref(list);
}

/* What comes of files and processes can hold anything; ours is ASCII. */
static const char *shown(const char *text, char buf[2 * DOCTOR_SENTENCE]) { return text_escape(bytes_str(text), buf, 2 * DOCTOR_SENTENCE); }

static void print_findings(const struct findings *f, bool as_json)
{
	char what[2 * DOCTOR_SENTENCE], fix[2 * DOCTOR_SENTENCE];
	json_t *list = json_array();
	for (size_t i = 0; i < f->n; i++) {
		const struct finding *n = &f->at[i];
		shown(n->what, what);
		shown(n->fix, fix);
		if (as_json)
			json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "code", n->code, "what", what, "why", n->why, "fix", fix));
		else
			printf("%s: %s\n  why: %s\n  fix: %s\n", n->code, what, n->why, fix);
	}
	if (as_json) {
		json_out(json_pack("{s:o, s:I}", "findings", list, "more", (json_int_t)f->more));
		return;
	}
	json_decref(list);
	if (f->n == 0)
		printf("healthy: nothing was found\n");
	if (f->more > 0)
		printf("and %zu more\n", f->more);
}

int doctor_main(int argc, char **argv)
{
	static struct host_view view;
	static struct findings findings;
	struct doctor_args a = { 0 };
	struct err err;
	const char *none;
	size_t n;
	enum option_result parsed = options_parse(options, &a, argc, argv, &none, 0, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "doctor", "[OPTIONS]",
		             "Looks for what keeps enclaves from running on this host, or from coming back after a reboot, and says\n"
		             "what to do. Changes nothing. Exit status: 0 healthy, 1 findings, 2 used wrongly or not readable.", options);
		return 0;
	}
	if (parsed != OPTIONS_OK) {
		fprintf(stderr, "tee-rex doctor: %s\n", err.text);
		return 2;
	}
	if (a.list) {
		print_list(a.json);
		return fflush(stdout) == 0 ? 0 : 2;
	}
	const char *root = a.root != NULL ? a.root : "";
	int r = host_view_read(root, &view, &err);
	if (r == 0) {
		doctor_run(&view, &findings);
		print_findings(&findings, a.json);
	} else {
		fprintf(stderr, "tee-rex doctor: %s\n", err.text);
	}
	host_view_close(&view);
	if (r < 0 || fflush(stdout) != 0)
		return 2;
	return findings.n == 0 ? 0 : 1;
}
