/* What is safe before it is told, and what a hub that starts again makes of its journal. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;
static struct hub_config config;

static void begin_with(enum hub_journal mode)
{
	config = rig_config();
	config.journal = mode;
	rig_init(&r, &config);
	rig_agent(&r, "a", 1, 1, 2);
}

static void begin(void)
{
	begin_with(HUB_JOURNAL_SYNC);
}

static void end(void)
{
	rig_fini(&r);
}

TestSuite(hub_journal, .init = begin, .fini = end);

static void crash(void)
{
	rig_crash(&r, &config, r.n_records, 1000);
}

/* The link is up, and box "a" is there, in the same life or another. */
static void come_back(uint64_t epoch)
{
	rig_simple(&r, HUB_EV_LINK_UP);
	rig_agent(&r, "a", epoch, 2, 2);
}

static struct span text_of(const struct hub_action *answer)
{
	return answer != NULL ? answer->answer.text : SPAN_NONE;
}

/* ---- waiting ---- */

Test(hub_journal, tokens_are_shown_when_they_are_safe)
{
	const char *job = rig_submit(&r, rig_request("k", true));
	uint64_t seq;

	r.hold_persist = true;
	rig_tokens(&r, "a", job, 1, 0, "ab");
	seq = r.persist_seq;
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.kind, HUB_PERSIST_TOKENS);
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 0);
	rig_tokens(&r, "a", job, 1, 2, "cd"); /* goes into the next record */
	rig_tokens(&r, "a", job, 1, 4, "e");
	cr_assert_eq(rig_count(&r, HUB_ACT_PERSIST), 0);
	rig_persisted(&r, seq);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "ab"));
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_PERSIST), 1);
	rig_persisted(&r, r.persist_seq);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "cde"));
	cr_assert_eq(rig_answer(&r, ANSWER_TOKENS)->answer.index, 2);
	cr_assert_eq(rig_count(&r, HUB_ACT_PERSIST), 0);
}

Test(hub_journal, an_end_is_told_and_confirmed_when_it_is_safe)
{
	const char *job = rig_submit(&r, rig_request("k", true));

	r.hold_persist = true;
	rig_tokens(&r, "a", job, 1, 0, "ab");
	rig_tokens(&r, "a", job, 1, 2, "c");
	rig_done(&r, "a", job, 1, 3, "abc");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 0);
	cr_assert_eq(rig_controls(&r, CONTROL_END), 0);
	rig_done(&r, "a", job, 1, 3, "abc"); /* it says so again: it may not forget yet */
	cr_assert_eq(rig_controls(&r, CONTROL_END), 0);
	rig_submit_to(&r, "alice", rig_request("k", true), "t", 0); /* asked meanwhile */
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_persisted(&r, r.persist_seq);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "abc"));
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_DONE)), "abc"));
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
	cr_assert_eq(rig_controls(&r, CONTROL_END), 1);
}

Test(hub_journal, what_nobody_is_shown_is_not_written_until_the_next_attempt)
{
	const char *job = rig_submit(&r, rig_request("k", false));

	rig_tokens(&r, "a", job, 1, 0, "ab");
	cr_assert_eq(rig_count(&r, HUB_ACT_PERSIST), 0);
	rig_failed(&r, "a", job, 1, CODE_ENGINE_CRASHED);
	rig_pass(&r, 1000);
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.kind, HUB_PERSIST_TOKENS);
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 1)->persist.kind, HUB_PERSIST_ATTEMPT);
}

Test(hub_journal, a_new_address_is_served_when_it_is_recorded)
{
	const char *job = rig_submit(&r, rig_request("k", true));

	rig_tokens(&r, "a", job, 1, 0, "ab");
	r.hold_persist = true;
	rig_submit_to(&r, "alice", rig_request("k", true), "t2", 0);
	cr_assert_eq(rig_count(&r, HUB_ACT_DETACH), 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_tokens(&r, "a", job, 1, 2, "c");
	rig_persisted(&r, r.persist_seq);
	cr_assert(span_is(rig_answer(&r, ANSWER_ACCEPTED)->reply.topic, "t2"));
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "ab"));
	rig_persisted(&r, r.persist_seq);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "c"));
}

Test(hub_journal, asynchronous_tokens_do_not_wait)
{
	const char *job;

	begin_with(HUB_JOURNAL_ASYNC);
	job = rig_submit(&r, rig_request("k", true));
	r.hold_persist = true;
	rig_tokens(&r, "a", job, 1, 0, "ab");
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.kind, HUB_PERSIST_TOKENS);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "ab"));
}

Test(hub_journal, new_jobs_are_refused_while_it_is_full)
{
	rig_event(&r, (struct hub_event){ .type = HUB_EV_JOURNAL, .is_full = true });
	rig_submit_to(&r, "alice", rig_request("k", true), "t", 0);
	rig_must_refuse(&r, CODE_JOURNAL_FULL);
	rig_event(&r, (struct hub_event){ .type = HUB_EV_JOURNAL, .is_full = false });
	rig_submit(&r, rig_request("k", true));
}

/* ---- after a crash ---- */

Test(hub_journal, a_job_that_waited_waits_again)
{
	const char *job;

	rig_submit(&r, rig_request("k1", false));
	rig_submit(&r, rig_request("k2", false));
	job = rig_submit(&r, rig_request("k3", true)); /* two slots: this one waits */
	crash();
	rig_simple(&r, HUB_EV_LINK_UP);
	cr_assert_eq(rig_answers(&r, ANSWER_ACCEPTED), 1); /* it streams: the client hears that it is known */
	cr_assert_eq(rig_job_view(&r, job).state, HUB_JOB_QUEUED);
	rig_agent(&r, "a", 2, 1, 2); /* another life: all begin anew, in their order */
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 2);
	cr_assert_eq(rig_find(&r, HUB_ACT_DISPATCH, 0)->job.attempt, 2);
	cr_assert_eq(rig_job_view(&r, job).state, HUB_JOB_QUEUED);
}

Test(hub_journal, a_running_job_is_joined_again_and_asked_from_the_index_that_is_known)
{
	const char *job = rig_submit(&r, rig_request("k", true));

	rig_tokens(&r, "a", job, 1, 0, "ab");
	r.hold_persist = true;
	rig_tokens(&r, "a", job, 1, 2, "cd");
	r.hold_persist = false;
	rig_crash(&r, &config, r.n_records - 1, 1000); /* the last record is lost, and was not shown */
	rig_tokens(&r, "a", job, 1, 4, "e");           /* before it is known to be back */
	cr_assert_eq(rig_count(&r, HUB_ACT_CONTROL), 0);
	come_back(1);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 1);
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.index, 2);
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.attempt, 1);
	rig_tokens(&r, "a", job, 1, 2, "cde");
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "cde"));
	rig_done(&r, "a", job, 1, 5, "abcde"); /* the digest is over the whole attempt */
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_DONE)), "abcde"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.receipt.attempts, 1);
}

Test(hub_journal, an_attempt_of_which_nothing_came_is_told_again)
{
	rig_submit(&r, rig_request("k", true));
	crash();
	come_back(1);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 1);
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 1);
}

Test(hub_journal, records_shown_in_one_frame_are_shown_so_again)
{
	const char *job = rig_submit(&r, rig_request("k", true));

	r.hold_persist = true;
	rig_tokens(&r, "a", job, 1, 0, "ab");
	rig_tokens(&r, "a", job, 1, 2, "c");
	rig_failed(&r, "a", job, 1, CODE_ENGINE_CRASHED);
	rig_pass(&r, 1000); /* the next attempt: what has come is recorded before it */
	rig_persisted(&r, r.persist_seq);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "abc"));
	r.hold_persist = false;
	crash();
	rig_simple(&r, HUB_EV_LINK_UP);
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
	cr_assert_eq(rig_answer(&r, ANSWER_TOKENS)->answer.index, 0);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_TOKENS)), "abc"));
}

Test(hub_journal, another_life_of_the_agent_gets_the_next_attempt_with_what_was_shown)
{
	const char *job = rig_submit(&r, rig_request("k", true));

	rig_tokens(&r, "a", job, 1, 0, "ab");
	crash();
	come_back(2);
	rig_pass(&r, 10000);
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 2);
	cr_assert_eq(rig_dispatched(&r, "a")->n_prefix, 2);
	cr_assert_eq(rig_dispatched(&r, "a")->prefix[1], 'b');
}

Test(hub_journal, every_attempt_draws_with_the_seed_of_the_first)
{
	const char *job = rig_submit(&r, rig_request("k", true));
	uint64_t seed = rig_dispatched(&r, "a")->sampling.seed;

	cr_assert_not_null(job);
	crash();
	come_back(2);
	rig_pass(&r, 10000);
	cr_assert_eq(rig_dispatched(&r, "a")->sampling.seed, seed);
}

Test(hub_journal, an_agent_that_does_not_come_back_is_given_up_in_time)
{
	const char *job = rig_submit(&r, rig_request("k", true));

	rig_tokens(&r, "a", job, 1, 0, "ab");
	crash();
	rig_simple(&r, HUB_EV_LINK_UP);
	rig_agent(&r, "b", 1, 1, 1);
	rig_keep_alive(&r, "b", config.rejoin_ms - 1000);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	rig_keep_alive(&r, "b", 2000);
	cr_assert_eq(rig_dispatched(&r, "b")->attempt, 2);
}

Test(hub_journal, a_will_shortens_that)
{
	const char *job = rig_submit(&r, rig_request("k", true));

	rig_tokens(&r, "a", job, 1, 0, "ab");
	crash();
	rig_simple(&r, HUB_EV_LINK_UP);
	rig_agent(&r, "b", 1, 1, 1);
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_agent(&r, "a", 1, 1, 1);
	rig_pass(&r, 1000);
	cr_assert_eq(rig_dispatched(&r, "b")->attempt, 2);
}

Test(hub_journal, an_end_is_told_once_more_unless_its_delivery_is_recorded)
{
	const char *job = rig_submit(&r, rig_request("k", true));
	size_t before;

	rig_tokens(&r, "a", job, 1, 0, "ab");
	rig_done(&r, "a", job, 1, 2, "ab");
	before = r.n_records;
	rig_event(&r, (struct hub_event){ .type = HUB_EV_TOLD, .job = span_of(job) });
	cr_assert_eq(r.n_records, before + 1);
	rig_event(&r, (struct hub_event){ .type = HUB_EV_TOLD, .job = span_of(job) }); /* acknowledged twice */
	cr_assert_eq(r.n_records, before + 1);
	crash();
	rig_simple(&r, HUB_EV_LINK_UP);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_crash(&r, &config, before, 1000);
	rig_simple(&r, HUB_EV_LINK_UP);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_DONE)), "ab"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.usage.prompt_tokens, 7);
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.receipt.agent, "a"));
}

Test(hub_journal, an_ended_job_answers_its_id_after_a_crash)
{
	const char *job = rig_submit(&r, rig_request("k", false));
	struct submit other = rig_request("k", false);

	rig_tokens(&r, "a", job, 1, 0, "ab");
	rig_done(&r, "a", job, 1, 2, "ab");
	crash();
	come_back(1);
	rig_submit_to(&r, "alice", rig_request("k", false), "t9", 0);
	cr_assert_eq(rig_count(&r, HUB_ACT_PERSIST), 0);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_DONE)), "ab"));
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.job, job));
	other.prompt = SPAN("else");
	rig_submit_to(&r, "alice", other, "t9", 0);
	rig_must_refuse(&r, CODE_CONFLICT);
}

Test(hub_journal, a_failed_end_keeps_its_code)
{
	const char *job = rig_submit(&r, rig_request("k", false));

	rig_failed(&r, "a", job, 1, CODE_CONTEXT_FULL);
	crash();
	come_back(1);
	rig_submit_to(&r, "alice", rig_request("k", false), "t9", 0);
	cr_assert(span_is(rig_answer(&r, ANSWER_ERROR)->answer.code, "CONTEXT_FULL"));
	cr_assert_eq(rig_job_view(&r, job).state, HUB_JOB_FAILED);
}

Test(hub_journal, deadlines_count_the_time_the_hub_was_away)
{
	struct submit s = rig_request("k", false);

	s.deadline_ms = 5000;
	rig_submit(&r, s);
	rig_crash(&r, &config, r.n_records, 3000);
	come_back(1);
	rig_pass(&r, 1900);
	cr_assert_eq(rig_answers(&r, ANSWER_ERROR), 0);
	rig_pass(&r, 200);
	cr_assert(span_is(rig_answer(&r, ANSWER_ERROR)->answer.code, "DEADLINE_EXCEEDED"));
}

Test(hub_journal, a_job_of_a_connection_lives_on_only_under_an_id)
{
	const char *with, *without;

	rig_submit_to(&r, "alice", rig_request("k", false), "", 5);
	with = rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p;
	rig_submit_to(&r, "alice", rig_request("", false), "", 6);
	without = rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p;
	crash();
	cr_assert_eq(rig_job_view(&r, without).state, HUB_JOB_CANCELLED);
	come_back(1);
	cr_assert_eq(rig_job_view(&r, with).state, HUB_JOB_DISPATCHED);
	rig_tokens(&r, "a", with, 1, 0, "ab");
	rig_done(&r, "a", with, 1, 2, "ab");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_submit_to(&r, "alice", rig_request("k", false), "", 1);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_DONE)), "ab"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->reply.conn, 1);
}

Test(hub_journal, a_stream_whose_tokens_may_be_unknown_is_not_continued_by_another)
{
	const char *job;

	begin_with(HUB_JOURNAL_ASYNC);
	job = rig_submit(&r, rig_request("k", true));
	rig_tokens(&r, "a", job, 1, 0, "ab");
	crash();
	come_back(2);
	rig_pass(&r, 1000);
	cr_assert_eq(rig_job_view(&r, job).state, HUB_JOB_FAILED);
	rig_submit_to(&r, "alice", rig_request("k", true), "t", 0);
	cr_assert(span_is(rig_answer(&r, ANSWER_ERROR)->answer.code, "STREAM_RESET"));
}

/* ---- ids forgotten here and known to the journal ---- */

static const char *known(const struct hub_record *record)
{
	const char *job;

	r.hold_persist = true;
	job = rig_submit(&r, rig_request("k", false));
	r.hold_persist = false;
	rig_event(&r, (struct hub_event){ .type = HUB_EV_KNOWN, .job = span_of(job), .record = record });
	return job;
}

Test(hub_journal, an_id_that_only_the_journal_remembers_is_answered_from_there)
{
	const char *old = rig_submit(&r, rig_request("k", false));
	struct hub_record end;

	rig_tokens(&r, "a", old, 1, 0, "ab");
	rig_done(&r, "a", old, 1, 2, "ab");
	end = r.records[r.n_records - 1];
	rig_crash(&r, &config, 0, 1000);
	come_back(1);
	(void)known(&end);
	cr_assert(span_is(text_of(rig_answer(&r, ANSWER_DONE)), "ab"));
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.job, old));
	cr_assert_eq(hub_counters(r.h)->queued + hub_counters(r.h)->running, 0);
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
}

Test(hub_journal, an_id_whose_answer_is_gone_is_not_run_again)
{
	struct hub_record nothing = { .kind = HUB_PERSIST_END };

	(void)known(&nothing);
	cr_assert(span_is(rig_answer(&r, ANSWER_ERROR)->answer.code, "RESULT_GONE"));
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(r.n, 0);
}

/* ---- bytes of a bad journal ---- */

Test(hub_journal, records_that_cannot_be_read_are_left_out)
{
	struct rig *rig = &r;

	rig_submit(rig, rig_request("k", true));
	for (size_t i = 0; i < rig->n_records; i++) {
		struct span body = rig->records[i].body;

		for (size_t cut = 0; cut < body.n; cut++) {
			rig->records[i].body.n = cut;
			rig_crash(rig, &config, rig->n_records, 1);
			rig_simple(rig, HUB_EV_LINK_UP);
		}
		rig->records[i].body = body;
	}
}
