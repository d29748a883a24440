/* The meanings below are read from the driver (drivers/virt/nitro_enclaves/): for each call, which cause leads to which
 * error. Where an error has several causes, the sentence names the one that a caller of this file can meet. */
#include "linux/ne_dev.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/nitro_enclaves.h>
#include <string.h>
#include <sys/ioctl.h>

_Static_assert(NE_ERROR_MIN == NE_ERR_VCPU_ALREADY_USED && NE_ERROR_MAX == NE_ERR_INVALID_ENCLAVE_CID,
               "the driver's own errors");

#define OP(o) (1U << NE_OP_##o)
#define ANY (~0U)
#define OURS "this is a defect of tee-rex: please report it"

static const struct {
	int errnum;
	unsigned ops;
	struct ne_meaning meaning;
} meanings[] = {
	{ NE_ERR_VCPU_ALREADY_USED, ANY, { "NE_ERR_VCPU_ALREADY_USED", "this enclave has the CPU already",
	  "name each CPU once" } },
	{ NE_ERR_VCPU_NOT_IN_CPU_POOL, ANY, { "NE_ERR_VCPU_NOT_IN_CPU_POOL",
	  "the CPU is not in the pool for enclaves, or another enclave has its core",
	  "see the pool in /sys/module/nitro_enclaves/parameters/ne_cpus and the enclaves with tee-rex list" } },
	{ NE_ERR_VCPU_INVALID_CPU_CORE, ANY, { "NE_ERR_VCPU_INVALID_CPU_CORE",
	  "the CPU's core number is outside of what the pool was made for", "set the pool again: tee-rex reserve" } },
	{ NE_ERR_INVALID_MEM_REGION_SIZE, ANY, { "NE_ERR_INVALID_MEM_REGION_SIZE",
	  "its size is no multiple of 2 MiB", OURS } },
	{ NE_ERR_INVALID_MEM_REGION_ADDR, ANY, { "NE_ERR_INVALID_MEM_REGION_ADDR",
	  "its address is not one of a process", OURS } },
	{ NE_ERR_UNALIGNED_MEM_REGION_ADDR, ANY, { "NE_ERR_UNALIGNED_MEM_REGION_ADDR",
	  "its address is no multiple of 2 MiB", OURS } },
	{ NE_ERR_MEM_REGION_ALREADY_USED, ANY, { "NE_ERR_MEM_REGION_ALREADY_USED",
	  "the enclave has this memory already", OURS } },
	{ NE_ERR_MEM_NOT_HUGE_PAGE, ANY, { "NE_ERR_MEM_NOT_HUGE_PAGE", "it is not made of huge pages",
	  "reserve huge pages for enclaves: tee-rex reserve" } },
	{ NE_ERR_MEM_DIFFERENT_NUMA_NODE, ANY, { "NE_ERR_MEM_DIFFERENT_NUMA_NODE",
	  "it is on another NUMA node than the CPU pool", "reserve huge pages on the pool's node: tee-rex reserve" } },
	{ NE_ERR_MEM_MAX_REGIONS, ANY, { "NE_ERR_MEM_MAX_REGIONS",
	  "it is in more physically separate pieces than the hypervisor takes for one enclave",
	  "use larger pages or reserve them before memory is fragmented: tee-rex reserve, best at boot" } },
	{ NE_ERR_NO_MEM_REGIONS_ADDED, ANY, { "NE_ERR_NO_MEM_REGIONS_ADDED", "the enclave was given no memory", OURS } },
	{ NE_ERR_NO_VCPUS_ADDED, ANY, { "NE_ERR_NO_VCPUS_ADDED", "the enclave was given no CPU", OURS } },
	{ NE_ERR_ENCLAVE_MEM_MIN_SIZE, ANY, { "NE_ERR_ENCLAVE_MEM_MIN_SIZE", "the enclave was given less than 64 MiB",
	  "give it more: --memory" } },
	{ NE_ERR_FULL_CORES_NOT_USED, ANY, { "NE_ERR_FULL_CORES_NOT_USED", "the enclave has some threads of a core only",
	  "give it whole cores: a multiple of the threads that a core has (--cpus)" } },
	{ NE_ERR_NOT_IN_INIT_STATE, ANY, { "NE_ERR_NOT_IN_INIT_STATE", "the enclave was started already", OURS } },
	{ NE_ERR_INVALID_VCPU, ANY, { "NE_ERR_INVALID_VCPU", "there is no CPU of this number",
	  "see /sys/devices/system/cpu/possible" } },
	{ NE_ERR_NO_CPUS_AVAIL_IN_POOL, OP(CREATE), { "NE_ERR_NO_CPUS_AVAIL_IN_POOL",
	  "the pool of CPUs for enclaves is empty, or other enclaves have all of it",
	  "see tee-rex list; make the pool larger: tee-rex reserve" } },
	{ NE_ERR_NO_CPUS_AVAIL_IN_POOL, ANY, { "NE_ERR_NO_CPUS_AVAIL_IN_POOL",
	  "no core is left in the pool of CPUs for enclaves", "ask for fewer CPUs, or make the pool larger: tee-rex reserve" } },
	{ NE_ERR_INVALID_PAGE_SIZE, ANY, { "NE_ERR_INVALID_PAGE_SIZE",
	  "it begins inside of a huge page, or is made of huge pages under 2 MiB", OURS } },
	{ NE_ERR_INVALID_FLAG_VALUE, ANY, { "NE_ERR_INVALID_FLAG_VALUE", "the driver does not know a flag",
	  "this driver is older than tee-rex expects: update the kernel" } },
	{ NE_ERR_INVALID_ENCLAVE_CID, ANY, { "NE_ERR_INVALID_ENCLAVE_CID",
	  "the CID is one that stands for somebody else (1, 2, 3, 4294967295) or above 32 bits",
	  "give --cid 4 to 4294967294, or none: then the hypervisor picks one" } },

	{ ENOENT, OP(OPEN), { "ENOENT", "there is no such device: the driver nitro_enclaves is not loaded, or the instance "
	  "was launched without enclaves", "modprobe nitro_enclaves; see that the instance has the enclave option "
	  "(EnclaveOptions.Enabled); tee-rex doctor says which" } },
	{ EACCES, OP(OPEN), { "EACCES", "this user may not use enclaves",
	  "run as root, or as a member of the group that owns the device (ls -l " NE_DEVICE_PATH ")" } },
	{ EPERM, OP(OPEN), { "EPERM", "a sandbox or device cgroup forbids it",
	  "allow the device (in a unit: DeviceAllow=" NE_DEVICE_PATH " rw)" } },
	{ ENODEV, OP(OPEN), { "ENODEV", "the driver has no device behind it", "see dmesg | grep nitro; tee-rex doctor" } },
	{ ENXIO, OP(OPEN), { "ENXIO", "the driver has no device behind it", "see dmesg | grep nitro; tee-rex doctor" } },
	{ EIO, OP(MEMORY) | OP(VCPU), { "EIO", "it was asked for by another address space than the one that created the "
	  "enclave (a fork in between)", OURS } },
	{ EINVAL, OP(MEMORY), { "EINVAL", "a page is not where its size belongs in physical memory",
	  "see dmesg | grep nitro" } },
	{ EFAULT, OP(MEMORY), { "EFAULT", "part of it is not mapped, or its pages are gone",
	  "see that as many huge pages are free as were planned (tee-rex plan)" } },
	{ EFAULT, ANY, { "EFAULT", "the argument is not readable", OURS } },
	{ ENOMEM, ANY, { "ENOMEM", "the kernel has no memory for its own records",
	  "leave the parent more memory (tee-rex plan says how much)" } },
	{ EMFILE, ANY, { "EMFILE", "this process has too many files open", "raise LimitNOFILE=" } },
	{ ENFILE, ANY, { "ENFILE", "the system has too many files open", "raise fs.file-max" } },
	{ ENOTTY, ANY, { "ENOTTY", "the file is not the driver's device, or the driver does not know the call",
	  "see that " NE_DEVICE_PATH " is the character device of nitro_enclaves" } },
	{ ETIMEDOUT, ANY, { "ETIMEDOUT", "the hypervisor gave no answer within 120 seconds",
	  "try again; if it stays, stop and start the instance" } },
	{ EINTR, ANY, { "EINTR", "a signal came in between", "try again" } },
};

/* What comes from nowhere in the driver is the hypervisor's answer, handed through. */
static const char *const hypervisor_fix[NE_OP_COUNT] = {
	[NE_OP_CREATE] = "an instance has at most four enclaves: see tee-rex list and nitro-cli describe-enclaves; an enclave "
	                 "that just ended may need a few seconds to go",
	[NE_OP_MEMORY] = "try again in a few seconds (memory of an enclave that just ended may still be on its way back)",
	[NE_OP_VCPU] = "try again in a few seconds (CPUs of an enclave that just ended may still be on their way back)",
	[NE_OP_START] = "see that no other enclave has the CID, and that the image is whole: tee-rex describe",
};

struct ne_meaning ne_error_meaning(enum ne_op op, int errnum)
{
	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
		if (meanings[i].errnum == errnum && (meanings[i].ops & (1U << op)) != 0)
			return meanings[i].meaning;
	bool passed_through = hypervisor_fix[op] != NULL && errnum < NE_ERROR_MIN;
	return (struct ne_meaning){
		.why = passed_through ? "the hypervisor refused" : "this error is not one of the driver's",
		.fix = passed_through ? hypervisor_fix[op] : "see dmesg | grep nitro",
	};
}

/* what: "set 512 MiB of memory". */
static int refused(enum ne_op op, int errnum, const char *what, struct err *err)
{
	struct ne_meaning m = ne_error_meaning(op, errnum);
	if (m.name != NULL)
		fail(err, 0, "%s: %s (%s); %s", what, m.why, m.name, m.fix);
	else
		fail(err, 0, "%s: %s (error %d%s%s); %s", what, m.why, errnum, errnum < NE_ERROR_MIN ? ", " : "",
		     errnum < NE_ERROR_MIN ? strerror(errnum) : "", m.fix);
	return -errnum;
}

/* The driver waits uninterruptibly; no EINTR loop is needed, and none would be right: a call that was begun may have
 * been done. */
static int call(enum ne_op op, int fd, unsigned long request, void *argument, const char *what, struct err *err)
{
	int ret = ioctl(fd, request, argument);
	return ret < 0 ? refused(op, errno, what, err) : ret;
}

int ne_open(const char *path, int *ret_fd, struct err *err)
{
	char what[128];
	snprintf(what, sizeof what, "open %.100s", path);
	CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return refused(NE_OP_OPEN, errno, what, err);
	*ret_fd = fd_steal(&fd);
	return 0;
}

int ne_create_vm(int device, int *ret_fd, uint64_t *ret_slot, struct err *err)
{
	__u64 slot = 0;
	int fd = call(NE_OP_CREATE, device, NE_CREATE_VM, &slot, "create an enclave", err);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	*ret_slot = slot;
	return 0;
}

int ne_image_offset(int vm, uint64_t *ret_offset, struct err *err)
{
	struct ne_image_load_info info = { .flags = NE_EIF_IMAGE };
	int ret = call(NE_OP_OFFSET, vm, NE_GET_IMAGE_LOAD_INFO, &info, "ask where the image goes", err);
	if (ret < 0)
		return ret;
	*ret_offset = info.memory_offset;
	return 0;
}

int ne_set_memory(int vm, const void *addr, size_t size, struct err *err)
{
	struct ne_user_memory_region region = {
		.flags = NE_DEFAULT_MEMORY_REGION, .memory_size = size, .userspace_addr = (uintptr_t)addr,
	};
	char what[64];
	snprintf(what, sizeof what, "give the enclave %zu MiB of memory", size >> 20);
	int ret = call(NE_OP_MEMORY, vm, NE_SET_USER_MEMORY_REGION, &region, what, err);
	return ret < 0 ? ret : 0;
}

int ne_add_vcpu(int vm, uint32_t cpu, uint32_t *ret_cpu, struct err *err)
{
	char what[64];
	__u32 id = cpu;
	if (cpu == 0)
		snprintf(what, sizeof what, "give the enclave a CPU");
	else
		snprintf(what, sizeof what, "give the enclave CPU %u", cpu);
	int ret = call(NE_OP_VCPU, vm, NE_ADD_VCPU, &id, what, err);
	if (ret < 0)
		return ret;
	*ret_cpu = id;
	return 0;
}

int ne_start(int vm, uint64_t cid, bool debug, uint64_t *ret_cid, struct err *err)
{
	struct ne_enclave_start_info info = {
		.flags = debug ? NE_ENCLAVE_DEBUG_MODE : NE_ENCLAVE_PRODUCTION_MODE, .enclave_cid = cid,
	};
	char what[80];
	if (cid == 0)
		snprintf(what, sizeof what, "start the enclave");
	else
		snprintf(what, sizeof what, "start the enclave with CID %llu", (unsigned long long)cid);
	int ret = call(NE_OP_START, vm, NE_START_ENCLAVE, &info, what, err);
	if (ret < 0)
		return ret;
	*ret_cid = info.enclave_cid;
	return 0;
}
