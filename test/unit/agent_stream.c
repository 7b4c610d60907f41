/* The tokens of a job: window, coalescing, acknowledgement, repair. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "agent_rig.h"

static struct rig r;
static uint64_t run;

static void streaming(void)
{
	struct agent_config c = rig_config();

	rig_ready(&r, &c);
	rig_job(&r, "j1", 1);
	run = rig_sent(&r, ENGINE_GENERATE)->job;
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(stream, .init = streaming, .fini = fini);

/* Tokens from index to below `to`, one a message. */
static void generate(uint64_t index, uint64_t to)
{
	for (; index < to; index++)
		rig_tokens(&r, run, index, "x");
}

static const struct job_event *frame(void)
{
	return rig_must_say(&r, JOB_EVENT_TOKENS, "j1", 1);
}

Test(stream, past_the_window_frames_are_held_until_the_hub_acknowledges)
{
	generate(0, PROTO_FRAME_WINDOW);
	cr_assert_eq(frame()->index, PROTO_FRAME_WINDOW - 1);
	generate(PROTO_FRAME_WINDOW, PROTO_FRAME_WINDOW + 30);
	cr_assert_null(rig_said(&r, JOB_EVENT_TOKENS));
	/* One place is free: what waited comes in one frame. */
	rig_control(&r, CONTROL_ACK, "j1", 1, 1);
	cr_assert_eq(frame()->index, PROTO_FRAME_WINDOW);
	cr_assert_eq(frame()->n_ids, 30);
	cr_assert_eq(frame()->text.n, 30);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 1);
	generate(PROTO_FRAME_WINDOW + 30, PROTO_FRAME_WINDOW + 31);
	cr_assert_null(rig_said(&r, JOB_EVENT_TOKENS));
}

/* It stood still, and the hub has given its job to another: nothing it sends is acknowledged. */
Test(stream, a_cancel_lets_the_end_out_past_a_full_window)
{
	generate(0, PROTO_FRAME_WINDOW + 10);
	rig_done(&r, run, PROTO_FRAME_WINDOW + 10, FINISH_LENGTH);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_control(&r, CONTROL_CANCEL, "j1", 1, 0);
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	cr_assert_null(rig_said(&r, JOB_EVENT_TOKENS));
}

Test(stream, a_cancel_lets_the_end_of_a_running_job_out_past_a_full_window)
{
	generate(0, 10);
	rig_control(&r, CONTROL_CANCEL, "j1", 1, 0);
	generate(10, PROTO_FRAME_WINDOW + 20); /* written before the engine heard of it */
	rig_done(&r, run, PROTO_FRAME_WINDOW + 20, FINISH_CANCELLED);
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
}

Test(stream, the_end_waits_for_the_frames_before_it)
{
	generate(0, PROTO_FRAME_WINDOW + 1);
	rig_done(&r, run, PROTO_FRAME_WINDOW + 1, FINISH_LENGTH);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_control(&r, CONTROL_ACK, "j1", 1, PROTO_FRAME_WINDOW);
	cr_assert_eq(rig_find(&r, AGENT_ACT_EVENT, 0)->job_event.type, JOB_EVENT_TOKENS);
	cr_assert_eq(rig_find(&r, AGENT_ACT_EVENT, 1)->job_event.type, JOB_EVENT_DONE);
}

Test(stream, a_failure_does_not_wait_for_the_frames_before_it)
{
	generate(0, PROTO_FRAME_WINDOW + 1);
	rig_exit(&r, 9);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1)->index, PROTO_FRAME_WINDOW + 1);
}

Test(stream, a_resend_goes_back_and_sends_all_of_it_in_one_frame)
{
	generate(0, 20);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 5);
	cr_assert_eq(frame()->index, 5);
	cr_assert_eq(frame()->n_ids, 15);
	generate(20, 21);
	cr_assert_eq(frame()->index, 20);
}

Test(stream, a_resend_without_anything_new_shows_that_the_job_lives)
{
	generate(0, 4);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 4);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_PROGRESS, "j1", 1)->index, 4);
	cr_assert_null(rig_said(&r, JOB_EVENT_TOKENS));
}

Test(stream, a_resend_of_a_waiting_job_shows_that_it_lives)
{
	rig_job(&r, "j2", 1);
	rig_job(&r, "j3", 1);
	rig_control(&r, CONTROL_RESEND, "j3", 1, 0);
	rig_must_say(&r, JOB_EVENT_PROGRESS, "j3", 1);
}

Test(stream, a_resend_from_before_the_prefix_is_answered)
{
	const uint32_t prefix[] = { 1, 2 };

	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j2"), .attempt = 2, .prefix = prefix, .n_prefix = 2 });
	rig_control(&r, CONTROL_RESEND, "j2", 2, 0);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_PROGRESS, "j2", 2)->index, 2);
}

Test(stream, a_resend_after_the_end_brings_tokens_and_end)
{
	generate(0, 10);
	rig_done(&r, run, 10, FINISH_STOP);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 7);
	cr_assert_eq(frame()->index, 7);
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 10);
	cr_assert_null(rig_said(&r, JOB_EVENT_TOKENS));
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	cr_assert_null(rig_said(&r, JOB_EVENT_PROGRESS));
}

Test(stream, a_resend_past_the_end_is_harmless)
{
	generate(0, 3);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 60000);
	rig_must_say(&r, JOB_EVENT_PROGRESS, "j1", 1);
	generate(3, 4);
	cr_assert_eq(frame()->index, 3);
}

Test(stream, frames_sent_again_are_acknowledged_like_the_first)
{
	generate(0, PROTO_FRAME_WINDOW);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 0);
	cr_assert_eq(frame()->n_ids, PROTO_FRAME_WINDOW, "the window is open again");
	/* Late copies of the first frames reach the hub after all. */
	rig_control(&r, CONTROL_ACK, "j1", 1, PROTO_FRAME_WINDOW);
	generate(PROTO_FRAME_WINDOW, PROTO_FRAME_WINDOW + 1);
	cr_assert_eq(frame()->index, PROTO_FRAME_WINDOW);
}

Test(stream, an_acknowledgement_during_a_rewind_skips_what_the_hub_has)
{
	generate(0, 10);
	rig_simple(&r, AGENT_EV_CONGESTED);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 2);
	rig_control(&r, CONTROL_ACK, "j1", 1, 6);
	rig_simple(&r, AGENT_EV_WRITABLE);
	cr_assert_eq(frame()->index, 6);
	cr_assert_eq(frame()->n_ids, 4);
}

Test(stream, while_congested_tokens_are_gathered_and_then_sent_together)
{
	rig_simple(&r, AGENT_EV_CONGESTED);
	generate(0, 50);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_simple(&r, AGENT_EV_WRITABLE);
	cr_assert_eq(frame()->index, 0);
	cr_assert_eq(frame()->n_ids, 50);
}

Test(stream, while_the_link_is_down_tokens_are_gathered_and_then_sent_together)
{
	generate(0, 2);
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	generate(2, 12);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_link_up(&r);
	cr_assert_eq(frame()->index, 2, "no repeats: the hub asks for what it has not got");
	cr_assert_eq(frame()->n_ids, 10);
}

Test(stream, an_end_the_hub_may_have_missed_is_said_again_after_a_loss)
{
	rig_done(&r, run, 0, FINISH_STOP);
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	rig_link_up(&r);
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	rig_control(&r, CONTROL_END, "j1", 1, 0);
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	rig_link_up(&r);
	cr_assert_null(rig_said(&r, JOB_EVENT_DONE));
}

Test(stream, an_acceptance_the_hub_may_have_missed_is_said_again_after_a_loss)
{
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	rig_link_up(&r);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	rig_control(&r, CONTROL_ACK, "j1", 1, 0);
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	rig_link_up(&r);
	cr_assert_null(rig_said(&r, JOB_EVENT_ACCEPTED));
}

Test(stream, a_gathered_frame_keeps_to_its_bounds_and_nothing_is_lost)
{
	static char text[9000];
	uint64_t next = 0;

	memset(text, 'y', sizeof(text) - 1);
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	for (int i = 0; i < 40; i++)
		rig_engine(&r, (struct engine_msg){ .type = ENGINE_TOKENS,
				       .job = run,
				       .index = (uint64_t)i,
				       .ids = (const uint32_t[]){ 1 },
				       .n_ids = 1,
				       .text = span_of(text) });
	rig_link_up(&r);
	for (int steps = 0; next < 40; steps++) {
		const struct agent_action *act;
		size_t bytes = 0;

		for (size_t i = 0; (act = rig_find(&r, AGENT_ACT_EVENT, i)) != NULL; i++) {
			if (act->job_event.type != JOB_EVENT_TOKENS)
				continue;
			cr_assert_eq(act->job_event.index, next);
			cr_assert_leq(act->job_event.text.n, 32u << 10);
			next += act->job_event.n_ids;
			bytes += act->job_event.text.n;
		}
		cr_assert_leq(bytes, (256u + 32) << 10, "a step sends so much at most");
		cr_assert_lt(steps, 3);
		if (next < 40)
			cr_assert_eq(agent_deadline(r.a), r.now, "and the rest at once");
		rig_simple(&r, AGENT_EV_TICK);
	}
}

Test(stream, a_frame_has_a_bounded_number_of_tokens)
{
	char text[3001];

	memset(text, 'z', sizeof(text) - 1);
	text[3000] = '\0';
	rig_simple(&r, AGENT_EV_CONGESTED);
	for (uint64_t i = 0; i < 3; i++)
		rig_tokens(&r, run, 3000 * i, text);
	rig_simple(&r, AGENT_EV_WRITABLE);
	for (uint64_t i = 0; i < 3; i++)
		cr_assert_eq(rig_find(&r, AGENT_ACT_EVENT, i + 1)->job_event.n_ids, 3000); /* after ACCEPTED */
}

Test(stream, a_token_without_text_counts)
{
	rig_engine(&r, (struct engine_msg){
			       .type = ENGINE_TOKENS, .job = run, .index = 0, .ids = (const uint32_t[]){ 9 }, .n_ids = 1 });
	cr_assert_eq(frame()->n_ids, 1);
	rig_done(&r, run, 1, FINISH_STOP);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_DONE, "j1", 1)->index, 1);
}

Test(stream, an_answer_over_the_limit_ends_the_job)
{
	static char text[ENGINE_MAX_OUT - 1024];
	uint64_t index = 0;

	memset(text, 'y', sizeof(text));
	while (rig_said(&r, JOB_EVENT_FAILED) == NULL && index < 100) {
		rig_engine(&r, (struct engine_msg){ .type = ENGINE_TOKENS,
				       .job = run,
				       .index = index++,
				       .ids = (const uint32_t[]){ 9 },
				       .n_ids = 1,
				       .text = span_mem(text, sizeof(text)) });
		if (rig_said(&r, JOB_EVENT_FAILED) == NULL)
			rig_control(&r, CONTROL_ACK, "j1", 1, index);
	}
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1)->code, CODE_TOO_LARGE);
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, run);
	cr_assert_leq((index - 1) * sizeof(text), PROTO_MAX_ANSWER);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0), "the engine did nothing wrong");
}

/* ---- logprobs: whatever bytes the engine gives ---- */

static void generate_with_probs(uint64_t index, uint64_t to, size_t n)
{
	static char probs[40 << 10];

	for (; index < to; index++) {
		memset(probs, (int)('A' + index % 26), n);
		rig_engine(&r, (struct engine_msg){ .type = ENGINE_TOKENS,
				       .job = run,
				       .index = index,
				       .ids = (const uint32_t[]){ 1 },
				       .n_ids = 1,
				       .text = SPAN("x"),
				       .logprobs = span_mem(probs, n) });
	}
}

Test(stream, logprobs_travel_with_their_tokens_and_again_when_asked_for)
{
	generate_with_probs(0, 1, 2);
	cr_assert(span_is(frame()->logprobs, "AA"));
	generate_with_probs(1, 2, 2);
	cr_assert(span_is(frame()->logprobs, "BB"));
	rig_control(&r, CONTROL_RESEND, "j1", 1, 0);
	cr_assert(span_is(frame()->logprobs, "AABB"));
	rig_control(&r, CONTROL_RESEND, "j1", 1, 1);
	cr_assert(span_is(frame()->logprobs, "BB"));
}

Test(stream, a_gathered_frame_holds_a_bounded_part_of_the_logprobs)
{
	size_t n = 40 << 10, seen = 0;
	uint64_t next = 0;

	rig_simple(&r, AGENT_EV_CONGESTED);
	generate_with_probs(0, 20, n);
	rig_simple(&r, AGENT_EV_WRITABLE);
	for (int steps = 0; next < 20 && steps < 20; steps++) {
		const struct agent_action *act;

		for (size_t i = 0; (act = rig_find(&r, AGENT_ACT_EVENT, i)) != NULL; i++) {
			const struct job_event *e = &act->job_event;

			if (e->type != JOB_EVENT_TOKENS)
				continue;
			cr_assert_eq(e->index, next);
			cr_assert_leq(e->logprobs.n, LOGPROB_MAX_FRAME);
			cr_assert_eq(e->logprobs.n, n * e->n_ids);
			cr_assert_eq(e->logprobs.p[0], 'A' + (char)next);
			next += e->n_ids;
			seen += e->logprobs.n;
		}
		rig_simple(&r, AGENT_EV_TICK);
	}
	cr_assert_eq(seen, 20 * n);
}

Test(stream, logprobs_over_the_limit_end_the_job)
{
	size_t n = 40 << 10;

	generate_with_probs(0, LOGPROB_MAX_BYTES / n, n);
	cr_assert_null(rig_said(&r, JOB_EVENT_FAILED));
	generate_with_probs(LOGPROB_MAX_BYTES / n, LOGPROB_MAX_BYTES / n + 1, n);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1)->code, CODE_TOO_LARGE);
}

/* ---- vectors of texts ---- */

Test(stream, an_embedding_job_is_told_to_the_engine_and_its_vectors_to_the_hub)
{
	static const struct span inputs[] = { { "one", 3 }, { "two", 3 } };
	static struct agent_model model;
	struct agent_config c = rig_config();
	struct job_msg msg = { .job = SPAN("j2"), .attempt = 1, .inputs = inputs, .n_inputs = 2 };
	const struct engine_msg *sent;
	const struct job_event *e;

	rig_job_msg(&r, msg);
	e = rig_must_say(&r, JOB_EVENT_REJECTED, "j2", 1);
	cr_assert(e->code == CODE_MODEL_NOT_LOADED && e->reason.n > 20, "without embeddings = true");
	model = c.models[0];
	model.embeddings = true;
	c.models = &model;
	rig_ready(&r, &c);
	msg.prefix = (const uint32_t[]){ 5 };
	msg.n_prefix = 1;
	rig_job_msg(&r, msg);
	sent = rig_sent(&r, ENGINE_EMBED);
	cr_assert(sent->n_inputs == 2 && span_is(sent->inputs[1], "two") && sent->index == 1);
	run = sent->job;
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_EMBEDDING,
			       .job = run,
			       .index = 1,
			       .ids = (const uint32_t[]){ 7 },
			       .n_ids = 1,
			       .vector = SPAN("abcdefgh") });
	e = rig_must_say(&r, JOB_EVENT_TOKENS, "j2", 1);
	cr_assert(e->index == 1 && e->n_ids == 1 && e->ids[0] == 7 && span_is(e->vectors, "abcdefgh") && e->logprobs.n == 0);
	rig_done(&r, run, 2, FINISH_STOP);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_DONE, "j2", 1)->index, 2);
}
