/* loop.c - the event loop on sd-event. */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

/* sd_event_run() dispatches one source.  A turn is up to this many, so that the post
 * hooks run even while some source is always ready. */
#define TURN_MAX 64
#define TIMER_ACCURACY_US 500

struct post {
	void (*fn)(void *ctx); /* NULL: taken out, swept after the round */
	void *ctx;
};

struct loop {
	sd_event *event;
	sd_event_source *sigterm, *sigint;
	void (*on_stop)(void *ctx, int signo);
	void *ctx;
	struct post *posts;
	size_t n_posts;
};

/* Each of the three is held by its owner only; the trampolines touch nothing after the
 * callback, which may have freed it (sd-event keeps its own source alive meanwhile). */
struct loop_io {
	sd_event_source *source;
	void (*fn)(void *ctx, uint32_t events);
	void *ctx;
};

struct loop_timer {
	sd_event_source *source;
	void (*fn)(void *ctx);
	void *ctx;
};

struct loop_child {
	sd_event_source *source;
	struct loop_child_callbacks cb;
	void *ctx;
};

uint64_t clock_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts); /* cannot fail on Linux >= 2.6.39 */
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t clock_ms(void)
{
	return clock_us() / 1000u;
}

uint64_t loop_now_ms(const struct loop *l)
{
	uint64_t us;

	if (sd_event_now(l->event, CLOCK_BOOTTIME, &us) < 0)
		return clock_ms();
	return us / 1000u;
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *ctx)
{
	struct loop *l = ctx;

	(void)s;
	l->on_stop(l->ctx, (int)si->ssi_signo);
	return 0;
}

int loop_new(void (*on_stop)(void *ctx, int signo), void *ctx, struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));
	sigset_t set;
	int rc;

	if (l == NULL)
		return ERR_NOMEM;
	l->on_stop = on_stop;
	l->ctx = ctx;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGCHLD);
	rc = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (rc == 0 && signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		rc = -errno;
	if (rc == 0)
		rc = sd_event_new(&l->event);
	if (rc >= 0)
		rc = sd_event_add_signal(l->event, &l->sigterm, SIGTERM, on_signal, l);
	if (rc >= 0)
		rc = sd_event_add_signal(l->event, &l->sigint, SIGINT, on_signal, l);
	if (rc >= 0)
		rc = sd_event_set_watchdog(l->event, true);
	if (rc < 0) {
		loop_free(l);
		return rc;
	}
	*ret = l;
	return 0;
}

struct loop *loop_free(struct loop *l)
{
	if (l == NULL)
		return NULL;
	sd_event_source_disable_unref(l->sigterm);
	sd_event_source_disable_unref(l->sigint);
	sd_event_unref(l->event);
	free(l->posts);
	free(l);
	return NULL;
}

static void run_posts(struct loop *l)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n_posts; i++) { /* a hook may add more: they run in this round too */
		struct post p = l->posts[i];

		if (p.fn != NULL)
			p.fn(p.ctx);
	}
	for (size_t i = 0; i < l->n_posts; i++)
		if (l->posts[i].fn != NULL)
			l->posts[kept++] = l->posts[i];
	l->n_posts = kept;
}

static bool is_over(const struct loop *l)
{
	return sd_event_get_state(l->event) == SD_EVENT_FINISHED;
}

int loop_turn(struct loop *l, uint64_t timeout_ms)
{
	int rc = sd_event_run(l->event, timeout_ms >= UINT64_MAX / 1000u ? UINT64_MAX : timeout_ms * 1000u);

	for (int i = 1; i < TURN_MAX && rc > 0 && !is_over(l); i++)
		rc = sd_event_run(l->event, 0);
	if (rc < 0)
		return rc;
	run_posts(l);
	return !is_over(l);
}

int loop_run(struct loop *l)
{
	int rc, code = 0;

	do
		rc = loop_turn(l, UINT64_MAX);
	while (rc > 0);
	if (rc == 0)
		rc = sd_event_get_exit_code(l->event, &code);
	return rc < 0 ? rc : code;
}

void loop_exit(struct loop *l, int code)
{
	(void)sd_event_exit(l->event, code);
}

void loop_notify_ready(struct loop *l, const char *status)
{
	(void)l;
	(void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void loop_notify(struct loop *l, const char *state)
{
	(void)l;
	(void)sd_notify(0, state);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *ctx)
{
	struct loop_io *io = ctx;

	(void)s;
	(void)fd;
	io->fn(io->ctx, events);
	return 0;
}

int loop_io_new(
	struct loop *l, int fd, uint32_t events, void (*fn)(void *ctx, uint32_t events), void *ctx, struct loop_io **ret)
{
	struct loop_io *io = calloc(1, sizeof(*io));
	int rc;

	if (io == NULL)
		return ERR_NOMEM;
	io->fn = fn;
	io->ctx = ctx;
	rc = sd_event_add_io(l->event, &io->source, fd, events, on_io, io);
	if (rc < 0) {
		free(io);
		return rc;
	}
	*ret = io;
	return 0;
}

int loop_io_events(struct loop_io *io, uint32_t events)
{
	int rc = sd_event_source_set_io_events(io->source, events);

	return rc < 0 ? rc : 0;
}

struct loop_io *loop_io_free(struct loop_io *io)
{
	if (io != NULL)
		sd_event_source_disable_unref(io->source);
	free(io);
	return NULL;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
	struct loop_timer *t = ctx;

	(void)s;
	(void)usec;
	t->fn(t->ctx);
	return 0;
}

int loop_timer_new(struct loop *l, void (*fn)(void *ctx), void *ctx, struct loop_timer **ret)
{
	struct loop_timer *t = calloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return ERR_NOMEM;
	t->fn = fn;
	t->ctx = ctx;
	rc = sd_event_add_time(l->event, &t->source, CLOCK_BOOTTIME, 0, TIMER_ACCURACY_US, on_timer, t);
	if (rc >= 0)
		rc = sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
	if (rc < 0)
		loop_timer_free(t);
	else
		*ret = t;
	return rc < 0 ? rc : 0;
}

void loop_timer_at(struct loop_timer *t, uint64_t at_ms)
{
	if (at_ms >= UINT64_MAX / 1000u) {
		loop_timer_off(t);
		return;
	}
	/* Neither can fail on a time source of a loop that has not ended. */
	(void)sd_event_source_set_time(t->source, at_ms * 1000u);
	(void)sd_event_source_set_enabled(t->source, SD_EVENT_ONESHOT);
}

void loop_timer_off(struct loop_timer *t)
{
	(void)sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
}

struct loop_timer *loop_timer_free(struct loop_timer *t)
{
	if (t != NULL)
		sd_event_source_disable_unref(t->source);
	free(t);
	return NULL;
}

/* sd-event looks twice at a stop, the second time to take it off the kernel's list.  When the child went on
 * or died in between, the second look leaves zeros: then there is nothing to tell, or another event follows. */
static int on_child(sd_event_source *s, const siginfo_t *si, void *ctx)
{
	struct loop_child *c = ctx;

	switch (si->si_code) {
	case CLD_EXITED: c->cb.exited(c->ctx, W_EXITCODE(si->si_status, 0)); break;
	case CLD_KILLED: c->cb.exited(c->ctx, W_EXITCODE(0, si->si_status)); break;
	case CLD_DUMPED: c->cb.exited(c->ctx, W_EXITCODE(0, si->si_status) | WCOREFLAG); break;
	default:
		/* Once told it is off, unlike for an end that must not be all.  Cannot fail on a source of a running loop.
		 */
		(void)sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
		if (si->si_code == CLD_STOPPED)
			c->cb.stopped(c->ctx, si->si_status);
	}
	return 0;
}

int loop_child_new(struct loop *l, pid_t pid, const struct loop_child_callbacks *cb, void *ctx, struct loop_child **ret)
{
	struct loop_child *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return ERR_NOMEM;
	c->cb = *cb;
	c->ctx = ctx;
	rc = sd_event_add_child(l->event, &c->source, pid, WEXITED | (cb->stopped != NULL ? WSTOPPED : 0), on_child, c);
	if (rc < 0) {
		free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void loop_child_kill(struct loop_child *c, int signo)
{
	(void)sd_event_source_send_child_signal(c->source, signo, NULL, 0); /* gone already: nothing to end */
}

struct loop_child *loop_child_free(struct loop_child *c)
{
	if (c != NULL)
		sd_event_source_disable_unref(c->source);
	free(c);
	return NULL;
}

int loop_post(struct loop *l, void (*fn)(void *ctx), void *ctx)
{
	struct post *p = realloc(l->posts, (l->n_posts + 1) * sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	l->posts = p;
	l->posts[l->n_posts++] = (struct post){ fn, ctx };
	return 0;
}

void loop_post_off(struct loop *l, void (*fn)(void *ctx), void *ctx)
{
	for (size_t i = 0; i < l->n_posts; i++)
		if (l->posts[i].fn == fn && l->posts[i].ctx == ctx)
			l->posts[i].fn = NULL;
}
