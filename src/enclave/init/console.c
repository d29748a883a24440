#include "enclave/init/console.h"

#include "linux/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static int console = -1;

void console_open(void)
{
	console = open("/dev/console", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void console_say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line - 2, fmt, ap);
	va_end(ap);
	if (n < 0 || console < 0)
		return;
	size_t size = (size_t)n < sizeof line - 3 ? (size_t)n : sizeof line - 3;
	line[size++] = '\r';
	line[size++] = '\n';
	if (write(console, line, size) < 0)
		return;                          /* stuck, or none */
}

int console_quiet_kernel(struct err *err)
{
	int bad = small_file_write("", "/proc/sys/kernel/printk", "1", err);
	return bad == -ENOENT ? 0 : bad;         /* one that cannot print */
}
