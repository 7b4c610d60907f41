/* loop.h - the event loop of every daemon: one thread on libsystemd's sd-event.
 *
 * loop.c is the only file that includes systemd/sd-event.h.  All callbacks run on
 * the loop's thread, one at a time.  Objects are made and freed by their owner,
 * never inside their own callback's callers: closing a source inside its own
 * callback is allowed.  Times are CLOCK_BOOTTIME milliseconds (loop_now_ms): a
 * box that slept knows it. */
#ifndef SHOAL_LOOP_H
#define SHOAL_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

struct loop;
struct loop_io;
struct loop_timer;
struct loop_child;

/* Time of this turn of the loop, taken when it woke. */
uint64_t loop_now_ms(const struct loop *l);
uint64_t clock_ms(void); /* the same clock, read now */
uint64_t clock_us(void);

/* Blocks SIGTERM, SIGINT and SIGCHLD and turns the first two into on_stop (called once
 * per signal).  Ignores SIGPIPE. */
SHOAL_CHECK int loop_new(void (*on_stop)(void *ctx, int signo), void *ctx, struct loop **ret);
struct loop *loop_free(struct loop *l);
/* Runs until loop_exit(); returns its code or a negative error. */
int loop_run(struct loop *l);
void loop_exit(struct loop *l, int code);
/* One turn, waiting at most timeout_ms for something to be ready (UINT64_MAX: for ever).
 * What loop_run() repeats; for programs that wait for one thing, and for tests.
 * 1: more turns may follow, 0: loop_exit() was called, or a negative error. */
SHOAL_CHECK int loop_turn(struct loop *l, uint64_t timeout_ms);
/* Tells systemd READY=1 / STATUS=…; nothing happens outside a unit.  The watchdog,
 * when the unit asks for one, is fed once a turn by the loop itself. */
void loop_notify_ready(struct loop *l, const char *status);
void loop_notify(struct loop *l, const char *state);

/* fn is called with the EPOLL* events that are ready.  Level-triggered; the fd stays
 * the caller's, who removes the source before closing it. */
SHOAL_CHECK int loop_io_new(struct loop *l, int fd, uint32_t events, void (*fn)(void *ctx, uint32_t events), void *ctx,
                            struct loop_io **ret);
int loop_io_events(struct loop_io *io, uint32_t events);
struct loop_io *loop_io_free(struct loop_io *io);

/* A timer that is armed anew each time: at_ms absolute, 0 = as soon as possible,
 * UINT64_MAX = never. */
SHOAL_CHECK int loop_timer_new(struct loop *l, void (*fn)(void *ctx), void *ctx, struct loop_timer **ret);
void loop_timer_at(struct loop_timer *t, uint64_t at_ms);
void loop_timer_off(struct loop_timer *t);
struct loop_timer *loop_timer_free(struct loop_timer *t);

struct loop_child_callbacks {
	void (*exited)(void *ctx, int wstatus); /* once, then it is reaped; as of waitpid() */
	/* A stop, by the signal; NULL: of no interest.  One that is taken back before it is seen is not told. */
	void (*stopped)(void *ctx, int signo);
};
SHOAL_CHECK int loop_child_new(
	struct loop *l, pid_t pid, const struct loop_child_callbacks *cb, void *ctx, struct loop_child **ret);
void loop_child_kill(struct loop_child *c, int signo); /* by pidfd: never a stranger */
struct loop_child *loop_child_free(struct loop_child *c); /* does not end the child */

/* fn runs at the end of every turn, after all ready sources, in the order added:
 * where publishes made in callbacks are flushed and dead objects swept. */
SHOAL_CHECK int loop_post(struct loop *l, void (*fn)(void *ctx), void *ctx);
/* Takes it out again; also allowed inside fn. */
void loop_post_off(struct loop *l, void (*fn)(void *ctx), void *ctx);

#endif
