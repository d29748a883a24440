/* The state table of init's services, without processes: what happens is written down as text and compared. */
#include "enclave/init/links.h"
#include "enclave/init/supervise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static struct service_table table;
static struct supervise s;
static struct err err;
static char story[4096];
static int start_fails;                          /* how many starts fail from now on */

static void say(uint32_t i, const char *what)
{
	size_t n = strlen(story);
	snprintf(story + n, sizeof story - n, "%s%s:%s", n > 0 ? " " : "", i == UINT32_MAX ? "*" : table.service[i].name, what);
}

static int on_start(struct supervise *me, uint32_t i, const char **ret_why)
{
	(void)me;
	*ret_why = "refused";
	if (start_fails > 0) {
		start_fails--;
		return -5;
	}
	say(i, "start");
	return 0;
}
static void on_signal(struct supervise *me, uint32_t i, uint32_t signal)
{
	char text[16];
	(void)me;
	snprintf(text, sizeof text, "sig%u", signal);
	say(i, text);
}
static void on_kill(struct supervise *me, uint32_t i) { (void)me; say(i, "kill"); }
static void on_arm(struct supervise *me, uint32_t i, int64_t ms) { (void)me; (void)i; (void)ms; }
static void on_tell(struct supervise *me, uint32_t i, enum unit_news news, const struct unit_end *end, int64_t delay_ms)
{
	char text[64];
	(void)me;
	(void)end;
	if (news == NEWS_WAITING)
		snprintf(text, sizeof text, "wait%lld", (long long)delay_ms);
	else if (news == NEWS_LOST || news == NEWS_READY || news == NEWS_LATE)
		snprintf(text, sizeof text, "%s", news == NEWS_LOST ? "LOST" : news == NEWS_READY ? "READY" : "LATE");
	else
		return;
	say(i, text);
}
static void on_over(struct supervise *me, const char *reason)
{
	(void)me;
	say(UINT32_MAX, reason);
}
static const struct supervise_ops ops = { on_start, on_signal, on_kill, on_arm, on_tell, on_over };

static void begin(const char *text)
{
	assert_int_equal(service_table_parse(bytes_str(text), "t", &table, &err), 0);
	story[0] = '\0';
	start_fails = 0;
	supervise_init(&s, &table, &ops);
	supervise_start(&s);
}

static void event(uint32_t i, enum unit_event e) { supervise_event(&s, i, e, NULL); }
static void ends(uint32_t i, int code) { supervise_event(&s, i, UNIT_EXITED, &(struct unit_end){ .code = code }); }
#define STORY(want) do { assert_string_equal(story, want); story[0] = '\0'; } while (0)

static void backoff_grows_and_is_forgotten(void **state)
{
	(void)state;
	begin("[service a]\narg = x\nbackoff_ms = 10\nbackoff_max_ms = 35\n");
	STORY("a:start");
	for (int i = 0; i < 4; i++) {
		event(0, UNIT_READY);
		ends(0, i % 2);
		event(0, UNIT_TIMER);
	}
	STORY("a:READY a:wait10 a:start a:READY a:wait20 a:start a:READY a:wait35 a:start a:READY a:wait35 a:start");
	event(0, UNIT_READY);
	event(0, UNIT_TIMER);                    /* it is stable */
	ends(0, 1);
	STORY("a:READY a:wait10");
	assert_int_equal(s.unit[0].restarts, 5);
	assert_false(s.over);
}

static void policies_decide_who_comes_back(void **state)
{
	(void)state;
	begin("[service a]\narg = x\nrestart = on-failure\n[service b]\narg = x\nrestart = never\n[service c]\narg = x\nrestarts_max = 1\n");
	story[0] = '\0';
	ends(0, 1);
	ends(1, 1);
	STORY("a:wait50 b:LOST");
	event(0, UNIT_TIMER);
	ends(0, 0);
	STORY("a:start a:LOST");
	ends(2, 0);
	event(2, UNIT_TIMER);
	ends(2, 0);
	STORY("c:wait50 c:start c:LOST *:the last essential service is lost for good: c");
	event(2, UNIT_TIMER);
	ends(2, 0);
	supervise_stop(&s, "again");
	STORY("");
}

static void services_that_are_not_essential_keep_nothing_up(void **state)
{
	(void)state;
	begin("[service a]\narg = x\nrestart = never\n[service b]\narg = x\nessential = no\nafter = a\n");
	STORY("a:start");
	event(0, UNIT_READY);
	STORY("a:READY b:start");
	ends(0, 0);
	STORY("a:LOST b:sig15");
	ends(1, 0);
	STORY("b:LOST *:the last essential service is lost for good: a");
}

static void order_is_kept_both_ways(void **state)
{
	(void)state;
	begin("[service a]\narg = x\nafter = b\n[service b]\narg = x\nafter = c\n[service c]\narg = x\n[service d]\narg = x\nessential = no\n");
	STORY("c:start d:start");
	event(2, UNIT_READY);
	event(1, UNIT_READY);
	event(0, UNIT_READY);
	STORY("c:READY b:start b:READY a:start a:READY");
	/* b restarts: a stays */
	ends(1, 1);
	event(1, UNIT_TIMER);
	STORY("b:wait50 b:start");
	supervise_stop(&s, "enough");
	STORY("a:sig15 d:sig15");
	ends(3, 0);
	STORY("d:LOST");
	event(0, UNIT_TIMER);
	STORY("a:kill");
	ends(0, -1);
	STORY("a:LOST b:sig15");
	ends(1, 0);
	ends(2, 0);
	STORY("b:LOST c:sig15 c:LOST *:enough");
}

static void who_is_not_ready_in_time_is_killed(void **state)
{
	(void)state;
	begin("[service a]\narg = x\nready = fd\n");
	event(0, UNIT_TIMER);
	STORY("a:start a:LATE a:kill");
	event(0, UNIT_READY);                    /* in between: it counts, and it dies all the same */
	ends(0, -1);
	STORY("a:READY a:wait50");
}

static void a_start_that_fails_is_an_end(void **state)
{
	(void)state;
	begin("[service a]\narg = x\nbackoff_ms = 1\nrestarts_max = 2\n[service b]\narg = x\n");
	STORY("a:start b:start");
	ends(0, 1);
	start_fails = 2;
	event(0, UNIT_TIMER);
	event(0, UNIT_TIMER);
	STORY("a:wait1 a:wait2 a:LOST");
	assert_false(s.over);
}

static void a_cut_link_restarts_at_once(void **state)
{
	(void)state;
	begin("[service a]\narg = x\nlink = b\n[service b]\narg = x\n");
	event(0, UNIT_READY);
	event(1, UNIT_READY);
	story[0] = '\0';
	ends(0, 1);
	event(1, UNIT_CUT);
	STORY("a:wait50 b:sig15");
	event(1, UNIT_TIMER);
	STORY("b:kill");
	ends(1, -1);
	STORY("b:start");
	/* while it waits it takes the new end anyway */
	event(0, UNIT_CUT);
	STORY("");
	/* a stop overrides the restart */
	event(1, UNIT_CUT);
	supervise_stop(&s, "end");
	ends(1, 0);
	STORY("b:sig15 a:LOST b:LOST *:end");
}

static void every_event_is_survived_in_every_state(void **state)
{
	(void)state;
	for (int first = 0; first < UNIT_EVENT_COUNT; first++)
		for (int second = 0; second < UNIT_EVENT_COUNT; second++)
			for (int third = 0; third < UNIT_EVENT_COUNT; third++) {
				const struct unit_end end = { .code = 1 };
				begin("[service a]\narg = x\nrestarts_max = 1\n[service b]\narg = x\nafter = a\n");
				supervise_event(&s, 0, (enum unit_event)first, &end);
				supervise_event(&s, 0, (enum unit_event)second, &end);
				supervise_event(&s, 1, (enum unit_event)third, &end);
				assert_true(s.unit[0].state < UNIT_STATE_COUNT && s.unit[1].state < UNIT_STATE_COUNT);
			}
}

static void pairs_serve_one_life_of_both(void **state)
{
	(void)state;
	static struct links l;
	char buf[8];
	links_init(&l);
	int a = links_take(&l, 0, 1, &err), b = links_take(&l, 1, 0, &err);
	assert_true(a >= 0 && b >= 0);
	assert_int_equal(write(a, "hi", 2), 2);
	assert_int_equal(read(b, buf, sizeof buf), 2);
	/* 0 dies and is back before 1 has gone: 1's end leads nowhere, 0 has a new pair's */
	close(a);
	assert_true(links_cut(&l, 0, 1));
	a = links_take(&l, 0, 1, &err);
	assert_int_equal(read(b, buf, sizeof buf), 0);
	close(b);
	assert_false(links_cut(&l, 1, 0));       /* 0 has the new one: it need not go again */
	b = links_take(&l, 1, 0, &err);
	assert_int_equal(write(b, "yo", 2), 2);
	assert_int_equal(read(a, buf, sizeof buf), 2);
	/* one that dies before the other took its end: the next pair is whole */
	close(a);
	close(b);
	assert_true(links_cut(&l, 0, 1));
	assert_false(links_cut(&l, 1, 0));
	a = links_take(&l, 0, 1, &err);
	close(a);
	assert_false(links_cut(&l, 0, 1));
	b = links_take(&l, 1, 0, &err);
	a = links_take(&l, 0, 1, &err);
	assert_int_equal(write(a, "ok", 2), 2);
	assert_int_equal(read(b, buf, sizeof buf), 2);
	close(a);
	close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backoff_grows_and_is_forgotten),
		cmocka_unit_test(policies_decide_who_comes_back),
		cmocka_unit_test(services_that_are_not_essential_keep_nothing_up),
		cmocka_unit_test(order_is_kept_both_ways),
		cmocka_unit_test(who_is_not_ready_in_time_is_killed),
		cmocka_unit_test(a_start_that_fails_is_an_end),
		cmocka_unit_test(a_cut_link_restarts_at_once),
		cmocka_unit_test(every_event_is_survived_in_every_state),
		cmocka_unit_test(pairs_serve_one_life_of_both),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
