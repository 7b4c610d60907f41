#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "unit/os_help.h"

struct probe {
	struct loop *l;
	struct loop_io *io;
	struct loop_timer *timer;
	struct loop_child *child;
	int stopped_by;
	int calls, order[8], n_order, wstatus;
	uint64_t at_ms;
	bool done;
};

static void note(struct probe *p, int what)
{
	if (p->n_order < 8)
		p->order[p->n_order++] = what;
}

static void on_readable(void *ctx, uint32_t events)
{
	struct probe *p = ctx;

	cr_assert(events & EPOLLIN);
	p->calls++;
	note(p, 1);
	p->io = loop_io_free(p->io);
	p->done = true;
}

Test(loop, a_source_may_be_freed_in_its_own_callback)
{
	struct probe p = { .l = help_loop() };
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(loop_io_new(p.l, fds[0], EPOLLIN, on_readable, &p, &p.io), 0);
	cr_assert_eq(write(fds[1], "x", 1), 1);
	cr_assert(help_wait_flag(p.l, &p.done));
	help_idle(p.l, 20); /* the byte is still there: a source left behind would fire again */
	cr_assert_eq(p.calls, 1);
	loop_free(p.l);
}

struct pair {
	struct loop_io *io[2];
	int calls;
};

static void free_both(void *ctx, uint32_t events)
{
	struct pair *p = ctx;

	(void)events;
	p->calls++;
	p->io[0] = loop_io_free(p->io[0]);
	p->io[1] = loop_io_free(p->io[1]);
}

Test(loop, a_ready_source_freed_by_another_is_not_called)
{
	struct loop *l = help_loop();
	struct pair p = { .calls = 0 };
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert(write(fds[0], "x", 1) == 1 && write(fds[1], "x", 1) == 1);
	cr_assert_eq(loop_io_new(l, fds[0], EPOLLIN, free_both, &p, &p.io[0]), 0);
	cr_assert_eq(loop_io_new(l, fds[1], EPOLLIN, free_both, &p, &p.io[1]), 0);
	help_idle(l, 20);
	cr_assert_eq(p.calls, 1);
	loop_free(l);
}

static void on_time(void *ctx)
{
	struct probe *p = ctx;

	p->calls++;
	p->at_ms = clock_ms();
	p->done = true;
}

Test(loop, a_timer_fires_once_for_each_time_it_is_set_and_not_early)
{
	struct probe p = { .l = help_loop() };
	uint64_t due_ms;

	cr_assert_eq(loop_timer_new(p.l, on_time, &p, &p.timer), 0);
	help_idle(p.l, 20);
	cr_assert_eq(p.calls, 0, "a timer that was not set fired");
	for (int i = 1; i <= 3; i++) {
		due_ms = clock_ms() + 15;
		p.done = false;
		loop_timer_at(p.timer, due_ms);
		cr_assert(help_wait_flag(p.l, &p.done));
		cr_assert_geq(p.at_ms, due_ms);
		help_idle(p.l, 20);
		cr_assert_eq(p.calls, i);
	}
	p.timer = loop_timer_free(p.timer);
	loop_free(p.l);
}

Test(loop, time_zero_is_at_once_and_never_is_never)
{
	struct probe p = { .l = help_loop() };

	cr_assert_eq(loop_timer_new(p.l, on_time, &p, &p.timer), 0);
	loop_timer_at(p.timer, 0);
	cr_assert(help_wait_flag(p.l, &p.done));
	loop_timer_at(p.timer, 0);
	loop_timer_at(p.timer, UINT64_MAX);
	help_idle(p.l, 20);
	cr_assert_eq(p.calls, 1);
	loop_timer_free(p.timer);
	loop_free(p.l);
}

static void free_timer(void *ctx)
{
	struct probe *p = ctx;

	p->timer = loop_timer_free(p->timer);
	p->done = true;
}

Test(loop, a_timer_may_be_freed_in_its_own_callback)
{
	struct probe p = { .l = help_loop() };

	cr_assert_eq(loop_timer_new(p.l, free_timer, &p, &p.timer), 0);
	loop_timer_at(p.timer, 0);
	cr_assert(help_wait_flag(p.l, &p.done));
	loop_free(p.l);
}

static void post_two(void *ctx)
{
	note(ctx, 2);
}

static void post_three(void *ctx)
{
	note(ctx, 3);
}

Test(loop, post_hooks_run_in_order_after_the_ready_sources)
{
	struct probe p = { .l = help_loop() };
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(loop_post(p.l, post_two, &p), 0);
	cr_assert_eq(loop_post(p.l, post_three, &p), 0);
	cr_assert_eq(loop_io_new(p.l, fds[0], EPOLLIN, on_readable, &p, &p.io), 0);
	cr_assert_eq(write(fds[1], "x", 1), 1);
	cr_assert_eq(loop_turn(p.l, HELP_DEADLINE_MS), 1);
	cr_assert_eq(p.n_order, 3);
	cr_assert(p.order[0] == 1 && p.order[1] == 2 && p.order[2] == 3);

	loop_post_off(p.l, post_two, &p);
	cr_assert_eq(loop_turn(p.l, 0), 1);
	cr_assert(p.n_order == 4 && p.order[3] == 3, "a hook that was taken out ran");
	loop_free(p.l);
}

static void on_always(void *ctx, uint32_t events)
{
	(void)events;
	((struct probe *)ctx)->calls++;
}

Test(loop, post_hooks_run_although_a_source_is_always_ready)
{
	struct probe p = { .l = help_loop() };
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(loop_post(p.l, post_two, &p), 0);
	cr_assert_eq(loop_io_new(p.l, fds[0], EPOLLOUT, on_always, &p, &p.io), 0);
	cr_assert_eq(loop_turn(p.l, 0), 1);
	cr_assert_eq(p.n_order, 1);
	cr_assert_gt(p.calls, 1);
	loop_io_free(p.io);
	loop_free(p.l);
}

static void end_loop(void *ctx)
{
	loop_exit(((struct probe *)ctx)->l, 7);
}

Test(loop, run_returns_the_code_given_to_exit)
{
	struct probe p = { .l = help_loop() };

	cr_assert_eq(loop_timer_new(p.l, end_loop, &p, &p.timer), 0);
	loop_timer_at(p.timer, 0);
	cr_assert_eq(loop_run(p.l), 7);
	loop_timer_free(p.timer);
	loop_free(p.l);
}

Test(loop, sigterm_stops_and_sigpipe_does_not_kill)
{
	struct loop *l = help_loop();
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	(void)close(fds[1]);
	cr_assert(write(fds[0], "x", 1) < 0 && errno == EPIPE);
	cr_assert_eq(raise(SIGTERM), 0);
	cr_assert_eq(loop_run(l), 128 + SIGTERM);
	loop_free(l);
}

static void on_exit_of_child(void *ctx, int wstatus)
{
	struct probe *p = ctx;

	p->calls++;
	p->wstatus = wstatus;
	p->child = loop_child_free(p->child);
	p->done = true;
}

static void on_stop_of_child(void *ctx, int signo)
{
	struct probe *p = ctx;

	p->calls++;
	p->stopped_by = signo;
	p->done = true;
}

static pid_t run_shell(struct probe *p, const char *command)
{
	static const struct loop_child_callbacks callbacks = { on_exit_of_child, on_stop_of_child };
	pid_t pid;

	cr_assert_eq(child_spawn(&(struct child_spec){ .file = "/bin/sh",
					 .argv = (const char *const[]){ "sh", "-c", command, NULL },
					 .fd3 = -1,
					 .out = -1,
					 .err = -1,
					 .die_with_parent = true },
			     &pid),
		0);
	p->done = false;
	cr_assert_eq(loop_child_new(p->l, pid, &callbacks, p, &p->child), 0);
	return pid;
}

Test(loop, the_end_of_a_child_is_told_with_its_status_and_it_is_reaped)
{
	struct probe p = { .l = help_loop() };

	(void)run_shell(&p, "exit 5");
	cr_assert(help_wait_flag(p.l, &p.done));
	cr_assert(WIFEXITED(p.wstatus) && WEXITSTATUS(p.wstatus) == 5);

	(void)run_shell(&p, "kill -9 $$");
	cr_assert(help_wait_flag(p.l, &p.done));
	cr_assert(WIFSIGNALED(p.wstatus) && WTERMSIG(p.wstatus) == SIGKILL);

	cr_assert(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "a child was left unreaped");
	cr_assert_eq(p.calls, 2);
	loop_free(p.l);
}

Test(loop, a_child_can_be_killed)
{
	struct probe p = { .l = help_loop() };

	(void)run_shell(&p, "exec sleep 600");
	loop_child_kill(p.child, SIGTERM);
	cr_assert(help_wait_flag(p.l, &p.done));
	cr_assert(WIFSIGNALED(p.wstatus) && WTERMSIG(p.wstatus) == SIGTERM);
	loop_free(p.l);
}

Test(loop, each_stop_of_a_child_is_told_and_then_its_end)
{
	struct probe p = { .l = help_loop() };
	pid_t pid = run_shell(&p, "exec sleep 600");

	for (int i = 1; i <= 2; i++) {
		p.done = false;
		cr_assert_eq(kill(pid, SIGSTOP), 0);
		cr_assert(help_wait_flag(p.l, &p.done));
		cr_assert(p.stopped_by == SIGSTOP && p.calls == i);
		cr_assert_eq(kill(pid, SIGCONT), 0);
	}
	p.done = false;
	loop_child_kill(p.child, SIGKILL);
	cr_assert(help_wait_flag(p.l, &p.done));
	cr_assert(WIFSIGNALED(p.wstatus) && WTERMSIG(p.wstatus) == SIGKILL);
	loop_free(p.l);
}

/* The loop sees only what is so when it looks; whatever that is, the end is told once, as an end. */
Test(loop, stops_and_continuations_in_a_hurry_are_never_taken_for_an_end)
{
	struct probe p = { .l = help_loop() };
	pid_t pid = run_shell(&p, "exec sleep 600");

	for (int i = 0; i < 300; i++) {
		cr_assert_eq(kill(pid, SIGSTOP), 0);
		if (i % 3 == 0)
			cr_assert_geq(loop_turn(p.l, 0), 0);
		cr_assert_eq(kill(pid, SIGCONT), 0);
		if (i % 2 == 0)
			cr_assert_geq(loop_turn(p.l, 0), 0);
	}
	cr_assert_eq(p.wstatus, 0);
	cr_assert_not_null(p.child);
	(void)kill(pid, SIGSTOP);
	(void)kill(pid, SIGKILL);
	while (p.child != NULL) {
		p.done = false;
		cr_assert(help_wait_flag(p.l, &p.done));
	}
	cr_assert(WIFSIGNALED(p.wstatus) && WTERMSIG(p.wstatus) == SIGKILL);
	loop_free(p.l);
}

Test(loop, the_clock_counts_milliseconds_and_never_runs_back)
{
	struct loop *l = help_loop();
	uint64_t a = clock_ms(), b;

	help_idle(l, 10);
	b = clock_ms();
	cr_assert(b >= a + 10 && b < a + HELP_DEADLINE_MS);
	cr_assert_leq(loop_now_ms(l), b);
	cr_assert_geq(loop_now_ms(l), a);
	loop_free(l);
}
