#include "image/kernel_check.h"

#include "base/cleanup.h"
#include "image/kernel_config.h"

/* "6.12.95-enclave": 5.14 or later. What does not begin with two numbers is not known, and let through. */
static bool new_enough(struct bytes release)
{
	unsigned number[2] = { 0, 0 };
	size_t at = 0;
	for (int i = 0; i < 2; i++) {
		size_t begin = at;
		for (; at < release.n && at < begin + 4 && release.p[at] >= '0' && release.p[at] <= '9'; at++)
			number[i] = 10 * number[i] + (unsigned)(release.p[at] - '0');
		if (at == begin || (i == 0 && (at == release.n || release.p[at++] != '.')))
			return true;
	}
	return number[0] > 5 || (number[0] == 5 && number[1] >= 14);
}

void kernel_check_run(struct kernel_check *v, const char *path, struct bytes file, const char *config_path,
                      struct bytes config, const char *module_path, struct bytes module, unsigned needs)
{
	struct kernel_want want = { .arch = KERNEL_X86_64, .needs = needs, .nsm_module = module_path != NULL };
	CLEANUP(free_ptr) char *own = NULL;
	size_t own_n;
	v->about = path;
	if (path != NULL) {
		v->code = kernel_parse(file, &v->kernel);
		if (v->code != KERNEL_OK)
			return;
		v->has_kernel = true;
		v->code = new_enough(v->kernel.release) ? KERNEL_OK : KERNEL_TOO_OLD;
		if (v->code != KERNEL_OK)
			return;
		want.arch = v->kernel.arch;
		v->code = kernel_config_find(&v->kernel, &own, &own_n);
		if (v->code == KERNEL_OK) {
			config = bytes_of(own, own_n);
			v->config_from = path;
		} else if (config_path == NULL || (v->code != KERNEL_NO_CONFIG && v->code != KERNEL_UNKNOWN_PACKING)) {
			return;
		}
	}
	if (v->config_from == NULL)
		v->config_from = v->about = config_path;
	if (module_path != NULL) {
		v->code = kernel_check_module(module, &v->kernel);
		if (v->code != KERNEL_OK) {
			v->about = module_path;
			return;
		}
	}
	v->code = kernel_check_config(config, &want, &v->report);
}
