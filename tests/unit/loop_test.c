#include "base/cleanup.h"
#include "base/clock.h"
#include "base/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <cmocka.h>

static struct loop loop;
static char story[256];                          /* what ran, a letter each */

static int set_up(void **state)
{
	struct err err;
	(void)state;
	story[0] = '\0';
	return loop_open(&loop, &err);
}
static int tear_down(void **state) { (void)state; loop_close(&loop); return 0; }

static void tell(char c)
{
	size_t n = strlen(story);
	if (n + 1 < sizeof story) {
		story[n] = c;
		story[n + 1] = '\0';
	}
}

static void once(int max_ms)
{
	struct err err;
	assert_int_equal(loop_once(&loop, max_ms, &err), 0);
}

/* --- watches ----------------------------------------------------------------------------------- */

struct source { struct watch watch; char name; int fd; struct source *victim; };

static void on_source(struct watch *w, uint32_t events)
{
	struct source *s = CONTAINER_OF(w, struct source, watch);
	assert_true(events & EPOLLIN);
	tell(s->name);
	if (s->victim != NULL) {
		loop_del(&loop, &s->victim->watch);
		close(s->victim->fd);
		memset(s->victim, 0x5a, sizeof *s->victim);      /* and its memory is gone */
	}
}

static void open_source(struct source *s, char name, bool ready)
{
	*s = (struct source){ .watch = { .fd = -1, .on_event = on_source }, .name = name };
	s->fd = eventfd(ready, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(s->fd >= 0);
	assert_int_equal(loop_add(&loop, &s->watch, s->fd, EPOLLIN), 0);
}

static void close_source(struct source *s)
{
	loop_del(&loop, &s->watch);
	close(s->fd);
}

static void ready_descriptors_are_told(void **state)
{
	(void)state;
	struct source a, b;
	open_source(&a, 'a', true);
	open_source(&b, 'b', false);
	once(0);
	assert_string_equal(story, "a");
	once(0);                                                 /* level-triggered */
	assert_string_equal(story, "aa");
	loop_set(&loop, &a.watch, 0);
	once(0);
	assert_string_equal(story, "aa");
	loop_set(&loop, &a.watch, EPOLLIN);
	once(0);
	assert_string_equal(story, "aaa");
	close_source(&a);
	once(0);
	assert_string_equal(story, "aaa");
	loop_del(&loop, &a.watch);                               /* twice is harmless */
	loop_set(&loop, &a.watch, EPOLLOUT);
	assert_int_equal(a.watch.fd, -1);
	close_source(&b);
}

/* Whichever comes first takes the other's watch away; the other must not run. */
static void a_callback_may_free_one_that_waits(void **state)
{
	(void)state;
	struct source a, b;
	open_source(&a, 'a', true);
	open_source(&b, 'b', true);
	a.victim = &b;
	b.victim = &a;
	once(0);
	assert_int_equal(strlen(story), 1);
	close_source(story[0] == 'a' ? &a : &b);
}

static void a_callback_may_free_itself(void **state)
{
	(void)state;
	struct source a;
	open_source(&a, 'a', true);
	a.victim = &a;
	once(0);
	once(0);
	assert_string_equal(story, "a");
}

/* Many more than one batch holds. */
static void all_ready_descriptors_get_their_turn(void **state)
{
	(void)state;
	enum { MANY = 3 * LOOP_BATCH };
	static struct source s[MANY];
	for (int i = 0; i < MANY; i++)
		open_source(&s[i], 'x', true);
	for (int i = 0; i < 3; i++)
		once(0);
	assert_int_equal(strlen(story), MANY);
	for (int i = 0; i < MANY; i++)
		close_source(&s[i]);
}

static void adding_a_bad_descriptor_fails(void **state)
{
	(void)state;
	struct watch w = { .fd = -1, .on_event = on_source };
	assert_int_equal(loop_add(&loop, &w, 987654, EPOLLIN), -EBADF);
	assert_int_equal(w.fd, -1);
	CLEANUP(close_fd) int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(loop_add(&loop, &w, file, EPOLLIN), -EPERM);    /* files cannot be waited for */
}

static void descriptors_do_not_leak_into_children(void **state)
{
	(void)state;
	assert_true(fcntl(loop.epoll_fd, F_GETFD) & FD_CLOEXEC);
}

/* --- timers --------------------------------------------------------------------------------------- */

struct alarm { struct timer timer; char name; int64_t again_ms; struct alarm *victim; };

static void on_alarm(struct timer *t)
{
	struct alarm *a = CONTAINER_OF(t, struct alarm, timer);
	assert_false(timer_armed(t));
	tell(a->name);
	if (a->victim != NULL)
		timer_disarm(&a->victim->timer);
	if (a->again_ms >= 0)
		timer_arm(&loop, t, a->again_ms);
}

static struct alarm alarm_named(char name) { return (struct alarm){ { .on_expiry = on_alarm }, name, -1, NULL }; }

static void timers_run_in_order(void **state)
{
	(void)state;
	struct alarm a = alarm_named('a'), b = alarm_named('b'), c = alarm_named('c'), d = alarm_named('d');
	timer_arm(&loop, &c.timer, 30);
	timer_arm(&loop, &a.timer, 10);
	timer_arm(&loop, &b.timer, 20);
	timer_arm(&loop, &d.timer, 30);                          /* as late as c, armed after it */
	int64_t from = clock_monotonic_ms();
	while (strlen(story) < 4)
		once(-1);
	assert_string_equal(story, "abcd");
	assert_true(clock_monotonic_ms() - from >= 29);
	assert_null(loop.timers);
}

static void timers_can_be_moved_and_stopped(void **state)
{
	(void)state;
	struct alarm a = alarm_named('a'), b = alarm_named('b'), c = alarm_named('c');
	timer_arm(&loop, &a.timer, 5);
	timer_arm(&loop, &b.timer, 6);
	timer_arm(&loop, &c.timer, 7);
	timer_arm(&loop, &a.timer, 20);                          /* again, later */
	timer_disarm(&b.timer);
	timer_disarm(&b.timer);
	assert_false(timer_armed(&b.timer));
	while (strlen(story) < 2)
		once(-1);
	assert_string_equal(story, "ca");
	once(0);
	assert_string_equal(story, "ca");
}

static void a_callback_may_stop_one_that_is_due(void **state)
{
	(void)state;
	struct alarm a = alarm_named('a'), b = alarm_named('b');
	a.victim = &b;
	b.victim = &a;
	timer_arm(&loop, &a.timer, 0);
	timer_arm(&loop, &b.timer, 0);
	once(0);
	once(0);
	assert_string_equal(story, "a");
}

/* Timers that rearm themselves at once must not keep descriptors from being looked at. */
static void eager_timers_do_not_starve_descriptors(void **state)
{
	(void)state;
	struct alarm a = alarm_named('a'), b = alarm_named('b');
	a.again_ms = b.again_ms = 0;
	struct source s;
	open_source(&s, 's', true);
	timer_arm(&loop, &a.timer, 0);
	timer_arm(&loop, &b.timer, 0);
	for (int i = 0; i < 3; i++)
		once(0);
	assert_string_equal(story, "sabsabsab");
	close_source(&s);
	timer_disarm(&a.timer);
	timer_disarm(&b.timer);
}

static void waiting_ends_with_the_first_timer_or_the_limit(void **state)
{
	(void)state;
	struct alarm a = alarm_named('a');
	timer_arm(&loop, &a.timer, 3600 * 1000);
	int64_t from = clock_monotonic_ms();
	once(10);
	int64_t took = clock_monotonic_ms() - from;
	assert_true(took >= 9 && took < 5000);
	assert_string_equal(story, "");
	timer_arm(&loop, &a.timer, 10);
	once(3600 * 1000);
	once(0);
	assert_string_equal(story, "a");
	timer_arm(&loop, &a.timer, INT64_C(1) << 40);            /* longer than epoll can wait */
	once(0);
	timer_disarm(&a.timer);
}

static void on_stop(struct timer *t) { (void)t; loop.stop = true; }

static void run_ends_when_told(void **state)
{
	(void)state;
	struct timer t = { .on_expiry = on_stop };
	struct err err;
	timer_arm(&loop, &t, 5);
	assert_int_equal(loop_run(&loop, &err), 0);
	assert_true(loop.stop);
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(ready_descriptors_are_told),
		LOOP_TEST(a_callback_may_free_one_that_waits),
		LOOP_TEST(a_callback_may_free_itself),
		LOOP_TEST(all_ready_descriptors_get_their_turn),
		LOOP_TEST(adding_a_bad_descriptor_fails),
		LOOP_TEST(descriptors_do_not_leak_into_children),
		LOOP_TEST(timers_run_in_order),
		LOOP_TEST(timers_can_be_moved_and_stopped),
		LOOP_TEST(a_callback_may_stop_one_that_is_due),
		LOOP_TEST(eager_timers_do_not_starve_descriptors),
		LOOP_TEST(waiting_ends_with_the_first_timer_or_the_limit),
		LOOP_TEST(run_ends_when_told),
	};
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
