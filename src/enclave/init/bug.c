#include "enclave/init/bug.h"

#include "base/clock.h"
#include "enclave/init/console.h"

#include <stdio.h>
#include <sys/reboot.h>
#include <sys/time.h>
#include <unistd.h>

static const struct events *channel;
static volatile sig_atomic_t turned_s;
static volatile sig_atomic_t forged, forged_signal, forged_pid;  /* written by handlers */
static sig_atomic_t forged_told;
static struct loop *turning;
static struct signals *refuser;
static struct timer pulse;

enum { LOOK_S = 10 };

static sig_atomic_t now_s(void) { return (sig_atomic_t)(clock_monotonic_ms() / 1000); }

void power_off(void)
{
	reboot(RB_AUTOBOOT);
	_exit(1);                                /* the kernel panics when PID 1 ends, which ends the machine too */
}

/* Formatting with numbers only, into a buffer on this stack: what a handler may do. */
static void die(const char *what, int number, const void *where)
{
	char text[128];
	uint8_t line[512];
	struct writer w = writer_of(line, sizeof line);
	snprintf(text, sizeof text, "%s %d at %p", what, number, where);
	const struct control_field f[] = { control_str("text", text), CONTROL_END };
	put_u8(&w, '\n');                        /* a line may be half written */
	control_put(&w, CONTROL_BUG, 0, clock_monotonic_ms(), f);
	if (channel != NULL)
		events_last_words(channel, writer_bytes(&w));
	console_say("tee-rex-init: bug: %s; the enclave ends", text);
	usleep(100 * 1000);                      /* for what is on its way; this is the end, nobody is served any more */
	power_off();
}

/* A service of user 0 can send what a fault would. It is noted, and the loop tells. */
static bool refuse(int number, const siginfo_t *info)
{
	if (signals_genuine(info))
		return false;
	forged_signal = number;
	forged_pid = info->si_pid;
	forged = forged + 1;
	return true;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (!refuse(number, info))
		die("signal", number, info->si_addr);
}

/* The pulse is a timer of the loop: while it beats, the loop turns. An alarm that somebody sent finds no more than that. */
static void on_alarm(int number, siginfo_t *info, void *context)
{
	(void)context;
	refuse(number, info);                    /* one that was sent may stand for the timer's, too: it is looked in any case */
	if (now_s() - turned_s >= INIT_STUCK_S)
		die("stuck for seconds:", INIT_STUCK_S, NULL);
}

static void on_pulse(struct timer *t)
{
	sig_atomic_t seen = forged;
	turned_s = now_s();
	if (seen != forged_told)
		signals_refuse(refuser, (uint64_t)((unsigned)seen - (unsigned)forged_told), forged_signal, forged_pid);
	forged_told = seen;
	timer_arm(turning, t, LOOK_S * 1000 / 2);
}

void bug_watch(struct loop *loop, const struct events *events, struct signals *signals)
{
	static uint8_t stack[32 << 10];          /* the frame alone takes 12 KiB where the processor has the largest registers */
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
	const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	/* one at a time, or what is sent could fill their stack. A fault in a handler finds itself blocked: then the kernel kills PID 1 and
	 * panics, which is an end, too */
	struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct sigaction alarmed = { .sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	const struct itimerval every = { .it_interval = { .tv_sec = LOOK_S }, .it_value = { .tv_sec = LOOK_S } };
	sigfillset(&fault.sa_mask);
	sigfillset(&alarmed.sa_mask);
	channel = events;
	turning = loop;
	refuser = signals;
	pulse.on_expiry = on_pulse;
	on_pulse(&pulse);
	sigaltstack(&alternate, NULL);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigaction(faults[i], &fault, NULL);
	sigaction(SIGALRM, &alarmed, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}
