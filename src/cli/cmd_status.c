/* tee-rex status and list: what is true of instances now. Every text from an instance is escaped: part of it was said
 * inside an enclave. */
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/json_out.h"
#include "cli/live_status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

struct status_args { bool json; };

static const struct option_spec options[] = {
	{ 0, "json", OPT_FLAG, offsetof(struct status_args, json), NULL, "print one JSON object" },
	OPTIONS_HELP,
	OPTIONS_END
};

/* --- texts -------------------------------------------------------------------------------------------------------- */

static const char *time_text(int64_t wall_ms, char buf[40])
{
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;
	if (wall_ms <= 0 || gmtime_r(&t, &tm) == NULL || strftime(buf, 40, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(buf, 40, "unknown");
	return buf;
}

static const char *span_text(int64_t ms, char buf[40])
{
	int64_t s = ms / 1000;
	if (s < 120)
		snprintf(buf, 40, "%" PRId64 " s", s);
	else if (s < 7200)
		snprintf(buf, 40, "%" PRId64 " min", s / 60);
	else if (s < 172800)
		snprintf(buf, 40, "%" PRId64 " h %" PRId64 " min", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 40, "%" PRId64 " d %" PRId64 " h", s / 86400, s / 3600 % 24);
	return buf;
}

/* When it started: by the uptime that its owner says, because a history can be lost. */
static int64_t since_ms(const struct live_status *s)
{
	struct timespec now;
	const struct history *h = &s->instance.history;
	json_int_t up = json_integer_value(json_object_get(s->says, "uptime_ms"));
	clock_gettime(CLOCK_REALTIME, &now);
	return s->says != NULL ? (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - (int64_t)up : h->ended_ms;
}

/* A text member of an object, escaped; NULL when there is none. */
static const char *text_of(const json_t *j, const char *key, char *buf, size_t cap)
{
	const char *s = json_string_value(json_object_get(j, key));
	return s != NULL ? text_escape(bytes_str(s), buf, cap) : NULL;
}

static int64_t number_of(const json_t *j, const char *key) { return (int64_t)json_integer_value(json_object_get(j, key)); }

/* --- one instance ----------------------------------------------------------------------------------------------- */

static void print_says(const struct live_status *s)
{
	char buf[256], other[40];
	const char *text, *key;
	json_t *v;
	const json_t *health = json_object_get(s->says, "health");
	printf("  pid         %" PRId64, number_of(s->says, "pid"));
	if (number_of(s->says, "enclave_pid") > 0)
		printf(" (enclave %" PRId64 ")", number_of(s->says, "enclave_pid"));
	if (number_of(s->says, "cid") > 0)
		printf(", CID %" PRId64, number_of(s->says, "cid"));
	putchar('\n');
	if ((text = text_of(s->says, "service", buf, sizeof buf)) != NULL)
		printf("  service     %s\n", text);
	if ((text = text_of(s->says, "gateway", buf, sizeof buf)) != NULL)
		printf("  gateway     %s\n", text);
	if ((text = text_of(s->says, "root", buf, sizeof buf)) != NULL)
		printf("  test root   %s\n", text);
	json_object_foreach(json_object_get(health, "versions"), key, v) {
		char name[128];
		printf("  version     %s, sha256 %s\n", text_escape(bytes_str(key), name, sizeof name),
		       json_is_string(v) ? text_escape(bytes_str(json_string_value(v)), buf, sizeof buf) : "?");
	}
	json_object_foreach(json_object_get(s->says, "pcrs"), key, v)
		printf("  PCR%-8.4s %s\n", text_escape(bytes_str(key), other, sizeof other),
		       json_is_string(v) ? text_escape(bytes_str(json_string_value(v)), buf, sizeof buf) : "?");
	if (json_is_object(health))
		printf("  queue       %" PRId64 " running, %" PRId64 " waiting\n", number_of(health, "jobs_running"), number_of(health, "jobs_queued"));
	if (s->memory_total > 0)
		printf("  memory      %" PRId64 " MiB, %" PRId64 " MiB available\n", s->memory_total >> 20, s->memory_available >> 20);
	for (size_t i = 0; i < s->owner_count; i++) {
		const struct live_owner *o = &s->owner[i];
		printf("    %-16s %" PRId64 " MiB, at most %" PRId64 " MiB", o->name, o->bytes >> 20, o->peak_bytes >> 20);
		if (o->limit_bytes > 0)
			printf(" of %" PRId64 " MiB", o->limit_bytes >> 20);
		if (o->state[0] != '\0')
			printf(", %s, %" PRId64 " restarts", o->state, o->restarts);
		putchar('\n');
	}
	if (s->unheard > 0)
		printf("  unheard     %" PRId64 " events were lost on their way\n", s->unheard);
	if (s->refused > 0)
		printf("  refused     %" PRId64 " calls of the control channel by programs inside that are not init\n", s->refused);
	if (s->inner_death[0] != '\0')
		printf("  died inside %s\n", s->inner_death);
}

static void print_status(const struct live_status *s)
{
	char when[40], span[40], text[600], backend[40];
	const struct history *h = &s->instance.history;
	printf("%s: %s", s->instance.name, s->state);
	if (s->says != NULL) {
		printf(" since %s (%s)", time_text(since_ms(s), when), span_text(number_of(s->says, "uptime_ms"), span));
		if (text_of(s->says, "backend", backend, sizeof backend) != NULL)
			printf(", %s backend", backend);
		if (json_is_true(json_object_get(s->says, "simulated")))
			printf(", SIMULATED");
		if (json_is_true(json_object_get(s->says, "debug")))
			printf(", DEBUG");
	} else if (s->instance.state != INSTANCE_ALIVE && h->ended_ms > 0) {
		printf(" since %s", time_text(h->ended_ms, when));
	} else if (h->starts == 0) {
		printf(", never started");
	}
	putchar('\n');
	if (s->why[0] != '\0')
		printf("  why         %s\n", text_escape(bytes_str(s->why), text, sizeof text));
	if (s->instance.state == INSTANCE_KILLED)
		printf("  why         tee-rex run was killed, or the host went down: no end was written\n");
	if (s->says != NULL)
		print_says(s);
	if (h->starts > 0)
		printf("  restarts    %" PRIu64 " since it was last stopped in order, %" PRIu64 " starts ever\n", h->restarts, h->starts);
	if (h->death[0] != '\0')
		printf("  last death  %s%s%s\n", h->death_ms > 0 ? time_text(h->death_ms, when) : "", h->death_ms > 0 ? ": " : "",
		       text_escape(bytes_str(h->death), text, sizeof text));
	if (s->instance.left_over)
		printf("  left over   %s: nobody holds it; the next start removes it\n", s->instance.dir);
}

static json_t *memory_json(const struct live_status *s)
{
	json_t *owners = json_array();
	for (size_t i = 0; i < s->owner_count; i++)
		json_array_append_new(owners, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "owner", s->owner[i].name, "state",
		                                        s->owner[i].state, "restarts", (json_int_t)s->owner[i].restarts, "bytes", (json_int_t)s->owner[i].bytes,
		                                        "peak_bytes", (json_int_t)s->owner[i].peak_bytes, "limit_bytes", (json_int_t)s->owner[i].limit_bytes));
	return json_pack("{s:I, s:I, s:o}", "total_bytes", (json_int_t)s->memory_total, "available_bytes", (json_int_t)s->memory_available,
	                 "owners", owners);
}

static json_t *status_json(const struct live_status *s)
{
	const struct history *h = &s->instance.history;
	json_t *j = json_pack("{s:s, s:s, s:b, s:I, s:b, s:b, s:s*}", "name", s->instance.name, "state", s->state, "running", s->running,
	                      "since_ms", (json_int_t)since_ms(s),
	                      "configured", s->instance.configured, "left_over", s->instance.left_over, "why", s->why[0] != '\0' ? s->why : NULL);
	json_object_set_new(j, "history", json_pack("{s:I, s:I, s:I, s:I, s:I, s:s}", "starts", (json_int_t)h->starts, "restarts", (json_int_t)h->restarts,
	                    "started_ms", (json_int_t)h->started_ms, "ended_ms", (json_int_t)h->ended_ms, "death_ms", (json_int_t)h->death_ms,
	                    "death", h->death));
	if (s->says != NULL) {
		json_object_del(s->says, "ok");
		json_object_set(j, "instance", s->says);
		json_object_set_new(j, "memory", memory_json(s));
	}
	return j;
}

/* --- commands ------------------------------------------------------------------------------------------------------ */

static struct instance all[INSTANCES_MAX];

/* What is not shown is at least said. */
static void tell_of_more(const char *command, size_t count)
{
	if (count == INSTANCES_MAX)
		fprintf(stderr, "tee-rex %s: %d instances are shown, there may be more; name those that you want to see: tee-rex status NAME\n",
		        command, INSTANCES_MAX);
}

static int take_options(const char *command, const char *synopsis, const char *about, int argc, char **argv, struct status_args *a,
                        const char **words, size_t most, size_t *ret_n)
{
	struct err err;
	switch (options_parse(options, a, argc, argv, words, most, ret_n, &err)) {
	case OPTIONS_OK: return -1;
	case OPTIONS_WANT_HELP: options_help(stdout, command, synopsis, about, options); return 0;
	case OPTIONS_USAGE: break;
	}
	fprintf(stderr, "tee-rex %s: %s\n", command, err.text);
	return 2;
}

int status_main(int argc, char **argv)
{
	struct status_args a = { 0 };
	const char *words[INSTANCES_MAX];
	struct err err;
	size_t n = 0, count = 0, running = 0;
	int done = take_options("status", "[NAME]... [OPTIONS]", "Says what is true of instances now; without NAME, of all. Ends with 0 when "
	                        "each of them runs and\nits service answers, with 1 otherwise.", argc, argv, &a, words, INSTANCES_MAX, &n);
	if (done >= 0)
		return done;
	int ret = n == 0 ? instances_list(all, INSTANCES_MAX, &count, &err) : 0;
	for (size_t i = 0; ret == 0 && i < n; i++)
		ret = instance_find(words[i], &all[count++], &err);
	if (ret < 0) {
		if (a.json)
			json_out(json_pack("{s:{s:s, s:s}}", "error", "code", ret == -ENOENT ? "no-such-instance" : "failed", "message", err.text));
		fprintf(stderr, "tee-rex status: %s\n", err.text);
		return ret == -EINVAL ? 2 : 1;
	}
	if (n == 0)
		tell_of_more("status", count);
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++) {
		static struct live_status s;
		live_status_get(&all[i], &s);
		running += s.running;
		if (a.json)
			json_array_append_new(list, status_json(&s));
		else
			print_status(&s);
		live_status_close(&s);
	}
	if (a.json)
		json_out(json_pack("{s:b, s:O}", "ok", count > 0 && running == count, "instances", list));
	json_decref(list);
	if (count == 0)
		fprintf(stderr, "tee-rex status: there is no instance: none runs, and /etc/tee-rex holds no NAME.yaml\n");
	return count > 0 && running == count ? 0 : 1;
}

int list_main(int argc, char **argv)
{
	struct status_args a = { 0 };
	struct err err;
	size_t n = 0, count;
	int done = take_options("list", "[OPTIONS]", "Lists the instances of this host: those that run, those that are configured, and what killed "
	                        "ones left.", argc, argv, &a, NULL, 0, &n);
	if (done >= 0)
		return done;
	if (instances_list(all, INSTANCES_MAX, &count, &err) < 0) {
		fprintf(stderr, "tee-rex list: %s\n", err.text);
		return 1;
	}
	tell_of_more("list", count);
	json_t *list = json_array();
	if (!a.json && count > 0)
		printf("%-20s %-12s %-8s %-24s %s\n", "NAME", "STATE", "BACKEND", "SINCE", "PID");
	for (size_t i = 0; i < count; i++) {
		static struct live_status s;
		char when[40], backend[24];
		live_status_get(&all[i], &s);
		int64_t since = since_ms(&s);
		const char *where = text_of(s.says, "backend", backend, sizeof backend);
		if (a.json) {
			json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:b, s:s*, s:I, s:I}", "name", all[i].name, "state", s.state, "running", s.running,
			                                      "configured", all[i].configured, "backend", where, "since_ms", (json_int_t)since,
			                                      "pid", (json_int_t)number_of(s.says, "pid")));
		} else {
			printf("%-20s %-12s %-8s %-24s ", all[i].name, s.state, where != NULL ? where : "-", since > 0 ? time_text(since, when) : "-");
			if (s.says != NULL)
				printf("%" PRId64 "\n", number_of(s.says, "pid"));
			else
				puts("-");
		}
		live_status_close(&s);
	}
	if (a.json)
		json_out(json_pack("{s:O}", "instances", list));
	json_decref(list);
	return 0;
}
