/* One supervised child process: started with named inherited descriptors (LISTEN_FDS convention), its own
 * user where we are root, its standard error collected line by line, its end seen through a pidfd. A child
 * never outlives us: the kernel signals it when this process dies, however it dies. */
#ifndef HOST_CHILD_H
#define HOST_CHILD_H

#include "base/fail.h"
#include "base/loop.h"

#include <sys/types.h>

enum { CHILD_FDS_MAX = 6, CHILD_LINE_MAX = 1024 };

struct child_fd { const char *name; int fd; };           /* fd stays the caller's */

struct child_spec {
	const char *name;                        /* for log lines */
	const char *const *argv;                 /* argv[0] is the program's path */
	const char *const *env;                  /* "NAME=value" besides ours; NULL ends it; NULL: none */
	struct child_fd fds[CHILD_FDS_MAX];      /* unused entries have a NULL name */
	uid_t uid;                               /* 0: as we are; else also the group of the same number */
	int death_signal;                        /* what it gets when we die */
	bool keep_stdout;                        /* it writes to ours; otherwise to nowhere */
};

struct child {
	const char *name;
	pid_t pid;                               /* 0: not running */
	struct watch exited;                     /* pidfd, owned */
	struct watch errors;                     /* read end of its standard error, owned */
	struct loop *loop;
	char line[CHILD_LINE_MAX];
	size_t line_n;
	/* status as of wait(2). The descriptors are closed already. */
	void (*on_exit)(struct child *c, int status);
};

/* on_exit must be set. -errno when it could not be started; a program that cannot be executed shows as an
 * exit with status 127 and a line on standard error. */
int child_start(struct child *c, struct loop *loop, const struct child_spec *spec, struct err *err);
/* Sends a signal if it still runs. */
void child_signal(struct child *c, int signal_number);
static inline bool child_running(const struct child *c) { return c->pid != 0; }

#endif
