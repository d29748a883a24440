/* What QEMU needs to know about the machine it is on, and the argument vector that says it. */
#ifndef SIM_QEMU_MACHINE_H
#define SIM_QEMU_MACHINE_H

#include "sim/qemu_program.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { QEMU_ARGS_MAX = 64, QEMU_TEXT_MAX = 4096 };

/* Whether KVM runs a guest here, found out by letting it: the kernel in this memfd, without anything to boot, panics and
 * resets within a second. The verdict is kept beside the instances' runtime directories until this machine boots again. */
bool qemu_kvm_works(const struct qemu_program *q, int kernel_fd);

/* Frequency of this machine's TSC in kHz, which software emulation passes on: a guest on a busy host cannot find out. */
uint32_t qemu_tsc_khz(void);

struct qemu_machine {
	const char *program;
	bool kvm;
	uint64_t memory_mib, cpus;
	const char *cmdline;
	uint32_t tsc_khz;
	/* descriptors as QEMU has them */
	int kernel, initrd;                      /* initrd -1: none */
	int vsock;                               /* vhost-user socket; -1: no vsock and no NSM */
	int console;                             /* -1: nowhere */
};
/* A NULL-terminated vector, its strings in text. */
int qemu_argv(const struct qemu_machine *m, const char *ret_argv[QEMU_ARGS_MAX], char text[QEMU_TEXT_MAX], struct err *err);

#endif
