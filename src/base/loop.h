/* A single-threaded epoll loop with timers. Watches and timers are embedded in the caller's
 * structures, so the loop allocates nothing; CONTAINER_OF leads back to the owner.
 *
 * A callback may remove and free any watch or timer, its own and those still waiting in the
 * same batch included. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

enum { LOOP_BATCH = 64 };

struct watch {
	int fd;                                          /* not owned; -1 while not in a loop */
	uint32_t events;                                 /* EPOLLIN … as last set */
	void (*on_event)(struct watch *w, uint32_t events);
};

struct timer {
	int64_t deadline_ms;                             /* monotonic */
	void (*on_expiry)(struct timer *t);
	struct timer *next, **link;                      /* link is NULL while not armed */
};

struct loop {
	int epoll_fd;
	bool stop;
	struct timer *timers;                            /* earliest first */
	struct timer *due;                               /* those of this round still to run */
	struct epoll_event batch[LOOP_BATCH];
	int batch_n, batch_at;
};

/* -errno on failure. loop_close releases the descriptor only. */
int loop_open(struct loop *l, struct err *err);
void loop_close(struct loop *l);

/* Adds w for fd. w->on_event must be set. -errno when epoll refuses. */
int loop_add(struct loop *l, struct watch *w, int fd, uint32_t events);
/* Changes what w waits for; no system call when nothing changes. */
void loop_set(struct loop *l, struct watch *w, uint32_t events);
/* … and is told again of what there is now, edge-triggered or not. */
void loop_again(struct loop *l, struct watch *w, uint32_t events);
/* Forgets w; harmless when it is not in the loop. Call before closing its descriptor. */
void loop_del(struct loop *l, struct watch *w);

/* (Re)arms t to fire once, delay_ms from now. t->on_expiry must be set. */
void timer_arm(struct loop *l, struct timer *t, int64_t delay_ms);
void timer_disarm(struct timer *t);
static inline bool timer_armed(const struct timer *t) { return t->link != NULL; }

/* Waits up to max_ms (-1: as long as it takes) and runs what is due. -errno or 0. */
int loop_once(struct loop *l, int max_ms, struct err *err);
/* Runs until l->stop is set. */
int loop_run(struct loop *l, struct err *err);

#endif
