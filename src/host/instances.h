/* The instances of this host, by all that knows of one: runtime directories, configurations, histories. What is true of one
 * is what its lock and its socket say now, not what was configured or asked for. */
#ifndef HOST_INSTANCES_H
#define HOST_INSTANCES_H

#include "host/history.h"
#include "host/run_dir.h"

enum { INSTANCES_MAX = 64, INSTANCE_NAME_SIZE = 66 };

enum instance_state {
	INSTANCE_STOPPED,                /* ended in order, or never ran */
	INSTANCE_FAILED,                 /* ended by itself */
	INSTANCE_KILLED,                 /* no end was written, and nobody holds its lock */
	INSTANCE_ALIVE                   /* its owner runs; what it does, it says itself */
};

struct instance {
	char name[INSTANCE_NAME_SIZE];
	char dir[RUN_DIR_MAX];
	bool configured;                 /* there is /etc/tee-rex/NAME.yaml */
	bool left_over;                  /* a runtime directory that nobody holds */
	enum instance_state state;
	struct history history;
};

/* What is known of one by its name. -ENOENT: nothing. */
int instance_find(const char *name, struct instance *ret, struct err *err);
/* All of them, by name; at most cap. */
int instances_list(struct instance *ret, size_t cap, size_t *ret_n, struct err *err);

#endif
