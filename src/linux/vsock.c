#include "linux/vsock.h"

#include "base/cleanup.h"

#include <sys/socket.h>
#include <linux/vm_sockets.h>

/* Since Linux 5.11; svm_flags took the place of a byte that had to be zero. */
#ifndef VMADDR_FLAG_TO_HOST
#define VMADDR_FLAG_TO_HOST 1
#endif

enum { BACKLOG = 128 };

static int stream(int *ret_fd, struct err *err)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && errno == EAFNOSUPPORT)
		return fail(err, errno, "make a vsock socket (is the kernel module vsock loaded?)");
	if (fd < 0)
		return fail(err, errno, "make a vsock socket");
	*ret_fd = fd;
	return 0;
}

int vsock_listen(uint32_t port, int *ret_fd, struct err *err)
{
	const struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
	CLEANUP(close_fd) int fd = -1;
	int ret = stream(&fd, err);
	if (ret < 0)
		return ret;
	if (bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 || listen(fd, BACKLOG) != 0)
		return fail(err, errno, "listen on vsock port %u", port);
	*ret_fd = fd_steal(&fd);
	return 0;
}

int vsock_accept(int listener, int *ret_fd, uint32_t *ret_cid, struct err *err)
{
	struct sockaddr_vm a = { .svm_family = AF_UNSPEC };
	socklen_t n = sizeof a;
	int fd = accept4(listener, (struct sockaddr *)&a, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return fail(err, errno, "accept a vsock connection");
	*ret_fd = fd;
	*ret_cid = a.svm_cid;
	return 0;
}

/* An address with the flag, EINVAL: the kernel is older than the flag, and has one way only. */
static int begin(int fd, struct sockaddr_vm *a)
{
	if (a->svm_cid > VSOCK_PARENT)
		a->svm_flags = VMADDR_FLAG_TO_HOST;
	int ret = connect(fd, (const struct sockaddr *)a, sizeof *a);
	if (ret != 0 && errno == EINVAL && a->svm_flags != 0) {
		a->svm_flags = 0;
		ret = connect(fd, (const struct sockaddr *)a, sizeof *a);
	}
	return ret == 0 || errno == EINPROGRESS ? 0 : -errno;
}

int vsock_connect_from(uint32_t source, uint32_t cid, uint32_t port, int *ret_fd, struct err *err)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	const struct sockaddr_vm own = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = source };
	CLEANUP(close_fd) int fd = -1;
	int ret = stream(&fd, err);
	if (ret < 0)
		return ret;
	if (source != VSOCK_ANY_PORT && bind(fd, (const struct sockaddr *)&own, sizeof own) != 0)
		return fail(err, errno, "call from vsock port %u", source);
	if ((ret = begin(fd, &a)) < 0)
		return fail(err, -ret, "connect to vsock port %u of CID %u", port, cid);
	*ret_fd = fd_steal(&fd);
	return 0;
}

int vsock_connect(uint32_t cid, uint32_t port, int *ret_fd, struct err *err)
{
	return vsock_connect_from(VSOCK_ANY_PORT, cid, port, ret_fd, err);
}

int vsock_peer(int fd, uint32_t *ret_cid, uint32_t *ret_port)
{
	struct sockaddr_vm a = { .svm_family = AF_UNSPEC };
	socklen_t n = sizeof a;
	if (getpeername(fd, (struct sockaddr *)&a, &n) != 0)
		return -errno;
	if (a.svm_family != AF_VSOCK)
		return -EPROTOTYPE;
	*ret_cid = a.svm_cid;
	*ret_port = a.svm_port;
	return 0;
}

int vsock_accept_parent(int listener)
{
	union { struct sockaddr any; struct sockaddr_vm vm; struct sockaddr_storage room; } a = { .any.sa_family = AF_UNSPEC };
	socklen_t n = sizeof a;
	CLEANUP(close_fd) int fd = accept4(listener, &a.any, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (a.any.sa_family == AF_VSOCK && (n < sizeof a.vm || a.vm.svm_cid != VSOCK_PARENT))
		return -EPERM;
	return fd_steal(&fd);
}
