/* Landlock: what a process and its descendants may still do with files by path, beside every other rule
 * (landlock(7)). The kernel's rights are named here once, because the headers of older systems know fewer.
 *
 *     ABI 1  files and directories        4  TCP bind and connect      6  abstract sockets, signals
 *         2  renaming across directories  5  ioctls of devices         7  the job cannot make audit records
 *         3  truncation
 *
 * Each kernel enforces what it knows; a process that enters stays inside, and cannot trace, signal (ABI 6) or
 * mount outside. */
#ifndef LINUX_LANDLOCK_H
#define LINUX_LANDLOCK_H

#include "base/fail.h"

#include <stddef.h>
#include <stdint.h>

enum {
	LANDLOCK_EXECUTE = 1 << 0, LANDLOCK_WRITE_FILE = 1 << 1, LANDLOCK_READ_FILE = 1 << 2, LANDLOCK_READ_DIR = 1 << 3,
	LANDLOCK_REMOVE_DIR = 1 << 4, LANDLOCK_REMOVE_FILE = 1 << 5, LANDLOCK_MAKE_DIR = 1 << 7, LANDLOCK_MAKE_REG = 1 << 8,
	LANDLOCK_MAKE_FIFO = 1 << 10, LANDLOCK_MAKE_SYM = 1 << 12, LANDLOCK_REFER = 1 << 13, LANDLOCK_TRUNCATE = 1 << 14,

	LANDLOCK_LOOK = LANDLOCK_READ_FILE | LANDLOCK_READ_DIR,
	/* everything but devices, sockets and programs */
	LANDLOCK_OWN = LANDLOCK_LOOK | LANDLOCK_WRITE_FILE | LANDLOCK_REMOVE_DIR | LANDLOCK_REMOVE_FILE | LANDLOCK_MAKE_DIR |
	               LANDLOCK_MAKE_REG | LANDLOCK_MAKE_FIFO | LANDLOCK_MAKE_SYM | LANDLOCK_REFER | LANDLOCK_TRUNCATE,
};

/* Allowed at path (a file, or a directory and all below it); a path that cannot be opened allows nothing. */
struct landlock_place { const char *path; uint32_t rights; };

/* The version the running kernel speaks; 0: it has no landlock, or landlock is switched off. */
int landlock_abi(void);

/* Refuses everything that this kernel's landlock knows, but for the places. Needs no_new_privs (or
 * CAP_SYS_ADMIN). -ENOSYS: there is no landlock. For a process of one thread; cannot be undone. */
int landlock_enter(const struct landlock_place *places, size_t count, struct err *err);

#endif
