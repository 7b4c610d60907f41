/* The fence, gaps, and what becomes of a job whose attempt fails. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;
static const char *job;

static void init_stream(bool stream)
{
	struct hub_config c = rig_config();

	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 2);
	job = rig_submit(&r, rig_request("k1", stream));
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_agent(&r, "b", 1, 1, 2); /* the other one */
}

static void init(void)
{
	init_stream(true);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_attempt, .init = init, .fini = fini);

/* ---- the fence; the job runs on a, epoch 1, attempt 1, next index 2 ---- */

#define COUNTER(name) offsetof(struct hub_counters, name)
static const struct {
	const char *what, *agent, *job;
	uint64_t epoch, attempt, index;
	size_t counter;
	bool passes;
} frames[] = {
	{ "what is due", "a", NULL, 1, 1, 2, COUNTER(frames), true },
	{ "another agent", "b", NULL, 1, 1, 2, COUNTER(frames_fenced_agent), false },
	{ "an agent never seen", "zz", NULL, 1, 1, 2, COUNTER(frames_fenced_agent), false },
	{ "an earlier life", "a", NULL, 0, 1, 2, COUNTER(frames_fenced_epoch), false },
	{ "a later life", "a", NULL, 2, 1, 2, COUNTER(frames_fenced_epoch), false },
	{ "an older attempt", "a", NULL, 1, 0, 2, COUNTER(frames_fenced_attempt), false },
	{ "an attempt to come", "a", NULL, 1, 2, 2, COUNTER(frames_fenced_attempt), false },
	{ "a repetition", "a", NULL, 1, 1, 0, COUNTER(frames_fenced_index), false },
	{ "a gap", "a", NULL, 1, 1, 3, COUNTER(frames_fenced_index), false },
	{ "an unknown job", "a", "nojob", 1, 1, 2, COUNTER(frames_unknown_job), false },
};

static uint64_t counter(size_t at)
{
	return *(const uint64_t *)(const void *)((const char *)hub_counters(r.h) + at);
}

static void say_tokens(const char *agent, const char *id, uint64_t epoch, uint64_t attempt, uint64_t index)
{
	static const uint32_t ids[] = { 'y' };
	struct job_event e = rig_said(JOB_EVENT_TOKENS, id, attempt);

	e.epoch = epoch;
	e.index = index;
	e.text = SPAN("y");
	e.ids = ids;
	e.n_ids = 1;
	rig_say(&r, agent, e);
}

Test(hub_attempt, a_frame_counts_only_from_the_agent_epoch_attempt_and_index_that_are_due)
{
	for (size_t i = sizeof(frames) / sizeof(frames[0]); i-- > 0;) { /* the one that passes last */
		uint64_t before = counter(frames[i].counter);

		say_tokens(frames[i].agent, frames[i].job != NULL ? frames[i].job : job, frames[i].epoch, frames[i].attempt,
			frames[i].index);
		cr_assert_eq(counter(frames[i].counter), before + 1, "%s is not counted", frames[i].what);
		cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), frames[i].passes, "%s", frames[i].what);
	}
}

Test(hub_attempt, ends_are_fenced_like_tokens)
{
	rig_done(&r, "b", job, 1, 2, "he");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_done(&r, "a", job, 2, 2, "he");
	rig_failed(&r, "b", job, 1, CODE_CONTEXT_FULL);
	rig_failed(&r, "a", job, 2, CODE_CONTEXT_FULL);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	cr_assert_eq(rig_job_view(&r, job).state, HUB_JOB_RUNNING);
}

Test(hub_attempt, malformed_frames_are_counted_and_change_nothing)
{
	static const uint32_t ids[] = { 1 };
	struct job_event e = rig_said(JOB_EVENT_TOKENS, job, 1);

	e.index = 2;
	rig_say(&r, "a", e); /* no ids */
	e.ids = ids;
	e.n_ids = 1;
	e.text = SPAN("\xff");
	rig_say(&r, "a", e);
	cr_assert_eq(hub_counters(r.h)->frames_malformed, 2);
	cr_assert_eq(rig_job_view(&r, job).tokens, 2);
}

Test(hub_attempt, tokens_without_text_are_tokens)
{
	static const uint32_t ids[] = { 1 };
	struct job_event e = rig_said(JOB_EVENT_TOKENS, job, 1);

	e.index = 2;
	e.ids = ids;
	e.n_ids = 1;
	rig_say(&r, "a", e);
	cr_assert_eq(rig_answer(&r, ANSWER_TOKENS)->answer.n, 1);
	cr_assert_eq(rig_job_view(&r, job).tokens, 3);
}

/* ---- gaps ---- */

Test(hub_attempt, a_gap_is_asked_for_once_and_again_after_silence)
{
	rig_tokens(&r, "a", job, 1, 4, "x");
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.index, 2);
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.attempt, 1);
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.epoch, 1);
	rig_tokens(&r, "a", job, 1, 5, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 0);
	cr_assert_eq(hub_counters(r.h)->gaps, 2);
	rig_pass(&r, 1999);
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 0);
	rig_pass(&r, 1);
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 1);
	rig_tokens(&r, "a", job, 1, 2, "llo");
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
	rig_tokens(&r, "a", job, 1, 9, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 1, "the next gap is another one");
}

Test(hub_attempt, an_end_before_the_last_tokens_is_not_believed)
{
	rig_done(&r, "a", job, 1, 5, "hello");
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.index, 2);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_tokens(&r, "a", job, 1, 2, "ll");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 0);
	rig_tokens(&r, "a", job, 1, 4, "o");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "hello"), "it waited for its tokens");
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.usage.prompt_tokens, 7);
}

Test(hub_attempt, an_end_that_waits_belongs_to_its_attempt)
{
	rig_done(&r, "a", job, 1, 3, "hex");
	rig_agent(&r, "a", 2, 1, 1);
	rig_tokens(&r, "b", job, 2, 2, "y");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 0);
	rig_done(&r, "b", job, 2, 3, "y");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "hey"));
}

Test(hub_attempt, an_end_that_keeps_coming_without_its_tokens_is_asked_for_them_again)
{
	rig_done(&r, "a", job, 1, 5, "hello");
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 1);
	rig_done(&r, "a", job, 1, 5, "hello");
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 0, "doubled on the way");
	rig_pass(&r, 5);
	rig_done(&r, "a", job, 1, 5, "hello");
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 1, "the answer must have been lost");
}

Test(hub_attempt, late_copies_are_no_sign_of_life)
{
	rig_pass(&r, 1500);
	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	rig_pass(&r, 500);
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 1);
}

Test(hub_attempt, a_silent_job_is_asked_and_progress_is_an_answer)
{
	rig_pass(&r, 2000);
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.index, 2);
	rig_say(&r, "a", rig_said(JOB_EVENT_PROGRESS, job, 1));
	rig_pass(&r, 1999);
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 0);
	rig_pass(&r, 1);
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 1);
}

Test(hub_attempt, frames_are_acknowledged_by_number_and_by_time)
{
	for (uint64_t i = 2; i < 16; i++)
		rig_tokens(&r, "a", job, 1, i, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_ACK), 0);
	rig_tokens(&r, "a", job, 1, 16, "x");
	cr_assert_eq(rig_control(&r, CONTROL_ACK)->control.index, 17);
	rig_pass(&r, 1500);
	rig_tokens(&r, "a", job, 1, 17, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_ACK), 0);
	rig_pass(&r, 1500);
	rig_tokens(&r, "a", job, 1, 18, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_ACK), 1, "an agent that hears nothing gives up");
}

/* ---- what was altered on the way ---- */

Test(hub_attempt, a_stream_that_showed_altered_text_ends_with_an_error)
{
	rig_done(&r, "a", job, 1, 2, "HE");
	rig_must_refuse(&r, CODE_CHECKSUM_MISMATCH);
	cr_assert_eq(hub_counters(r.h)->done_mismatch, 1);
	cr_assert_eq(rig_controls(&r, CONTROL_END), 1);
}

Test(hub_attempt, altered_text_nobody_has_seen_is_thrown_away_and_made_again)
{
	init_stream(false);
	rig_done(&r, "a", job, 1, 2, "HE");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_pass(&r, 100);
	cr_assert_eq(rig_dispatched(&r, "b")->n_prefix, 0);
	rig_tokens(&r, "b", job, 2, 0, "HE");
	rig_done(&r, "b", job, 2, 2, "HE");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "HE"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.usage.completion_tokens, 2);
}

Test(hub_attempt, the_digest_covers_the_attempt_alone)
{
	rig_agent(&r, "a", 2, 1, 1);
	rig_tokens(&r, "b", job, 2, 2, "llo");
	rig_done(&r, "b", job, 2, 5, "llo");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "hello"));
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.receipt.agent, "b"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.receipt.attempts, 2);
}

/* ---- failure ---- */

static const struct {
	enum code code;
	bool again;
} failures[] = {
	{ CODE_ENGINE_CRASHED, true },
	{ CODE_BATCH_FAILED, true },
	{ CODE_QUEUE_FULL, true },
	{ CODE_MODEL_NOT_LOADED, true },
	{ CODE_CANCELLED, true }, /* by the agent, not by us */
	{ CODE_CONTEXT_FULL, false },
	{ CODE_BAD_REQUEST, false },
	{ CODE_INTERNAL_ERROR, false },
};

Test(hub_attempt, only_what_another_agent_may_do_better_is_tried_again)
{
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		const char *id = rig_submit(&r, rig_request("", true));
		const struct hub_action *d = rig_find(&r, HUB_ACT_DISPATCH, 0);
		struct job_event e = rig_said(i % 2 ? JOB_EVENT_FAILED : JOB_EVENT_REJECTED, id, 1);

		e.code = failures[i].code;
		rig_say(&r, d->agent.p, e);
		cr_assert_eq(rig_controls(&r, CONTROL_END), 1, "the agent may forget it");
		cr_assert_eq(rig_answers(&r, ANSWER_ERROR), !failures[i].again, "%s", code_name(failures[i].code));
		if (!failures[i].again) {
			rig_must_refuse(&r, failures[i].code);
			continue;
		}
		rig_pass(&r, 100);
		cr_assert_eq(rig_job_view(&r, id).attempt, 2);
		rig_cancel(&r, "alice", id, NULL);
	}
}

Test(hub_attempt, the_reason_reaches_the_client)
{
	struct job_event e = rig_said(JOB_EVENT_FAILED, job, 1);

	e.code = CODE_CONTEXT_FULL;
	e.reason = SPAN("600 tokens, room for 512");
	rig_say(&r, "a", e);
	cr_assert(span_is(rig_must_refuse(&r, CODE_CONTEXT_FULL)->message,
		"the prompt does not fit the context: 600 tokens, room for 512"));
	rig_submit_to(&r, "alice", rig_request("k1", true), "t", 0);
	rig_must_refuse(&r, CODE_CONTEXT_FULL);
}

/* Both agents refuse whatever they get, until ms have passed or the client is told the end; how many attempts that took. */
static uint64_t refuse_all(uint64_t ms, enum job_event_type how, enum code code)
{
	uint64_t first = rig_job_view(&r, job).attempt, begin = r.now;

	while (r.now < begin + ms && rig_answers(&r, ANSWER_ERROR) == 0) {
		const struct hub_action *d = rig_find(&r, HUB_ACT_DISPATCH, 0);
		struct job_event e = rig_said(how, job, rig_job_view(&r, job).attempt);

		e.code = code;
		if (d != NULL)
			rig_say(&r, d->agent.p, e);
		else if ((r.now - begin) / 50 % 20 == 0)
			rig_heartbeat(&r, (r.now - begin) / 1000 % 2 != 0 ? "a" : "b", 1, 1);
		if (rig_answers(&r, ANSWER_ERROR) == 0)
			rig_pass(&r, 50);
	}
	return rig_job_view(&r, job).attempt - first;
}

Test(hub_attempt, full_queues_cost_no_attempt_and_are_tried_slower_and_slower)
{
	uint64_t n;

	rig_failed(&r, "a", job, 1, CODE_QUEUE_TIMEOUT);
	n = refuse_all(60000, JOB_EVENT_REJECTED, CODE_QUEUE_FULL);
	cr_assert(n > 10 && n < 40, "%d attempts in a minute", (int)n);
	cr_assert_eq(rig_answers(&r, ANSWER_ERROR), 0);
	/* What the job itself does is still counted. */
	n = refuse_all(60000, JOB_EVENT_FAILED, CODE_BATCH_FAILED);
	cr_assert_leq(n, 4);
	rig_must_refuse(&r, CODE_BATCH_FAILED);
}

Test(hub_attempt, a_job_that_meets_nothing_but_full_queues_is_given_up_in_the_end)
{
	uint64_t begin = r.now;

	rig_failed(&r, "a", job, 1, CODE_QUEUE_FULL);
	(void)refuse_all(400000, JOB_EVENT_REJECTED, CODE_QUEUE_FULL);
	rig_must_refuse(&r, CODE_QUEUE_FULL);
	cr_assert(r.now - begin >= 300000 && r.now - begin < 310000);
}

Test(hub_attempt, attempts_that_bring_nothing_are_limited_and_spaced)
{
	uint64_t last = 0;

	for (uint64_t attempt = 1; attempt < 4; attempt++) {
		uint64_t begin = r.now, waited;

		rig_failed(&r, attempt % 2 ? "a" : "b", job, attempt, CODE_BATCH_FAILED);
		while (rig_count(&r, HUB_ACT_DISPATCH) == 0 && r.now < begin + 10000)
			rig_pass(&r, 1);
		waited = r.now - begin;
		cr_assert_geq(waited, 50u << (attempt - 1));
		cr_assert_leq(waited, 100u << (attempt - 1));
		cr_assert_gt(waited, last / 2);
		last = waited;
		rig_heartbeat(&r, "a", 1, 1);
		rig_heartbeat(&r, "b", 1, 1);
	}
	rig_failed(&r, "b", job, 4, CODE_BATCH_FAILED);
	rig_must_refuse(&r, CODE_BATCH_FAILED);
}

Test(hub_attempt, agents_may_come_and_go_under_a_long_answer)
{
	for (uint64_t i = 1; i <= 20; i++) { /* each life brings a token before it ends */
		const char *on = i % 2 ? "a" : "b";
		struct job_event e = rig_said(JOB_EVENT_TOKENS, job, i);
		uint32_t id = 'x';

		e.epoch = (i + 1) / 2;
		e.index = 1 + i;
		e.ids = &id;
		e.n_ids = 1;
		e.text = SPAN("x");
		rig_say(&r, on, e);
		cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
		rig_agent(&r, on, (i + 1) / 2 + 1, 1, 2);
		cr_assert_eq(rig_find(&r, HUB_ACT_DISPATCH, 0)->job.n_prefix, 2 + i, "at once, with all tokens");
	}
}

Test(hub_attempt, when_only_the_word_that_it_is_over_is_missing_nobody_is_asked_again)
{
	struct submit s = rig_request("", true);
	const char *id;

	s.max_tokens = 3;
	id = rig_submit(&r, s);
	rig_tokens(&r, "b", id, 1, 0, "hey");
	rig_agent(&r, "b", 2, 1, 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "hey"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.finish_reason, FINISH_LENGTH);
}

Test(hub_attempt, an_answer_past_the_limit_ends_the_job)
{
	static uint32_t ids[PROTO_MAX_FRAME_TOKENS];
	struct job_event e = rig_said(JOB_EVENT_TOKENS, job, 1);

	e.ids = ids;
	e.n_ids = PROTO_MAX_FRAME_TOKENS;
	for (e.index = 2; e.index + e.n_ids <= PROTO_MAX_TOKENS; e.index += e.n_ids) {
		rig_say(&r, "a", e);
		cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
	}
	rig_say(&r, "a", e);
	rig_must_refuse(&r, CODE_TOO_LARGE);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 1);
}

/* ---- time ---- */

Test(hub_attempt, a_dispatch_is_repeated_until_it_is_answered_then_given_elsewhere)
{
	const char *id = rig_submit(&r, rig_request("", false));

	cr_assert_not_null(rig_dispatched(&r, "b"));
	for (int i = 0; i < 2; i++) {
		rig_pass(&r, 1000);
		cr_assert_eq(rig_dispatched(&r, "b")->attempt, 1);
		cr_assert(span_is(rig_dispatched(&r, "b")->job, id));
	}
	rig_pass(&r, 1000);
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 2);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 1);
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, id, 2));
	rig_keep_alive(&r, "a", 10000);
	for (size_t i = 0; rig_find(&r, HUB_ACT_DISPATCH, i) != NULL; i++)
		cr_assert_not(span_is(rig_find(&r, HUB_ACT_DISPATCH, i)->job.job, id), "answered: not repeated");
}

Test(hub_attempt, a_job_without_a_token_for_long_is_moved_although_its_agent_lives)
{
	for (int i = 0; i < 14; i++) {
		rig_keep_alive(&r, "a", 1000);
		rig_say(&r, "a", rig_said(JOB_EVENT_PROGRESS, job, 1));
		cr_assert_eq(rig_job_view(&r, job).attempt, 1);
	}
	rig_keep_alive(&r, "b", 1000);
	cr_assert_eq(rig_control(&r, CONTROL_CANCEL)->control.attempt, 1);
	rig_pass(&r, 100);
	cr_assert_eq(rig_job_view(&r, job).attempt, 2);
	cr_assert(span_is(rig_job_view(&r, job).agent, "b"));
}

Test(hub_attempt, the_first_token_may_take_longer)
{
	struct hub_config c = rig_config();

	c.stall_ms = 1000;
	c.first_token_ms = 10000;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 1);
	job = rig_submit(&r, rig_request("", true));
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	rig_keep_alive(&r, "a", 9999);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 0);
	rig_pass(&r, 1);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 1);
}

/* ---- what nobody wants any more ---- */

Test(hub_attempt, a_zombie_is_told_to_stop_but_not_at_every_frame)
{
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	rig_say(&r, "b", rig_said(JOB_EVENT_ACCEPTED, job, 2));
	rig_agent(&r, "a", 1, 2, 1); /* it comes back and goes on with what was its work */
	cr_assert_eq(rig_controls(&r, CONTROL_RESEND), 0);
	rig_tokens(&r, "a", job, 1, 2, "x");
	cr_assert_eq(rig_control(&r, CONTROL_CANCEL)->control.attempt, 1);
	cr_assert(span_is(rig_control(&r, CONTROL_CANCEL)->agent, "a"));
	rig_tokens(&r, "a", job, 1, 3, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 0);
	rig_pass(&r, 100);
	rig_tokens(&r, "a", job, 1, 4, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 1);
	rig_done(&r, "a", job, 1, 5, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_END), 1, "its end is known: it may forget");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_tokens(&r, "a", "nojob", 1, 0, "x");
	rig_done(&r, "a", "nojob", 1, 5, "x");
	cr_assert_eq(rig_controls(&r, CONTROL_END), 1);
}

/* ---- logprobs: one item a token; here numbers, which are items as well ---- */

static void init_probs(bool stream)
{
	struct hub_config c = rig_config();
	struct submit s = rig_request("k1", stream);

	s.logprobs = true;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 2);
	job = rig_submit(&r, s);
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	rig_agent(&r, "b", 1, 1, 2);
}

static void say_probs(const char *agent, uint64_t attempt, uint64_t index, const char *text, const char *items)
{
	static const uint32_t ids[] = { 1, 2, 3, 4 };
	struct job_event e = rig_said(JOB_EVENT_TOKENS, job, attempt);

	e.index = index;
	e.text = span_of(text);
	e.ids = ids;
	e.n_ids = strlen(text);
	e.logprobs = span_of(items);
	rig_say(&r, agent, e);
}

Test(hub_attempt, logprobs_of_all_attempts_are_told_once_each)
{
	init_probs(true);
	say_probs("a", 1, 0, "he", "\x01\x02");
	cr_assert(span_is(rig_answer(&r, ANSWER_TOKENS)->answer.probs, "\x01\x02"));
	rig_agent(&r, "a", 2, 1, 1);
	cr_assert_eq(rig_dispatched(&r, "b")->n_prefix, 2);
	cr_assert(rig_dispatched(&r, "b")->sampling.logprobs);
	say_probs("b", 2, 2, "llo", "\x03\x04\x05");
	cr_assert(span_is(rig_answer(&r, ANSWER_TOKENS)->answer.probs, "\x03\x04\x05"));
	rig_done(&r, "b", job, 2, 5, "llo");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.probs, "\x01\x02\x03\x04\x05"));
}

Test(hub_attempt, logprobs_that_do_not_fit_their_tokens_are_no_frame)
{
	init_probs(true);
	say_probs("a", 1, 0, "he", "\x01");
	say_probs("a", 1, 0, "he", "\x01\x02\x03");
	say_probs("a", 1, 0, "he", "\x01\x62");
	cr_assert_eq(hub_counters(r.h)->frames_malformed, 3);
	cr_assert_eq(hub_counters(r.h)->frames, 0);
	say_probs("a", 1, 0, "he", ""); /* of an engine that has none */
	cr_assert_eq(hub_counters(r.h)->frames, 1);
}

Test(hub_attempt, logprobs_of_text_that_is_thrown_away_go_with_it)
{
	init_probs(false);
	say_probs("a", 1, 0, "he", "\x01\x02");
	rig_done(&r, "a", job, 1, 2, "HE");
	rig_pass(&r, 100);
	say_probs("b", 2, 0, "HE", "\x03\x04");
	rig_done(&r, "b", job, 2, 2, "HE");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.probs, "\x03\x04"));
}

Test(hub_attempt, logprobs_nobody_asked_for_are_not_kept)
{
	say_probs("a", 1, 2, "llo", "\x03\x04\x05");
	rig_done(&r, "a", job, 1, 5, "hello");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "hello"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.probs.n, 0);
}

Test(hub_attempt, who_asks_again_is_told_all_logprobs_so_far)
{
	struct submit again = rig_request("k1", true);

	init_probs(true);
	say_probs("a", 1, 0, "he", "\x01\x02");
	again.logprobs = true;
	rig_submit_to(&r, "alice", again, "elsewhere", 0);
	cr_assert(span_is(rig_answer(&r, ANSWER_TOKENS)->answer.probs, "\x01\x02"));
}

/* ---- vectors of texts: a text is what a token is elsewhere ---- */

static const struct span texts[] = { { "one", 3 }, { "two", 3 }, { "three", 5 } };

static void init_vectors(void)
{
	struct hub_config c = rig_config();
	struct submit s = rig_request("k1", true);

	s.prompt = SPAN_NONE;
	s.input = texts;
	s.n_input = 3;
	s.max_tokens = 1;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 2);
	job = rig_submit(&r, s);
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	rig_agent(&r, "b", 1, 1, 2);
}

static void say_vectors(const char *agent, uint64_t attempt, uint64_t index, size_t n, const char *bytes, size_t n_bytes)
{
	static const uint32_t counts[] = { 7, 8, 9, 10 };
	struct job_event e = rig_said(JOB_EVENT_TOKENS, job, attempt);

	e.index = index;
	e.ids = counts + index;
	e.n_ids = n;
	e.vectors = span_mem(bytes, n_bytes);
	rig_say(&r, agent, e);
}

Test(hub_attempt, vectors_of_all_attempts_come_at_the_end)
{
	init_vectors();
	say_vectors("a", 1, 0, 2, "aaaaAAAAbbbbBBBB", 16);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0, "nothing is streamed");
	rig_agent(&r, "a", 2, 1, 1);
	cr_assert_eq(rig_dispatched(&r, "b")->n_prefix, 2);
	cr_assert_eq(rig_dispatched(&r, "b")->n_inputs, 3);
	cr_assert_eq(rig_dispatched(&r, "b")->sampling.max_tokens, 0);
	say_vectors("b", 2, 2, 1, "ccccCCCC", 8);
	rig_done(&r, "b", job, 2, 3, "");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.vectors, "aaaaAAAAbbbbBBBBccccCCCC"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.n_vectors, 3);
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.usage.prompt_tokens, 7 + 8 + 9);
}

Test(hub_attempt, vectors_that_do_not_fit_their_texts_are_no_frame)
{
	init_vectors();
	say_vectors("a", 1, 0, 1, "", 0);
	say_vectors("a", 1, 0, 2, "aaaaAAAAbbbb", 12); /* six bytes each */
	say_vectors("a", 1, 0, 1, "aaa", 3);
	say_vectors("a", 1, 0, 4, "aaaabbbbccccdddd", 16); /* one too many */
	cr_assert_eq(hub_counters(r.h)->frames_malformed, 4);
	say_vectors("a", 1, 0, 1, "aaaaAAAA", 8);
	say_vectors("a", 1, 1, 1, "bbbb", 4); /* of another size */
	cr_assert_eq(hub_counters(r.h)->frames_malformed, 5);
	cr_assert_eq(hub_counters(r.h)->frames, 1);
}

Test(hub_attempt, an_end_with_texts_left_out_is_not_believed)
{
	init_vectors();
	say_vectors("a", 1, 0, 1, "aaaaAAAA", 8);
	rig_done(&r, "a", job, 1, 1, "");
	rig_must_refuse(&r, CODE_INTERNAL_ERROR);
}

Test(hub_attempt, texts_for_vectors_come_alone)
{
	static const struct span hole[] = { { "a", 1 }, { "", 0 } };
	struct submit s = rig_request("k2", false);

	s.input = texts;
	s.n_input = 3;
	rig_submit_to(&r, "alice", s, "t", 0);
	rig_must_refuse(&r, CODE_BAD_REQUEST);
	s = rig_request("k3", false);
	s.prompt = SPAN_NONE;
	s.input = hole;
	s.n_input = 2;
	rig_submit_to(&r, "alice", s, "t", 0);
	rig_must_refuse(&r, CODE_BAD_REQUEST);
}
