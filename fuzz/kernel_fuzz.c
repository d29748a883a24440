/* Kernels, their modules and configurations. First byte: which; rest: the file. */
#include "base/cleanup.h"
#include "image/kernel_config.h"
#include "image/kernel_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool inside(struct bytes part, struct bytes whole)
{
	return part.n == 0 || (part.p >= whole.p && part.n <= whole.n && part.p - whole.p <= (ptrdiff_t)(whole.n - part.n));
}

static void config(struct bytes text)
{
	for (unsigned i = 0; i < 8; i++) {
		const struct kernel_want want = { .arch = i & 1 ? KERNEL_ARM64 : KERNEL_X86_64, .needs = i & 2 ? 15 : 0, .nsm_module = i & 4 };
		static struct kernel_report r;
		enum kernel_code code = kernel_check_config(text, &want, &r);
		size_t fatal = r.count[KERNEL_MISSING] + r.count[KERNEL_FORBIDDEN];
		must(code == KERNEL_BAD_CONFIG ? r.n == 0 : code == (fatal > 0 ? KERNEL_UNFIT : KERNEL_OK));
		must(r.n == fatal + r.count[KERNEL_DEGRADED] && r.n <= KERNEL_RULES_MAX);
	}
}

static void image(struct bytes file)
{
	struct kernel_image k;
	CLEANUP(free_ptr) char *text = NULL;
	size_t n;
	if (kernel_parse(file, &k) != KERNEL_OK)
		return;
	must(inside(k.payload, file) && inside(k.release, file));
	if (kernel_config_find(&k, &text, &n) != KERNEL_OK)
		return;
	must(n <= KERNEL_CONFIG_MAX);
	config(bytes_of(text, n));
}

static void module(struct bytes file)
{
	const struct kernel_image k = { .arch = KERNEL_X86_64, .release = BYTES_LIT("6.12.1-test") };
	(void)kernel_check_module(file, &k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct bytes in = bytes_of(data + 1, size - 1);
	switch (data[0] % 3) {
	case 0: image(in); break;
	case 1: module(in); break;
	case 2: config(in); break;
	}
	return 0;
}
