/* The init of tests/e2e/test_qemu.py: the smallest thing that makes an enclave image of a kernel, to try the simulator with.
 * Sends the heartbeat, then serves, a process for each connection:
 *
 *     9100 echo      9101 counts bytes until their end, then says how many      9102 "N\n": N bytes of a pattern
 *     9103 one command a line, one answer a line (below)                        9003 'S': resets the machine
 *
 * Static, because there is nothing else there. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int dial(unsigned cid, unsigned port)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static bool write_all(int fd, const void *p, size_t n)
{
	for (const char *at = p; n > 0;) {
		ssize_t k = write(fd, at, n);
		if (k <= 0)
			return false;
		at += k;
		n -= (size_t)k;
	}
	return true;
}

static void serve_echo(int fd)
{
	static char buf[64 << 10];
	for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0 && write_all(fd, buf, (size_t)n);)
		;
}

static void serve_count(int fd)
{
	static char buf[64 << 10];
	unsigned long long total = 0, sum = 0;
	for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0; total += (unsigned long long)n)
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 31 + (unsigned char)buf[i];
	dprintf(fd, "%llu %llu\n", total, sum);
}

static void serve_pattern(int fd)
{
	static char buf[64 << 10];
	FILE *f = fdopen(dup(fd), "r");
	unsigned long long n = 0, at = 0;
	if (f == NULL || fscanf(f, "%llu", &n) != 1)
		return;
	while (at < n) {
		size_t k = n - at < sizeof buf ? (size_t)(n - at) : sizeof buf;
		for (size_t i = 0; i < k; i++)
			buf[i] = (char)((at + i) * 7 >> 3);
		if (!write_all(fd, buf, k))
			return;
		at += k;
	}
}

static void command_nsm(int fd, const char *hex)
{
	static uint8_t request[0x2000], response[0x3000];
	size_t n = strspn(hex, "0123456789abcdef") / 2;
	struct { struct iovec request, response; } raw;
	for (size_t i = 0; i < n && i < sizeof request; i++)
		sscanf(hex + 2 * i, "%2hhx", &request[i]);
	raw.request = (struct iovec){ request, n };
	raw.response = (struct iovec){ response, sizeof response };
	int nsm = open("/dev/nsm", O_RDWR);
	if (nsm < 0 || ioctl(nsm, _IOWR(0x0A, 0, raw), &raw) != 0) {
		dprintf(fd, "%s\n", strerrorname_np(errno));
	} else {
		char *text = malloc(2 * raw.response.iov_len + 2);
		for (size_t i = 0; i < raw.response.iov_len; i++)
			sprintf(text + 2 * i, "%02x", response[i]);
		strcat(text, "\n");
		write_all(fd, text, strlen(text));
		free(text);
	}
	close(nsm);
}

static void command_file(int fd, const char *path)
{
	char buf[4096];
	int from = open(path, O_RDONLY);
	ssize_t n = from < 0 ? -1 : read(from, buf, sizeof buf);
	for (ssize_t i = 0; i < n; i++)
		if (buf[i] == '\n')
			buf[i] = ';';
	if (n < 0)
		dprintf(fd, "%s\n", strerrorname_np(errno));
	else
		dprintf(fd, "%.*s\n", (int)n, buf);
	close(from);
}

/* N connections to CID 3 at once, after so many ms; answers when the last was refused, or after ten seconds. */
static void command_flood(int fd, unsigned count, unsigned port, unsigned after_ms)
{
	static struct pollfd p[4096];
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST + 1, .svm_port = port };
	struct rlimit many = { 8192, 8192 };
	struct timeval patience = { .tv_sec = 60 };
	unsigned open_ones = 0;
	setrlimit(RLIMIT_NOFILE, &many);
	usleep(after_ms * 1000);
	for (unsigned i = 0; i < count && i < 4096; i++) {
		p[i] = (struct pollfd){ .fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0), .events = POLLOUT };
		setsockopt(p[i].fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof patience);
		connect(p[i].fd, (struct sockaddr *)&a, sizeof a);
		open_ones += p[i].fd >= 0;
	}
	while (open_ones > 0 && poll(p, count, 10000) > 0)
		for (unsigned i = 0; i < count; i++)
			if (p[i].fd >= 0 && p[i].revents != 0) {
				close(p[i].fd);
				p[i].fd = -1;
				open_ones--;
			}
	dprintf(fd, "%u left\n", open_ones);
}

static void serve_commands(int fd)
{
	static char line[32 << 10];
	FILE *f = fdopen(dup(fd), "r");
	unsigned cid, port, count, ms;
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "connect %u %u", &cid, &port) == 2) {
			int to = dial(cid, port);
			dprintf(fd, "%s\n", to < 0 ? strerrorname_np(errno) : "ok");
			close(to);
		} else if (sscanf(line, "say %u %u", &port, &count) == 2) {     /* count bytes to CID 3, then what comes back */
			char buf[4096] = { 0 };
			int to = dial(VMADDR_CID_HOST + 1, port);
			for (unsigned i = 0; to >= 0 && i < count; i += (unsigned)sizeof buf)
				write_all(to, buf, count - i < sizeof buf ? count - i : sizeof buf);
			shutdown(to, SHUT_WR);
			ssize_t n = to < 0 ? -1 : read(to, buf, sizeof buf);
			dprintf(fd, "%s %.*s\n", to < 0 ? strerrorname_np(errno) : "ok", n > 0 ? (int)n : 0, buf);
			close(to);
		} else if (sscanf(line, "flood %u %u %u", &count, &port, &ms) == 3) {
			command_flood(fd, count, port, ms);
		} else if (strncmp(line, "nsm ", 4) == 0) {
			command_nsm(fd, line + 4);
		} else if (strncmp(line, "file ", 5) == 0) {
			command_file(fd, line + 5);
		} else if (strcmp(line, "panic") == 0) {
			kill(1, SIGUSR1);
		} else if (strcmp(line, "reset") == 0) {
			reboot(RB_AUTOBOOT);
		} else if (strncmp(line, "console ", 8) == 0) {
			int to = open("/dev/console", O_WRONLY);
			dprintf(to, "%s\n", line + 8);
			close(to);
			dprintf(fd, "ok\n");
		} else {
			dprintf(fd, "what?\n");
		}
	}
}

static void serve_shutdown(int fd)
{
	char byte = 0;
	if (read(fd, &byte, 1) == 1 && byte == 'S')
		reboot(RB_AUTOBOOT);
}

static const struct { unsigned port; void (*serve)(int fd); } services[] = {
	{ 9100, serve_echo }, { 9101, serve_count }, { 9102, serve_pattern }, { 9103, serve_commands }, { 9003, serve_shutdown },
};

static int listen_on(unsigned port)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0)
		exit(2);
	return fd;
}

/* Serves from another process, so that this one can end and with it the kernel (a panic). */
static void die(int unused)
{
	(void)unused;
	_exit(1);
}

int main(void)
{
	uint8_t beat = 0xb7;
	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	signal(SIGUSR1, die);
	for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
		int listener = listen_on(services[i].port);
		if (fork() != 0)
			continue;
		signal(SIGCHLD, SIG_IGN);
		for (;;) {
			int fd = accept(listener, NULL, NULL);
			if (fd < 0 || fork() != 0) {
				close(fd);
				continue;
			}
			services[i].serve(fd);
			_exit(0);
		}
	}
	int fd = dial(VMADDR_CID_HOST + 1, 9000);
	if (fd >= 0 && write(fd, &beat, 1) == 1 && read(fd, &beat, 1) == 1)
		close(fd);
	for (;;)
		pause();
}
