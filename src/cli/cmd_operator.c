/* tee-rex operator: what an operator asks of a running gateway, over its operator socket. Prints the gateway's JSON. */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/http_error.h"
#include "host/run_dir.h"

#include <stdio.h>
#include <string.h>

struct operator_args { const char *socket; };        /* NULL: of the instance "default" */

static const struct option_spec options[] = {
	{ 's', "socket", OPT_STRING, offsetof(struct operator_args, socket), "PATH",
	  "operator socket of the gateway (that of the instance \"default\")" },
	OPTIONS_HELP,
	OPTIONS_END
};

enum { ANSWER_MAX = 4 << 20, CONNECT_MS = 5000, TOTAL_MS = 30000 };

static const struct verb { const char *name, *method, *path; bool number; } verbs[] = {
	{ "versions", "GET", "/versions", false },
	{ "jobs", "GET", "/jobs", false },
	{ "cancel", "DELETE", "/jobs/", true },
	{ "drain", "POST", "/drain", false },
	{ "health", "GET", "/health", false },
};

static void answer_cleanup(struct http_answer *a) { http_answer_free(a); }

static int ask(const struct operator_args *a, const struct verb *v, const char *number, struct err *err)
{
	struct http_base base;
	char text[RUN_DIR_MAX + 32], path[64], dir[RUN_DIR_MAX] = "";
	CLEANUP(answer_cleanup) struct http_answer answer = { 0 };
	int ret = a->socket != NULL ? 0 : run_dir_find("default", dir, sizeof dir, err);
	if (a->socket != NULL)
		snprintf(text, sizeof text, "unix:%s", a->socket);
	else
		snprintf(text, sizeof text, "unix:%s/operator.sock", dir);
	snprintf(path, sizeof path, "%s%s", v->path, v->number ? number : "");
	const struct http_request q = { .base = &base, .path = path, .method = v->method, .answer_max = ANSWER_MAX,
		.connect_ms = CONNECT_MS, .total_ms = TOTAL_MS };
	if (ret == 0)
		ret = http_base_parse(text, &base, err);
	if (ret == 0)
		ret = http_perform(&q, &answer, err);
	if (ret < 0)
		return ret;
	if (answer.status >= 300) {
		struct http_error e;
		http_error_read(&answer, &e);
		return fail(err, 0, "%s", e.text);
	}
	if (answer.body_n > 0)
		printf("%.*s\n", (int)answer.body_n, (const char *)answer.body);
	return 0;
}

int operator_main(int argc, char **argv)
{
	struct operator_args a = { 0 };
	const struct verb *v = NULL;
	const char *args[2];
	struct err err;
	size_t n;
	uint64_t number;
	enum option_result r = options_parse(options, &a, argc, argv, args, 2, &n, &err);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, "operator", "versions|jobs|cancel N|drain|health [OPTIONS]", "Asks a running gateway over its operator socket.",
		             options);
		return 0;
	}
	for (size_t i = 0; r == OPTIONS_OK && n > 0 && i < sizeof verbs / sizeof verbs[0]; i++)
		if (strcmp(verbs[i].name, args[0]) == 0)
			v = &verbs[i];
	if (r == OPTIONS_OK && v == NULL) {
		fail(&err, 0, "one of versions, jobs, cancel N, drain, health is wanted");
		r = OPTIONS_USAGE;
	} else if (r == OPTIONS_OK && (n != 1u + v->number || (v->number && !text_to_u64(bytes_str(args[1]), UINT64_MAX, &number)))) {
		fail(&err, 0, v->number ? "%s wants the number of a job, as \"jobs\" lists them" : "%s wants nothing else", v->name);
		r = OPTIONS_USAGE;
	}
	if (r != OPTIONS_OK) {
		fprintf(stderr, "tee-rex operator: %s\n", err.text);
		return 2;
	}
	if (ask(&a, v, n > 1 ? args[1] : "", &err) < 0) {
		fprintf(stderr, "tee-rex operator: %s\n", err.text);
		return 1;
	}
	return 0;
}
