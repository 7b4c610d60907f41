#include "engine_link.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "engine_words.h"
#include "frame.h"
#include "log.h"

#define OUT_MAX ((size_t)16 << 20)    /* of messages an engine has not read yet */
#define FDS_MAX 64                    /* descriptors in them */
#define KEEP_MAX ((size_t)64 << 10)   /* a buffer that grew past this is given back when empty */
#define HANG_UP_MS 100                /* from the end of its stream to its own end */
#define LAST_READS 64                 /* of what it said before it died: more than a socket holds */
#define ARENA_SIZE ((size_t)32 << 10) /* lists of one message from an engine: PROTO_MAX_FRAME_TOKENS and to spare */

struct engine_link {
	struct loop *loop;
	size_t index;
	char *path;
	struct engine_link_callbacks cb;
	void *ctx;
	int fd;
	pid_t pid;
	struct loop_io *io;
	struct loop_child *child;
	struct loop_timer *hung_up;
	struct engine_words *words;
	struct frame_in in;
	struct buf out;
	struct {
		size_t at; /* in out: goes with this byte */
		int fd;
	} fds[FDS_MAX];
	size_t n_fds;
	struct arena arena;
	bool is_deaf; /* what it says is not read any more */
};

/* ---- reading ---- */

static void stop_reading(struct engine_link *l)
{
	l->is_deaf = true;
	l->io = loop_io_free(l->io);
}

/* It closed its end: most likely it is about to end, and its status says how. */
static void hang_up(struct engine_link *l)
{
	stop_reading(l);
	loop_timer_at(l->hung_up, loop_now_ms(l->loop) + HANG_UP_MS);
}

static void on_hung_up(void *ctx)
{
	engine_link_kill(ctx);
}

static void deliver(struct engine_link *l)
{
	struct span frame;
	struct engine_msg m;
	int rc;

	while (!l->is_deaf && (rc = frame_in_next(&l->in, &frame)) != 0) {
		if (rc > 0) {
			arena_reset(&l->arena);
			rc = msg_decode(&engine_msg_type, frame, MSG_KEYS_INT, &l->arena, &m, NULL);
		}
		if (rc < 0)
			stop_reading(l);
		l->cb.message(l->ctx, l->index, rc < 0 ? NULL : &m);
	}
}

/* False when there is nothing to read now, or ever. */
static bool read_some(struct engine_link *l)
{
	size_t cap;
	void *at = frame_in_space(&l->in, &cap);
	ssize_t n = at != NULL ? read(l->fd, at, cap) : 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		hang_up(l);
		return false;
	}
	frame_in_added(&l->in, (size_t)n);
	deliver(l);
	return !l->is_deaf;
}

/* ---- writing ---- */

static void arm(struct engine_link *l)
{
	if (l->io != NULL && loop_io_events(l->io, EPOLLIN | (l->out.n > 0 ? EPOLLOUT : 0)) < 0)
		engine_link_kill(l);
}

static void drop_first_fd(struct engine_link *l)
{
	close(l->fds[0].fd);
	l->n_fds--;
	memmove(l->fds, l->fds + 1, l->n_fds * sizeof(l->fds[0]));
}

static void forget_out(struct engine_link *l)
{
	while (l->n_fds > 0)
		drop_first_fd(l);
	buf_fini(&l->out);
}

static void written(struct engine_link *l, size_t n)
{
	buf_consume(&l->out, n);
	for (size_t i = 0; i < l->n_fds; i++)
		l->fds[i].at -= n;
}

/* One part of what waits: up to the next byte that a descriptor goes with, or from it on. */
static ssize_t write_part(struct engine_link *l)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	bool with_fd = l->n_fds > 0 && l->fds[0].at == 0;
	size_t next = with_fd ? 1 : 0;
	struct iovec v = { .iov_base = l->out.p, .iov_len = next < l->n_fds ? l->fds[next].at : l->out.n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t n;

	if (with_fd) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &l->fds[0].fd, sizeof(int));
	}
	n = sendmsg(l->fd, &m, MSG_NOSIGNAL);
	if (n > 0 && with_fd)
		drop_first_fd(l);
	return n;
}

static void write_some(struct engine_link *l)
{
	while (l->out.n > 0) {
		ssize_t n = write_part(l);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			forget_out(l); /* it hears no more; reading on tells why */
		if (n < 0)
			break;
		written(l, (size_t)n);
	}
	if (l->out.n == 0 && l->out.cap > KEEP_MAX)
		buf_fini(&l->out);
	arm(l);
}

void engine_link_send(struct engine_link *l, const struct engine_msg *m, int fd)
{
	size_t begin, before = l->out.n;
	int rc;

	assert((fd >= 0) == engine_msg_has_fd(m->type));
	if (l->pid == 0 || l->is_deaf || (fd >= 0 && l->n_fds == FDS_MAX)) {
		if (fd >= 0)
			close(fd);
		if (l->n_fds == FDS_MAX)
			engine_link_kill(l); /* it has not read for very long */
		return;                      /* its end is under way */
	}
	if (fd >= 0) {
		l->fds[l->n_fds].at = before;
		l->fds[l->n_fds++].fd = fd;
	}
	begin = frame_begin(&l->out);
	rc = msg_encode(&engine_msg_type, m, MSG_KEYS_INT, &l->out);
	if (rc == 0 && l->out.n - begin - FRAME_HEADER > ENGINE_MAX_IN)
		rc = ERR_TOOBIG;
	if (rc < 0) {
		log_error("engine", "engine %d does not take what it is told: %s; ending it", (int)l->pid, err_text(rc));
		l->out.n = before;
		engine_link_kill(l);
		return;
	}
	frame_end(&l->out, begin);
	if (before == 0)
		write_some(l);
}

static void on_io(void *ctx, uint32_t events)
{
	struct engine_link *l = ctx;

	if (events & EPOLLOUT)
		write_some(l);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		(void)read_some(l);
}

/* ---- the process ---- */

static void forget_child(struct engine_link *l)
{
	l->io = loop_io_free(l->io);
	l->child = loop_child_free(l->child);
	l->words = engine_words_free(l->words);
	loop_timer_off(l->hung_up);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	l->pid = 0;
	frame_in_fini(&l->in);
	forget_out(l);
}

static void on_exit_of_child(void *ctx, int wstatus)
{
	struct engine_link *l = ctx;

	/* A process it started may hold the other end, and talk on.  The number is the group's: it is not reaped yet. */
	(void)kill(-l->pid, SIGKILL);
	/* What it said before it died counts. */
	for (int i = 0; i < LAST_READS && l->io != NULL && read_some(l); i++)
		;
	forget_child(l);
	l->cb.exited(l->ctx, l->index, wstatus);
}

static void on_stop_of_child(void *ctx, int signo)
{
	struct engine_link *l = ctx;

	l->cb.stopped(l->ctx, l->index, signo);
}

static int watch(struct engine_link *l)
{
	static const struct loop_child_callbacks callbacks = { on_exit_of_child, on_stop_of_child };
	int flags = fcntl(l->fd, F_GETFL), rc;

	if (flags < 0 || fcntl(l->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	rc = loop_io_new(l->loop, l->fd, EPOLLIN, on_io, l, &l->io);
	if (rc == 0)
		rc = loop_child_new(l->loop, l->pid, &callbacks, l, &l->child);
	return rc;
}

static void on_words(void *ctx, int level, struct span line)
{
	struct engine_link *l = ctx;

	l->cb.said(l->ctx, l->index, level, line);
}

static int spawn(struct engine_link *l, int fd3)
{
	const char *const argv[] = { l->path, NULL };
	struct child_spec spec = { .file = l->path, .argv = argv, .fd3 = fd3, .die_with_parent = true, .new_group = true };
	int words, rc = engine_words_new(l->loop, on_words, l, &words, &l->words);

	if (rc < 0)
		return rc;
	spec.out = spec.err = words;
	rc = child_spawn(&spec, &l->pid);
	close(words);
	return rc;
}

int engine_link_start(struct engine_link *l)
{
	int sv[2], rc;

	if (l->pid != 0)
		return ERR_STATE;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	l->fd = sv[0];
	l->is_deaf = false;
	frame_in_init(&l->in, ENGINE_MAX_OUT);
	l->out = BUF_INIT(OUT_MAX);
	rc = spawn(l, sv[1]);
	close(sv[1]);
	if (rc == 0 && (rc = watch(l)) < 0) {
		kill(l->pid, SIGKILL);
		(void)waitpid(l->pid, NULL, 0);
	}
	if (rc < 0)
		forget_child(l);
	return rc;
}

void engine_link_kill(struct engine_link *l)
{
	if (l->child != NULL)
		loop_child_kill(l->child, SIGKILL);
}

pid_t engine_link_pid(const struct engine_link *l)
{
	return l->pid;
}

int engine_link_new(struct loop *loop, size_t index, const char *path, const struct engine_link_callbacks *cb, void *ctx,
	struct engine_link **ret)
{
	struct engine_link *l = calloc(1, sizeof(*l));
	int rc;

	if (l == NULL)
		return ERR_NOMEM;
	*l = (struct engine_link){ .loop = loop, .index = index, .cb = *cb, .ctx = ctx, .fd = -1 };
	l->path = span_str(span_of(path));
	l->arena.p = malloc(ARENA_SIZE);
	l->arena.cap = ARENA_SIZE;
	rc = l->path == NULL || l->arena.p == NULL ? ERR_NOMEM : loop_timer_new(loop, on_hung_up, l, &l->hung_up);
	if (rc < 0)
		engine_link_free(l);
	else
		*ret = l;
	return rc;
}

struct engine_link *engine_link_free(struct engine_link *l)
{
	if (l == NULL)
		return NULL;
	engine_link_kill(l);
	if (l->hung_up != NULL)
		forget_child(l);
	loop_timer_free(l->hung_up);
	free(l->arena.p);
	free(l->path);
	free(l);
	return NULL;
}
