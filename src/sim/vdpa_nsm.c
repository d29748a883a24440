/* libteerex-sim-nsm.so, preloaded into QEMU: gives stock QEMU's `vhost-vdpa-device` a virtio NSM to talk to.
 *
 * QEMU 10 lets nobody create a generic vhost-user device, but its generic vhost-vdpa device drives whatever virtio device
 * a kernel offers as a character device. This library is such a device for one process: opening VDPA_NSM_PATH yields a
 * descriptor whose ioctls and writes are answered here, in QEMU's own process; everything else goes on to libc. The
 * device runs in a thread: a request from the guest's queue (sim/nsm_queue.h) goes as one packet to the software NSM's
 * socket, the descriptor that VDPA_NSM_FD names, and its answer comes back as one.
 *
 * QEMU is trusted with its own memory; the guest is not. */
#include "sim/nsm_queue.h"

#include "base/cleanup.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define VDPA_NSM_PATH "/simulated/vhost-vdpa-nsm"
#define VDPA_NSM_FD "TEE_REX_SIM_NSM_FD"

enum { DEVICE_ID = 33, QUEUE_SIZE = 16, ANSWER_MS = 10 * 1000 };
#define BACKEND_FEATURES ((UINT64_C(1) << VHOST_BACKEND_F_IOTLB_MSG_V2) | (UINT64_C(1) << VHOST_BACKEND_F_SUSPEND))
#define FEATURES ((UINT64_C(1) << VIRTIO_F_VERSION_1) | (UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM))

static struct device {
	pthread_mutex_t lock;                    /* of everything below */
	int fd, wake, nsm;                       /* fd: what QEMU believes to be the character device */
	struct guest_memory memory;
	struct nsm_queue queue;
	uint8_t status;
	bool enabled, suspended;
	uint32_t size;
	uint16_t base;
	uint64_t desc, avail, used;
	int kick, call;
} dev = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .wake = -1, .nsm = -1, .kick = -1, .call = -1 };

/* --- the device's thread ------------------------------------------------------------------------------------ */

static void start_or_stop(void)
{
	bool run = dev.enabled && !dev.suspended && dev.status & VIRTIO_CONFIG_S_DRIVER_OK && dev.size != 0;
	if (run && !dev.queue.q.started) {
		if (!virtq_start(&dev.queue.q, &dev.memory, dev.size, dev.desc, dev.avail, dev.used, dev.base))
			dev.size = 0;            /* not in the guest's memory: never */
	} else if (!run && dev.queue.q.started) {
		dev.base = dev.queue.q.next_avail;
		virtq_stop(&dev.queue.q);
	}
}

/* The software NSM's answer to the request in dev.queue, without the lock. Answers carry no number: one that comes after
 * it was given up is owed, and thrown away before the next one counts. */
static struct bytes ask(struct bytes request, uint8_t *buf, size_t cap)
{
	static const uint8_t broken[] = "\xa1\x65" "Error" "\x6d" "InternalError";
	static unsigned owed;
	struct pollfd p = { .fd = dev.nsm, .events = POLLIN };
	ssize_t n = -1;
	if (send(dev.nsm, request.p, request.n, MSG_NOSIGNAL) == (ssize_t)request.n) {
		for (owed++; owed > 0 && poll(&p, 1, ANSWER_MS) == 1; owed--)
			n = recv(dev.nsm, buf, cap, MSG_DONTWAIT);
		if (owed > 0)
			n = -1;                  /* what came were answers of others */
	}
	return n > 0 ? bytes_of(buf, (size_t)n) : bytes_of(broken, sizeof broken - 1);
}

static void serve(void)
{
	static uint8_t request[NSM_REQUEST_MAX + 1], answer[NSM_RESPONSE_MAX];
	static const uint64_t one = 1;
	for (;;) {
		pthread_mutex_lock(&dev.lock);
		start_or_stop();
		/* at DRIVER_OK, too: the driver asks for entropy before the device was told to start, and does not kick again */
		struct bytes q = nsm_queue_request(&dev.queue);
		memcpy(request, q.p != NULL ? q.p : request, q.n);
		pthread_mutex_unlock(&dev.lock);
		if (q.n == 0)
			return;
		struct bytes a = ask(bytes_of(request, q.n), answer, sizeof answer);
		pthread_mutex_lock(&dev.lock);
		if (nsm_queue_answer(&dev.queue, a) && dev.call >= 0)
			(void)!write(dev.call, &one, sizeof one);
		pthread_mutex_unlock(&dev.lock);
	}
}

static void *device_main(void *unused)
{
	uint64_t count;
	(void)unused;
	for (;;) {
		pthread_mutex_lock(&dev.lock);
		struct pollfd p[2] = { { .fd = dev.wake, .events = POLLIN }, { .fd = dev.kick, .events = POLLIN } };
		pthread_mutex_unlock(&dev.lock);
		if (poll(p, 2, -1) < 0)
			continue;
		for (int i = 0; i < 2; i++)
			if (p[i].revents & POLLIN)
				(void)!read(p[i].fd, &count, sizeof count);
		serve();
	}
	return NULL;
}

static void wake(void)
{
	static const uint64_t one = 1;
	(void)!write(dev.wake, &one, sizeof one);
}

/* --- what QEMU does with the character device ------------------------------------------------------------------- */

static int open_device(void)
{
	pthread_t thread;
	const char *fd = getenv(VDPA_NSM_FD);
	if (fd == NULL || dev.fd >= 0) {
		errno = ENXIO;
		return -1;
	}
	dev.nsm = atoi(fd);
	dev.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	dev.fd = eventfd(0, EFD_CLOEXEC);
	if (dev.wake < 0 || dev.fd < 0 || pthread_create(&thread, NULL, device_main, NULL) != 0)
		return -1;
	return dev.fd;
}

static void map(const struct vhost_iotlb_msg *m)
{
	if (m->type == VHOST_IOTLB_UPDATE && dev.memory.count < GUEST_REGIONS_MAX) {
		uint8_t *p;
		memcpy(&p, &m->uaddr, sizeof p);
		dev.memory.region[dev.memory.count++] = (struct guest_region){ m->iova, m->size, p };
	} else if (m->type == VHOST_IOTLB_INVALIDATE) {
		for (size_t i = 0; i < dev.memory.count;)
			if (dev.memory.region[i].address >= m->iova && dev.memory.region[i].address - m->iova < m->size)
				dev.memory.region[i] = dev.memory.region[--dev.memory.count];
			else
				i++;
		/* the rings may have lain there */
		if (dev.queue.q.started)
			dev.base = dev.queue.q.next_avail;
		virtq_stop(&dev.queue.q);
	}
}

static void set_status(uint8_t status)
{
	dev.status = status;
	if (status == 0) {                       /* reset */
		virtq_stop(&dev.queue.q);
		dev.queue.q.broken = NULL;
		dev.enabled = dev.suspended = false;
		dev.base = 0;
	}
	start_or_stop();
}

/* QEMU closes its own while the thread may be at it, and then the number is somebody else's. */
static void hold(int *ours, int fd)
{
	close_fd(ours);
	*ours = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int answer_ioctl(unsigned long request, void *p)
{
	struct vhost_vring_state *state = p;
	const struct vhost_vring_addr *addr = p;
	const struct vhost_vring_file *file = p;
	struct vhost_vdpa_iova_range *range = p;
	switch ((uint32_t)request) {
	case VHOST_VDPA_GET_DEVICE_ID: *(uint32_t *)p = DEVICE_ID; break;
	case VHOST_VDPA_GET_VRING_NUM: *(uint16_t *)p = QUEUE_SIZE; break;
	case VHOST_VDPA_GET_VQS_COUNT: *(uint32_t *)p = 1; break;
	case VHOST_VDPA_GET_CONFIG_SIZE: *(uint32_t *)p = 0; break;
	case VHOST_VDPA_GET_IOVA_RANGE: range->first = 0, range->last = INT64_MAX; break;
	case VHOST_VDPA_GET_STATUS: *(uint8_t *)p = dev.status; break;
	case VHOST_VDPA_SET_STATUS: set_status(*(const uint8_t *)p); break;
	case VHOST_GET_FEATURES: *(uint64_t *)p = FEATURES; break;
	case VHOST_GET_BACKEND_FEATURES: *(uint64_t *)p = BACKEND_FEATURES; break;
	case VHOST_SET_VRING_NUM: dev.size = virtq_size_valid(state->num) ? state->num : 0; break;
	case VHOST_SET_VRING_BASE: dev.base = (uint16_t)state->num; break;
	case VHOST_GET_VRING_BASE: state->num = dev.queue.q.started ? dev.queue.q.next_avail : dev.base; break;
	case VHOST_SET_VRING_ADDR:
		dev.desc = addr->desc_user_addr, dev.avail = addr->avail_user_addr, dev.used = addr->used_user_addr;
		break;
	case VHOST_SET_VRING_KICK: hold(&dev.kick, file->fd); break;
	case VHOST_SET_VRING_CALL: hold(&dev.call, file->fd); break;
	/* the queue's index does not change from here on: without this QEMU does not believe it, and complains at each end */
	case VHOST_VDPA_SUSPEND:
		dev.suspended = true;
		start_or_stop();
		break;
	case VHOST_VDPA_SET_VRING_ENABLE: dev.enabled = state->num != 0; break;
	case VHOST_SET_FEATURES: case VHOST_SET_BACKEND_FEATURES: case VHOST_SET_OWNER: case VHOST_VDPA_GET_CONFIG:
	case VHOST_VDPA_SET_CONFIG: case VHOST_VDPA_SET_CONFIG_CALL:
		break;
	default:
		errno = ENOTTY;
		return -1;
	}
	return 0;
}

/* --- in place of libc ------------------------------------------------------------------------------------------- */

static bool is_ours(const char *path) { return strcmp(path, VDPA_NSM_PATH) == 0; }

/* dlsym gives functions as object pointers */
#define NEXT(name, type) __extension__({ static type *next; if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, name); next; })
typedef int open_function(const char *path, int flags, ...);
typedef ssize_t write_function(int fd, const void *buf, size_t n);
typedef int ioctl_function(int fd, unsigned long request, ...);

#define DEFINE_OPEN(name) \
	EXPORT int name(const char *path, int flags, ...); \
	EXPORT int name(const char *path, int flags, ...) \
	{ \
		va_list ap; \
		va_start(ap, flags); \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0; \
		va_end(ap); \
		return is_ours(path) ? open_device() : NEXT(#name, open_function)(path, flags, mode); \
	}
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

EXPORT int __open_2(const char *path, int flags);
EXPORT int __open_2(const char *path, int flags) { return open(path, flags); }
EXPORT int __open64_2(const char *path, int flags);
EXPORT int __open64_2(const char *path, int flags) { return open64(path, flags); }

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	const struct vhost_msg_v2 *m = buf;
	if (fd < 0 || fd != dev.fd)
		return NEXT("write", write_function)(fd, buf, n);
	if (n >= sizeof *m && m->type == VHOST_IOTLB_MSG_V2) {
		pthread_mutex_lock(&dev.lock);
		map(&m->iotlb);
		pthread_mutex_unlock(&dev.lock);
	}
	return (ssize_t)n;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	va_start(ap, request);
	void *p = va_arg(ap, void *);
	va_end(ap);
	if (fd < 0 || fd != dev.fd)
		return NEXT("ioctl", ioctl_function)(fd, request, p);
	pthread_mutex_lock(&dev.lock);
	int ret = answer_ioctl(request, p);
	pthread_mutex_unlock(&dev.lock);
	wake();
	return ret;
}
