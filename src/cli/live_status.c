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

/* --- what init reported: services, and memory by owner --------------------------------------------------------- */

static int64_t number(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));
	return v > 0 ? (int64_t)v : 0;
}

static void text(const json_t *j, const char *key, char *buf, size_t cap)
{
	const char *s = json_string_value(json_object_get(j, key));
	text_escape(bytes_str(s != NULL ? s : ""), buf, cap);
}

static void take_owner(struct live_status *s, const json_t *j)
{
	struct live_owner *o = &s->owner[s->owner_count];
	if (s->owner_count == LIVE_OWNERS_MAX || !json_is_object(j))
		return;
	s->owner_count++;
	text(j, "name", o->name, sizeof o->name);
	text(j, "state", o->state, sizeof o->state);
	o->restarts = number(j, "restarts");
	o->bytes = number(j, "bytes");
	o->peak_bytes = number(j, "peak_bytes");
	o->limit_bytes = number(j, "limit_bytes");
}

static void take_control(struct live_status *s)
{
	const json_t *c = json_object_get(s->says, "control"), *owners = json_object_get(c, "owners");
	s->memory_total = number(c, "total_bytes");
	s->memory_available = number(c, "available_bytes");
	s->unheard = number(c, "events_dropped") + number(c, "events_lost");
	s->refused = number(c, "refused");
	text(c, "last_death", s->inner_death, sizeof s->inner_death);
	for (size_t i = 0; i < json_array_size(owners); i++)
		take_owner(s, json_array_get(owners, i));
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
		take_control(ret);
	}
}

void live_status_close(struct live_status *s)
{
	json_decref(s->says);
	s->says = NULL;
}
