/* An agent that fails at a model gets none of it for a while. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "hub_rig.h"

static struct rig r;

static struct hub_config config(void)
{
	struct hub_config c = rig_config();

	c.breaker_min = 3;
	c.breaker_open_ms = 1000;
	c.breaker_open_max_ms = 3000;
	c.breaker_window_ms = 10000;
	c.attempts_max = 100;
	c.policy = HUB_ROUND_ROBIN;
	return c;
}

static void init(void)
{
	struct hub_config c = config();

	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 4);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_breaker, .init = init, .fini = fini);

static struct hub_breaker_view breaker(void)
{
	return hub_breaker_of(r.h, SPAN("a"), SPAN("m"));
}

static bool is_given(const char *agent)
{
	return rig_dispatched(&r, agent) != NULL;
}

/* A job of its own on agent a that ends so; its id. */
static const char *job_fails(enum code code)
{
	const char *job = rig_submit(&r, rig_request("", false));

	cr_assert(is_given("a"), "the job went elsewhere");
	rig_failed(&r, "a", job, 1, code);
	return job;
}

static void job_works(void)
{
	const char *job = rig_submit(&r, rig_request("", false));

	cr_assert(is_given("a"));
	rig_tokens(&r, "a", job, 1, 0, "x");
	rig_done(&r, "a", job, 1, 1, "x");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
}

/* Fails `n` jobs and forgets them. */
static void fail(size_t n, enum code code)
{
	while (n-- > 0) {
		const char *job = job_fails(code);

		rig_pass(&r, 1);
		rig_cancel(&r, "alice", job, "");
	}
}

static bool takes_a_job(void)
{
	const char *job = rig_submit(&r, rig_request("", false));
	bool is_taken = is_given("a");

	rig_cancel(&r, "alice", job, "");
	return is_taken;
}

Test(hub_breaker, opens_at_so_many_failures_and_half_opens_after_a_while)
{
	fail(2, CODE_ENGINE_CRASHED);
	cr_assert(takes_a_job());
	fail(1, CODE_ENGINE_CRASHED);
	cr_assert_eq(breaker().state, HUB_BREAKER_OPEN);
	cr_assert_eq(hub_counters(r.h)->breakers_opened, 1);
	cr_assert_eq(hub_counters(r.h)->breakers_open, 1);
	cr_assert_not(takes_a_job());
	rig_keep_alive(&r, "a", 998);
	cr_assert_eq(breaker().left_ms, 1);
	cr_assert_not(takes_a_job());
	rig_pass(&r, 1);
	cr_assert_eq(breaker().state, HUB_BREAKER_HALF_OPEN);
}

Test(hub_breaker, one_job_tries_and_its_success_lets_all_come_back)
{
	const char *first, *second;

	fail(3, CODE_ENGINE_CRASHED);
	first = rig_submit(&r, rig_request("", false));
	second = rig_submit(&r, rig_request("", false));
	rig_keep_alive(&r, "a", 1000);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 1, "one waiting job is the one to try");
	cr_assert(span_is(rig_dispatched(&r, "a")->job, first));
	rig_tokens(&r, "a", first, 1, 0, "x");
	rig_done(&r, "a", first, 1, 1, "x");
	cr_assert(span_is(rig_dispatched(&r, "a")->job, second));
	cr_assert_eq(breaker().state, HUB_BREAKER_CLOSED);
	cr_assert_eq(hub_counters(r.h)->breakers_open, 0);
	cr_assert_eq(hub_counters(r.h)->breakers_closed, 1);
}

Test(hub_breaker, a_try_that_fails_doubles_the_time_up_to_a_limit)
{
	static const uint64_t times[] = { 1000, 2000, 3000, 3000 };
	const char *job;

	fail(2, CODE_BATCH_TIMEOUT);
	job = job_fails(CODE_BATCH_TIMEOUT);
	for (uint64_t i = 0; i < 4; i++) {
		cr_assert_eq(breaker().state, HUB_BREAKER_OPEN);
		cr_assert_eq(breaker().left_ms, times[i]);
		rig_keep_alive(&r, "a", times[i]);
		if (!is_given("a")) /* it still rests */
			rig_keep_alive(&r, "a", 10000);
		cr_assert(is_given("a"), "nobody tries the %u. time", (unsigned)i + 1);
		rig_failed(&r, "a", job, i + 2, CODE_BATCH_TIMEOUT);
	}
}

Test(hub_breaker, a_try_that_says_nothing_about_the_agent_leaves_it_to_the_next)
{
	const char *job;

	fail(3, CODE_ENGINE_CRASHED);
	rig_keep_alive(&r, "a", 1000);
	job = rig_submit(&r, rig_request("", false));
	cr_assert(is_given("a"));
	cr_assert_not(takes_a_job(), "one at a time");
	rig_cancel(&r, "alice", job, "");
	cr_assert_eq(breaker().state, HUB_BREAKER_HALF_OPEN);
	cr_assert(takes_a_job());
}

Test(hub_breaker, one_job_counts_once_however_often_it_fails)
{
	const char *job = job_fails(CODE_ENGINE_CRASHED);

	for (uint64_t attempt = 2; attempt < 20; attempt++) {
		rig_keep_alive(&r, "a", 6000);
		rig_failed(&r, "a", job, attempt, CODE_ENGINE_CRASHED);
		cr_assert_eq(breaker().state, HUB_BREAKER_CLOSED);
	}
	cr_assert_eq(hub_counters(r.h)->breakers_opened, 0);
}

Test(hub_breaker, the_death_of_an_engine_counts_once_however_many_jobs_it_ran)
{
	const char *jobs[4];

	for (size_t i = 0; i < 4; i++)
		jobs[i] = rig_submit(&r, rig_request("", false));
	rig_keep_alive(&r, "a", 100);
	for (size_t i = 0; i < 4; i++)
		rig_failed(&r, "a", jobs[i], 1, CODE_ENGINE_CRASHED);
	cr_assert_eq(breaker().bad, 1);
	cr_assert_eq(breaker().state, HUB_BREAKER_CLOSED);
}

Test(hub_breaker, what_is_no_fault_of_the_agent_does_not_count)
{
	static const enum code codes[] = { CODE_QUEUE_FULL, CODE_QUEUE_TIMEOUT, CODE_CONTEXT_FULL, CODE_BAD_REQUEST,
		CODE_CANCELLED, CODE_AGENT_LOST };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		fail(5, codes[i]);
	cr_assert_eq(breaker().bad, 0);
	cr_assert(takes_a_job());
}

Test(hub_breaker, what_works_weighs_against_what_fails)
{
	fail(1, CODE_ENGINE_CRASHED); /* counting begins */
	for (size_t i = 0; i < 4; i++)
		job_works();
	fail(2, CODE_ENGINE_CRASHED);
	cr_assert_eq(breaker().state, HUB_BREAKER_CLOSED, "3 of 7");
	cr_assert_eq(breaker().good, 4);
	fail(1, CODE_ENGINE_CRASHED);
	cr_assert_eq(breaker().state, HUB_BREAKER_OPEN, "4 of 8");
}

Test(hub_breaker, old_failures_are_forgotten)
{
	fail(2, CODE_ENGINE_CRASHED);
	rig_keep_alive(&r, "a", 13000);
	fail(2, CODE_ENGINE_CRASHED);
	cr_assert_eq(breaker().state, HUB_BREAKER_CLOSED);
	cr_assert_eq(breaker().bad, 2);
	rig_keep_alive(&r, "a", 30000);
	cr_assert_eq(breaker().bad, 0, "and with them the breaker");
}

Test(hub_breaker, others_take_the_work_meanwhile)
{
	fail(3, CODE_ENGINE_CRASHED);
	rig_agent(&r, "b", 1, 1, 4);
	for (size_t i = 0; i < 3; i++) {
		rig_submit(&r, rig_request("", false));
		cr_assert(is_given("b"));
	}
}

Test(hub_breaker, is_of_one_model_and_outlives_registrations)
{
	static const struct model_info models[] = {
		{ .name = { "n", 1 }, .state = MODEL_READY, .n_ctx = 512 },
		{ .name = { "m", 1 }, .state = MODEL_READY, .n_ctx = 512 },
	};
	struct registration g = rig_registration("a", 1, 1);
	struct submit other = rig_request("", false);

	fail(3, CODE_ENGINE_CRASHED);
	g.seq = 2;
	g.slots = 4;
	g.models = models;
	g.n_models = 2;
	rig_register(&r, g);
	cr_assert_eq(breaker().state, HUB_BREAKER_OPEN);
	cr_assert_not(takes_a_job());
	other.model = SPAN("n");
	rig_submit(&r, other);
	cr_assert(is_given("a"));
	g.seq = 3;
	g.n_models = 1; /* it does not list m any more */
	rig_register(&r, g);
	cr_assert_eq(hub_counters(r.h)->breakers_open, 0);
	g.seq = 4;
	g.n_models = 2;
	rig_register(&r, g);
	cr_assert(takes_a_job());
}

Test(hub_breaker, a_dispatch_never_answered_is_a_failure)
{
	for (size_t i = 0; i < 3; i++) {
		const char *job = rig_submit(&r, rig_request("", false));

		cr_assert(is_given("a"));
		rig_keep_alive(&r, "a", 3000);
		rig_cancel(&r, "alice", job, "");
	}
	cr_assert_eq(breaker().state, HUB_BREAKER_OPEN);
}

Test(hub_breaker, an_operator_who_loads_the_model_closes_it)
{
	fail(3, CODE_ENGINE_CRASHED);
	cr_assert_eq(breaker().state, HUB_BREAKER_OPEN);
	rig_event(&r, (struct hub_event){ .type = HUB_EV_LOAD, .agent = SPAN("a"), .model = SPAN("m") });
	cr_assert_eq(breaker().state, HUB_BREAKER_CLOSED);
	cr_assert_eq(breaker().bad, 0);
	cr_assert(takes_a_job());
}

Test(hub_breaker, may_be_switched_off)
{
	struct hub_config c = config();

	c.breaker_min = 0;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 4);
	fail(50, CODE_ENGINE_CRASHED);
	cr_assert(takes_a_job());
}

static void count(void *ctx, const struct hub_breaker_view *v)
{
	cr_assert(span_is(v->agent, "a") && span_is(v->model, "m"));
	++*(size_t *)ctx;
}

Test(hub_breaker, those_there_are_can_be_listed)
{
	size_t n = 0;

	hub_each_breaker(r.h, count, &n);
	cr_assert_eq(n, 0);
	fail(1, CODE_ENGINE_CRASHED);
	hub_each_breaker(r.h, count, &n);
	cr_assert_eq(n, 1);
}
