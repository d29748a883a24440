/* What a kernel's configuration must have, should have and must not have to run an enclave: one table
 * (kernel_rules.c), each row with its reason. The fragments in kernel/ satisfy all of it. */
#ifndef IMAGE_KERNEL_RULES_H
#define IMAGE_KERNEL_RULES_H

#include "image/kernel.h"

/* What the image is going to ask of its kernel; a row for one of these is required when it is asked, and otherwise
 * only degrades. */
enum kernel_need {
	KERNEL_NEED_RD_GZIP = 1, KERNEL_NEED_RD_ZSTD = 2,        /* how its ramdisks are compressed */
	KERNEL_NEED_SQUASHFS = 4                                 /* how the application is laid out */
};

struct kernel_want {
	enum kernel_arch arch;
	unsigned needs;                      /* enum kernel_need, or'ed */
	bool nsm_module;                     /* nsm.ko comes with the image */
};

struct kernel_rule {
	const char *option;                  /* "NSM", without CONFIG_ */
	const char *word;                    /* NULL, or what must be in the option's quoted list */
	bool on;                             /* true: must be built in; false: must not be */
	bool fatal;                          /* true: without it no enclave; false: works, with less */
	unsigned arches;                     /* enum kernel_arch, or'ed */
	unsigned need;                       /* 0, or the need that makes it fatal */
	const char *why;
};

enum kernel_verdict { KERNEL_MISSING, KERNEL_FORBIDDEN, KERNEL_DEGRADED, KERNEL_VERDICTS };
const char *kernel_verdict_name(enum kernel_verdict v);      /* "missing" … */

struct kernel_finding { const struct kernel_rule *rule; enum kernel_verdict verdict; bool module; /* it is =m */ };

enum { KERNEL_RULES_MAX = 96 };
struct kernel_report {
	struct kernel_finding finding[KERNEL_RULES_MAX];     /* in the order of the table */
	size_t n;
	size_t count[KERNEL_VERDICTS];
	size_t bad_line;                     /* after BAD_CONFIG: the line that is none, from 1; 0: no option at all */
};

/* KERNEL_OK: fits, though degraded findings may be there. KERNEL_UNFIT: something is missing or forbidden.
 * KERNEL_BAD_CONFIG: config is no kernel configuration. An option that appears twice counts as it appears last. */
enum kernel_code kernel_check_config(struct bytes config, const struct kernel_want *want, struct kernel_report *ret);

/* The table itself, for tests and documentation. */
const struct kernel_rule *kernel_rules(size_t *ret_n);

#endif
