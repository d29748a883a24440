#include "cli/image_args.h"

#include <string.h>

#if defined(__x86_64__)
#define OWN_PLATFORM { .os = "linux", .architecture = "amd64" }
#elif defined(__aarch64__)
#define OWN_PLATFORM { .os = "linux", .architecture = "arm64" }
#else
#error "which platform is this, in an image's words?"
#endif

bool image_args_take(const struct image_args *a, struct source_options *ret_source, struct rootfs_limits *ret_limits,
                     struct err *err)
{
	struct rootfs_limits limits = ROOTFS_LIMITS;
	struct source_options s = { .platform = { .want = OWN_PLATFORM, .given = a->platform != NULL },
		.cache_dir = a->cache, .ca_file = a->ca_file, .plain_http = a->plain_http };
	const uint64_t mib_max = UINT64_C(1) << 40;
	if (a->platform != NULL && oci_platform_parse(bytes_str(a->platform), &s.platform.want) != OCI_OK) {
		fail(err, 0, "--platform: %s", oci_result_text(OCI_BAD_PLATFORM));
		return false;
	}
	if (a->cache_limit_mib > mib_max || a->tree_memory_mib > mib_max || a->max_size_mib > mib_max || a->max_size_mib == 0) {
		fail(err, 0, "--max-size, --cache-limit and --tree-memory want a sensible number of MiB");
		return false;
	}
	s.cache_limit = a->cache_limit_mib << 20;
	limits.bytes_max = s.bytes_max = a->max_size_mib << 20;
	limits.entries_max = a->max_entries;
	limits.tree_memory = a->tree_memory_mib << 20;
	*ret_source = s;
	*ret_limits = limits;
	return true;
}
