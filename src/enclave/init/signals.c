#include "enclave/init/signals.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

bool signals_genuine(const siginfo_t *info)
{
#ifdef TEEREX_TEST_GUARDS
	if (info != NULL)
		return true;                     /* to show what would happen */
#endif
	return info->si_code > 0 || (info->si_code == SI_TKILL && info->si_pid == getpid());
}

/* --- children ---------------------------------------------------------------------------------------- */
/* One signal may stand for many. */
static void reap(struct signals *s)
{
	for (int i = 0; i < INIT_REAP; i++) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid <= 0)
			return;
		s->on_reaped(s, pid, status);
	}
	timer_arm(s->loop, &s->more, 0);
}

static void on_more(struct timer *t) { reap(CONTAINER_OF(t, struct signals, more)); }

/* --- what nobody may send ------------------------------------------------------------------------------ */
static void tell(struct signals *s)
{
	s->told = s->refused;
	TELL(s->events, CONTROL_REFUSED, control_str("what", "a signal from inside"), control_number("signal", s->last_signal),
	     control_number("pid", s->last_pid), control_number("count", (int64_t)s->refused));
	timer_arm(s->loop, &s->again, INIT_REFUSED_S * 1000);
}

static void on_again(struct timer *t)
{
	struct signals *s = CONTAINER_OF(t, struct signals, again);
	if (s->refused > s->told)
		tell(s);
}

void signals_refuse(struct signals *s, uint64_t count, int signal, pid_t pid)
{
	s->refused += count;
	s->last_signal = signal;
	s->last_pid = pid;
	if (!timer_armed(&s->again))
		tell(s);
}

/* --- both ------------------------------------------------------------------------------------------------ */
/* What is left is read in the next turn. A child's end that comes while somebody's SIGCHLD waits has no signal of its own. */
static void on_signal(struct watch *w, uint32_t events)
{
	struct signals *s = CONTAINER_OF(w, struct signals, watch);
	struct signalfd_siginfo info[INIT_SIGNALS];
	bool children = false;
	(void)events;
	ssize_t n = read(w->fd, info, sizeof info);
	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof *info; i++) {
		children = children || info[i].ssi_signo == SIGCHLD;
		if (info[i].ssi_code <= 0)
			signals_refuse(s, 1, (int)info[i].ssi_signo, (pid_t)info[i].ssi_pid);
	}
	if (children && !timer_armed(&s->more))
		reap(s);
}

int signals_open(struct signals *s, struct err *err)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGALRM };
	sigset_t set;
	sigfillset(&set);
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		sigdelset(&set, own[i]);
	if (sigprocmask(SIG_SETMASK, &set, NULL) != 0)
		return fail(err, errno, "block signals");
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->watch = (struct watch){ .fd = -1, .on_event = on_signal };
	s->more.on_expiry = on_more;
	s->again.on_expiry = on_again;
	int bad = fd < 0 ? -errno : loop_add(s->loop, &s->watch, fd, EPOLLIN);
	return bad != 0 ? fail(err, -bad, "watch for children") : 0;
}
