/* The launcher's side of format/launch.h: messages in, slots, messages out. It distrusts the prover: a
 * message can open, start, cancel and close slots within the configured sizes, and nothing else. */
#ifndef ENCLAVE_LAUNCHER_LAUNCHER_H
#define ENCLAVE_LAUNCHER_LAUNCHER_H

#include "enclave/launcher/slot.h"

struct queued { uint8_t bytes[LAUNCH_MESSAGE_MAX]; size_t n; int fd; };

struct launcher {
	struct loop loop;
	const struct config *config;
	struct cgroup_homes homes;
	struct slot_host host;
	struct slot slot[LAUNCH_SLOTS_MAX];
	struct guards guards;
	struct watch prover, signals;
	struct timer crs_due;
	bool crs_checked;
	int signal_fd;
	bool stopping;
	int exit_code;
	/* messages the prover's socket had no room for; while there are any, nothing is read from it */
	struct queued queue[LAUNCHER_SEND_QUEUE];
	size_t queue_head, queue_n;
};

/* Sets up the loop, the cgroups and the slots, and builds one cell to see what the machine gives: guards
 * is filled in. -errno: no cell can be built here; err says why and what to do. config is borrowed. */
int launcher_open(struct launcher *l, const struct config *config, struct err *err);

/* Hashes the pinned CRS files, unless that was done. launcher_serve does it by itself, before the first job at the latest. */
int launcher_check_crs(struct launcher *l, struct err *err);

/* Serves the prover on its socket (borrowed) until it closes or a signal says stop; then everything is
 * killed, reaped and removed. Returns the exit code. */
int launcher_serve(struct launcher *l, int prover_socket);

/* Removes what launcher_open made. All slots are closed by then. */
void launcher_close(struct launcher *l);

#endif
