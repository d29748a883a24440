#include "base/cleanup.h"
#include "linux/fdpass.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cmocka.h>

static int a, b;                         /* a pair */

static int set_up(void **state)
{
	int pair[2];
	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	a = pair[0], b = pair[1];
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close_fd(&a);
	close_fd(&b);
	return 0;
}

static unsigned open_descriptors(void)
{
	unsigned n = 0;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool same_file(int x, int y)
{
	struct stat s, t;
	return fstat(x, &s) == 0 && fstat(y, &t) == 0 && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

static void packets_and_descriptors_arrive_together(void **state)
{
	(void)state;
	struct fdpass_packet p;
	char buf[16];
	int fds[FDPASS_MAX];
	unsigned before = open_descriptors();

	for (size_t n = 0; n <= FDPASS_MAX; n++) {
		for (size_t i = 0; i < n; i++)
			fds[i] = open(i % 2 ? "/dev/null" : "/dev/zero", O_RDONLY);     /* not close-on-exec here … */
		assert_int_equal(fdpass_send(a, BYTES_LIT("hello"), fds, n), 0);
		assert_int_equal(fdpass_receive(b, buf, sizeof buf, false, &p), 0);
		assert_int_equal(p.size, 5);
		assert_memory_equal(buf, "hello", 5);
		assert_int_equal(p.fd_count, n);
		for (size_t i = 0; i < n; i++) {
			assert_true(same_file(p.fd[i], fds[i]));
			assert_int_equal(fcntl(p.fd[i], F_GETFD), FD_CLOEXEC);          /* … but there */
			close(fds[i]);
		}
		fdpass_close(&p);
		assert_int_equal(p.fd_count, 0);
	}
	assert_int_equal(open_descriptors(), before);
}

static void too_much_leaves_nothing_behind(void **state)
{
	(void)state;
	struct fdpass_packet p = { .size = 77 };
	char buf[4];
	unsigned before = open_descriptors();
	int fd = 0;

	/* a packet too long, with a descriptor */
	assert_int_equal(fdpass_send(a, BYTES_LIT("hello"), &fd, 1), 0);
	assert_int_equal(fdpass_receive(b, buf, sizeof buf, false, &p), -EMSGSIZE);
	assert_int_equal(p.size, 77);
	assert_int_equal(open_descriptors(), before);

	/* more descriptors than our own sender would send: one, and a hundred */
	for (size_t n = FDPASS_MAX + 1; n <= 100; n += 100 - FDPASS_MAX - 1) {
		int fds[100] = { 0 };
		union { char buf[CMSG_SPACE(sizeof fds)]; struct cmsghdr align; } control = { { 0 } };
		struct iovec iov = { (char[]){ "hi" }, 2 };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = CMSG_SPACE(sizeof(int) * n) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * n) };
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
		assert_int_equal(sendmsg(a, &m, 0), 2);
		assert_int_equal(fdpass_receive(b, buf, sizeof buf, false, &p), -E2BIG);
		assert_int_equal(open_descriptors(), before);
	}
	assert_int_equal(fdpass_send(a, BYTES_LIT("x"), (int[FDPASS_MAX + 1]){ 0 }, FDPASS_MAX + 1), -EINVAL);

	/* the next one is whole again */
	assert_int_equal(fdpass_send(a, BYTES_LIT("ok"), NULL, 0), 0);
	assert_int_equal(fdpass_receive(b, buf, sizeof buf, false, &p), 0);
	assert_int_equal(p.size, 2);
}

static void ends_and_emptiness_are_told_apart(void **state)
{
	(void)state;
	struct fdpass_packet p;
	char buf[16];
	assert_int_equal(fdpass_receive(b, buf, sizeof buf, true, &p), -EAGAIN);
	assert_int_equal(fdpass_send(a, BYTES_LIT("last"), NULL, 0), 0);
	close_fd(&a);
	assert_int_equal(fdpass_receive(b, buf, sizeof buf, true, &p), 0);
	assert_int_equal(p.size, 4);
	assert_int_equal(fdpass_receive(b, buf, sizeof buf, true, &p), 0);
	assert_int_equal(p.size, 0);
	/* no SIGPIPE */
	assert_int_equal(fdpass_send(b, BYTES_LIT("x"), NULL, 0), -EPIPE);
}

static void a_full_socket_does_not_wait(void **state)
{
	(void)state;
	int sent = 0, bad;
	while ((bad = fdpass_send(a, BYTES_LIT("x"), NULL, 0)) == 0 && sent < 1000000)
		sent++;
	assert_int_equal(bad, -EAGAIN);
	assert_true(sent > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(packets_and_descriptors_arrive_together),
		TEST(too_much_leaves_nothing_behind),
		TEST(ends_and_emptiness_are_told_apart),
		TEST(a_full_socket_does_not_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
