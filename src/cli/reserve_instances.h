/* What the configured instances of a host need together: /etc/tee-rex/NAME.yaml, those that run on hardware. */
#ifndef CLI_RESERVE_INSTANCES_H
#define CLI_RESERVE_INSTANCES_H

#include "host/reserve.h"

/* Adds an enclave for each, in the order of their names, and their CPUs. root: "" or what stands before /etc. -EINVAL when a
 * configuration is wrong, does not say how much memory, there is none, or there are too many. */
int reserve_instances(const char *root, struct reserve_request *q, struct err *err);

#endif
