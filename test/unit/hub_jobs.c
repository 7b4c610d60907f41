/* A job's life as its client sees it. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;

static void init(void)
{
	struct hub_config c = rig_config();

	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 1);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_jobs, .init = init, .fini = fini);

Test(hub_jobs, a_stream_is_accepted_then_every_token_once_then_one_end)
{
	const char *job = rig_submit(&r, rig_request("", true));
	const struct answer *a;

	cr_assert_eq(rig_answers(&r, ANSWER_ACCEPTED), 1);
	cr_assert(span_is(rig_answer(&r, ANSWER_ACCEPTED)->answer.state, "queued"));
	cr_assert_not_null(rig_dispatched(&r, "a"));
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 1);
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	cr_assert_eq(rig_job_view(&r, job).state, HUB_JOB_RUNNING);
	rig_tokens(&r, "a", job, 1, 0, "he");
	a = &rig_answer(&r, ANSWER_TOKENS)->answer;
	cr_assert_eq(a->index, 0);
	cr_assert_eq(a->n, 2);
	cr_assert(span_is(a->text, "he"));
	rig_tokens(&r, "a", job, 1, 2, "y");
	cr_assert_eq(rig_answer(&r, ANSWER_TOKENS)->answer.index, 2);
	rig_done(&r, "a", job, 1, 3, "hey");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 1);
	a = &rig_answer(&r, ANSWER_DONE)->answer;
	cr_assert(span_is(a->text, "hey"));
	cr_assert_eq(a->finish_reason, FINISH_STOP);
	cr_assert_eq(a->usage.completion_tokens, 3);
	cr_assert_eq(a->usage.prompt_tokens, 7);
	cr_assert(span_is(a->receipt.agent, "a"));
	cr_assert(span_is(a->receipt.route, "only"));
	cr_assert_eq(a->receipt.attempts, 1);
	cr_assert_float_eq(a->receipt.decode_ms, 3, 1e-9);
	cr_assert_eq(rig_controls(&r, CONTROL_END), 1);
	rig_pass(&r, 60000);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
}

Test(hub_jobs, without_stream_the_end_is_the_only_answer)
{
	const char *job = rig_submit(&r, rig_request("", false));

	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_tokens(&r, "a", job, 1, 0, "hey");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_done(&r, "a", job, 1, 3, "hey");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
	cr_assert_not(rig_answer(&r, ANSWER_DONE)->stream);
}
