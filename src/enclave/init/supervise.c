#include "enclave/init/supervise.h"

#include <stdio.h>

typedef void action(struct supervise *s, uint32_t i, const struct unit_end *end);

static const struct service *service_of(const struct supervise *s, uint32_t i) { return &s->table->service[i]; }

static void move(struct supervise *s, uint32_t i, enum unit_state state, int64_t timer_ms)
{
	s->unit[i].state = state;
	s->ops->arm(s, i, timer_ms);
}

static void tell(struct supervise *s, uint32_t i, enum unit_news news)
{
	s->ops->tell(s, i, news, NULL, 0);
}

static void end_all(struct supervise *s, const char *reason)
{
	if (s->over)
		return;
	s->over = true;
	s->ops->over(s, reason);
}

/* --- for good ---------------------------------------------------------------------------------- */
static bool essential_left(const struct supervise *s)
{
	for (uint32_t i = 0; i < s->table->service_count; i++)
		if (service_of(s, i)->essential && s->unit[i].state != UNIT_LOST)
			return true;
	return false;
}

static void lose(struct supervise *s, uint32_t i)
{
	move(s, i, UNIT_LOST, -1);
	tell(s, i, NEWS_LOST);
	if (!s->stopping && !essential_left(s)) {
		char reason[sizeof s->reason];
		snprintf(reason, sizeof reason, "the last essential service is lost for good: %s", service_of(s, i)->name);
		supervise_stop(s, reason);
	}
}

/* --- actions ------------------------------------------------------------------------------------ */
static void ended(struct supervise *s, uint32_t i, const struct unit_end *end);

static void start(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	const struct service *v = service_of(s, i);
	const char *why = NULL;
	(void)end;
	move(s, i, UNIT_STARTING, v->ready_s == 0 ? -1 : (int64_t)v->ready_s * 1000);
	tell(s, i, NEWS_STARTING);
	if (s->ops->start(s, i, &why) != 0)
		ended(s, i, &(struct unit_end){ .code = -1, .why = why });
}

static void became_ready(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	(void)end;
	s->unit[i].was_ready = true;
	move(s, i, UNIT_UP, (int64_t)service_of(s, i)->stable_s * 1000);
	tell(s, i, NEWS_READY);
}

static void is_stable(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	(void)end;
	s->unit[i].row = 0;
}

static int64_t backoff_ms(const struct service *v, uint32_t row)
{
	int64_t ms = v->backoff_ms;
	for (uint32_t k = 0; k < row && ms < v->backoff_max_ms; k++)
		ms *= 2;
	return ms < v->backoff_max_ms ? ms : v->backoff_max_ms;
}

static void ended(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	const struct service *v = service_of(s, i);
	struct unit *u = &s->unit[i];
	s->ops->tell(s, i, NEWS_EXITED, end, 0);
	bool policy = v->restart == RESTART_ALWAYS || (v->restart == RESTART_ON_FAILURE && end->code != 0);
	if (s->stopping || !policy || (v->restarts_max != 0 && u->row >= v->restarts_max)) {
		lose(s, i);
		return;
	}
	int64_t delay = backoff_ms(v, u->row);
	u->row++;
	u->restarts++;
	move(s, i, UNIT_BACKOFF, delay);
	s->ops->tell(s, i, NEWS_WAITING, NULL, delay);
}

static void too_late(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	(void)end;
	tell(s, i, NEWS_LATE);
	s->ops->kill(s, i);
}

static void ask(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	const struct service *v = service_of(s, i);
	(void)end;
	s->unit[i].again = !s->stopping;
	move(s, i, UNIT_STOPPING, (int64_t)v->stop_s * 1000);
	tell(s, i, NEWS_STOPPING);
	s->ops->signal(s, i, v->stop_signal);
}

static void no_more(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	(void)end;
	s->unit[i].again = false;
}

static void force(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	(void)end;
	s->ops->kill(s, i);
}

static void stopped(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	s->ops->tell(s, i, NEWS_EXITED, end, 0);
	if (s->unit[i].again && !s->stopping) {
		s->unit[i].again = false;
		s->unit[i].restarts++;
		start(s, i, NULL);
	} else {
		lose(s, i);
	}
}

static void give_up(struct supervise *s, uint32_t i, const struct unit_end *end)
{
	(void)end;
	lose(s, i);
}

static action *const on[UNIT_STATE_COUNT][UNIT_EVENT_COUNT] = {          /* absent = ignored */
	[UNIT_WAITING]  = { [UNIT_GO] = start, [UNIT_STOP] = give_up },
	[UNIT_STARTING] = { [UNIT_READY] = became_ready, [UNIT_EXITED] = ended, [UNIT_TIMER] = too_late, [UNIT_STOP] = ask, [UNIT_CUT] = ask },
	[UNIT_UP]       = { [UNIT_EXITED] = ended, [UNIT_TIMER] = is_stable, [UNIT_STOP] = ask, [UNIT_CUT] = ask },
	[UNIT_BACKOFF]  = { [UNIT_TIMER] = start, [UNIT_STOP] = give_up },
	[UNIT_STOPPING] = { [UNIT_EXITED] = stopped, [UNIT_TIMER] = force, [UNIT_STOP] = no_more },
};

static void act(struct supervise *s, uint32_t i, enum unit_event e, const struct unit_end *end)
{
	action *a = on[s->unit[i].state][e];
	if (a != NULL)
		a(s, i, end);
}

/* --- all of them --------------------------------------------------------------------------------- */
static bool waits(const struct supervise *s, uint32_t i)
{
	const struct service *v = service_of(s, i);
	for (uint32_t k = 0; k < v->after_count; k++) {
		const struct unit *u = &s->unit[service_table_find(s->table, bytes_str(v->after[k]))];
		if (!u->was_ready && u->state != UNIT_LOST)
			return true;
	}
	return false;
}

/* Somebody that is not lost is started after i, so i has to outlive it. */
static bool needed(const struct supervise *s, uint32_t i)
{
	for (uint32_t k = 0; k < s->table->service_count; k++) {
		const struct service *v = service_of(s, k);
		for (uint32_t n = 0; n < v->after_count && s->unit[k].state != UNIT_LOST; n++)
			if (strcmp(v->after[n], service_of(s, i)->name) == 0)
				return true;
	}
	return false;
}

/* After every event: who may start, who may end, and whether all are gone. An action may change what was looked at
 * already, so it goes on until nothing does. */
static void settle(struct supervise *s)
{
	bool all_lost = true;
	for (uint32_t i = 0; i < s->table->service_count; i++) {
		enum unit_state before = s->unit[i].state;
		if (!s->stopping && before == UNIT_WAITING && !waits(s, i))
			act(s, i, UNIT_GO, NULL);
		else if (s->stopping && before != UNIT_LOST && before != UNIT_STOPPING && !needed(s, i))
			act(s, i, UNIT_STOP, NULL);
		all_lost = all_lost && s->unit[i].state == UNIT_LOST;
		if (s->unit[i].state != before) {
			i = UINT32_MAX;          /* from the start */
			all_lost = true;
		}
	}
	if (s->stopping && all_lost)
		end_all(s, s->reason);
}

void supervise_init(struct supervise *s, const struct service_table *table, const struct supervise_ops *ops)
{
	*s = (struct supervise){ .table = table, .ops = ops };
}

void supervise_start(struct supervise *s) { settle(s); }

void supervise_event(struct supervise *s, uint32_t i, enum unit_event e, const struct unit_end *end)
{
	act(s, i, e, end);
	settle(s);
}

void supervise_stop(struct supervise *s, const char *reason)
{
	if (s->stopping)
		return;
	s->stopping = true;
	snprintf(s->reason, sizeof s->reason, "%s", reason);
	/* those that were about to be started anew are not */
	for (uint32_t i = 0; i < s->table->service_count; i++)
		if (s->unit[i].state == UNIT_STOPPING)
			act(s, i, UNIT_STOP, NULL);
	settle(s);
}
