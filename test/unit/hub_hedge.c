/* A second attempt at a job that has stalled. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;
static const char *job;

static struct hub_config config(void)
{
	struct hub_config c = rig_config();

	c.hedge_percent = 100;
	c.hedge_samples = 20;
	c.hedge_min_ms = 100;
	c.silence_ms = 60000;
	c.stall_ms = 60000;
	return c;
}

/* Agents that write on exactly. */
static void comes(const char *id)
{
	static const struct model_info m = { .name = { "m", 1 },
		.state = MODEL_READY,
		.n_ctx = 512,
		.digest = { "a digest of thirty-two bytes, yes", 32 },
		.exact = true };
	struct registration g = rig_registration(id, 1, 1);

	g.engine = SPAN("echo");
	g.models = &m;
	rig_register(&r, g);
}

/* 20 jobs whose first token takes 200 ms and the next 50, all on a; then one that stalls on it after "he". */
static void begin(const struct hub_config *c)
{
	rig_init(&r, c);
	comes("a");
	for (size_t i = 0; i < 20; i++) {
		job = rig_submit(&r, rig_request("", false));
		rig_keep_alive(&r, "a", 200);
		rig_tokens(&r, "a", job, 1, 0, "x");
		rig_keep_alive(&r, "a", 50);
		rig_tokens(&r, "a", job, 1, 1, "x");
		rig_done(&r, "a", job, 1, 2, "xx");
	}
	job = rig_submit(&r, rig_request("", true));
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	comes("b");
}

static void init(void)
{
	struct hub_config c = config();

	begin(&c);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_hedge, .init = init, .fini = fini);

static void stall(uint64_t ms)
{
	rig_keep_alive(&r, "a", ms);
}

static uint64_t in_flight(const char *agent)
{
	return rig_agent_view(&r, agent).in_flight;
}

Test(hub_hedge, what_waits_longer_than_nearly_all_others_gets_a_second_attempt)
{
	stall(150);
	cr_assert_null(rig_dispatched(&r, "b"), "others took 200 ms, too");
	stall(100);
	cr_assert_not_null(rig_dispatched(&r, "b"));
	cr_assert_eq(rig_dispatched(&r, "b")->attempt, 2);
	cr_assert_eq(in_flight("a"), 1);
	cr_assert_eq(in_flight("b"), 1);
	cr_assert_eq(hub_counters(r.h)->hedging, 1);
	cr_assert_eq(hub_counters(r.h)->running, 1);
	cr_assert(span_is(rig_job_view(&r, job).agent, "a"));
	cr_assert(span_is(rig_job_view(&r, job).second_agent, "b"));
}

Test(hub_hedge, the_second_wins_if_its_tokens_come_first)
{
	stall(300);
	rig_tokens(&r, "b", job, 2, 0, "he");
	cr_assert_eq(rig_control(&r, CONTROL_CANCEL)->control.attempt, 1);
	cr_assert(span_is(rig_control(&r, CONTROL_CANCEL)->agent, "a"));
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
	cr_assert_eq(in_flight("a"), 0);
	cr_assert_eq(in_flight("b"), 1);
	rig_tokens(&r, "a", job, 1, 2, "xx");
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 0, "the loser says nothing any more");
	rig_done(&r, "b", job, 2, 2, "he");
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.receipt.attempts, 2);
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.receipt.agent, "b"));
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.receipt.route, "hedge"));
	cr_assert_eq(hub_counters(r.h)->hedges_won, 1);
	cr_assert_eq(hub_counters(r.h)->hedging, 0);
}

Test(hub_hedge, or_the_first_and_the_second_is_cancelled)
{
	stall(300);
	rig_tokens(&r, "a", job, 1, 0, "he");
	cr_assert_eq(rig_control(&r, CONTROL_CANCEL)->control.attempt, 2);
	cr_assert(span_is(rig_control(&r, CONTROL_CANCEL)->agent, "b"));
	cr_assert_eq(in_flight("b"), 0);
	rig_tokens(&r, "b", job, 2, 2, "xx");
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 0);
	rig_done(&r, "a", job, 1, 2, "he");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
	cr_assert_eq(hub_counters(r.h)->hedges_won, 0);
}

Test(hub_hedge, in_mid_answer_it_goes_on_from_what_there_is)
{
	rig_tokens(&r, "a", job, 1, 0, "he");
	stall(80);
	cr_assert_null(rig_dispatched(&r, "b"), "not before hedge.min_ms");
	stall(60);
	cr_assert_eq(rig_dispatched(&r, "b")->n_prefix, 2);
	rig_tokens(&r, "b", job, 2, 2, "llo");
	rig_done(&r, "b", job, 2, 5, "llo");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "hello"));
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.receipt.continuity, "exact"));
}

Test(hub_hedge, in_mid_answer_only_an_equal_engine_is_asked)
{
	rig_agent(&r, "b", 2, 1, 1); /* it says nothing of its engine */
	rig_tokens(&r, "a", job, 1, 0, "he");
	stall(1000);
	cr_assert_null(rig_dispatched(&r, "b"));
}

Test(hub_hedge, the_second_inherits_when_the_first_fails)
{
	stall(300);
	rig_failed(&r, "a", job, 1, CODE_ENGINE_CRASHED);
	cr_assert_null(rig_find(&r, HUB_ACT_DISPATCH, 0), "it is under way");
	cr_assert(span_is(rig_job_view(&r, job).agent, "b"));
	rig_tokens(&r, "b", job, 2, 0, "he");
	rig_done(&r, "b", job, 2, 2, "he");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
}

Test(hub_hedge, the_first_goes_on_when_the_second_fails_and_is_not_disturbed_again)
{
	stall(300);
	rig_failed(&r, "b", job, 2, CODE_BATCH_FAILED);
	cr_assert_eq(in_flight("b"), 0);
	stall(2000);
	cr_assert_null(rig_dispatched(&r, "b"));
	rig_failed(&r, "a", job, 1, CODE_BATCH_FAILED);
	stall(2000);
	cr_assert_eq(rig_find(&r, HUB_ACT_DISPATCH, 0)->job.attempt, 3, "2 was the second one's");
}

Test(hub_hedge, ends_with_the_job_wherever_that_ends)
{
	stall(300);
	rig_cancel(&r, "alice", job, "");
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 2);
	cr_assert_eq(in_flight("a") + in_flight("b"), 0);
	cr_assert_eq(hub_counters(r.h)->hedging, 0);
}

Test(hub_hedge, a_lost_agent_takes_second_attempts_with_it)
{
	stall(300);
	rig_agent(&r, "b", 2, 1, 1);
	cr_assert_eq(hub_counters(r.h)->hedging, 0);
	cr_assert_eq(in_flight("b"), 0);
	rig_tokens(&r, "a", job, 1, 0, "he");
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
}

Test(hub_hedge, is_off_by_default_and_has_a_budget)
{
	struct hub_config c = config();

	c.hedge_percent = 0;
	begin(&c);
	stall(1000);
	cr_assert_null(rig_dispatched(&r, "b"));
	c.hedge_percent = 50;
	begin(&c);
	comes("c");
	rig_submit(&r, rig_request("", false)); /* stalls, too: two jobs, and half of them may */
	stall(2000);
	cr_assert_eq(hub_counters(r.h)->hedges, 1);
}
