/* A stand-in for the kernel's side of Nitro enclaves, preloaded into tee-rex: /dev/nitro_enclaves, its files in /sys, and
 * AF_VSOCK. It holds no rules: it collects what the driver would see and asks a model of the driver (tests/e2e/nitro_driver.py),
 * which listens on $NITRO_STANDIN/driver.sock.
 *
 *     open /dev/nitro_enclaves   a descriptor of the model's: what happens to it is real (close-on-exec, duplicates, poll)
 *     ioctl 0xAE                 the argument and, for memory, each page: size, physical address, NUMA node
 *     /sys/…                     $NITRO_STANDIN/sys/… where that exists; a write to ne_cpus is asked about
 *     memfd_create(MFD_HUGETLB)  with NITRO_STANDIN_HUGE=fake ordinary memory that says it is huge pages; else left alone
 *     /proc/self/pagemap         with fake pages their addresses: NITRO_STANDIN_ORDER=rising (in the order of the file), falling
 *                                (as a pool that was filled from above gives them) or hidden
 *     set_mempolicy(MPOL_BIND)   with fake pages a word only: they say they are from that node
 *     AF_VSOCK                   abstract unix sockets named after CID and port; no vsock socket is ever made, not even
 *                                without $NITRO_STANDIN
 *
 * Two things differ from a kernel: an address space is told by its process id (a child of vfork() that calls the driver
 * would share its parent's), and connecting to a vsock port is over at once. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/nitro_enclaves.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* <linux/vm_sockets.h> */
struct sockaddr_vm_here {
	sa_family_t family;
	unsigned short reserved;
	unsigned port, cid;
	unsigned char flags, zero[3];
};

#define DEVICE "/dev/nitro_enclaves"
#define POOL "/sys/module/nitro_enclaves/parameters/ne_cpus"
enum { FLAG_TO_HOST = 1, POOL_FDS = 8 };

static int pool_fd[POOL_FDS] = { -1, -1, -1, -1, -1, -1, -1, -1 };


static int bound_node;                           /* where fake pages are from */
static int pagemap_fd = -1;

static const char *dir(void) { return getenv("NITRO_STANDIN"); }

static bool fake(void)
{
	const char *mode = getenv("NITRO_STANDIN_HUGE");
	return dir() != NULL && mode != NULL && strcmp(mode, "fake") == 0;
}

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	va_list ap;
	long a[6];
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_set_mempolicy && fake()) {
		const unsigned long *mask = (const unsigned long *)a[1];
		bound_node = a[0] == MPOL_BIND && mask[0] != 0 ? __builtin_ctzl(mask[0]) : 0;
		return 0;
	}
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int real_ioctl(int fd, unsigned long request, void *argument)
{
	return (int)syscall(SYS_ioctl, fd, request, argument);
}

static int real_open(const char *path, int flags, mode_t mode)
{
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* --- asking the model ------------------------------------------------------------------------------------------- */

/* Sends one line with a descriptor or without (-1). The answer is "RC VALUE", with a descriptor perhaps. */
static long ask(const char *line, size_t n, int fd, uint64_t *ret_value, int *ret_fd)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
	char answer[128];
	snprintf(a.sun_path, sizeof a.sun_path, "%s/driver.sock", dir());
	int s = (int)syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0 || syscall(SYS_connect, s, &a, sizeof a) != 0) {
		fprintf(stderr, "nitro_standin: no model of the driver at %s: %s\n", a.sun_path, strerror(errno));
		abort();
	}
	struct iovec iov = { (void *)(uintptr_t)line, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		memset(&control, 0, sizeof control);
		m.msg_control = control.buf;
		m.msg_controllen = sizeof control.buf;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	for (size_t done = 0; done < n; m.msg_control = NULL, m.msg_controllen = 0) {
		ssize_t sent = sendmsg(s, &m, MSG_NOSIGNAL);
		if (sent <= 0)
			abort();
		done += (size_t)sent;
		iov = (struct iovec){ (void *)(uintptr_t)(line + done), n - done };
	}
	iov = (struct iovec){ answer, sizeof answer - 1 };
	m = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof control.buf };
	ssize_t got = recvmsg(s, &m, MSG_CMSG_CLOEXEC);
	close(s);
	long rc = 0;
	unsigned long long value = 0;
	answer[got > 0 ? got : 0] = '\0';
	if (sscanf(answer, "%ld %llu", &rc, &value) != 2) {
		fprintf(stderr, "nitro_standin: the model of the driver broke\n");
		abort();
	}
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (ret_fd != NULL && c != NULL && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
	if (ret_value != NULL)
		*ret_value = value;
	return rc;
}

/* copy_from_user, copy_to_user: -EFAULT instead of a signal. */
static bool copy(void *to, const void *from, size_t n, bool to_user)
{
	struct iovec ours = { to_user ? (void *)(uintptr_t)from : to, n }, theirs = { to_user ? to : (void *)(uintptr_t)from, n };
	ssize_t (*move)(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long, unsigned long) =
		to_user ? process_vm_writev : process_vm_readv;
	return move(getpid(), &ours, 1, &theirs, 1, 0) == (ssize_t)n;
}

/* --- pages ----------------------------------------------------------------------------------------------------------- */

struct mapping { uint64_t start, end, page_bytes; bool huge, fake; int node; unsigned long inode; uint64_t offset; };

/* The mapping that holds at. sizes: also how large its pages are, where they are real (the kernel counts for it). */
static bool find_mapping(uint64_t at, bool sizes, struct mapping *ret)
{
	char line[512];
	bool found = false;
	FILE *f = fopen(sizes ? "/proc/self/smaps" : "/proc/self/maps", "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		unsigned long long start, end, offset, kib;
		unsigned long inode;
		int name = 0;
		if (sscanf(line, "%llx-%llx %*s %llx %*s %lu %n", &start, &end, &offset, &inode, &name) >= 4) {
			if (found)
				break;
			if (at < start || at >= end)
				continue;
			const char *large = strstr(line + name, "standin-huge-1G"), *small = strstr(line + name, "standin-huge-2M");
			found = true;
			*ret = (struct mapping){ .start = start, .end = end, .inode = inode, .offset = offset, .page_bytes = 4096 };
			if (large != NULL || small != NULL) {
				ret->fake = ret->huge = true;
				ret->node = atoi(strstr(line + name, "-node") + 5);
				ret->page_bytes = large != NULL ? 1 << 30 : 2 << 20;
			}
		} else if (found && !ret->fake && sscanf(line, "KernelPageSize: %llu", &kib) == 1) {
			ret->page_bytes = kib << 10;
			ret->huge = kib > 4;
		}
	}
	if (f != NULL)
		fclose(f);
	return found;
}

static uint64_t physical(uint64_t at)
{
	uint64_t entry = 0;
	int fd = real_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0 || syscall(SYS_pread64, fd, &entry, sizeof entry, at / 4096 * sizeof entry) != (ssize_t)sizeof entry)
		entry = 0;
	if (fd >= 0)
		close(fd);
	return (entry & ((UINT64_C(1) << 55) - 1)) * 4096;
}

/* Of a page in a fake file. */
static uint64_t fake_physical(const struct mapping *m, uint64_t at)
{
	const char *order = getenv("NITRO_STANDIN_ORDER");
	uint64_t offset = m->offset + (at - m->start), base = UINT64_C(1) << (m->page_bytes > (2 << 20) ? 40 : 39);
	return order != NULL && strcmp(order, "falling") == 0 ? base - offset : base + offset;
}

static int node_of(uint64_t at)
{
	void *page = (void *)(uintptr_t)at;
	int status = -1;
	return syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0) == 0 && status >= 0 ? status : 0;
}

/* Appends what get_user_pages() would find, page by page, until the region is covered or something is found wrong. */
static size_t describe_pages(const struct ne_user_memory_region *r, char *out, size_t cap)
{
	size_t n = 0;
	struct mapping m = { 0 };
	for (uint64_t done = 0; done < r->memory_size && n + 128 < cap;) {
		uint64_t at = r->userspace_addr + done;
		char byte;
		if (at < r->userspace_addr || !copy(&byte, (void *)(uintptr_t)at, 1, false) ||
		    ((at < m.start || at >= m.end) && !find_mapping(at, !fake(), &m))) {
			n += (size_t)snprintf(out + n, cap - n, "%s\"fault\"", n > 0 ? "," : "");
			break;
		}
		/* a tail page of a huge page says it is a small one */
		uint64_t size = m.huge && at % m.page_bytes == 0 ? m.page_bytes : 4096;
		uint64_t address = m.fake ? fake_physical(&m, at) : physical(at);
		n += (size_t)snprintf(out + n, cap - n, "%s[%d,%llu,%llu,%d,%d]", n > 0 ? "," : "", m.huge, (unsigned long long)size,
		                      (unsigned long long)address, m.fake ? m.node : node_of(at), m.fake);
		if (!m.huge || size < (2 << 20))
			break;
		done += size;
	}
	return n;
}

/* --- the device -------------------------------------------------------------------------------------------------------- */

static int finish(long rc)
{
	if (rc < 0) {
		errno = (int)-rc;
		return -1;
	}
	return (int)rc;
}

static int set_memory(int fd, void *argument)
{
	struct ne_user_memory_region r;
	size_t cap = 1 << 24;
	if (!copy(&r, argument, sizeof r, false))
		return finish(-EFAULT);
	char *line = malloc(cap);
	size_t n = (size_t)snprintf(line, cap, "{\"op\":\"memory\",\"flags\":%llu,\"size\":%llu,\"addr\":%llu,\"pages\":[",
	                            (unsigned long long)r.flags, (unsigned long long)r.memory_size,
	                            (unsigned long long)r.userspace_addr);
	n += describe_pages(&r, line + n, cap - n - 8);
	n += (size_t)snprintf(line + n, cap - n, "]}\n");
	long rc = ask(line, n, fd, NULL, NULL);
	free(line);
	return finish(rc);
}

int ioctl(int fd, unsigned long request, ...)
{
	char line[160];
	uint64_t value = 0;
	int made = -1, n;
	va_list ap;
	va_start(ap, request);
	void *argument = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) != 0xAE || dir() == NULL)
		return real_ioctl(fd, request, argument);
	if (ask("{\"op\":\"whose\"}\n", 15, fd, &value, NULL) != 0 || value == 0)
		return real_ioctl(fd, request, argument);

	struct ne_image_load_info info;
	struct ne_enclave_start_info start;
	uint32_t cpu;
	long rc;
	switch (request) {
	case NE_CREATE_VM:
		n = snprintf(line, sizeof line, "{\"op\":\"create\"}\n");
		rc = ask(line, (size_t)n, fd, &value, &made);
		if (rc == 0 && !copy(argument, &value, sizeof value, true)) {
			close(made);
			return finish(-EFAULT);
		}
		return rc == 0 ? made : finish(rc);
	case NE_GET_IMAGE_LOAD_INFO:
		if (!copy(&info, argument, sizeof info, false))
			return finish(-EFAULT);
		n = snprintf(line, sizeof line, "{\"op\":\"offset\",\"flags\":%llu}\n", (unsigned long long)info.flags);
		rc = ask(line, (size_t)n, fd, &value, NULL);
		info.memory_offset = value;
		return finish(rc == 0 && !copy(argument, &info, sizeof info, true) ? -EFAULT : rc);
	case NE_SET_USER_MEMORY_REGION:
		return set_memory(fd, argument);
	case NE_ADD_VCPU:
		if (!copy(&cpu, argument, sizeof cpu, false))
			return finish(-EFAULT);
		n = snprintf(line, sizeof line, "{\"op\":\"vcpu\",\"cpu\":%u}\n", cpu);
		rc = ask(line, (size_t)n, fd, &value, NULL);
		cpu = (uint32_t)value;
		return finish(rc == 0 && !copy(argument, &cpu, sizeof cpu, true) ? -EFAULT : rc);
	case NE_START_ENCLAVE:
		if (!copy(&start, argument, sizeof start, false))
			return finish(-EFAULT);
		n = snprintf(line, sizeof line, "{\"op\":\"start\",\"flags\":%llu,\"cid\":%llu}\n", (unsigned long long)start.flags,
		             (unsigned long long)start.enclave_cid);
		rc = ask(line, (size_t)n, fd, &value, NULL);
		start.enclave_cid = value;
		return finish(rc == 0 && !copy(argument, &start, sizeof start, true) ? -EFAULT : rc);
	default:
		return finish(-ENOTTY);
	}
}

/* --- files ------------------------------------------------------------------------------------------------------------- */

static int open_here(const char *path, int flags, mode_t mode)
{
	char there[512];
	int fd = -1;
	if (dir() == NULL)
		return real_open(path, flags, mode);
	if (strcmp(path, DEVICE) == 0) {
		long rc = ask("{\"op\":\"open\"}\n", 14, -1, NULL, &fd);
		if (rc == 0 && !(flags & O_CLOEXEC))
			fcntl(fd, F_SETFD, 0);
		return rc == 0 ? fd : finish(rc);
	}
	if (strcmp(path, "/proc/self/pagemap") == 0 && fake())
		return pagemap_fd = real_open(path, flags, mode);   /* mappings do not change while it is read */
	snprintf(there, sizeof there, "%s%s", dir(), path);
	if (strncmp(path, "/sys/", 5) != 0 || access(there, F_OK) != 0)
		return real_open(path, flags, mode);
	bool pool = strcmp(path, POOL) == 0 && (flags & O_ACCMODE) != O_RDONLY;
	fd = real_open(there, pool ? O_WRONLY | O_CLOEXEC : flags, mode);
	for (int i = 0; pool && fd >= 0 && i < POOL_FDS; i++)
		if (pool_fd[i] < 0) {
			pool_fd[i] = fd;
			break;
		}
	return fd;
}

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		va_list ap; \
		va_start(ap, flags); \
		mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0; \
		va_end(ap); \
		return open_here(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)
int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags) { return open_here(path, flags, 0); }
int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags) { return open_here(path, flags, 0); }

ssize_t write(int fd, const void *buf, size_t n)
{
	char line[1200];
	for (int i = 0; i < POOL_FDS; i++)
		if (pool_fd[i] >= 0 && pool_fd[i] == fd) {
			int len = snprintf(line, sizeof line, "{\"op\":\"pool\",\"list\":\"%.*s\"}\n", (int)strnlen(buf, n < 512 ? n : 512),
			                   (const char *)buf);
			for (char *nl; (nl = memchr(line, '\n', (size_t)len - 1)) != NULL;)
				*nl = ' ';
			long rc = ask(line, (size_t)len, -1, NULL, NULL);
			return rc < 0 ? finish(rc) : (ssize_t)n;
		}
	return syscall(SYS_write, fd, buf, n);
}

ssize_t pread(int fd, void *buf, size_t n, off_t offset)
{
	const char *order = getenv("NITRO_STANDIN_ORDER");
	static struct mapping m;
	uint64_t entry = 0, at = (uint64_t)offset / sizeof entry * 4096;
	if (fd != pagemap_fd || n != sizeof entry)
		return syscall(SYS_pread64, fd, buf, n, offset);
	if (((at >= m.start && at < m.end) || find_mapping(at, false, &m)) && m.fake && (order == NULL || strcmp(order, "hidden") != 0))
		entry = UINT64_C(1) << 63 | fake_physical(&m, at) / 4096;
	memcpy(buf, &entry, sizeof entry);
	return (ssize_t)n;
}

int close(int fd)
{
	if (fd == pagemap_fd)
		pagemap_fd = -1;
	for (int i = 0; i < POOL_FDS; i++)
		if (pool_fd[i] == fd)
			pool_fd[i] = -1;
	return (int)syscall(SYS_close, fd);
}

int memfd_create(const char *name, unsigned flags)
{
	char label[40];
	if (!(flags & MFD_HUGETLB) || !fake())
		return (int)syscall(SYS_memfd_create, name, flags);
	snprintf(label, sizeof label, "standin-huge-%s-node%d", flags >> 26 == 30 ? "1G" : "2M", bound_node);
	return (int)syscall(SYS_memfd_create, label, flags & MFD_CLOEXEC);
}

/* --- AF_VSOCK ---------------------------------------------------------------------------------------------------------- */

/* "\0DIR/vsock/WHAT" as an address; its length. */
__attribute__((format(printf, 2, 3)))
static socklen_t named(struct sockaddr_un *a, const char *what, ...)
{
	char name[64];
	va_list ap;
	va_start(ap, what);
	vsnprintf(name, sizeof name, what, ap);
	va_end(ap);
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%.60s/vsock/%s", dir(), name);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

int socket(int domain, int type, int protocol)
{
	if (domain == AF_VSOCK && dir() == NULL) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	return (int)syscall(SYS_socket, domain == AF_VSOCK ? AF_UNIX : domain, type, protocol);
}

int bind(int fd, const struct sockaddr *addr, socklen_t n)
{
	const struct sockaddr_vm_here *v = (const void *)addr;
	struct sockaddr_un a;
	if (addr->sa_family != AF_VSOCK)
		return (int)syscall(SYS_bind, fd, addr, n);
	socklen_t len = named(&a, "port-%u", v->port);
	return (int)syscall(SYS_bind, fd, &a, len);
}

int connect(int fd, const struct sockaddr *addr, socklen_t n)
{
	const struct sockaddr_vm_here *v = (const void *)addr;
	struct sockaddr_un a;
	if (addr->sa_family != AF_VSOCK)
		return (int)syscall(SYS_connect, fd, addr, n);
	if ((v->flags & ~FLAG_TO_HOST) != 0 || (v->cid > 3 && !(v->flags & FLAG_TO_HOST))) {
		/* without the flag, a parent with vhost_vsock would look among guests of its own */
		errno = ENODEV;
		return -1;
	}
	socklen_t len = named(&a, "enclave-%u-%u", v->cid, v->port);
	int ret = (int)syscall(SYS_connect, fd, &a, len);
	if (ret != 0 && errno == ECONNREFUSED)
		errno = ECONNRESET;
	return ret;
}

/* A peer's address, as vsock would say it. */
static void translate(const struct sockaddr_un *peer, struct sockaddr *addr, socklen_t *n)
{
	struct sockaddr_vm_here v = { .family = AF_VSOCK };
	const char *at = peer->sun_family == AF_UNIX && peer->sun_path[0] == '\0' ? strstr(peer->sun_path + 1, "/vsock/cid-") : NULL;
	const void *from = peer;
	size_t size = sizeof *peer;
	if (addr == NULL || n == NULL)
		return;
	if (at != NULL) {
		sscanf(at, "/vsock/cid-%u-%u", &v.cid, &v.port);
		from = &v;
		size = sizeof v;
	}
	memcpy(addr, from, *n < size ? *n : size);
	*n = (socklen_t)size;
}

int accept4(int fd, struct sockaddr *addr, socklen_t *n, int flags)
{
	struct sockaddr_un peer = { 0 };
	socklen_t size = sizeof peer - 1;
	struct stat st;
	/* other families keep their addresses */
	struct sockaddr_storage own;
	socklen_t own_size = sizeof own;
	if (fstat(fd, &st) != 0 || getsockname(fd, (struct sockaddr *)&own, &own_size) != 0 || own.ss_family != AF_UNIX)
		return (int)syscall(SYS_accept4, fd, addr, n, flags);
	int ret = (int)syscall(SYS_accept4, fd, &peer, &size, flags);
	if (ret >= 0)
		translate(&peer, addr, n);
	return ret;
}

int getpeername(int fd, struct sockaddr *addr, socklen_t *n)
{
	struct sockaddr_un peer = { 0 };
	socklen_t size = sizeof peer - 1;
	struct sockaddr_storage own;
	socklen_t own_size = sizeof own;
	if (getsockname(fd, (struct sockaddr *)&own, &own_size) != 0 || own.ss_family != AF_UNIX)
		return (int)syscall(SYS_getpeername, fd, addr, n);
	int ret = (int)syscall(SYS_getpeername, fd, &peer, &size);
	if (ret == 0)
		translate(&peer, addr, n);
	return ret;
}
