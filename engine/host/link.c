#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The longest lists an agent may send at once: turns and prefix, and a few stop strings and biases. */
#define ARENA_SIZE (PROTO_MAX_TURNS * sizeof(struct turn) + PROTO_MAX_TOKENS * sizeof(uint32_t) + 16384)

int link_init(struct link *l, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	*l = (struct link){ .fd = fd, .out = BUF_INIT(LINK_MAX_OUT) };
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	frame_in_init(&l->in, ENGINE_MAX_IN);
	l->arena.cap = ARENA_SIZE;
	l->arena.p = malloc(ARENA_SIZE);
	return l->arena.p == NULL ? ERR_NOMEM : 0;
}

void link_fini(struct link *l)
{
	frame_in_fini(&l->in);
	buf_fini(&l->out);
	free(l->arena.p);
	*l = (struct link){ .fd = -1 };
}

static int write_out(struct link *l)
{
	while (l->out.n > 0) {
		ssize_t n = send(l->fd, l->out.p, l->out.n, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : errno == EPIPE || errno == ECONNRESET ? ERR_CLOSED : -errno;
		buf_consume(&l->out, (size_t)n);
	}
	return 0;
}

static int read_in(struct link *l)
{
	size_t cap;
	void *at = frame_in_space(&l->in, &cap);
	ssize_t n;

	if (at == NULL)
		return ERR_NOMEM;
	n = recv(l->fd, at, cap, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : errno == ECONNRESET ? ERR_CLOSED : -errno;
	if (n == 0)
		return ERR_CLOSED;
	frame_in_added(&l->in, (size_t)n);
	return 1;
}

int link_turn(struct link *l, int timeout_ms)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };
	int rc = write_out(l);

	if (rc < 0)
		return rc;
	if (l->out.n > 0)
		p.events |= POLLOUT;
	if (poll(&p, 1, timeout_ms) < 0)
		return errno == EINTR ? 0 : -errno;
	if (p.revents & POLLOUT)
		rc = write_out(l);
	if (rc == 0 && (p.revents & (POLLIN | POLLHUP | POLLERR)))
		rc = read_in(l);
	return rc;
}

int link_push(struct link *l)
{
	struct pollfd p = { .fd = l->fd };
	int rc = write_out(l);

	if (rc < 0)
		return rc;
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) ? ERR_CLOSED : 0;
}

int link_next(struct link *l, struct engine_msg *ret)
{
	struct span frame;
	int rc = frame_in_next(&l->in, &frame);

	if (rc <= 0)
		return rc;
	arena_reset(&l->arena);
	rc = msg_decode(&engine_msg_type, frame, MSG_KEYS_INT, &l->arena, ret, NULL);
	return rc < 0 ? rc : 1;
}

int link_send(struct link *l, const struct engine_msg *m)
{
	size_t begin = frame_begin(&l->out);
	int rc = msg_encode(&engine_msg_type, m, MSG_KEYS_INT, &l->out);

	if (rc == 0 && l->out.n - begin - FRAME_HEADER > ENGINE_MAX_OUT)
		rc = ERR_TOOBIG;
	if (rc == 0)
		frame_end(&l->out, begin);
	return rc;
}

bool link_is_full(const struct link *l)
{
	return l->out.n > LINK_MAX_OUT / 2;
}

void link_drain(struct link *l, int timeout_ms)
{
	struct pollfd p = { .fd = l->fd, .events = POLLOUT };

	while (write_out(l) == 0 && l->out.n > 0 && poll(&p, 1, timeout_ms) > 0)
		;
}
