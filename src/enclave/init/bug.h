/* PID 1 must not hang in silence. A fault or a failed assertion in it, or a turn of its loop that takes INIT_STUCK_S seconds, says
 * what it is on the control channel and the console, and ends the enclave. */
#ifndef ENCLAVE_INIT_BUG_H
#define ENCLAVE_INIT_BUG_H

#include "enclave/init/events.h"
#include "enclave/init/signals.h"

/* Handlers for SIGSEGV and its like, on a stack of their own; SIGALRM looks whether the loop still turns. The same signals from processes
 * inside are refused (signals.h). */
void bug_watch(struct loop *loop, const struct events *events, struct signals *signals);

/* The end of the machine: on Nitro a reset is the end of the enclave, and powering off without ACPI would only halt. */
__attribute__((noreturn)) void power_off(void);

#endif
