#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The longest lists an agent may send at once: turns and prefix, and a few stop strings and biases. */
#define ARENA_SIZE (PROTO_MAX_TURNS * sizeof(struct turn) + PROTO_MAX_TOKENS * sizeof(uint32_t) + 16384)

int link_init(struct link *l, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	*l = (struct link){ .fd = fd, .out = BUF_INIT(LINK_MAX_OUT), .in_hand = -1 };
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	frame_in_init(&l->in, ENGINE_MAX_IN);
	l->arena.cap = ARENA_SIZE;
	l->arena.p = malloc(ARENA_SIZE);
	return l->arena.p == NULL ? ERR_NOMEM : 0;
}

static void drop_in_hand(struct link *l)
{
	if (l->in_hand >= 0)
		close(l->in_hand);
	l->in_hand = -1;
}

void link_fini(struct link *l)
{
	drop_in_hand(l);
	while (l->n_fds > 0)
		close(l->fds[--l->n_fds]);
	frame_in_fini(&l->in);
	buf_fini(&l->out);
	free(l->arena.p);
	*l = (struct link){ .fd = -1, .in_hand = -1 };
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

/* All that came; those there is no room for are closed, and the stream is not valid. */
static int take_descriptors(struct link *l, struct msghdr *m)
{
	int rc = m->msg_flags & MSG_CTRUNC ? ERR_MALFORMED : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (l->n_fds < LINK_MAX_FDS) {
				l->fds[l->n_fds++] = fd;
				continue;
			}
			close(fd);
			rc = ERR_MALFORMED;
		}
	}
	return rc;
}

static int read_in(struct link *l)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(LINK_MAX_FDS * sizeof(int))];
	struct iovec v;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n;

	v.iov_base = frame_in_space(&l->in, &v.iov_len);
	if (v.iov_base == NULL)
		return ERR_NOMEM;
	n = recvmsg(l->fd, &m, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : errno == ECONNRESET ? ERR_CLOSED : -errno;
	if (n == 0)
		return ERR_CLOSED;
	frame_in_added(&l->in, (size_t)n);
	return take_descriptors(l, &m) < 0 ? ERR_MALFORMED : 1;
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

static int take_in_hand(struct link *l)
{
	if (l->n_fds == 0)
		return ERR_MISSING;
	l->in_hand = l->fds[0];
	l->n_fds--;
	memmove(l->fds, l->fds + 1, l->n_fds * sizeof(l->fds[0]));
	return 0;
}

int link_next(struct link *l, struct engine_msg *ret)
{
	struct span frame;
	int rc = frame_in_next(&l->in, &frame);

	drop_in_hand(l);
	if (rc < 0)
		return rc;
	/* With all messages taken, a descriptor can only be that of one that is on the way. */
	if (rc == 0)
		return l->n_fds > (frame_in_has_part(&l->in) ? 1 : 0) ? ERR_MALFORMED : 0;
	arena_reset(&l->arena);
	rc = msg_decode(&engine_msg_type, frame, MSG_KEYS_INT, &l->arena, ret, NULL);
	if (rc == 0 && engine_msg_has_fd(ret->type))
		rc = take_in_hand(l);
	return rc < 0 ? rc : 1;
}

int link_take_fd(struct link *l)
{
	int fd = l->in_hand;

	l->in_hand = -1;
	return fd;
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
