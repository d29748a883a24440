/* /dev/console: early lines, and the reason of an end. Written without waiting, and never closed: closing a serial line waits
 * until everything was taken, which with a reader that is stuck is never. */
#ifndef ENCLAVE_INIT_CONSOLE_H
#define ENCLAVE_INIT_CONSOLE_H

#include "base/fail.h"

void console_open(void);
/* What does not fit is lost. Safe in a signal handler but for the formatting. */
void console_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* From here on the kernel prints nothing but its own end: printing to a stuck line costs it 10 ms a character. */
int console_quiet_kernel(struct err *err);

#endif
