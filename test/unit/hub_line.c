/* In which order jobs wait, and what each user may have. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "hub_rig.h"
#include "sha256.h"

static struct rig r;

static void init(void)
{
	struct hub_config c = rig_config();

	c.age_ms = 10000;
	c.accept_timeout_ms = 3600000; /* agents are left alone */
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 1);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_line, .init = init, .fini = fini);

static void begin(const struct hub_config *c)
{
	rig_init(&r, c);
	rig_agent(&r, "a", 1, 1, 1);
}

static const char *submit(const char *user, enum priority priority, uint64_t max_tokens)
{
	struct submit s = rig_request("", false);

	s.priority = priority;
	s.max_tokens = max_tokens;
	rig_submit_to(&r, user, s, "t", 0);
	cr_assert_eq(rig_answers(&r, ANSWER_ERROR), 0);
	return rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p;
}

/* Ends what runs; whose job is next: the first letter of the user, or '-'. */
static char next(const char **running)
{
	const struct job_msg *m;
	char user;

	rig_tokens(&r, "a", *running, 1, 0, "x");
	rig_done(&r, "a", *running, 1, 1, "x");
	m = rig_dispatched(&r, "a");
	if (m == NULL)
		return '-';
	*running = m->job.p;
	user = rig_job_view(&r, *running).user.p[0];
	return user;
}

/* ---- turns ---- */

Test(hub_line, users_take_turns_however_many_jobs_each_has)
{
	const char *running = submit("z", PRIORITY_NORMAL, 1000);
	size_t a = 0, b = 0;

	for (int i = 0; i < 50; i++)
		submit("alice", PRIORITY_NORMAL, 1000);
	for (int i = 0; i < 10; i++)
		submit("bob", PRIORITY_NORMAL, 1000);
	for (int i = 0; i < 20; i++) {
		char c = next(&running);

		a += c == 'a';
		b += c == 'b';
	}
	cr_assert_eq(a + b, 20);
	cr_assert(b >= 9, "bob came after 50 jobs of alice: %zu and %zu", a, b);
}

Test(hub_line, weights_share_the_fleet)
{
	struct hub_user_limits own[] = { { .name = "alice", .weight = 3 } };
	struct hub_config c = rig_config();
	const char *running;
	size_t a = 0;

	c.users = own;
	c.n_users = 1;
	begin(&c);
	running = submit("z", PRIORITY_NORMAL, 0);
	for (int i = 0; i < 80; i++) {
		submit("bob", PRIORITY_NORMAL, 0);
		submit("alice", PRIORITY_NORMAL, 0);
	}
	for (int i = 0; i < 80; i++)
		a += next(&running) == 'a';
	cr_assert(a >= 56 && a <= 64, "3 to 1: %zu of 80", a);
}

Test(hub_line, a_priority_counts_for_a_while_and_then_time_does)
{
	const char *running = submit("z", PRIORITY_NORMAL, 0);
	size_t place = 0;

	submit("low", PRIORITY_LOW, 0);
	for (int i = 0; i < 20; i++)
		submit("high", PRIORITY_HIGH, 0);
	rig_keep_alive(&r, "a", 10000);
	cr_assert_eq(next(&running), 'h', "10 s are not enough");
	cr_assert_eq(hub_waiting(r.h).jobs[1], 1, "but it has risen once");
	rig_keep_alive(&r, "a", 10000);
	cr_assert_eq(next(&running), 'h');
	cr_assert_eq(hub_waiting(r.h).jobs[0], 19, "now it is as urgent as the 18 others");
	while (next(&running) != 'l')
		cr_assert(++place < 20, "it waits for its turn, not for all of them");
}

Test(hub_line, behind_a_job_that_does_not_fit_others_go_on)
{
	struct span label = SPAN("gpu=yes");
	struct submit picky = rig_request("", false);
	const char *running = submit("z", PRIORITY_NORMAL, 0);

	picky.require = &label;
	picky.n_require = 1;
	for (int i = 0; i < 300; i++) {
		char user[16];

		(void)snprintf(user, sizeof(user), "p%d", i % 150);
		rig_submit_to(&r, user, picky, "t", 0);
	}
	for (int i = 0; i < 30; i++)
		rig_submit_to(&r, "alice", picky, "t", 0);
	submit("alice", PRIORITY_NORMAL, 0);
	cr_assert_eq(next(&running), 'a');
	cr_assert_eq(next(&running), '-');
	cr_assert_eq(hub_waiting(r.h).jobs[1], 330);
}

Test(hub_line, a_job_that_failed_goes_before_the_users_others)
{
	const char *first = submit("alice", PRIORITY_NORMAL, 0), *running;

	for (int i = 0; i < 3; i++)
		submit("alice", PRIORITY_NORMAL, 0);
	rig_failed(&r, "a", first, 1, CODE_BATCH_FAILED);
	running = rig_dispatched(&r, "a")->job.p;
	rig_pass(&r, 1000);
	cr_assert(span_is(rig_job_view(&r, first).state == HUB_JOB_QUEUED ? SPAN("q") : SPAN("?"), "q"));
	next(&running);
	cr_assert_str_eq(running, first);
}

Test(hub_line, who_takes_more_than_expected_pays_later)
{
	static char text[4001];
	const char *running = submit("z", PRIORITY_NORMAL, 0);
	size_t n[2] = { 0 };
	struct span user;

	memset(text, 'x', sizeof(text) - 1);
	for (int i = 0; i < 60; i++) {
		submit("alice", PRIORITY_NORMAL, 0);
		submit("bob", PRIORITY_NORMAL, 0);
	}
	for (int i = 0; i < 60; i++) { /* alice's answers are ten times as long as bob's */
		size_t len;

		user = rig_job_view(&r, running).user;
		len = span_is(user, "alice") ? 2000 : 200;
		n[0] += span_is(user, "alice");
		n[1] += span_is(user, "bob");
		for (size_t at = 0; at < len; at += 10) {
			text[10] = '\0';
			rig_tokens(&r, "a", running, 1, at, text);
			text[10] = 'x';
		}
		text[len] = '\0';
		rig_done(&r, "a", running, 1, len, text);
		text[len] = 'x';
		running = rig_dispatched(&r, "a")->job.p;
	}
	cr_assert(n[1] > 3 * n[0], "alice %zu, bob %zu", n[0], n[1]);
}

/* ---- limits ---- */

static const struct answer *refused(const char *user, enum code code)
{
	rig_submit_to(&r, user, rig_request("", false), "t", 0);
	return rig_must_refuse(&r, code);
}

Test(hub_line, requests_a_minute_are_a_bucket_that_fills)
{
	struct hub_config c = rig_config();
	uint64_t wait;

	c.each.requests_per_minute = 30;
	begin(&c);
	for (int i = 0; i < 30; i++)
		submit("alice", PRIORITY_NORMAL, 0);
	wait = refused("alice", CODE_RATE_LIMITED)->retry_after_ms;
	cr_assert(wait > 1900 && wait <= 2001, "%llu", (unsigned long long)wait);
	submit("bob", PRIORITY_NORMAL, 0);
	rig_pass(&r, wait);
	submit("alice", PRIORITY_NORMAL, 0);
	refused("alice", CODE_RATE_LIMITED);
	cr_assert_eq(hub_refusals(r.h, HUB_REFUSAL_REQUESTS), 2);
}

Test(hub_line, tokens_a_minute_are_put_right_at_the_end)
{
	struct hub_config c = rig_config();
	const char *job;

	c.each.tokens_per_minute = 400;
	begin(&c);
	job = submit("alice", PRIORITY_NORMAL, 500);
	submit("alice", PRIORITY_NORMAL, 10);
	cr_assert_gt(refused("alice", CODE_RATE_LIMITED)->retry_after_ms, 0);
	rig_tokens(&r, "a", job, 1, 0, "x");
	rig_done(&r, "a", job, 1, 1, "x"); /* it took far less */
	submit("alice", PRIORITY_NORMAL, 200);
	cr_assert_eq(hub_refusals(r.h, HUB_REFUSAL_TOKENS), 1);
}

Test(hub_line, a_user_has_so_many_jobs_at_once)
{
	struct hub_config c = rig_config();
	const char *job;

	c.each.max_live = 2;
	begin(&c);
	job = submit("alice", PRIORITY_NORMAL, 0);
	submit("alice", PRIORITY_NORMAL, 0);
	cr_assert_gt(refused("alice", CODE_RATE_LIMITED)->retry_after_ms, 0);
	submit("bob", PRIORITY_NORMAL, 0);
	rig_cancel(&r, "alice", job, NULL);
	submit("alice", PRIORITY_NORMAL, 0);
	cr_assert_eq(hub_refusals(r.h, HUB_REFUSAL_USER_JOBS), 1);
}

Test(hub_line, one_user_does_not_fill_the_queue_for_others)
{
	struct hub_config c = rig_config();
	size_t n = 0;

	c.queue_max = 90;
	begin(&c);
	submit("z", PRIORITY_NORMAL, 0);
	for (;; n++) {
		rig_submit_to(&r, "alice", rig_request("", false), "t", 0);
		if (rig_answers(&r, ANSWER_ERROR) > 0)
			break;
	}
	rig_must_refuse(&r, CODE_QUEUE_FULL);
	cr_assert_eq(n, 80);
	for (int i = 0; i < 5; i++)
		submit("bob", PRIORITY_NORMAL, 0);
	cr_assert_eq(hub_refusals(r.h, HUB_REFUSAL_USER_QUEUE), 1);
}

Test(hub_line, those_who_find_no_room_are_told_to_come_one_after_the_other)
{
	struct hub_config c = rig_config();
	const char *running;
	uint64_t last;

	c.each.max_waiting = 20;
	begin(&c);
	running = submit("alice", PRIORITY_NORMAL, 0);
	for (int i = 0; i < 20; i++)
		submit("alice", PRIORITY_NORMAL, 0);
	for (int i = 0; i < 10; i++) { /* one a second */
		rig_keep_alive(&r, "a", 1000);
		next(&running);
		submit("alice", PRIORITY_NORMAL, 0);
	}
	last = refused("alice", CODE_QUEUE_FULL)->retry_after_ms;
	cr_assert(last >= 500 && last <= 4000, "%llu", (unsigned long long)last);
	for (int i = 0; i < 5; i++) {
		uint64_t ms = refused("alice", CODE_QUEUE_FULL)->retry_after_ms;

		cr_assert_gt(ms, last);
		last = ms;
	}
	for (int i = 0; i < 1000; i++)
		last = refused("alice", CODE_QUEUE_FULL)->retry_after_ms;
	cr_assert_leq(last, 60000);
}

Test(hub_line, an_own_limit_goes_before_the_common_one)
{
	struct hub_user_limits own[] = { { .name = "alice", .max_live = 3 } };
	struct hub_config c = rig_config();

	c.each.max_live = 1;
	c.users = own;
	c.n_users = 1;
	begin(&c);
	for (int i = 0; i < 3; i++)
		submit("alice", PRIORITY_NORMAL, 0);
	refused("alice", CODE_RATE_LIMITED);
	submit("bob", PRIORITY_NORMAL, 0);
	refused("bob", CODE_RATE_LIMITED);
}

static void count_user(void *ctx, const struct hub_user_view *v)
{
	size_t *n = ctx;

	(void)v;
	++*n;
}

Test(hub_line, users_without_jobs_are_forgotten_when_there_are_many)
{
	struct hub_config c = rig_config();
	size_t n = 0;

	c.max_users = 3;
	begin(&c);
	for (int i = 0; i < 20; i++) {
		char user[16];
		const char *job;

		(void)snprintf(user, sizeof(user), "u%d", i);
		job = submit(user, PRIORITY_NORMAL, 0);
		rig_cancel(&r, user, job, NULL);
	}
	submit("busy", PRIORITY_NORMAL, 0);
	hub_each_user(r.h, count_user, &n);
	cr_assert_eq(n, 4);
}

Test(hub_line, a_deadline_that_even_an_idle_agent_cannot_meet_is_refused_at_once)
{
	static char big[40000];
	struct submit s = rig_request("", false);
	uint8_t digest[SHA256_SIZE];
	struct job_event e;
	const char *job;

	memset(big, 'y', sizeof(big));
	s.deadline_ms = 50;
	s.prompt = span_mem(big, sizeof(big));
	rig_submit(&r, s); /* nobody is refused for a guess */
	rig_pass(&r, 100);
	s.deadline_ms = 0;
	s.prompt.n /= 2;
	job = rig_submit(&r, s);
	rig_tokens(&r, "a", job, 1, 0, "x");
	sha256_of(SPAN("x"), digest);
	e = rig_said(JOB_EVENT_DONE, job, 1);
	e.index = 1;
	e.finish = FINISH_STOP;
	e.sha256 = span_mem(digest, sizeof(digest));
	e.usage = (struct usage){ .prompt_tokens = 5000 };
	e.timings = (struct timings){ .prefill_us = 5000000, .decode_us = 3000 }; /* a millisecond a token */
	rig_say(&r, "a", e);
	big[0] = 'z'; /* nothing of it is in a cache */
	s.prompt.n *= 2;
	s.deadline_ms = 5000;
	rig_submit_to(&r, "alice", s, "t", 0);
	rig_must_refuse(&r, CODE_DEADLINE_EXCEEDED);
	cr_assert_eq(hub_refusals(r.h, HUB_REFUSAL_DEADLINE), 1);
	s.deadline_ms = 20000;
	rig_submit(&r, s);
}
