/* The runtime directory of an instance: BASE/NAME, held by a lock as long as the instance lives.
 *
 *     /run/tee-rex for root, $XDG_RUNTIME_DIR/tee-rex or /tmp/tee-rex-UID for a user      BASE
 *     BASE/.lock                   held while directories come and go
 *     BASE/NAME/lock               held by whoever owns the instance; its pid is inside
 *     BASE/NAME/service.sock       frames to the service; of a Nitro enclave a symbolic link whose text is its address
 *     BASE/NAME/admin.sock         for the operator (host/admin.h)
 *     BASE/NAME/…                  what the backend needs
 *
 * Whatever is there without its lock being held was left by a killed instance and is removed by the next start of any. */
#ifndef HOST_RUN_DIR_H
#define HOST_RUN_DIR_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>

enum { RUN_DIR_MAX = 96 };                       /* so that a socket inside has an address (108 bytes) */

struct run_dir {
	int lock;                                /* owned; -1: not held */
	char path[RUN_DIR_MAX];
};
#define RUN_DIR_NONE ((struct run_dir){ .lock = -1 })

/* Where instances are for this user. */
int run_dir_base(char *buf, size_t cap, struct err *err);
/* Where an instance that others own may be looked for: this user's directory of that name if there is one, else root's. */
int run_dir_find(const char *name, char *buf, size_t cap, struct err *err);
/* Makes and locks it, empty. -EWOULDBLOCK: an instance of this name runs. */
int run_dir_open(struct run_dir *d, const char *name, struct err *err);
/* Empties and removes it; harmless when it is not held. */
void run_dir_close(struct run_dir *d);
/* Whether somebody holds the instance directory's lock; true where we may not look. */
bool run_dir_alive(const char *path);

#endif
