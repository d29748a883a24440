/* Where the gateway listens: ADDR:PORT, [ADDR]:PORT or unix:PATH. */
#ifndef HOST_GATEWAY_LISTEN_H
#define HOST_GATEWAY_LISTEN_H

#include "base/fail.h"

#include <sys/types.h>
#include <sys/un.h>

struct listener {
	int fd;                          /* owned; -1: none, or passed on */
	char path[sizeof ((struct sockaddr_un *)0)->sun_path];   /* of a unix socket; else empty */
	ino_t inode;
	dev_t device;
};

/* -errno or -1 and a sentence. mode is of a unix socket, and one that nobody
 * listens on any more is replaced. */
int listener_open(const char *text, mode_t mode, struct listener *l, struct err *err);
/* A socket that somebody else has made: it must listen. l takes it over. */
int listener_inherit(int fd, const char *name, struct listener *l, struct err *err);
/* Closes what it still has, and removes the unix socket's file when it is still the one made here. */
void listener_close(struct listener *l);
/* Logs where it is, after such words as "listening on". */
void listener_say(const struct listener *l, const char *what);

#endif
