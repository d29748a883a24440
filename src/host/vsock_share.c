#include "host/vsock_share.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "linux/fdpass.h"
#include "linux/vsock.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

enum { TICK_MS = 50, EVENTS_MAX = 64, NAME_TEXT = 32 };

/* What goes to an inbox. WANT: "send me the listening socket"; LISTENER: here it is; CALL: one of your enclave's
 * connections. */
enum kind { WANT = 1, LISTENER, CALL };
struct message { uint32_t kind; int32_t pid; };

static int path_of(const struct vsock_share *s, const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(ret->sun_path, sizeof ret->sun_path, "%s/%s", s->dir, name);
	return n < 0 || (size_t)n >= sizeof ret->sun_path ? -ENAMETOOLONG : 0;
}

static const char *inbox_name(pid_t pid, char buf[NAME_TEXT])
{
	snprintf(buf, NAME_TEXT, "run-%d", (int)pid);
	return buf;
}

static const char *cid_name(uint32_t cid, char buf[NAME_TEXT])
{
	snprintf(buf, NAME_TEXT, "cid-%u", cid);
	return buf;
}

/* To the inbox of this name, with or without a descriptor (-1). -ENOENT, -ECONNREFUSED: nobody's. */
static int post(const struct vsock_share *s, const char *name, enum kind kind, int fd)
{
	struct sockaddr_un a;
	const struct message m = { .kind = (uint32_t)kind, .pid = (int32_t)getpid() };
	int ret = path_of(s, name, &a);
	if (ret < 0)
		return ret;
	CLEANUP(close_fd) int to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (to < 0 || connect(to, (const struct sockaddr *)&a, sizeof a) != 0)
		return -errno;
	return fdpass_send(to, bytes_of(&m, sizeof m), &fd, fd >= 0);
}

static int watch(const struct vsock_share *s, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) != 0 ? -errno : 0;
}

/* Ticks while there is something to try again. */
static void set_tick(const struct vsock_share *s)
{
	bool on = s->listener < 0;
	for (size_t i = 0; i < VSOCK_SHARE_PENDING; i++)
		on |= s->pending[i].fd >= 0;
	const struct timespec every = { .tv_nsec = on ? TICK_MS * 1000000L : 0 };
	const struct itimerspec t = { .it_interval = every, .it_value = every };
	timerfd_settime(s->tick, 0, &t, NULL);
}

/* --- getting the port ------------------------------------------------------------------------------------------ */

static int take_listener(struct vsock_share *s, int fd)
{
	int ret = watch(s, fd);
	if (ret == 0)
		s->listener = fd;
	return ret;
}

/* Asks all the others. How many there are; what the dead left is removed. */
static size_t ask_others(const struct vsock_share *s)
{
	size_t others = 0;
	char mine[NAME_TEXT];
	CLEANUP(close_dir) DIR *d = opendir(s->dir);
	inbox_name(getpid(), mine);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		bool inbox = strncmp(e->d_name, "run-", 4) == 0;
		if (strcmp(e->d_name, mine) == 0 || (!inbox && strncmp(e->d_name, "cid-", 4) != 0))
			continue;
		int ret = inbox ? post(s, e->d_name, WANT, -1) : faccessat(dirfd(d), e->d_name, F_OK, 0) != 0 ? -ECONNREFUSED : 0;
		if (ret == -ECONNREFUSED)
			unlinkat(dirfd(d), e->d_name, 0);
		else
			others += inbox && ret != -ENOENT;
	}
	return others;
}

/* Binds, or asks whoever did. Under the lock, so that a process that finds the port taken finds the inbox too. */
static int get_port(struct vsock_share *s, struct err *err)
{
	char path[VSOCK_SHARE_PATH + 8];
	int fd = -1;
	snprintf(path, sizeof path, "%s/lock", s->dir);
	CLEANUP(close_fd) int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) != 0)
		return fail(err, errno, "lock %s", path);
	int ret = vsock_listen(s->port, &fd, err);
	if (ret == 0 && (ret = take_listener(s, fd)) < 0) {
		close(fd);
		return fail(err, -ret, "watch vsock port %u", s->port);
	}
	size_t others = ask_others(s);           /* after binding it there are none, but what they may have left */
	if (ret != -EADDRINUSE || others > 0)
		return ret == -EADDRINUSE ? 0 : ret;
	fail(err, 0, "vsock port %u is taken by a program that does not share it (nitro-cli has it while it starts an enclave; "
	     "ss --vsock -lp shows whose it is); end that, then start again", s->port);
	return -EADDRINUSE;
}

static int open_inbox(struct vsock_share *s, struct err *err)
{
	struct sockaddr_un a;
	char name[NAME_TEXT];
	int ret = path_of(s, inbox_name(getpid(), name), &a);
	if (ret < 0)
		return fail(err, -ret, "%s", s->dir);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(a.sun_path);                      /* of an earlier process with our number */
	if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) != 0)
		return fail(err, errno, "make %s", a.sun_path);
	if ((ret = watch(s, fd)) < 0)
		return fail(err, -ret, "watch %s", a.sun_path);
	s->inbox = fd_steal(&fd);
	return 0;
}

static int make_dir(const char *path, struct err *err)
{
	struct stat st;
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return fail(err, errno, "make the directory %s", path);
	if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return fail(err, 0, "%s belongs to somebody else: all who run enclaves here must be the same user", path), -EPERM;
	return 0;
}

int vsock_share_open(struct vsock_share *s, const char *base, uint32_t port, struct err *err)
{
	*s = VSOCK_SHARE_NONE;
	s->port = port;
	for (size_t i = 0; i < VSOCK_SHARE_PENDING; i++)
		s->pending[i].fd = -1;
	int n = snprintf(s->dir, sizeof s->dir, "%s/%u", base, port);
	if (n < 0 || (size_t)n >= sizeof s->dir)
		return fail(err, ENAMETOOLONG, "%s", base);
	int ret = make_dir(base, err);
	if (ret == 0)
		ret = make_dir(s->dir, err);
	if (ret < 0)
		return ret;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll < 0 || s->tick < 0 || watch(s, s->tick) < 0)
		return fail(err, errno, "watch vsock port %u", port);
	ret = open_inbox(s, err);
	if (ret == 0)
		ret = get_port(s, err);
	if (ret == 0)
		set_tick(s);
	return ret;
}

int vsock_share_claim(struct vsock_share *s, uint32_t cid, struct err *err)
{
	struct sockaddr_un link, fresh;
	char name[NAME_TEXT], target[NAME_TEXT], temporary[NAME_TEXT + 8];
	inbox_name(getpid(), target);
	snprintf(temporary, sizeof temporary, "new-%d", (int)getpid());
	if (path_of(s, cid_name(cid, name), &link) < 0 || path_of(s, temporary, &fresh) < 0)
		return fail(err, ENAMETOOLONG, "%s", s->dir);
	unlink(fresh.sun_path);
	if (symlink(target, fresh.sun_path) != 0 || rename(fresh.sun_path, link.sun_path) != 0)
		return fail(err, errno, "claim CID %u in %s", cid, s->dir);
	s->cid = cid;
	return 0;
}

/* --- connections ----------------------------------------------------------------------------------------------- */

/* Keeps what cannot be passed on yet; closes it when it is too much. */
static void keep(struct vsock_share *s, int fd, uint32_t cid)
{
	struct vsock_pending *place = NULL;
	size_t same = 0;
	for (size_t i = 0; i < VSOCK_SHARE_PENDING; i++) {
		if (s->pending[i].fd < 0)
			place = &s->pending[i];
		else
			same += s->pending[i].cid == cid;
	}
	if (place == NULL || same >= VSOCK_SHARE_PENDING_PER_CID) {
		close(fd);
		return;
	}
	*place = (struct vsock_pending){ fd, cid, clock_monotonic_ms() + VSOCK_SHARE_CLAIM_MS };
	set_tick(s);
}

/* True: it is ours, and *ret_fd. Else it went to its owner, or is kept. */
static bool sort_in(struct vsock_share *s, int fd, uint32_t cid, int *ret_fd)
{
	char name[NAME_TEXT];
	if (s->cid != 0 && cid == s->cid) {
		*ret_fd = fd;
		return true;
	}
	if (post(s, cid_name(cid, name), CALL, fd) == 0)
		close(fd);
	else
		keep(s, fd, cid);
	return false;
}

/* Tries the kept ones again. */
static bool retry(struct vsock_share *s, int *ret_fd)
{
	uint64_t ticks;
	char name[NAME_TEXT];
	bool ours = false;
	struct err ignored;
	if (read(s->tick, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
		return false;
	if (s->listener < 0)
		get_port(s, &ignored);           /* whoever had it may have died before it answered */
	for (size_t i = 0; i < VSOCK_SHARE_PENDING && !ours; i++) {
		struct vsock_pending *p = &s->pending[i];
		if (p->fd < 0)
			continue;
		if (s->cid != 0 && p->cid == s->cid) {
			*ret_fd = fd_steal(&p->fd);
			ours = true;
		} else if (post(s, cid_name(p->cid, name), CALL, p->fd) == 0 || clock_monotonic_ms() >= p->until_ms) {
			close_fd(&p->fd);
		}
	}
	set_tick(s);
	return ours;
}

static bool on_inbox(struct vsock_share *s, int *ret_fd)
{
	struct message m = { 0 };
	struct fdpass_packet p = { 0 };
	char name[NAME_TEXT];
	uint32_t cid, port;
	bool ours = false;
	if (fdpass_receive(s->inbox, &m, sizeof m, true, &p) < 0)
		return false;
	int fd = p.size == sizeof m && p.fd_count == 1 ? p.fd[0] : -1;
	if (m.kind == WANT && p.size == sizeof m && s->listener >= 0) {
		post(s, inbox_name(m.pid, name), LISTENER, s->listener);
	} else if (m.kind == LISTENER && fd >= 0 && s->listener < 0 && take_listener(s, fd) == 0) {
		p.fd_count = 0;
		set_tick(s);
	} else if (m.kind == CALL && fd >= 0 && vsock_peer(fd, &cid, &port) == 0) {
		p.fd_count = 0;
		if (s->cid == 0)
			keep(s, fd, cid);
		else if (cid == s->cid)
			ours = (*ret_fd = fd, true);
		else
			close(fd);               /* the link pointed to us no longer rightly: not passed round in circles */
	}
	fdpass_close(&p);
	return ours;
}

int vsock_share_accept(struct vsock_share *s, int *ret_fd, struct err *err)
{
	for (int i = 0; i < EVENTS_MAX; i++) {
		struct epoll_event e;
		uint32_t cid;
		int n = epoll_wait(s->epoll, &e, 1, 0), fd = -1;
		if (n < 0 && errno != EINTR)
			return fail(err, errno, "wait for vsock port %u", s->port);
		if (n <= 0)
			break;
		if (e.data.fd == s->tick ? retry(s, ret_fd) : e.data.fd == s->inbox ? on_inbox(s, ret_fd)
		    : vsock_accept(s->listener, &fd, &cid, err) == 0 && sort_in(s, fd, cid, ret_fd))
			return 0;
	}
	return -EAGAIN;
}

void vsock_share_close(struct vsock_share *s)
{
	struct sockaddr_un a;
	char name[NAME_TEXT], mine[NAME_TEXT], target[NAME_TEXT];
	inbox_name(getpid(), mine);
	if (s->inbox >= 0) {
		if (s->cid != 0 && path_of(s, cid_name(s->cid, name), &a) == 0) {
			ssize_t n = readlink(a.sun_path, target, sizeof target - 1);
			target[n > 0 ? n : 0] = '\0';
			if (strcmp(target, mine) == 0)
				unlink(a.sun_path);
		}
		if (path_of(s, mine, &a) == 0)
			unlink(a.sun_path);
	}
	if (s->epoll >= 0)
		for (size_t i = 0; i < VSOCK_SHARE_PENDING; i++)
			close_fd(&s->pending[i].fd);
	close_fd(&s->listener);
	close_fd(&s->inbox);
	close_fd(&s->tick);
	close_fd(&s->epoll);
}
