#include "linux/nsm_dev.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

/* --- a device: this program's own ioctl() stands in for the driver on one descriptor ------------- */
static struct {
	int fd;                          /* -1: no descriptor is special */
	unsigned long request;           /* as last called */
	uint8_t asked[NSM_REQUEST_MAX];
	size_t asked_n, cap;
	struct bytes answer;
	int errnum;
	size_t lie;                      /* bytes it claims beyond the buffer */
} driver = { .fd = -1 };

int ioctl(int fd, unsigned long request, ...)
{
	if (fd != driver.fd) {
		errno = ENOTTY;
		return -1;
	}
	va_list ap;
	va_start(ap, request);
	struct iovec *m = va_arg(ap, struct iovec *);
	va_end(ap);
	driver.request = request;
	if (driver.errnum != 0) {
		errno = driver.errnum;
		return -1;
	}
	driver.asked_n = m[0].iov_len;
	memcpy(driver.asked, m[0].iov_base, m[0].iov_len);
	driver.cap = m[1].iov_len;
	if (driver.answer.n < m[1].iov_len)
		m[1].iov_len = driver.answer.n;
	memcpy(m[1].iov_base, driver.answer.p, m[1].iov_len);
	m[1].iov_len += driver.lie;
	return 0;
}

static struct nsm open_fake_device(void)
{
	struct nsm n;
	struct err err;
	assert_int_equal(nsm_open_device(&n, "/dev/null", &err), 0);
	memset(&driver, 0, sizeof driver);
	driver.fd = n.fd;
	return n;
}

static unsigned count_fds(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");
	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void only_a_character_device_is_opened(void **state)
{
	(void)state;
	char dir[] = "/tmp/nsm_dev_test.XXXXXX", path[64];
	assert_non_null(mkdtemp(dir));
	unsigned before = count_fds();
	struct nsm n;
	struct err err;

	snprintf(path, sizeof path, "%s/nsm", dir);
	assert_int_equal(nsm_open_device(&n, path, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(nsm_open_device(&n, dir, &err), -EISDIR);

	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(nsm_open_device(&n, path, &err), -ENOTTY);
	assert_non_null(strstr(err.text, "not a character device"));
	unlink(path);

	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(nsm_open_device(&n, path, &err), -ENOTTY);
	unlink(path);

	/* a listening software NSM under the device's name is not taken for it */
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(s, 1), 0);
	assert_int_equal(nsm_open_device(&n, path, &err), -ENXIO);
	close(s);
	unlink(path);

	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(nsm_open_device(&n, path, &err), -ELOOP);
	unlink(path);
	rmdir(dir);

	assert_int_equal(nsm_open_device(&n, "/dev/null", &err), 0);
	assert_true(fcntl(n.fd, F_GETFD) & FD_CLOEXEC);
	/* a character device, but not this one */
	struct nsm_description d;
	assert_int_equal(nsm_describe(&n, &d, &err), -ENOTTY);
	nsm_close(&n);
	assert_int_equal(n.fd, -1);
	nsm_close(&n);
	assert_int_equal(count_fds(), before);
}

static void the_ioctl_is_the_drivers(void **state)
{
	(void)state;
	struct nsm n = open_fake_device();
	struct err err;
	uint8_t out[NSM_RESPONSE_MAX];
	size_t size = 0;
	driver.answer = BYTES_LIT("\x67LockPCR");
	assert_int_equal(nsm_call(&n, BYTES_LIT("ask"), out, sizeof out, &size, &err), 0);
	assert_int_equal(driver.request, 0xc0200a00);      /* NSM_IOCTL_RAW of the kernel's uapi header */
	assert_true(bytes_equal(bytes_of(driver.asked, driver.asked_n), BYTES_LIT("ask")));
	assert_int_equal(driver.cap, NSM_RESPONSE_MAX);
	assert_true(bytes_equal(bytes_of(out, size), BYTES_LIT("\x67LockPCR")));

	static const uint8_t big[NSM_REQUEST_MAX + 1];
	assert_int_equal(nsm_call(&n, BYTES_ARRAY(big), out, sizeof out, &size, &err), -EMSGSIZE);
	assert_int_equal(nsm_call(&n, bytes_of(big, NSM_REQUEST_MAX), out, sizeof out, &size, &err), 0);
	assert_int_equal(nsm_call(&n, BYTES_LIT("ask"), out, sizeof out - 1, &size, &err), -ENOBUFS);

	driver.lie = NSM_RESPONSE_MAX;
	assert_int_equal(nsm_call(&n, BYTES_LIT("ask"), out, sizeof out, &size, &err), -EMSGSIZE);
	driver.lie = 0;
	driver.errnum = ETIMEDOUT;                         /* the driver after two minutes of silence */
	assert_int_equal(nsm_call(&n, BYTES_LIT("ask"), out, sizeof out, &size, &err), -ETIMEDOUT);
	nsm_close(&n);
}

static void helpers_take_only_the_answer_to_their_question(void **state)
{
	(void)state;
	struct nsm n = open_fake_device();
	struct err err;
	uint8_t doc[64], pcr[NSM_PCR_SIZE], random[300];
	size_t size = 0;
	bool locked;
	struct nsm_description d;

	driver.answer = BYTES_LIT("\xa1\x6b""Attestation\xa1\x68""document\x43""abc");
	assert_int_equal(nsm_attest(&n, BYTES_LIT("key"), BYTES_LIT("data"), BYTES_NONE, doc, sizeof doc, &size, &err), 0);
	assert_true(bytes_equal(bytes_of(doc, size), BYTES_LIT("abc")));
	struct nsm_request q;
	assert_int_equal(nsm_request_parse(bytes_of(driver.asked, driver.asked_n), &q), NSM_OK);
	assert_true(bytes_equal(q.public_key, BYTES_LIT("key")));
	assert_true(bytes_equal(q.user_data, BYTES_LIT("data")));
	assert_null(q.nonce.p);
	assert_int_equal(nsm_attest(&n, BYTES_NONE, BYTES_NONE, BYTES_NONE, doc, 2, &size, &err), -ENOBUFS);
	assert_int_equal(nsm_random(&n, random, sizeof random, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "GetRandom"));
	assert_non_null(strstr(err.text, "Attestation"));
	assert_int_equal(nsm_describe(&n, &d, &err), -EBADMSG);
	assert_int_equal(nsm_describe_pcr(&n, 0, &locked, pcr, &err), -EBADMSG);

	static const uint8_t long_string[NSM_STRING_MAX + 1];
	struct bytes over = BYTES_ARRAY(long_string), user = bytes_of(long_string, NSM_USER_DATA_MAX + 1);
	driver.asked_n = 0;
	assert_int_equal(nsm_attest(&n, over, BYTES_NONE, BYTES_NONE, doc, sizeof doc, &size, &err), -EMSGSIZE);
	assert_int_equal(nsm_attest(&n, BYTES_NONE, user, BYTES_NONE, doc, sizeof doc, &size, &err), -EMSGSIZE);
	assert_int_equal(nsm_attest(&n, BYTES_NONE, BYTES_NONE, user, doc, sizeof doc, &size, &err), -EMSGSIZE);
	assert_int_equal(nsm_describe_pcr(&n, 32, &locked, pcr, &err), -ERANGE);
	assert_int_equal(driver.asked_n, 0);               /* none of these was sent */
	assert_int_equal(nsm_attest(&n, bytes_of(long_string, NSM_STRING_MAX), bytes_of(long_string, NSM_USER_DATA_MAX),
	                            bytes_of(long_string, NSM_NONCE_MAX), doc, sizeof doc, &size, &err), 0);

	const struct { enum nsm_error e; int want; } rows[] = {
		{ NSM_INVALID_ARGUMENT, -EINVAL }, { NSM_INVALID_INDEX, -ERANGE }, { NSM_READ_ONLY_INDEX, -EROFS },
		{ NSM_INVALID_OPERATION, -EOPNOTSUPP }, { NSM_BUFFER_TOO_SMALL, -ENOBUFS },
		{ NSM_INPUT_TOO_LARGE, -EMSGSIZE }, { NSM_INTERNAL_ERROR, -EREMOTEIO },
		{ NSM_INVALID_RESPONSE, -EREMOTEIO },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t buf[64];
		struct writer w = writer_of(buf, sizeof buf);
		nsm_response_put(&w, &(struct nsm_response){ .kind = NSM_ERROR, .error = rows[i].e });
		driver.answer = writer_bytes(&w);
		assert_int_equal(nsm_describe(&n, &d, &err), rows[i].want);
		assert_non_null(strstr(err.text, nsm_error_name(rows[i].e)));
	}

	/* 300 bytes of randomness need two answers of 256 */
	uint8_t buf[512], stock[NSM_RANDOM_SIZE];
	for (size_t i = 0; i < sizeof stock; i++)
		stock[i] = (uint8_t)i;
	struct writer w = writer_of(buf, sizeof buf);
	nsm_response_put(&w, &(struct nsm_response){ .kind = NSM_GET_RANDOM, .random = BYTES_ARRAY(stock) });
	driver.answer = writer_bytes(&w);
	assert_int_equal(nsm_random(&n, random, sizeof random, &err), 0);
	assert_int_equal(random[255], 255);
	assert_int_equal(random[299], 43);

	w = writer_of(buf, sizeof buf);
	nsm_response_put(&w, &(struct nsm_response){ .kind = NSM_DESCRIBE_NSM, .version_major = 1, .module_id = BYTES_LIT("i-1"),
	                                             .max_pcrs = 32, .locked_pcrs = 0xffff, .digest = NSM_SHA384 });
	driver.answer = writer_bytes(&w);
	assert_int_equal(nsm_describe(&n, &d, &err), 0);
	assert_string_equal(d.module_id, "i-1");
	assert_int_equal(d.locked_pcrs, 0xffff);
	*(uint8_t *)(uintptr_t)(memmem(buf, w.at, "i-1", 3)) = 0;
	assert_int_equal(nsm_describe(&n, &d, &err), -EBADMSG);
	assert_string_equal(d.module_id, "i-1");           /* outputs are written on success only */
	nsm_close(&n);
}

/* --- a socket: a thread plays the software NSM from a script ----------------------------------- */
struct step { int delay_ms; struct bytes answer; int times; };
struct script { int fd; const struct step *steps; size_t n; pthread_t thread; };

static void *play(void *arg)
{
	struct script *s = arg;
	for (size_t i = 0; i < s->n; i++) {
		uint8_t buf[NSM_REQUEST_MAX];
		if (recv(s->fd, buf, sizeof buf, 0) <= 0)
			break;
		if (s->steps[i].times < 0)
			break;
		usleep((useconds_t)s->steps[i].delay_ms * 1000);
		for (int k = 0; k < s->steps[i].times; k++)
			send(s->fd, s->steps[i].answer.p, s->steps[i].answer.n, MSG_NOSIGNAL);
	}
	close(s->fd);
	return NULL;
}

static struct nsm connect_to(struct script *s, const struct step *steps, size_t n)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*s = (struct script){ .fd = pair[1], .steps = steps, .n = n };
	struct nsm nsm;
	struct err err;
	assert_int_equal(nsm_from_socket(&nsm, pair[0], &err), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, play, s), 0);
	return nsm;
}

static int ask(struct nsm *n, char *ret_text, struct err *err)
{
	uint8_t out[NSM_RESPONSE_MAX];
	size_t size = 0;
	int ret = nsm_call(n, BYTES_LIT("ask"), out, sizeof out, &size, err);
	if (ret == 0) {
		assert_true(size < 64);
		memcpy(ret_text, out, size);
		ret_text[size] = '\0';
	}
	return ret;
}

static void only_a_connected_packet_socket_is_taken(void **state)
{
	(void)state;
	struct nsm n;
	struct err err;
	int pair[2];
	assert_int_equal(nsm_from_socket(&n, -1, &err), -EBADF);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(nsm_from_socket(&n, null, &err), -ENOTSOCK);
	close(null);
	const int types[] = { SOCK_STREAM, SOCK_DGRAM };
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, pair), 0);
		assert_int_equal(nsm_from_socket(&n, pair[0], &err), -EPROTOTYPE);
		assert_true(fcntl(pair[0], F_GETFD) >= 0);     /* still the caller's */
		close(pair[0]);
		close(pair[1]);
	}
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(nsm_from_socket(&n, s, &err), -ENOTCONN);
	close(s);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(nsm_from_socket(&n, pair[0], &err), 0);
	assert_true(fcntl(pair[0], F_GETFD) & FD_CLOEXEC);
	nsm_close(&n);
	close(pair[1]);
}

static void a_late_answer_is_not_taken_for_the_next_one(void **state)
{
	(void)state;
	static const struct step steps[] = {
		{ 0, BYTES_LIT("one"), 1 }, { 250, BYTES_LIT("late"), 1 }, { 0, BYTES_LIT("three"), 1 },
		{ 0, BYTES_LIT("four"), 1 },
	};
	struct script s;
	struct nsm n = connect_to(&s, steps, 4);
	struct err err;
	char text[64];
	assert_int_equal(ask(&n, text, &err), 0);
	assert_string_equal(text, "one");
	n.timeout_ms = 100;
	int64_t from = clock_monotonic_ms();
	assert_int_equal(ask(&n, text, &err), -ETIMEDOUT);
	int64_t took = clock_monotonic_ms() - from;
	assert_true(took >= 95 && took < 2000);
	assert_int_equal(n.owed, 1);
	n.timeout_ms = 5000;                               /* waits while "late" comes in, and past it */
	assert_int_equal(ask(&n, text, &err), 0);
	assert_string_equal(text, "three");
	assert_int_equal(n.owed, 0);
	assert_int_equal(ask(&n, text, &err), 0);
	assert_string_equal(text, "four");
	pthread_join(s.thread, NULL);
	nsm_close(&n);
}

static void answers_nobody_asked_for_are_thrown_away(void **state)
{
	(void)state;
	static const struct step steps[] = { { 0, BYTES_LIT("one"), 5 }, { 0, BYTES_LIT("two"), 1 } };
	struct script s;
	struct nsm n = connect_to(&s, steps, 2);
	struct err err;
	char text[64];
	assert_int_equal(ask(&n, text, &err), 0);
	assert_string_equal(text, "one");
	usleep(100 * 1000);
	assert_int_equal(ask(&n, text, &err), 0);
	assert_string_equal(text, "two");
	pthread_join(s.thread, NULL);
	nsm_close(&n);
}

static void a_peer_that_leaves_or_floods_is_an_error(void **state)
{
	(void)state;
	static uint8_t big[NSM_RESPONSE_MAX + 1];
	const struct step steps[] = { { 0, BYTES_ARRAY(big), 1 }, { 0, BYTES_LIT("x"), -1 } };
	struct script s;
	struct nsm n = connect_to(&s, steps, 2);
	struct err err;
	char text[64];
	assert_int_equal(ask(&n, text, &err), -EMSGSIZE);
	assert_int_equal(ask(&n, text, &err), -EPIPE);     /* it closes instead of answering */
	assert_non_null(strstr(err.text, "closed"));
	assert_int_equal(ask(&n, text, &err), -EPIPE);     /* and stays away */
	pthread_join(s.thread, NULL);
	nsm_close(&n);
}

static void a_peer_that_never_reads_cannot_block_us(void **state)
{
	(void)state;
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	struct nsm n;
	struct err err;
	assert_int_equal(nsm_from_socket(&n, pair[0], &err), 0);
	n.timeout_ms = 10;
	char text[64];
	int64_t from = clock_monotonic_ms();
	for (int i = 0; i < 30; i++)
		assert_int_equal(ask(&n, text, &err), -ETIMEDOUT);
	assert_true(clock_monotonic_ms() - from < 5000);
	assert_true(n.owed <= 8);                          /* it stops asking, too */
	close(pair[1]);
	assert_int_equal(ask(&n, text, &err), -EPIPE);
	nsm_close(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_character_device_is_opened),
		cmocka_unit_test(the_ioctl_is_the_drivers),
		cmocka_unit_test(helpers_take_only_the_answer_to_their_question),
		cmocka_unit_test(only_a_connected_packet_socket_is_taken),
		cmocka_unit_test(a_late_answer_is_not_taken_for_the_next_one),
		cmocka_unit_test(answers_nobody_asked_for_are_thrown_away),
		cmocka_unit_test(a_peer_that_leaves_or_floods_is_an_error),
		cmocka_unit_test(a_peer_that_never_reads_cannot_block_us),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
