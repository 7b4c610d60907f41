#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h> /* not netinet/tcp.h: its tcp_info lacks bytes_received */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 511
#define DEAD_PEER_MS 30000 /* unacknowledged so long: the client's box is gone */

static bool is_loopback(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

	if (a->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	return a->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static int port_of(const struct sockaddr_storage *a)
{
	return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
					      : ((const struct sockaddr_in *)a)->sin_port);
}

static int listen_on(const struct addrinfo *a, struct listener *ret)
{
	const int on = 1;
	struct sockaddr_storage name;
	socklen_t n = sizeof(name);
	int rc, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* without it a restart waits for old connections */
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ||
		getsockname(fd, (struct sockaddr *)&name, &n) < 0) {
		rc = -errno;
		(void)close(fd);
		return rc;
	}
	*ret = (struct listener){ .fd = fd, .port = port_of(&name), .is_loopback = is_loopback(&name) };
	return 0;
}

int socket_listen(const char *address, int port, const char *option, char *err, size_t err_size, struct listener *ret)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
	const char *numeric = strcmp(address, "localhost") == 0 ? "127.0.0.1" : address;
	struct addrinfo *found;
	char service[16];
	int rc;

	(void)snprintf(service, sizeof(service), "%d", port);
	if (getaddrinfo(numeric, service, &hints, &found) != 0) {
		(void)snprintf(err, err_size, "\"%s\" is not an address; set %s to one like 127.0.0.1, 0.0.0.0 or ::1",
			address, option);
		return ERR_CONFIG;
	}
	rc = listen_on(found, ret);
	freeaddrinfo(found);
	if (rc == -EADDRINUSE)
		(void)snprintf(err, err_size, "port %d on %s is taken by another program; stop it or set %s to another",
			port, numeric, option);
	else if (rc < 0)
		(void)snprintf(
			err, err_size, "cannot listen on %s port %d: %s; see %s", numeric, port, strerror(-rc), option);
	return rc;
}

void socket_tune(int fd, size_t send_buffer)
{
	const int on = 1, idle_s = 30, every_s = 10, tries = 3, size = (int)send_buffer;
	const unsigned user_ms = DEAD_PEER_MS;

	/* None is needed for right answers, so failures are no event. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

uint64_t socket_received(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t n = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 ? info.tcpi_bytes_received : 0;
}

bool socket_is_at_end(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}
