#include "enclave/init/bug.h"

#include "base/clock.h"
#include "enclave/init/console.h"

#include <signal.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <sys/time.h>
#include <unistd.h>

static const struct events *channel;
static volatile sig_atomic_t turns, turns_seen, looked;
static struct loop *turning;
static struct timer pulse;

enum { LOOK_S = 10 };

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

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	die("signal", number, info->si_addr);
}

/* The pulse is a timer of the loop: while it beats, the loop turns. */
static void on_alarm(int number)
{
	(void)number;
	if (turns != turns_seen)
		looked = 0;
	else if (++looked >= INIT_STUCK_S / LOOK_S)
		die("stuck for seconds:", INIT_STUCK_S, NULL);
	turns_seen = turns;
}

static void on_pulse(struct timer *t)
{
	turns = turns + 1;
	timer_arm(turning, t, LOOK_S * 1000 / 2);
}

void bug_watch(struct loop *loop, const struct events *events)
{
	static uint8_t stack[16 << 10];
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
	const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = (int)(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND) };
	struct sigaction alarmed = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART };
	const struct itimerval every = { .it_interval = { .tv_sec = LOOK_S }, .it_value = { .tv_sec = LOOK_S } };
	channel = events;
	turning = loop;
	pulse.on_expiry = on_pulse;
	on_pulse(&pulse);
	sigaltstack(&alternate, NULL);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigaction(faults[i], &fault, NULL);
	sigaction(SIGALRM, &alarmed, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}
