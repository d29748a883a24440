#include "base/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

int loop_open(struct loop *l, struct err *err)
{
	memset(l, 0, sizeof *l);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return l->epoll_fd < 0 ? fail(err, errno, "epoll_create1") : 0;
}

void loop_close(struct loop *l)
{
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	l->epoll_fd = -1;
}

int loop_add(struct loop *l, struct watch *w, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
		return -errno;
	w->fd = fd;
	w->events = events;
	return 0;
}

void loop_set(struct loop *l, struct watch *w, uint32_t events)
{
	if (w->events != events)
		loop_again(l, w, events);
}

void loop_again(struct loop *l, struct watch *w, uint32_t events)
{
	if (w->fd < 0)
		return;
	struct epoll_event e = { .events = events, .data.ptr = w };
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &e) == 0)
		w->events = events;
}

void loop_del(struct loop *l, struct watch *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
	/* events already fetched must not reach a structure that is going away */
	for (int i = l->batch_at; i < l->batch_n; i++)
		if (l->batch[i].data.ptr == w)
			l->batch[i].data.ptr = NULL;
}

void timer_disarm(struct timer *t)
{
	if (t->link == NULL)
		return;
	*t->link = t->next;
	if (t->next != NULL)
		t->next->link = t->link;
	t->link = NULL;
}

void timer_arm(struct loop *l, struct timer *t, int64_t delay_ms)
{
	timer_disarm(t);
	t->deadline_ms = clock_monotonic_ms() + delay_ms;
	struct timer **at = &l->timers;
	while (*at != NULL && (*at)->deadline_ms <= t->deadline_ms)
		at = &(*at)->next;
	t->next = *at;
	t->link = at;
	if (t->next != NULL)
		t->next->link = &t->next;
	*at = t;
}

static int wait_ms(const struct loop *l, int max_ms)
{
	if (l->timers == NULL)
		return max_ms;
	int64_t left = l->timers->deadline_ms - clock_monotonic_ms();
	if (left < 0)
		left = 0;
	if (left > INT_MAX)
		left = INT_MAX;
	return max_ms >= 0 && max_ms < left ? max_ms : (int)left;
}

/* Only what is due now, set aside first: a timer that rearms itself with 0 runs in the next round, after the
 * descriptors had theirs. A callback may still disarm one that waits here. */
static void run_due(struct loop *l)
{
	int64_t now = clock_monotonic_ms();
	struct timer **end = &l->timers;
	while (*end != NULL && (*end)->deadline_ms <= now)
		end = &(*end)->next;
	if (end == &l->timers)
		return;
	l->due = l->timers;
	l->due->link = &l->due;
	l->timers = *end;
	if (l->timers != NULL)
		l->timers->link = &l->timers;
	*end = NULL;
	while (l->due != NULL) {
		struct timer *t = l->due;
		timer_disarm(t);
		t->on_expiry(t);
	}
}

int loop_once(struct loop *l, int max_ms, struct err *err)
{
	int n = epoll_wait(l->epoll_fd, l->batch, LOOP_BATCH, wait_ms(l, max_ms));
	if (n < 0 && errno != EINTR)
		return fail(err, errno, "epoll_wait");
	l->batch_n = n < 0 ? 0 : n;
	for (l->batch_at = 0; l->batch_at < l->batch_n;) {
		struct epoll_event *e = &l->batch[l->batch_at++];
		struct watch *w = e->data.ptr;
		if (w != NULL)
			w->on_event(w, e->events);
	}
	run_due(l);
	return 0;
}

int loop_run(struct loop *l, struct err *err)
{
	while (!l->stop) {
		int ret = loop_once(l, -1, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}
