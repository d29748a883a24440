/* The whole verdict on a kernel: what it is, where its configuration comes from, the module that may go with it, and
 * what the rules (image/kernel_rules.h) say. */
#ifndef IMAGE_KERNEL_CHECK_H
#define IMAGE_KERNEL_CHECK_H

#include "image/kernel_rules.h"

/* Whatever was learned, up to the point where code says it ended. */
struct kernel_check {
	enum kernel_code code;
	const char *about;                   /* the file that code is about; borrowed */
	bool has_kernel;
	struct kernel_image kernel;
	const char *config_from;             /* NULL: none was found */
	struct kernel_report report;
};

/* The kernel's own configuration is the truth; config counts where there is none to be had. path NULL: the
 * configuration alone is checked. config_path and module_path NULL: not given. needs: enum kernel_need, or'ed. */
void kernel_check_run(struct kernel_check *v, const char *path, struct bytes file, const char *config_path,
                      struct bytes config, const char *module_path, struct bytes module, unsigned needs);

#endif
