/* Words for the service manager: sd_notify(3)'s protocol, one datagram to the socket that NOTIFY_SOCKET names. Without
 * the variable nothing happens. Taking the variables removes them, so that no child speaks for us. */
#ifndef HOST_NOTIFY_H
#define HOST_NOTIFY_H

#include <stdint.h>
#include <sys/un.h>

struct notify {
	int fd;                                  /* owned; -1: nobody listens */
	struct sockaddr_un to;
	unsigned to_n;
	int64_t watchdog_ms;                     /* how often we must say that all is well; 0: nobody waits for it */
};

void notify_open(struct notify *n);
/* "READY=1", "WATCHDOG=1", "STOPPING=1", "STATUS=…"; a word that cannot be delivered is lost. */
void notify_say(const struct notify *n, const char *word);
void notify_close(struct notify *n);

#endif
