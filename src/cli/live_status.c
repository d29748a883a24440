/* The admin socket says what its instance knew when it was asked; whether the service answers it finds out by asking, and
 * tells the next one who looks. So this looks until the answer is from now. */
#include "cli/live_status.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <time.h>

enum { LOOK_MS = 6000, LOOK_AGAIN_MS = 60 };

static int ask_once(const struct instance *i, json_t **ret, struct err *err)
{
	static struct admin_call c;
	int bad = admin_call_open(&c, i->dir, err);
	if (bad == 0)
		bad = admin_call_ask(&c, "status", NULL, ret, err);
	admin_call_close(&c);
	return bad;
}

/* Of a running instance: whether its health is known, answered, and how long ago. */
static bool health_of(const json_t *says, bool *ret_answers, int64_t *ret_ago)
{
	const json_t *h = json_object_get(says, "health");
	*ret_answers = json_is_true(json_object_get(h, "answers"));
	*ret_ago = json_is_integer(json_object_get(h, "answered_ms_ago")) ? (int64_t)json_integer_value(json_object_get(h, "answered_ms_ago")) : -1;
	return json_is_object(h);
}

static bool is_running_phase(const json_t *says)
{
	const char *phase = json_string_value(json_object_get(says, "phase"));
	return phase != NULL && strcmp(phase, "running") == 0;
}

static int ask_until_fresh(const struct instance *i, json_t **ret, struct err *err)
{
	int64_t until = clock_monotonic_ms() + LOOK_MS, ago;
	bool answers;
	for (;;) {
		json_t *says;
		int bad = ask_once(i, &says, err);
		if (bad < 0)
			return bad;
		bool known = health_of(says, &answers, &ago);
		if (!is_running_phase(says) || !known || (answers && ago >= 0 && ago <= LIVE_FRESH_MS) || clock_monotonic_ms() >= until) {
			*ret = says;
			return 0;
		}
		json_decref(says);
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_AGAIN_MS * 1000000 }, NULL);
	}
}

/* --- memory: the last that init said of each owner ------------------------------------------------------------- */

static int64_t number(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));
	return v > 0 ? (int64_t)v : 0;
}

static void take_memory(struct live_status *s, const json_t *j)
{
	const char *name = json_string_value(json_object_get(j, "owner"));
	char shown[LIVE_OWNER_TEXT];
	size_t i = 0;
	if (number(j, "total_bytes") > 0) {
		s->memory_total = number(j, "total_bytes");
		s->memory_available = number(j, "available_bytes");
	}
	if (name == NULL)
		return;
	text_escape(bytes_str(name), shown, sizeof shown);
	while (i < s->owner_count && strcmp(s->owner[i].name, shown) != 0)
		i++;
	if (i == LIVE_OWNERS_MAX)
		return;
	struct live_owner *o = &s->owner[i];
	s->owner_count += i == s->owner_count;
	snprintf(o->name, sizeof o->name, "%s", shown);
	o->bytes = number(j, "owner_bytes");
	o->peak_bytes = number(j, "owner_peak_bytes");
	o->limit_bytes = number(j, "owner_limit_bytes");
}

static void read_memory(struct live_status *s)
{
	static struct admin_call c;
	struct err ignored;
	struct bytes line;
	json_t *ok;
	if (admin_call_open(&c, s->instance.dir, &ignored) == 0 && admin_call_ask(&c, "logs", NULL, &ok, &ignored) == 0) {
		json_decref(ok);
		while (admin_call_line(&c, &line, &ignored) > 0) {
			json_t *j = json_loadb((const char *)line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
			const char *kind = json_string_value(json_object_get(j, "kind"));
			if (kind != NULL && strcmp(kind, "memory") == 0)
				take_memory(s, j);
			json_decref(j);
		}
	}
	admin_call_close(&c);
}

/* -------------------------------------------------------------------------------------------------------------- */

static const char *word_of(const char *phase)
{
	static const char *const known[] = { "starting", "running", "draining", "stopping" };
	for (size_t i = 0; phase != NULL && i < sizeof known / sizeof known[0]; i++)
		if (strcmp(phase, known[i]) == 0)
			return known[i];
	return "unknown";
}

static void judge(struct live_status *s)
{
	bool answers;
	int64_t ago;
	s->state = word_of(json_string_value(json_object_get(s->says, "phase")));
	if (strcmp(s->state, "running") != 0)
		return;
	s->running = !health_of(s->says, &answers, &ago) || (answers && ago >= 0 && ago <= LIVE_FRESH_MS);
	if (s->running)
		return;
	s->state = "unhealthy";
	if (ago >= 0)
		snprintf(s->why, sizeof s->why, "the service does not answer; it did %lld s ago", (long long)(ago / 1000));
	else
		snprintf(s->why, sizeof s->why, "the service does not answer");
}

void live_status_get(const struct instance *i, struct live_status *ret)
{
	static const char *const dead[] = { [INSTANCE_STOPPED] = "stopped", [INSTANCE_FAILED] = "failed", [INSTANCE_KILLED] = "killed" };
	struct err err;
	*ret = (struct live_status){ .instance = *i };
	if (i->state != INSTANCE_ALIVE) {
		ret->state = dead[i->state];
	} else if (ask_until_fresh(i, &ret->says, &err) < 0) {
		ret->state = "unreachable";
		snprintf(ret->why, sizeof ret->why, "its owner runs, but: %.400s", err.text);
	} else {
		judge(ret);
		read_memory(ret);
	}
}

void live_status_close(struct live_status *s)
{
	json_decref(s->says);
	s->says = NULL;
}
