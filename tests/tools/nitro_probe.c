/* Calls the Nitro Enclaves driver as its arguments say, one after another, and prints a line for each: "ok", with a number, or
 * "ERRNO the sentence of linux/ne_dev". For tests/e2e/test_nitro_driver.py, in front of the driver's model.
 *
 *     create                       the rest goes to this enclave
 *     offset   offset-flags=F
 *     huge=MIB   huge-1g=MIB       memory of huge pages, given whole
 *     same                         what was given last, again
 *     at=OFFSET,SIZE               part of the memory that "take=MIB" (or "take-1g=MIB") made; MiB, or bytes with a b behind
 *     plain=MIB  unmapped=MIB  kernel=MIB   memory of another kind
 *     memory-flags=F   memory-null   vcpu-null   start-null   create-null   offset-null     for the driver's own checks
 *     vcpu=N   start   start=CID   debug=CID   start-flags=F
 *     device=REQUEST   vm=REQUEST  any other request of the driver's, by number
 *     fork=CALL                    the same in a child */
#include "base/cleanup.h"
#include "linux/huge_memory.h"
#include "linux/ne_dev.h"

#include <linux/nitro_enclaves.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

static int device = -1, vm = -1;
static uint8_t *taken, *last;
static size_t last_n;

static void raw(int fd, unsigned long request, void *argument)
{
	int ret = ioctl(fd, request, argument);
	if (ret < 0)
		printf("%d raw\n", errno);
	else
		printf("ok %d\n", ret);
}

static void say(int ret, const struct err *err, unsigned long long value)
{
	if (ret < 0)
		printf("%d %s\n", -ret, err->text);
	else
		printf("ok %llu\n", value);
}

static uint8_t *make(enum huge_size size, size_t bytes)
{
	struct err err;
	void *p;
	size_t page = huge_kib(size) << 10;
	CLEANUP(close_fd) int fd = -1;
	if (huge_file_make(size, (bytes + page - 1) / page, -1, &fd, &err) < 0 || address_reserve(bytes, page, &p, &err) < 0 ||
	    huge_map(fd, 0, bytes, p, &err) < 0) {
		fprintf(stderr, "nitro_probe: %s\n", err.text);
		exit(3);
	}
	return p;
}

static size_t bytes_in(const char *text, char **end)
{
	size_t n = strtoul(text, end, 0);
	if (**end == 'b')
		return (*end)++, n;
	return n << 20;
}

static void give(const uint8_t *p, size_t n)
{
	struct err err;
	last = (uint8_t *)(uintptr_t)p;
	last_n = n;
	say(ne_set_memory(vm, p, n, &err), &err, n >> 20);
}

static void call_memory(const char *kind, const char *value)
{
	char *end;
	struct ne_user_memory_region region = { .flags = strtoul(value, NULL, 0), .memory_size = 2 << 20 };
	if (strcmp(kind, "at") == 0) {
		size_t at = bytes_in(value, &end);
		give(taken + at, bytes_in(end + 1, &end));
		return;
	}
	size_t n = strcmp(kind, "memory-flags") == 0 ? 0 : bytes_in(value, &end);
	if (strcmp(kind, "huge") == 0)
		give(make(HUGE_2M, n), n);
	else if (strcmp(kind, "huge-1g") == 0)
		give(make(HUGE_1G, n), n);
	else if (strcmp(kind, "take") == 0)
		taken = make(HUGE_2M, n), puts("ok");
	else if (strcmp(kind, "take-1g") == 0)
		taken = make(HUGE_1G, n), puts("ok");
	else if (strcmp(kind, "same") == 0)
		give(last, last_n);
	else if (strcmp(kind, "kernel") == 0)
		give((uint8_t *)0xffff888000000000, n);
	else if (strcmp(kind, "memory-flags") == 0)
		raw(vm, NE_SET_USER_MEMORY_REGION, &region);
	else {
		struct err err;
		void *p;
		if (address_reserve(n, 2 << 20, &p, &err) < 0)
			exit(3);
		if (strcmp(kind, "plain") == 0)
			mprotect(p, n, PROT_READ | PROT_WRITE);      /* else: addresses with nothing behind them */
		give(p, n);
	}
}

static void call(char *what)
{
	struct err err = { "" };
	uint64_t n = 0;
	uint32_t cpu = 0;
	int made = -1, ret;
	char *value = strchr(what, '=');
	if (value != NULL)
		*value++ = '\0';
	else
		value = what + strlen(what);
	unsigned long number = strtoul(value, NULL, 0);
	struct ne_image_load_info info = { .flags = number };
	struct ne_enclave_start_info start = { .flags = number };

	if (strcmp(what, "create") == 0) {
		ret = ne_create_vm(device, &made, &n, &err);
		if (ret == 0)
			vm = made;
		say(ret, &err, n);
	} else if (strcmp(what, "offset") == 0) {
		ret = ne_image_offset(vm, &n, &err);
		say(ret, &err, n);
	} else if (strcmp(what, "vcpu") == 0) {
		ret = ne_add_vcpu(vm, (uint32_t)number, &cpu, &err);
		say(ret, &err, cpu);
	} else if (strcmp(what, "start") == 0 || strcmp(what, "debug") == 0) {
		ret = ne_start(vm, strtoull(value, NULL, 0), *what == 'd', &n, &err);
		say(ret, &err, n);
	} else if (strcmp(what, "offset-flags") == 0) {
		raw(vm, NE_GET_IMAGE_LOAD_INFO, &info);
	} else if (strcmp(what, "start-flags") == 0) {
		raw(vm, NE_START_ENCLAVE, &start);
	} else if (strcmp(what, "create-null") == 0) {
		raw(device, NE_CREATE_VM, NULL);
	} else if (strcmp(what, "offset-null") == 0) {
		raw(vm, NE_GET_IMAGE_LOAD_INFO, NULL);
	} else if (strcmp(what, "memory-null") == 0) {
		raw(vm, NE_SET_USER_MEMORY_REGION, NULL);
	} else if (strcmp(what, "vcpu-null") == 0) {
		raw(vm, NE_ADD_VCPU, NULL);
	} else if (strcmp(what, "start-null") == 0) {
		raw(vm, NE_START_ENCLAVE, NULL);
	} else if (strcmp(what, "device") == 0) {
		raw(device, _IO(0xAE, number), NULL);
	} else if (strcmp(what, "vm") == 0) {
		raw(vm, _IO(0xAE, number), NULL);
	} else {
		call_memory(what, value);
	}
}

int main(int argc, char **argv)
{
	struct err err;
	int ret = ne_open(NE_DEVICE_PATH, &device, &err);
	if (ret < 0) {
		say(ret, &err, 0);
		return 1;
	}
	for (int i = 1; i < argc; i++) {
		fflush(stdout);
		if (strncmp(argv[i], "fork=", 5) != 0) {
			call(argv[i]);
			continue;
		}
		pid_t child = fork();
		if (child == 0) {
			call(argv[i] + 5);
			fflush(stdout);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	return 0;
}
