/* Positive controls: the attack tests show that each probe succeeds once the guard against it is off, so that
 * they prove the guard and not a broken probe. Only a launcher built with -DTEEREX_TEST_GUARDS can switch
 * guards off (build/tests/tee-rex-launcher-UNSAFE, never installed; by the environment variable of unsafe.c).
 * In the shipped program every one of these is the constant "no", and scripts/check-hardening looks that
 * nothing of them is in it. */
#ifndef ENCLAVE_LAUNCHER_UNSAFE_H
#define ENCLAVE_LAUNCHER_UNSAFE_H

#include "base/fail.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef TEEREX_TEST_GUARDS
/* True when the test switched this guard off. */
bool guard_off(const char *name);
/* Changes ids and keeps the capabilities the kernel leaves. */
int unsafe_change_ids(uid_t uid, gid_t gid, struct err *err);
/* A directory of the host as the job's: what the last job left is still there. Returns its mount. */
int unsafe_job_directory(uint64_t attributes, struct err *err);
/* The n-th name in the host's root directory, or NULL. */
const char *unsafe_host_name(unsigned n);
#else
static inline bool guard_off(const char *name) { (void)name; return false; }
static inline int unsafe_change_ids(uid_t uid, gid_t gid, struct err *err) { (void)uid, (void)gid, (void)err; return -ENOSYS; }
static inline int unsafe_job_directory(uint64_t attributes, struct err *err) { (void)attributes, (void)err; return -ENOSYS; }
static inline const char *unsafe_host_name(unsigned n) { (void)n; return NULL; }
#endif

#endif
