#include "host/body_spool.h"

#include "crypto/crypto.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int body_spool_open(struct body_spool *s, struct body_spool_budget *budget)
{
	struct hash *hash = hash_new(HASH_SHA256);
	int fd = hash == NULL ? -1 : memfd_create("tee-rex spool", MFD_CLOEXEC);
	if (fd < 0) {
		int why = hash == NULL ? ENOMEM : errno;
		hash_free(hash);
		return -why;
	}
	*s = (struct body_spool){ .budget = budget, .fd = fd, .hash = hash };
	return 0;
}

int body_spool_add(struct body_spool *s, struct bytes data)
{
	if (data.n > s->budget->max - s->budget->used)
		return -ENOSPC;
	while (data.n > 0) {
		ssize_t n = write(s->fd, data.p, data.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno != ENOMEM ? -errno : -ENOSPC;
		hash_update(s->hash, bytes_of(data.p, (size_t)n));
		s->size += (uint64_t)n;
		s->budget->used += (uint64_t)n;
		data = bytes_of(data.p + n, data.n - (size_t)n);
	}
	return 0;
}

bool body_spool_digest(const struct body_spool *s, uint8_t ret_sha256[32]) { return hash_peek(s->hash, ret_sha256); }

ssize_t body_spool_read(const struct body_spool *s, uint64_t at, void *to, size_t n)
{
	ssize_t got = pread(s->fd, to, n, (off_t)at);
	return got < 0 ? -errno : got;
}

void body_spool_close(struct body_spool *s)
{
	if (s->budget == NULL)
		return;
	s->budget->used -= s->size;
	close(s->fd);
	hash_free(s->hash);
	*s = (struct body_spool){ .fd = -1 };
}
