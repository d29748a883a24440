/* The sharing of a vsock port, by real processes. The four functions of linux/vsock.h are replaced by ones on abstract
 * unix sockets, whose bound name says the CID: no AF_VSOCK socket is ever made here. */
#include "host/vsock_share.h"

#include "base/cleanup.h"
#include "linux/vsock.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>

static char base[] = "/tmp/tee-rex-share-XXXXXX";

static socklen_t abstract(struct sockaddr_un *a, const char *what, unsigned n)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int len = snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%s/%s-%u", base, what, n);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

int vsock_listen(uint32_t port, int *ret_fd, struct err *err)
{
	struct sockaddr_un a;
	socklen_t n = abstract(&a, "port", port);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)err;
	if (bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 64) != 0)
		return -errno;
	*ret_fd = fd_steal(&fd);
	return 0;
}

static uint32_t cid_of(const struct sockaddr_un *a)
{
	const char *at = strstr(a->sun_path + 1, "/cid-");
	return at != NULL ? (uint32_t)atoi(at + 5) : 0;
}

int vsock_accept(int listener, int *ret_fd, uint32_t *ret_cid, struct err *err)
{
	struct sockaddr_un a = { 0 };
	socklen_t n = sizeof a;
	int fd = accept4(listener, (struct sockaddr *)&a, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
	(void)err;
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	*ret_cid = cid_of(&a);
	return 0;
}

int vsock_peer(int fd, uint32_t *ret_cid, uint32_t *ret_port)
{
	struct sockaddr_un a = { 0 };
	socklen_t n = sizeof a;
	if (getpeername(fd, (struct sockaddr *)&a, &n) != 0)
		return -errno;
	*ret_cid = cid_of(&a);
	*ret_port = 0;
	return 0;
}

/* A call of enclave cid. */
static int enclave_calls(unsigned cid, unsigned port)
{
	static unsigned calls;
	char name[32];
	struct sockaddr_un a;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(name, sizeof name, "cid-%u-call-%d", cid, (int)getpid());
	socklen_t n = abstract(&a, name, ++calls);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
	n = abstract(&a, "port", port);
	if (connect(fd, (struct sockaddr *)&a, n) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* --- a run ------------------------------------------------------------------------------------------------------
 * A process that shares the port and answers every call of its enclave with its own letter. What it is told over its pipe: a CID
 * to claim, or 0, to end in order. It says '.' when it has done so. */

struct run { pid_t pid; int tell, hear; };

static void serve(char letter, int orders, int say)
{
	struct vsock_share s;
	struct err err;
	if (vsock_share_open(&s, base, 9000, &err) < 0) {
		(void)!write(say, "!", 1);
		vsock_share_close(&s);
		_exit(1);
	}
	(void)!write(say, ".", 1);
	for (;;) {
		struct pollfd p[] = { { .fd = s.epoll, .events = POLLIN }, { .fd = orders, .events = POLLIN } };
		poll(p, 2, -1);
		if (p[1].revents != 0) {
			uint32_t cid;
			if (read(orders, &cid, sizeof cid) != sizeof cid || cid == 0)
				break;
			if (vsock_share_claim(&s, cid, &err) == 0)
				(void)!write(say, ".", 1);
		}
		for (int fd; p[0].revents != 0 && vsock_share_accept(&s, &fd, &err) == 0; close(fd))
			(void)!write(fd, &letter, 1);
	}
	vsock_share_close(&s);
	_exit(0);
}

static char hears(int fd, int ms)
{
	char c;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, ms) != 1 ? '~' : read(fd, &c, 1) == 1 ? c : '_';
}

static char start_run(struct run *r, char letter)
{
	int down[2], up[2];
	assert_int_equal(pipe2(down, O_CLOEXEC), 0);
	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	r->pid = fork();
	if (r->pid == 0) {
		close(down[1]);
		close(up[0]);
		serve(letter, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	r->tell = down[1];
	r->hear = up[0];
	return hears(r->hear, 5000);
}

static void claim(struct run *r, uint32_t cid)
{
	assert_int_equal(write(r->tell, &cid, sizeof cid), sizeof cid);
	assert_int_equal(hears(r->hear, 5000), '.');
}

static void end_run(struct run *r, int signal_number)
{
	int status;
	const uint32_t end = 0;
	if (signal_number != 0)
		kill(r->pid, signal_number);
	else
		assert_int_equal(write(r->tell, &end, sizeof end), sizeof end);
	close(r->tell);
	close(r->hear);
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	if (signal_number == 0)
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static char answer_to(unsigned cid)
{
	int fd = enclave_calls(cid, 9000);
	if (fd < 0)
		return '-';
	char c = hears(fd, 8000);
	close(fd);
	return c;
}

/* An enclave calls again where nobody listens; so it is for a moment when the one who was asked for the socket died before it
 * was scheduled. */
static char answer_at_last(unsigned cid)
{
	char c = '-';
	for (int i = 0; i < 100 && (c = answer_to(cid)) == '-'; i++)
		usleep(20 * 1000);
	return c;
}

static int entries(void)
{
	char path[64];
	int n = 0;
	snprintf(path, sizeof path, "%s/9000", base);
	CLEANUP(close_dir) DIR *d = opendir(path);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.' && strcmp(e->d_name, "lock") != 0;
	return n;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void every_call_reaches_its_own_run(void **state)
{
	(void)state;
	enum { RUNS = 4 };
	struct run r[RUNS];
	for (int i = 0; i < RUNS; i++)
		assert_int_equal(start_run(&r[i], (char)('A' + i)), '.');
	for (int i = 0; i < RUNS; i++)
		claim(&r[i], (uint32_t)(16 + i));
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < RUNS; i++)
			assert_int_equal(answer_to((unsigned)(16 + i)), 'A' + i);
	for (int i = 0; i < RUNS; i++)
		end_run(&r[i], 0);
	assert_int_equal(entries(), 0);
}

static void the_port_outlives_whoever_bound_it(void **state)
{
	(void)state;
	struct run a, b, c;
	assert_int_equal(start_run(&a, 'A'), '.');
	assert_int_equal(start_run(&b, 'B'), '.');
	claim(&b, 17);
	assert_int_equal(answer_to(17), 'B');            /* so b got the socket, or a passes on */
	end_run(&a, SIGKILL);
	assert_int_equal(answer_at_last(17), 'B');
	assert_int_equal(start_run(&c, 'C'), '.');       /* from b; a's inbox is swept away */
	claim(&c, 18);
	end_run(&b, SIGKILL);
	assert_int_equal(answer_at_last(18), 'C');
	end_run(&c, 0);
}

static void one_that_dies_before_it_answers(void **state)
{
	(void)state;
	struct run a, b;
	assert_int_equal(start_run(&a, 'A'), '.');
	kill(a.pid, SIGSTOP);
	assert_int_equal(start_run(&b, 'B'), '.');       /* asks a, who sleeps */
	claim(&b, 17);
	end_run(&a, SIGKILL);
	assert_int_equal(answer_at_last(17), 'B');       /* it binds the port itself */
	end_run(&b, 0);
}

static void a_call_before_the_claim_is_kept_for_a_while(void **state)
{
	(void)state;
	struct run a, b;
	assert_int_equal(start_run(&a, 'A'), '.');
	assert_int_equal(start_run(&b, 'B'), '.');
	int early_a = enclave_calls(16, 9000), early_b = enclave_calls(17, 9000), nobodys = enclave_calls(18, 9000);
	assert_int_equal(hears(early_a, 200), '~');
	claim(&a, 16);
	claim(&b, 17);
	assert_int_equal(hears(early_a, 3000), 'A');
	assert_int_equal(hears(early_b, 3000), 'B');
	assert_int_equal(hears(nobodys, VSOCK_SHARE_CLAIM_MS + 3000), '_');      /* closed */
	close(early_a);
	close(early_b);
	close(nobodys);
	end_run(&a, 0);
	end_run(&b, 0);
}

static void a_crowd_of_strangers_keeps_nobody_out(void **state)
{
	(void)state;
	enum { CROWD = 200 };
	struct run a;
	int fd[CROWD], kept = 0;
	assert_int_equal(start_run(&a, 'A'), '.');
	claim(&a, 16);
	for (unsigned i = 0; i < CROWD; i++)
		fd[i] = enclave_calls(100 + i / 50, 9000);
	assert_int_equal(answer_to(16), 'A');
	for (int i = 0; i < CROWD; i++) {
		kept += hears(fd[i], 0) == '~';
		close(fd[i]);
	}
	assert_true(kept <= VSOCK_SHARE_PENDING_PER_CID * 4);
	end_run(&a, 0);
}

static void a_program_that_does_not_share(void **state)
{
	(void)state;
	struct vsock_share s;
	struct err err;
	int fd;
	struct run a;
	assert_int_equal(vsock_listen(9000, &fd, &err), 0);
	assert_int_equal(start_run(&a, 'A'), '!');
	waitpid(a.pid, NULL, 0);
	close(a.tell);
	close(a.hear);
	assert_int_equal(vsock_share_open(&s, base, 9000, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "vsock port 9000 is taken by a program that does not share it (nitro-cli"));
	vsock_share_close(&s);
	close(fd);
	assert_int_equal(vsock_share_open(&s, base, 9000, &err), 0);
	vsock_share_close(&s);
	assert_int_equal(entries(), 0);
}

static void nonsense_in_the_inbox(void **state)
{
	(void)state;
	struct run a;
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	assert_int_equal(start_run(&a, 'A'), '.');
	claim(&a, 16);
	snprintf(to.sun_path, sizeof to.sun_path, "%s/9000/run-%d", base, (int)a.pid);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	static const struct { size_t n; const char *bytes; } junk[] = {
		{ 0, "" }, { 1, "x" }, { 8, "\3\0\0\0\1\0\0\0" }, { 8, "\2\0\0\0\1\0\0\0" }, { 8, "\1\0\0\0\377\377\377\377" },
		{ 8, "\377\377\377\377\0\0\0\0" }, { 60, "more than a message has room for, which is eight bytes: no more" },
	};
	for (size_t i = 0; i < sizeof junk / sizeof *junk; i++)
		assert_int_equal(sendto(fd, junk[i].bytes, junk[i].n, 0, (struct sockaddr *)&to, sizeof to), junk[i].n);
	assert_int_equal(answer_to(16), 'A');
	end_run(&a, 0);
}

static int make_base(void **state)
{
	(void)state;
	return mkdtemp(base) == NULL;
}

static int remove_base(void **state)
{
	(void)state;
	char command[96];
	snprintf(command, sizeof command, "rm -rf %s", base);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_reaches_its_own_run), cmocka_unit_test(the_port_outlives_whoever_bound_it),
		cmocka_unit_test(one_that_dies_before_it_answers), cmocka_unit_test(a_call_before_the_claim_is_kept_for_a_while),
		cmocka_unit_test(a_crowd_of_strangers_keeps_nobody_out), cmocka_unit_test(a_program_that_does_not_share),
		cmocka_unit_test(nonsense_in_the_inbox),
	};
	return cmocka_run_group_tests(tests, make_base, remove_base);
}
