/* What plan, reserve and release have in common: the options, the way from them to a plan, and how a plan is printed. */
#ifndef CLI_RESERVE_ARGS_H
#define CLI_RESERVE_ARGS_H

#include "base/options.h"
#include "host/reserve.h"

struct reserve_args {
	const char *root, *cpu_list, *node;
	struct option_list memory;
	uint64_t cpus, host_reserve_mib, regions;
	bool instances, small_pages, take_over, boot, json;
};

#define RESERVE_OPTIONS \
	{ 'm', "memory", OPT_LIST, offsetof(struct reserve_args, memory), "MIB", "of one enclave; once for each (default: what allocator.yaml says)" }, \
	{ 0, "instances", OPT_FLAG, offsetof(struct reserve_args, instances), NULL, "what the configurations in /etc/tee-rex say (enclave.memory_mib, enclave.cpus)" }, \
	{ 0, "cpus", OPT_U64, offsetof(struct reserve_args, cpus), "N", "for all enclaves (default: the pool as it is, or a core for each)" }, \
	{ 0, "cpu-list", OPT_STRING, offsetof(struct reserve_args, cpu_list), "LIST", "these CPUs, such as 2,3,6-9" }, \
	{ 0, "host-reserve", OPT_MIB, offsetof(struct reserve_args, host_reserve_mib), "MIB", "the host keeps this much beside what runs now (default: a sixteenth, 512 to 4096)" }, \
	{ 0, "node", OPT_STRING, offsetof(struct reserve_args, node), "N", "NUMA node (default: the best)" }, \
	{ 0, "regions", OPT_U64, offsetof(struct reserve_args, regions), "N", "memory regions an enclave may have (default 256)" }, \
	{ 0, "small-pages", OPT_FLAG, offsetof(struct reserve_args, small_pages), NULL, "2 MiB pages only" }, \
	{ 0, "root", OPT_STRING, offsetof(struct reserve_args, root), "DIR", "the system under DIR instead of the running one" }, \
	{ 0, "json", OPT_FLAG, offsetof(struct reserve_args, json), NULL, "print JSON" }

/* Everything a plan is made from, and the plan; about 200 KiB. */
struct reserve_case {
	struct host_state state;
	struct reserve_record record;
	bool has_record;
	struct allocator_view allocator;
	struct reserve_request request;
	struct reserve_plan plan;
	bool conflict;                           /* allocator.yaml has somebody else's other values */
};

/* 0; -EINVAL with the usage error in err; other -errno when the host cannot be read. */
int reserve_case_make(const struct reserve_args *a, struct reserve_case *ret, struct err *err);
/* What stands against carrying it out although the plan is good; false when nothing does. */
bool reserve_case_objection(const struct reserve_args *a, const struct reserve_case *c, struct err *err);
void reserve_case_print(const struct reserve_args *a, const struct reserve_case *c);

#endif
