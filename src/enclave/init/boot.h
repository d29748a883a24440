/* From the kernel's hand-over to a machine that services can run on, once, in order; each step may fail, and then the
 * enclave must not run. The only part of init that waits for anything (the NSM), because nothing else exists yet. */
#ifndef ENCLAVE_INIT_BOOT_H
#define ENCLAVE_INIT_BOOT_H

#include "format/service_table.h"
#include "linux/nsm_dev.h"

#include <sys/types.h>

#define BOOT_APP "/app"
#define BOOT_MODULE "/nsm.ko"

/* proc, sys, dev, run, tmp, cgroups. */
int boot_mounts(struct err *err);
/* Sysctls, address of lo, host name. */
int boot_system(const struct service_table *t, struct err *err);
/* Loads the NSM's driver where the image brings it as a module (a kernel that has it built in needs none); afterwards the kernel
 * loads no module any more, whoever asks. */
int boot_module(struct err *err);
/* Opens the NSM and credits the kernel with its random bytes; without it no key may be made. */
int boot_entropy(struct nsm *nsm, dev_t *ret_device, struct err *err);
/* The application's root at BOOT_APP, by the table's layout. */
int boot_application(const struct service_table *t, struct err *err);

#endif
