#include "linux/fdpass.h"

#include "base/cleanup.h"

#include <sys/socket.h>

/* One descriptor more than allowed, so that too many are seen rather than cut off silently. */
union control {
	char buf[CMSG_SPACE(sizeof(int) * (FDPASS_MAX + 1))];
	struct cmsghdr align;
};

int fdpass_send(int sock, struct bytes packet, const int *fds, size_t fd_count)
{
	union control control;
	struct iovec iov = { (void *)(uintptr_t)packet.p, packet.n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd_count > FDPASS_MAX)
		return -EINVAL;
	if (fd_count > 0) {
		memset(&control, 0, sizeof control);
		m.msg_control = control.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
	}
	ssize_t n;
	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

void fdpass_close(struct fdpass_packet *p)
{
	while (p->fd_count > 0)
		close_fd(&p->fd[--p->fd_count]);
}

/* Moves the descriptors of m to p; those beyond FDPASS_MAX are closed. True when there were such. */
static bool take_descriptors(struct msghdr *m, struct fdpass_packet *p)
{
	bool too_many = (m->msg_flags & MSG_CTRUNC) != 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (p->fd_count < FDPASS_MAX) {
				p->fd[p->fd_count++] = fd;
			} else {
				close(fd);
				too_many = true;
			}
		}
	}
	return too_many;
}

int fdpass_receive(int sock, void *buf, size_t cap, bool dont_wait, struct fdpass_packet *ret)
{
	union control control;
	struct iovec iov = { buf, cap };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof control.buf };
	struct fdpass_packet p = { 0 };

	ssize_t n;
	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | (dont_wait ? MSG_DONTWAIT : 0));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	bool too_many = take_descriptors(&m, &p);
	if (too_many || (m.msg_flags & MSG_TRUNC)) {
		fdpass_close(&p);
		return too_many ? -E2BIG : -EMSGSIZE;
	}
	p.size = (size_t)n;
	*ret = p;
	return 0;
}
