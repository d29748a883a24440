/* The least that a server can do with one request after the other: one recv and one send of constant bytes, whatever was asked;
 * no parsing, no limits, no log. What it costs is the kernel's part, and no server of this kind can cost less.
 *
 *     floor_server PORT FILE          the body of every answer
 *
 * For bench/run only: it believes its client. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_MAX = 1 << 16, HEAD_MAX = 512, EVENTS = 64 };

static char answer[HEAD_MAX + BODY_MAX], request[1 << 15];

static size_t make_answer(const char *path)
{
	static char body[BODY_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, body, sizeof body);
	if (n <= 0)
		return 0;
	/* about as many bytes of fields as the gateway's */
	int head = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %zd\r\nContent-Type: application/json\r\nX-Fill: %0360d\r\n\r\n", n, 0);
	for (ssize_t i = 0; i < n; i++)
		answer[head + i] = body[i];
	return (size_t)(head + n);
}

int main(int argc, char **argv)
{
	struct epoll_event e = { .events = EPOLLIN }, found[EVENTS];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	size_t size = argc == 3 ? make_answer(argv[2]) : 0;
	int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
	a.sin_port = htons((in_port_t)(argc == 3 ? atoi(argv[1]) : 0));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);            /* as the gateway does on loopback */
	e.data.fd = listener;
	if (size == 0 || bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 1024) != 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e) != 0) {
		fprintf(stderr, "usage: floor_server PORT FILE\n");
		return 2;
	}
	for (;;) {
		int n = epoll_wait(epoll, found, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			int fd = found[i].data.fd;
			if (fd == listener) {
				e.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				e.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
				if (e.data.fd >= 0)
					epoll_ctl(epoll, EPOLL_CTL_ADD, e.data.fd, &e);
			} else if (recv(fd, request, sizeof request, 0) <= 0 ||
			           send(fd, answer, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
				close(fd);
			}
		}
	}
}
