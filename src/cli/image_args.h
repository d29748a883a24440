/* The options that every command with an image source has, and what they mean. */
#ifndef CLI_IMAGE_ARGS_H
#define CLI_IMAGE_ARGS_H

#include "base/options.h"
#include "image/rootfs.h"

struct image_args {
	const char *platform, *cache, *ca_file;
	uint64_t cache_limit_mib, tree_memory_mib, max_size_mib, max_entries;
	bool plain_http;
};
#define IMAGE_ARGS { .cache_limit_mib = 10240, .tree_memory_mib = 24, .max_size_mib = 131072, .max_entries = 4000000 }

/* Rows for a struct option_spec table; type has a struct image_args called member. */
#define IMAGE_OPTIONS(type, member) \
	{ 0, "platform", OPT_STRING, offsetof(struct type, member.platform), "OS/ARCH", "which image of several (default: linux and this machine's)" }, \
	{ 0, "cache", OPT_STRING, offsetof(struct type, member.cache), "DIR", "where blobs from registries are kept" }, \
	{ 0, "cache-limit", OPT_MIB, offsetof(struct type, member.cache_limit_mib), "MIB", "how much of them (default 10240; 0: nothing)" }, \
	{ 0, "plain-http", OPT_FLAG, offsetof(struct type, member.plain_http), NULL, "a registry on this machine without TLS" }, \
	{ 0, "registry-ca", OPT_STRING, offsetof(struct type, member.ca_file), "PEM", "certificates to trust for registries" }, \
	{ 0, "max-size", OPT_MIB, offsetof(struct type, member.max_size_mib), "MIB", "unpacked size to refuse (default 131072)" }, \
	{ 0, "max-entries", OPT_U64, offsetof(struct type, member.max_entries), "N", "entries of all layers to refuse (default 4000000)" }, \
	{ 0, "tree-memory", OPT_MIB, offsetof(struct type, member.tree_memory_mib), "MIB", "of the file tree before it goes to disk (default 24)" }

/* False: err says what is wrong with them. */
bool image_args_take(const struct image_args *a, struct source_options *ret_source, struct rootfs_limits *ret_limits,
                     struct err *err);

#endif
