#include "enclave/init/links.h"

#include "base/cleanup.h"

#include <sys/socket.h>

void links_init(struct links *l)
{
	for (uint32_t a = 0; a < SERVICES_MAX; a++)
		for (uint32_t b = 0; b < SERVICES_MAX; b++)
			l->pair[a][b] = (struct link_pair){ .fd = { -1, -1 } };
}

static struct link_pair *pair_of(struct links *l, uint32_t i, uint32_t peer)
{
	return i < peer ? &l->pair[i][peer] : &l->pair[peer][i];
}

int links_take(struct links *l, uint32_t i, uint32_t peer, struct err *err)
{
	struct link_pair *p = pair_of(l, i, peer);
	unsigned side = i > peer;
	if (p->fd[side] < 0) {
		int fd[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0)
			return fail(err, errno, "make a link");
		close_fd(&p->fd[!side]);
		p->fd[0] = fd[0];
		p->fd[1] = fd[1];
		p->serial++;
	}
	p->held[side] = p->serial;
	return fd_steal(&p->fd[side]);
}

bool links_cut(struct links *l, uint32_t i, uint32_t peer)
{
	struct link_pair *p = pair_of(l, i, peer);
	unsigned side = i > peer;
	bool both = p->held[side] != 0 && p->held[side] == p->held[!side];
	/* an end that nobody took yet leads nowhere now */
	if (p->held[side] == p->serial)
		close_fd(&p->fd[!side]);
	p->held[side] = 0;
	return both;
}
