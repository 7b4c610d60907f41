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

/* ---- cancel ---- */

Test(hub_jobs, a_cancel_ends_with_the_text_so_far_and_is_repeated_until_the_agent_has_stopped)
{
	const char *job = rig_submit(&r, rig_request("k1", true));
	struct job_event e = rig_said(JOB_EVENT_DONE, job, 1);

	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_cancel(&r, "alice", job, NULL);
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "he"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.finish_reason, FINISH_CANCELLED);
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.usage.completion_tokens, 2);
	cr_assert_eq(rig_control(&r, CONTROL_CANCEL)->control.attempt, 1);
	cr_assert_eq(rig_agent_view(&r, "a").in_flight, 0);
	rig_tokens(&r, "a", job, 1, 2, "y");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_pass(&r, 1000);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 1);
	e.finish = FINISH_CANCELLED;
	rig_say(&r, "a", e);
	cr_assert_eq(rig_controls(&r, CONTROL_END), 1);
	rig_pass(&r, 5000);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 0);
	rig_cancel(&r, "alice", job, NULL);
	cr_assert_eq(r.n, 0, "it has ended: nothing more to say");
}

Test(hub_jobs, a_cancel_is_not_repeated_to_a_life_that_is_over)
{
	const char *job = rig_submit(&r, rig_request("", true));

	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_cancel(&r, "alice", job, NULL);
	rig_agent(&r, "a", 2, 1, 1);
	rig_pass(&r, 5000);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 0);
}

Test(hub_jobs, a_waiting_job_is_cancelled_by_the_clients_own_id_without_a_word_to_agents)
{
	rig_submit(&r, rig_request("", true));
	rig_submit(&r, rig_request("k2", true));
	cr_assert_eq(hub_counters(r.h)->queued, 1);
	rig_cancel(&r, "alice", NULL, "k2");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_CONTROL), 0);
	cr_assert_eq(hub_counters(r.h)->queued, 0);
	cr_assert_eq(hub_counters(r.h)->jobs_cancelled, 1);
}

Test(hub_jobs, other_peoples_jobs_do_not_exist)
{
	const char *job = rig_submit(&r, rig_request("k1", true));

	rig_cancel(&r, "bob", job, NULL);
	rig_must_refuse(&r, CODE_NOT_FOUND);
	rig_cancel(&r, "bob", NULL, "k1");
	rig_must_refuse(&r, CODE_NOT_FOUND);
	rig_cancel(&r, "alice", "nojob", NULL);
	rig_must_refuse(&r, CODE_NOT_FOUND);
	rig_cancel(&r, "alice", NULL, NULL);
	rig_must_refuse(&r, CODE_NOT_FOUND);
	cr_assert_lt(rig_job_view(&r, job).state, HUB_JOB_DONE);
}

static void gone(const char *user, uint64_t conn)
{
	rig_event(&r, (struct hub_event){ .type = HUB_EV_CLIENT_GONE, .user = span_of(user), .reply = { .conn = conn } });
}

Test(hub_jobs, a_client_that_goes_takes_only_those_jobs_with_it_that_asked_for_it)
{
	struct submit s = rig_request("", true);
	const char *stays = rig_submit(&r, s), *goes, *others;

	s.cancel_on_disconnect = true;
	goes = rig_submit(&r, s);
	rig_submit_to(&r, "bob", s, "t", 0);
	others = rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p;
	gone("alice", 0);
	cr_assert_lt(rig_job_view(&r, stays).state, HUB_JOB_DONE);
	cr_assert_lt(rig_job_view(&r, others).state, HUB_JOB_DONE);
	cr_assert_eq(rig_job_view(&r, goes).state, HUB_JOB_CANCELLED);
}

Test(hub_jobs, a_connection_that_closes_cancels_its_jobs_and_is_not_answered)
{
	const char *mine, *other;

	rig_submit_to(&r, "web", rig_request("", true), "", 5);
	mine = rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p;
	rig_submit_to(&r, "web", rig_request("", true), "", 6);
	other = rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p;
	rig_tokens(&r, "a", mine, 1, 0, "he");
	gone("web", 5);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 1);
	cr_assert_eq(rig_job_view(&r, mine).state, HUB_JOB_CANCELLED);
	cr_assert_lt(rig_job_view(&r, other).state, HUB_JOB_DONE);
}

Test(hub_jobs, a_connection_whose_job_was_taken_over_takes_nothing_with_it)
{
	const char *job;

	rig_submit_to(&r, "web", rig_request("k1", true), "", 5);
	job = rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p;
	rig_submit_to(&r, "web", rig_request("k1", true), "", 6);
	cr_assert_eq(rig_find(&r, HUB_ACT_DETACH, 0)->reply.conn, 5);
	gone("web", 5);
	cr_assert_lt(rig_job_view(&r, job).state, HUB_JOB_DONE);
	gone("web", 6);
	cr_assert_eq(rig_job_view(&r, job).state, HUB_JOB_CANCELLED);
}

/* ---- deadlines ---- */

static struct submit due_in(uint64_t ms)
{
	struct submit s = rig_request("", true);

	s.deadline_ms = ms;
	return s;
}

Test(hub_jobs, a_deadline_ends_a_job_wherever_it_is)
{
	const char *running = rig_submit(&r, due_in(5000)), *waiting = rig_submit(&r, due_in(3000));

	rig_tokens(&r, "a", running, 1, 0, "he");
	rig_pass(&r, 3000);
	rig_must_refuse(&r, CODE_DEADLINE_EXCEEDED);
	cr_assert_eq(rig_job_view(&r, waiting).state, HUB_JOB_EXPIRED);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 0);
	rig_pass(&r, 2000);
	rig_must_refuse(&r, CODE_DEADLINE_EXCEEDED);
	cr_assert_eq(rig_job_view(&r, running).state, HUB_JOB_EXPIRED);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 1);
	cr_assert_eq(hub_counters(r.h)->jobs_expired, 2);
}

Test(hub_jobs, a_deadline_is_told_as_what_is_left_of_it)
{
	const char *job = rig_submit(&r, due_in(5000));

	cr_assert_eq(rig_dispatched(&r, "a")->deadline_ms, 5000);
	rig_pass(&r, 1000);
	cr_assert_eq(rig_dispatched(&r, "a")->deadline_ms, 4000);
	rig_failed(&r, "a", job, 1, CODE_DEADLINE_EXCEEDED); /* its clock ran ahead of ours */
	cr_assert_eq(rig_job_view(&r, job).state, HUB_JOB_EXPIRED);
}

Test(hub_jobs, a_deadline_before_the_record_is_safe_ends_the_job)
{
	struct hub_config c = rig_config();

	c.default_deadline_ms = 1000;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 1);
	r.hold_persist = true;
	rig_submit(&r, rig_request("", true));
	rig_pass(&r, 1000);
	rig_must_refuse(&r, CODE_DEADLINE_EXCEEDED);
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(r.n, 0);
}

/* ---- nothing is left behind ---- */

Test(hub_jobs, without_memory_of_ended_jobs_the_end_is_still_told)
{
	struct hub_config c = rig_config();
	const char *job;

	c.max_ended = 0;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 1);
	job = rig_submit(&r, rig_request("k1", true));
	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_done(&r, "a", job, 1, 2, "he");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "he"));
	rig_submit(&r, due_in(100));
	rig_pass(&r, 100);
	rig_must_refuse(&r, CODE_DEADLINE_EXCEEDED);
	rig_pass(&r, 60000);
}

Test(hub_jobs, a_hub_may_be_freed_with_work_under_way)
{
	rig_submit(&r, rig_request("k1", true));
	rig_submit(&r, rig_request("k2", true));
	rig_cancel(&r, "alice", NULL, "k1");
	cr_assert_null(hub_free(NULL));
}
