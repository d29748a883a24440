/* The device: one ioctl a request, as include/uapi/linux/nsm.h has it (two address-and-length pairs,
 * which is what struct iovec is on the 64-bit machines we run on). The socket: poll() with a deadline
 * around non-blocking send and recv, so a stuck simulator costs one error and not the prover. An
 * answer that comes after its deadline is counted and thrown away when it does come, so it is never
 * taken for the answer to a later request. What comes back is parsed with distrust either way. */
#include "linux/nsm_dev.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

struct nsm_message { struct iovec request, response; };
#define NSM_IOCTL _IOWR(0x0A, 0, struct nsm_message)
_Static_assert(sizeof(struct nsm_message) == 32, "the driver's structure");

enum { OWED_MAX = 8, STALE_MAX = 64 };

int nsm_open_device(struct nsm *n, const char *path, struct err *err)
{
	/* O_NOFOLLOW, O_NOCTTY: a wrong path in the configuration must have no side effect */
	CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	if (fd < 0)
		return fail(err, errno, "open the NSM device %s (it exists only inside an enclave, for services "
		            "that were granted it)", path);
	struct stat st;
	if (fstat(fd, &st) != 0)
		return fail(err, errno, "stat %s", path);
	if (!S_ISCHR(st.st_mode))
		return fail(err, ENOTTY, "%s is not a character device, so it is not the NSM", path);
	*n = (struct nsm){ .fd = fd_steal(&fd) };
	return 0;
}

int nsm_from_socket(struct nsm *n, int fd, struct err *err)
{
	int type = 0, domain = 0;
	socklen_t size = sizeof type, domain_size = sizeof domain;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) != 0)
		return fail(err, errno, "NSM descriptor %d", fd);
	if (type != SOCK_SEQPACKET || domain != AF_UNIX)
		return fail(err, EPROTOTYPE, "NSM descriptor %d is not a Unix SOCK_SEQPACKET socket", fd);
	struct sockaddr_storage peer;
	socklen_t peer_size = sizeof peer;
	if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0)
		return fail(err, errno, "NSM descriptor %d", fd);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return fail(err, errno, "NSM descriptor %d", fd);
	*n = (struct nsm){ .fd = fd, .is_socket = true, .timeout_ms = NSM_SOCKET_TIMEOUT_MS };
	return 0;
}

void nsm_close(struct nsm *n) { close_fd(&n->fd); }

/* 0 when fd is ready for what, -ETIMEDOUT at the deadline. */
static int wait_for(int fd, short what, int64_t deadline_ms)
{
	for (;;) {
		int64_t left = deadline_ms - clock_monotonic_ms();
		if (left < 0)
			left = 0;
		struct pollfd p = { .fd = fd, .events = what };
		int ready = poll(&p, 1, (int)left);
		if (ready > 0)
			return 0;
		if (ready == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int send_packet(int fd, struct bytes packet, int64_t deadline_ms)
{
	for (;;) {
		if (send(fd, packet.p, packet.n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		int ret = wait_for(fd, POLLOUT, deadline_ms);
		if (ret < 0)
			return ret;
	}
}

/* The size of the packet, which may be over cap; 0: the peer is gone. */
static ssize_t recv_packet(int fd, uint8_t *buf, size_t cap, int64_t deadline_ms)
{
	for (;;) {
		ssize_t got = recv(fd, buf, cap, MSG_DONTWAIT | MSG_TRUNC);
		if (got >= 0)
			return got;
		if (errno == ECONNRESET)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		int ret = wait_for(fd, POLLIN, deadline_ms);
		if (ret < 0)
			return ret;
	}
}

/* What is there before we asked is not our answer: one of an earlier call that timed out, or of an
 * earlier user of the connection. */
static void throw_away_stale(struct nsm *n, uint8_t *buf, size_t cap)
{
	for (int i = 0; i < STALE_MAX && recv(n->fd, buf, cap, MSG_DONTWAIT) > 0; i++)
		if (n->owed > 0)
			n->owed--;
}

static int call_socket(struct nsm *n, struct bytes request, uint8_t *response, size_t cap, size_t *ret_n,
                       struct err *err)
{
	int64_t deadline = clock_monotonic_ms() + n->timeout_ms;
	throw_away_stale(n, response, cap);
	bool sent = false;
	for (;;) {
		if (!sent && n->owed < OWED_MAX) {
			int ret = send_packet(n->fd, request, deadline);
			if (ret < 0)
				return fail(err, -ret, "send to the software NSM; restart it if it stays away");
			sent = true;
		}
		ssize_t got = recv_packet(n->fd, response, cap, deadline);
		if (got == -ETIMEDOUT) {
			n->owed += sent;
			return fail(err, ETIMEDOUT, "the software NSM gave no answer within %d ms (%u answers are "
			            "outstanding)", n->timeout_ms, n->owed);
		}
		if (got < 0)
			return fail(err, (int)-got, "receive from the software NSM");
		if (got == 0)
			return fail(err, EPIPE, "the software NSM closed the connection; restart it");
		if (n->owed > 0) {
			n->owed--;
			continue;
		}
		if ((size_t)got > cap)
			return fail(err, EMSGSIZE, "the software NSM answered %zd bytes, %zu are allowed", got, cap);
		*ret_n = (size_t)got;
		return 0;
	}
}

static int call_device(struct nsm *n, struct bytes request, uint8_t *response, size_t cap, size_t *ret_n,
                       struct err *err)
{
	struct nsm_message m = {
		.request = { .iov_base = (void *)(uintptr_t)request.p, .iov_len = request.n },
		.response = { .iov_base = response, .iov_len = cap },
	};
	if (ioctl(n->fd, NSM_IOCTL, &m) != 0)
		return fail(err, errno, "NSM ioctl");
	if (m.response.iov_len > cap)
		return fail(err, EMSGSIZE, "the NSM answered %zu bytes, %zu are allowed", m.response.iov_len, cap);
	*ret_n = m.response.iov_len;
	return 0;
}

int nsm_call(struct nsm *n, struct bytes request, uint8_t *response, size_t cap, size_t *ret_n, struct err *err)
{
	if (request.n > NSM_REQUEST_MAX)
		return fail(err, EMSGSIZE, "an NSM request of %zu bytes, %d are allowed", request.n, NSM_REQUEST_MAX);
	if (cap < NSM_RESPONSE_MAX)
		return fail(err, ENOBUFS, "room for %zu bytes of NSM response, %d are needed", cap, NSM_RESPONSE_MAX);
	return (n->is_socket ? call_socket : call_device)(n, request, response, cap, ret_n, err);
}

static int errno_of(enum nsm_error e)
{
	switch (e) {
	case NSM_INVALID_ARGUMENT: return EINVAL;
	case NSM_INVALID_INDEX: return ERANGE;
	case NSM_READ_ONLY_INDEX: return EROFS;
	case NSM_INVALID_OPERATION: return EOPNOTSUPP;
	case NSM_BUFFER_TOO_SMALL: return ENOBUFS;
	case NSM_INPUT_TOO_LARGE: return EMSGSIZE;
	default: return EREMOTEIO;
	}
}

/* Asks and takes only an answer of the question's own kind; p borrows from buf. */
static int ask(struct nsm *n, const struct nsm_request *q, uint8_t buf[NSM_RESPONSE_MAX], struct nsm_response *p,
               struct err *err)
{
	const char *what = nsm_kind_name(q->kind);
	uint8_t request[NSM_REQUEST_MAX];
	struct writer w = writer_of(request, sizeof request);
	nsm_request_put(&w, q);
	if (w.full)
		return fail(err, EMSGSIZE, "NSM %s: the request does not fit %d bytes", what, NSM_REQUEST_MAX);
	size_t size = 0;
	int ret = nsm_call(n, writer_bytes(&w), buf, NSM_RESPONSE_MAX, &size, err);
	if (ret < 0)
		return fail_in(err, ret, "NSM %s", what);
	enum nsm_result result = nsm_response_parse(bytes_of(buf, size), p);
	if (result != NSM_OK)
		return fail(err, EBADMSG, "NSM %s: the answer is %s", what, nsm_result_name(result));
	if (p->kind == NSM_ERROR) {
		fail(err, 0, "NSM %s: refused with %s", what, nsm_error_name(p->error));
		return -errno_of(p->error);
	}
	if (p->kind != q->kind)
		return fail(err, EBADMSG, "NSM %s: the answer is one to %s", what, nsm_kind_name(p->kind));
	return 0;
}

static struct bytes null_when_empty(struct bytes b) { return b.n == 0 ? BYTES_NONE : b; }

int nsm_attest(struct nsm *n, struct bytes public_key, struct bytes user_data, struct bytes nonce,
               uint8_t *document, size_t cap, size_t *ret_n, struct err *err)
{
	if (public_key.n > NSM_STRING_MAX || user_data.n > NSM_USER_DATA_MAX || nonce.n > NSM_NONCE_MAX)
		return fail(err, EMSGSIZE, "NSM Attestation: public_key of %zu, user_data of %zu, nonce of %zu bytes; "
		            "%d, %d and %d are allowed", public_key.n, user_data.n, nonce.n, NSM_STRING_MAX,
		            NSM_USER_DATA_MAX, NSM_NONCE_MAX);
	const struct nsm_request q = { .kind = NSM_ATTESTATION, .public_key = null_when_empty(public_key),
	                               .user_data = null_when_empty(user_data), .nonce = null_when_empty(nonce) };
	uint8_t buf[NSM_RESPONSE_MAX];
	struct nsm_response p;
	int ret = ask(n, &q, buf, &p, err);
	if (ret < 0)
		return ret;
	if (p.document.n > cap)
		return fail(err, ENOBUFS, "NSM Attestation: a document of %zu bytes, there is room for %zu",
		            p.document.n, cap);
	memcpy(document, p.document.p, p.document.n);
	*ret_n = p.document.n;
	return 0;
}

int nsm_random(struct nsm *n, uint8_t *out, size_t size, struct err *err)
{
	const struct nsm_request q = { .kind = NSM_GET_RANDOM };
	for (size_t at = 0; at < size;) {
		uint8_t buf[NSM_RESPONSE_MAX];
		struct nsm_response p;
		int ret = ask(n, &q, buf, &p, err);
		if (ret < 0)
			return ret;
		size_t take = p.random.n < size - at ? p.random.n : size - at;
		memcpy(out + at, p.random.p, take);
		explicit_bzero(buf, sizeof buf);
		at += take;
	}
	return 0;
}

int nsm_describe(struct nsm *n, struct nsm_description *ret, struct err *err)
{
	const struct nsm_request q = { .kind = NSM_DESCRIBE_NSM };
	uint8_t buf[NSM_RESPONSE_MAX];
	struct nsm_response p;
	int got = ask(n, &q, buf, &p, err);
	if (got < 0)
		return got;
	struct nsm_description d = { p.version_major, p.version_minor, p.version_patch, "", p.max_pcrs, p.locked_pcrs,
	                             p.digest };
	if (!bytes_to_cstr(p.module_id, d.module_id, sizeof d.module_id))
		return fail(err, EBADMSG, "NSM DescribeNSM: a zero byte in module_id");
	*ret = d;
	return 0;
}

int nsm_describe_pcr(struct nsm *n, unsigned index, bool *ret_locked, uint8_t ret_value[NSM_PCR_SIZE], struct err *err)
{
	if (index >= NSM_PCR_COUNT)
		return fail(err, ERANGE, "PCR %u: there are %d", index, NSM_PCR_COUNT);
	const struct nsm_request q = { .kind = NSM_DESCRIBE_PCR, .index = (uint16_t)index };
	uint8_t buf[NSM_RESPONSE_MAX];
	struct nsm_response p;
	int ret = ask(n, &q, buf, &p, err);
	if (ret < 0)
		return ret;
	*ret_locked = p.lock;
	memcpy(ret_value, p.data.p, NSM_PCR_SIZE);
	return 0;
}
