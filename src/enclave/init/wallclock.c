#include "enclave/init/wallclock.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "format/attest_doc.h"
#include "format/cose_sign1.h"
#include "linux/spawn.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define YEAR_2020_MS INT64_C(1577836800000)
#define YEAR_2200_MS INT64_C(7258118400000)
#define FAR_MS (INT64_C(1) << 60)                /* our own clock may say anything */

struct answer { int64_t nsm_ms, local_ms; };     /* at the same moment */

/* Waits for the device. */
static int ask(struct nsm *nsm, struct answer *ret, struct err *err)
{
	static uint8_t document[NSM_RESPONSE_MAX];
	struct cose_sign1 cose;
	struct attest_doc doc;
	size_t n;
	int64_t before = clock_monotonic_ms();
	int bad = nsm_attest(nsm, BYTES_NONE, BYTES_NONE, BYTES_NONE, document, sizeof document, &n, err);
	if (bad != 0)
		return bad;
	if (cose_sign1_parse(bytes_of(document, n), &cose) != COSE_OK || attest_doc_parse(cose.payload, &doc) != DOC_OK)
		return fail(err, 0, "the NSM's document cannot be read");
	/* it was made somewhere between question and answer */
	int64_t took = clock_monotonic_ms() - before;
	uint64_t told = doc.timestamp_ms < (uint64_t)YEAR_2200_MS ? doc.timestamp_ms : (uint64_t)YEAR_2200_MS;
	*ret = (struct answer){ (int64_t)told + took / 2, clock_wall_ms() };
	return 0;
}

/* A time that no enclave can live in is a mistake, whoever made it; and sums of what is left do not overflow. */
static bool plausible(const struct answer *a)
{
	return a->nsm_ms >= YEAR_2020_MS && a->nsm_ms < YEAR_2200_MS && a->local_ms > -FAR_MS && a->local_ms < FAR_MS;
}

static void adjust(struct wallclock *c, const struct answer *a)
{
	if (a == NULL || !plausible(a)) {
		TELL(c->events, CONTROL_CLOCK, control_str("why", a == NULL ? "the NSM gave no time" : "the NSM gave a time that cannot be"));
		return;
	}
	int64_t drift = a->nsm_ms - a->local_ms, now = clock_wall_ms() + drift;
	bool far = drift > INIT_CLOCK_STEP_MS || drift < -INIT_CLOCK_STEP_MS;
	const struct timespec t = { .tv_sec = now / 1000, .tv_nsec = now % 1000 * 1000000 };
	bool done = far && now > 0 && clock_settime(CLOCK_REALTIME, &t) == 0;
	TELL(c->events, CONTROL_CLOCK, control_number("wall_ms", now), control_number("drift_ms", drift), control_flag("set", done));
}

static void on_answer(struct watch *w, uint32_t events)
{
	struct wallclock *c = CONTAINER_OF(w, struct wallclock, answer);
	struct answer a;
	(void)events;
	ssize_t n = read(w->fd, &a, sizeof a);
	int fd = w->fd;
	loop_del(c->loop, w);
	close(fd);
	adjust(c, n == (ssize_t)sizeof a ? &a : NULL);
}

static void on_due(struct timer *t)
{
	struct wallclock *c = CONTAINER_OF(t, struct wallclock, due);
	struct err err;
	int ends[2], pidfd;
	timer_arm(c->loop, t, INIT_CLOCK_S * 1000);
	if (c->child != 0) {                     /* asked so long ago, and no answer */
		spawn_kill(c->pidfd);
		TELL(c->events, CONTROL_CLOCK, control_str("why", "the NSM does not answer"));
	}
	if (c->answer.fd >= 0 || c->child != 0 || pipe2(ends, O_CLOEXEC) != 0)
		return;
	pid_t pid = spawn_clone(0, &pidfd, &err);
	if (pid == 0) {
		struct answer a;
		spawn_fresh();
		spawn_keep(c->nsm->fd, ends[1]);
		_exit(ask(c->nsm, &a, &err) == 0 && write(ends[1], &a, sizeof a) == (ssize_t)sizeof a ? 0 : 1);
	}
	close(ends[1]);
	if (pid < 0 || loop_add(c->loop, &c->answer, ends[0], EPOLLIN) != 0)
		close(ends[0]);
	if (pid > 0) {
		c->pidfd = pidfd;
		c->child = pid;
	}
}

void wallclock_open(struct wallclock *c, struct loop *loop, struct events *events, struct nsm *nsm)
{
	struct answer a;
	struct err err;
	c->loop = loop;
	c->events = events;
	c->nsm = nsm;
	c->answer = (struct watch){ .fd = -1, .on_event = on_answer };
	c->pidfd = -1;
	c->due.on_expiry = on_due;
	if (nsm->fd < 0)
		return;
	adjust(c, ask(nsm, &a, &err) == 0 ? &a : NULL);
	timer_arm(loop, &c->due, INIT_CLOCK_S * 1000);
}

void wallclock_reaped(struct wallclock *c, pid_t pid)
{
	if (pid != c->child)
		return;
	c->child = 0;
	close_fd(&c->pidfd);
}
