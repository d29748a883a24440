/* tee-rex logs, console and stop: words with a running instance over its admin socket. What was said inside an enclave
 * reaches the terminal escaped: log lines as fields, console bytes with their newlines and nothing else that a terminal
 * acts upon. */
#include "base/clock.h"
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "host/admin_call.h"
#include "host/instances.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

struct operate_args { bool follow, json, force; uint64_t timeout_s; };

static const struct option_spec logs_options[] = {
	{ 'f', "follow", OPT_FLAG, offsetof(struct operate_args, follow), NULL, "go on with what comes, until the instance ends" },
	{ 0, "json", OPT_FLAG, offsetof(struct operate_args, json), NULL, "print the events as JSON lines" },
	OPTIONS_HELP,
	OPTIONS_END
};
static const struct option_spec console_options[] = {
	{ 'f', "follow", OPT_FLAG, offsetof(struct operate_args, follow), NULL, "go on with what comes, until the instance ends" },
	OPTIONS_HELP,
	OPTIONS_END
};
static const struct option_spec stop_options[] = {
	{ 0, "force", OPT_FLAG, offsetof(struct operate_args, force), NULL, "do not wait for what is being served" },
	{ 't', "timeout", OPT_U64, offsetof(struct operate_args, timeout_s), "SECONDS", "how long to wait for the end (60)" },
	OPTIONS_HELP,
	OPTIONS_END
};

static struct admin_call call;

static int complain(const char *command, const struct err *err)
{
	fprintf(stderr, "tee-rex %s: %s\n", command, err->text);
	return 1;
}

/* NAME from the command line to an open call; -1, or the exit status. */
static int open_call(const char *command, const char *synopsis, const char *about, const struct option_spec *options, int argc, char **argv,
                     struct operate_args *a, struct instance *ret)
{
	const char *name[1];
	struct err err;
	size_t n = 0;
	enum option_result r = options_parse(options, a, argc, argv, name, 1, &n, &err);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, command, synopsis, about, options);
		return 0;
	}
	if (r == OPTIONS_OK && n == 0)
		fail(&err, 0, "which instance? tee-rex %s NAME; tee-rex list shows them", command);
	if (r != OPTIONS_OK || n == 0)
		return complain(command, &err) + 1;
	int bad = instance_find(name[0], ret, &err);
	if (bad < 0)
		return complain(command, &err) + (bad == -EINVAL);
	if (ret->state != INSTANCE_ALIVE) {
		fail(&err, 0, "\"%s\" does not run; tee-rex status %s says more", name[0], name[0]);
		return complain(command, &err);
	}
	return admin_call_open(&call, ret->dir, &err) < 0 ? complain(command, &err) : -1;
}

/* --- logs ------------------------------------------------------------------------------------------------------------ */

/* "12.345 service prover exited code=1 …": the members by their names, in the order in which they came. */
static void print_event(json_t *j)
{
	static const char *const first[] = { "kind", "service", "state", "owner", "stage" };
	char text[4200], name[80];
	const char *key;
	json_t *v;
	int64_t ms = (int64_t)json_integer_value(json_object_get(j, "ms"));
	printf("%7" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
	for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
		const char *s = json_string_value(json_object_get(j, first[i]));
		if (s != NULL)
			printf(" %s", text_escape(bytes_str(s), text, sizeof text));
	}
	json_object_foreach(j, key, v) {
		bool said = strcmp(key, "ms") == 0 || strcmp(key, "seq") == 0 || strcmp(key, "text") == 0;
		for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
			said = said || strcmp(key, first[i]) == 0;
		if (said)
			continue;
		text_escape(bytes_str(key), name, sizeof name);
		if (json_is_string(v))
			printf(" %s=\"%s\"", name, text_escape(bytes_str(json_string_value(v)), text, sizeof text));
		else if (json_is_integer(v))
			printf(" %s=%" PRId64, name, (int64_t)json_integer_value(v));
		else if (json_is_true(v))
			printf(" %s", name);
	}
	const char *said = json_string_value(json_object_get(j, "text"));
	if (said != NULL)
		printf(": %s", text_escape(bytes_str(said), text, sizeof text));
	putchar('\n');
}

int logs_main(int argc, char **argv)
{
	struct operate_args a = { 0 };
	struct instance i;
	struct err err;
	struct bytes line;
	json_t *ok;
	int done = open_call("logs", "NAME [OPTIONS]", "Prints what an instance's enclave reported: the seconds since it booted, what happened, to whom.",
	                     logs_options, argc, argv, &a, &i);
	if (done >= 0)
		return done;
	int got = admin_call_ask(&call, "logs", a.follow ? "follow" : NULL, &ok, &err);
	if (got == 0)
		json_decref(ok);
	if (got == 0 && a.follow)
		admin_call_patience(&call, 0);
	/* what the ring has room for may begin inside a line: that one is no JSON, and is left out */
	while (got >= 0 && (got = admin_call_line(&call, &line, &err)) > 0) {
		json_t *j = json_loadb((const char *)line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
		if (json_is_object(j) && a.json) {
			json_dumpf(j, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
			putchar('\n');
		} else if (json_is_object(j)) {
			print_event(j);
		}
		json_decref(j);
		if (fflush(stdout) != 0)
			break;                           /* nobody reads any more */
	}
	admin_call_close(&call);
	return got < 0 ? complain("logs", &err) : 0;
}

/* --- console --------------------------------------------------------------------------------------------------------- */

static void print_console(struct bytes b)
{
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i];
		if (c == '\n' || c == '\t' || (c >= 0x20 && c < 0x7f))
			putchar(c);
		else if (c != '\r')
			printf("\\x%02x", c);
	}
}

int console_main(int argc, char **argv)
{
	struct operate_args a = { 0 };
	struct instance i;
	struct err err;
	struct bytes piece;
	json_t *ok;
	int done = open_call("console", "NAME [OPTIONS]", "Prints what a debug enclave wrote to its console. An enclave in production mode has none "
	                     "that anybody\ncould read.", console_options, argc, argv, &a, &i);
	if (done >= 0)
		return done;
	int got = admin_call_ask(&call, "console", a.follow ? "follow" : NULL, &ok, &err);
	if (got == 0)
		json_decref(ok);
	if (got == 0 && a.follow)
		admin_call_patience(&call, 0);
	while (got >= 0 && (got = admin_call_bytes(&call, &piece, &err)) > 0) {
		print_console(piece);
		if (fflush(stdout) != 0)
			break;
	}
	admin_call_close(&call);
	return got < 0 ? complain("console", &err) : 0;
}

/* --- stop ------------------------------------------------------------------------------------------------------------ */

int stop_main(int argc, char **argv)
{
	struct operate_args a = { .timeout_s = 60 };
	struct instance i;
	struct err err;
	struct bytes ignored;
	json_t *ok;
	int done = open_call("stop", "NAME [OPTIONS]", "Stops an instance in order and waits for its end: what is being served is finished first.",
	                     stop_options, argc, argv, &a, &i);
	if (done >= 0)
		return done;
	int64_t until = clock_monotonic_ms() + (int64_t)(a.timeout_s > 86400 ? 86400 : a.timeout_s) * 1000;
	int got = admin_call_ask(&call, "stop", a.force ? "force" : NULL, &ok, &err);
	if (got == 0)
		json_decref(ok);
	admin_call_patience(&call, 200);
	while (got >= 0 && (got = admin_call_line(&call, &ignored, &err)) != 0 && (got > 0 || got == -ETIMEDOUT) && clock_monotonic_ms() < until)
		got = 0;
	admin_call_close(&call);
	if (got < 0 && got != -ETIMEDOUT)
		return complain("stop", &err);
	/* the socket closes a moment before the lock is released */
	while (run_dir_alive(i.dir) && clock_monotonic_ms() < until)
		nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000000 }, NULL);
	if (run_dir_alive(i.dir)) {
		fail(&err, 0, "it was asked, and still runs after %" PRIu64 " s; tee-rex status %s says what it does, --force does not wait for "
		     "what is being served", a.timeout_s, i.name);
		return complain("stop", &err);
	}
	printf("%s: stopped\n", i.name);
	return 0;
}
