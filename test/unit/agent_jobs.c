/* What becomes of jobs: taken, refused, run, ended, cancelled, asked for again. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent_rig.h"
#include "sha256.h"

static struct rig r;

static void ready(void)
{
	struct agent_config c = rig_config();

	rig_ready(&r, &c);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(jobs, .init = ready, .fini = fini);

static uint64_t run_of(void)
{
	const struct engine_msg *g = rig_sent(&r, ENGINE_GENERATE);

	cr_assert_not_null(g, "the engine got no job");
	return g->job;
}

static uint64_t start(const char *id, uint64_t attempt)
{
	rig_job(&r, id, attempt);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, id, attempt);
	return run_of();
}

static void must_fail(const char *id, uint64_t attempt, enum code code)
{
	const struct job_event *e = rig_must_say(&r, JOB_EVENT_FAILED, id, attempt);

	cr_assert_eq(e->code, code, "failed with %s", code_name((unsigned)e->code));
	cr_assert_gt(e->reason.n, 0, "a sentence says why");
}

static const struct agent_counters *counters(void)
{
	return agent_counters(r.a);
}

Test(jobs, a_job_is_accepted_run_streamed_and_done)
{
	const struct engine_msg *g;
	const struct job_event *e;
	uint8_t sha[SHA256_SIZE];
	uint64_t run;

	rig_job(&r, "j1", 1);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	g = rig_sent(&r, ENGINE_GENERATE);
	cr_assert_not_null(g);
	cr_assert(span_is(g->prompt, "p"));
	cr_assert_float_eq(g->sampling.temperature, 0.8, 1e-9);
	run = g->job;

	rig_tokens(&r, run, 0, "ab");
	e = rig_must_say(&r, JOB_EVENT_TOKENS, "j1", 1);
	cr_assert_eq(e->index, 0);
	cr_assert_eq(e->n_ids, 2);
	cr_assert(span_is(e->text, "ab"));
	rig_tokens(&r, run, 2, "c");
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_TOKENS, "j1", 1)->index, 2);

	r.now += 40;
	rig_done(&r, run, 3, FINISH_STOP);
	e = rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	sha256_of(SPAN("abc"), sha);
	cr_assert_eq(e->index, 3);
	cr_assert_eq(e->finish, FINISH_STOP);
	cr_assert(span_eq(e->sha256, span_mem(sha, sizeof(sha))));
	cr_assert_eq(e->usage.prompt_tokens, 5);
	cr_assert_eq(e->timings.decode_us, 77);
	cr_assert_eq(counters()->jobs_done, 1);
	cr_assert_eq(counters()->tokens, 3);
}

Test(jobs, what_a_job_says_reaches_the_engine_whole)
{
	const struct turn turns[] = { { .role = SPAN("system"), .content = SPAN("be brief") },
		{ .role = SPAN("user"), .content = SPAN("hello") } };
	const struct span stop[] = { SPAN("END"), SPAN("\n") };
	const uint32_t prefix[] = { 5, 6, 7 };
	struct job_msg m = { .job = SPAN("j1"),
		.attempt = 2,
		.turns = turns,
		.n_turns = 2,
		.prefix = prefix,
		.n_prefix = 3,
		.sampling = { .max_tokens = 9, .temperature = 0, .stop = stop, .n_stop = 2, .seed = 42 } };
	const struct engine_msg *g;

	msg_set(&m.sampling, SAMPLING_MAX_TOKENS);
	msg_set(&m.sampling, SAMPLING_TEMPERATURE);
	msg_set(&m.sampling, SAMPLING_SEED);
	rig_job_msg(&r, m);
	g = rig_sent(&r, ENGINE_GENERATE);
	cr_assert_not_null(g);
	cr_assert_eq(g->n_turns, 2);
	cr_assert(span_is(g->turns[0].role, "system") && span_is(g->turns[1].content, "hello"));
	cr_assert_eq(g->sampling.n_stop, 2);
	cr_assert(span_is(g->sampling.stop[0], "END") && span_is(g->sampling.stop[1], "\n"));
	cr_assert_eq(g->sampling.temperature, 0.0);
	cr_assert_eq(g->sampling.max_tokens, 9);
	cr_assert_eq(g->sampling.seed, 42);
	cr_assert_eq(g->n_prefix, 3);
	cr_assert_eq(g->prefix[2], 7);
	/* The answer goes on at the index after the prefix. */
	rig_tokens(&r, g->job, 3, "x");
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_TOKENS, "j1", 2)->index, 3);
}

Test(jobs, a_job_of_another_epoch_is_dropped_and_counted)
{
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j1"), .attempt = 1, .epoch = RIG_EPOCH - 1, .prompt = SPAN("p") });
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
	cr_assert_eq(counters()->jobs_wrong_epoch, 1);
}

Test(jobs, a_control_of_another_epoch_is_dropped_and_counted)
{
	struct control c = { .verb = CONTROL_CANCEL, .epoch = RIG_EPOCH + 1, .job = SPAN("j1"), .attempt = 1 };

	start("j1", 1);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_CONTROL, .control = &c });
	cr_assert_null(rig_sent(&r, ENGINE_CANCEL));
	cr_assert_eq(counters()->jobs_wrong_epoch, 1);
}

Test(jobs, the_same_attempt_again_is_accepted_again_but_not_started_again)
{
	start("j1", 1);
	rig_job(&r, "j1", 1);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
	cr_assert_eq(counters()->jobs_duplicate, 1);
	cr_assert_eq(counters()->jobs_accepted, 1);
}

Test(jobs, the_same_attempt_again_after_its_end_gets_the_end_again)
{
	uint64_t run = start("j1", 1);

	rig_tokens(&r, run, 0, "a");
	rig_done(&r, run, 1, FINISH_STOP);
	rig_job(&r, "j1", 1);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_DONE, "j1", 1)->index, 1);
	cr_assert_null(rig_said(&r, JOB_EVENT_TOKENS));
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
}

Test(jobs, the_same_attempt_again_after_the_hub_confirmed_its_end_is_silently_dropped)
{
	uint64_t run = start("j1", 1);

	rig_done(&r, run, 0, FINISH_STOP);
	rig_control(&r, CONTROL_END, "j1", 1, 0);
	rig_job(&r, "j1", 1);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
	cr_assert_eq(counters()->jobs_duplicate, 1);
}

Test(jobs, a_lower_attempt_is_stale)
{
	start("j1", 3);
	rig_job(&r, "j1", 2);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	cr_assert_eq(counters()->jobs_stale, 1);
	rig_control(&r, CONTROL_CANCEL, "j1", 2, 0);
	cr_assert_null(rig_sent(&r, ENGINE_CANCEL));
	cr_assert_eq(counters()->jobs_stale, 2);
}

Test(jobs, a_higher_attempt_aborts_the_one_that_runs_and_takes_its_place)
{
	uint64_t old = start("j1", 1), new;

	rig_tokens(&r, old, 0, "old");
	rig_job(&r, "j1", 2);
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, old);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 2);
	new = run_of();
	cr_assert_neq(new, old, "numbers of the engine are never used again");
	cr_assert_null(rig_said(&r, JOB_EVENT_FAILED));
	/* What the old one still says goes nowhere. */
	rig_tokens(&r, old, 3, "late");
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_done(&r, old, 7, FINISH_CANCELLED);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_tokens(&r, new, 0, "new");
	cr_assert(span_is(rig_must_say(&r, JOB_EVENT_TOKENS, "j1", 2)->text, "new"));
}

Test(jobs, more_than_parallel_wait_and_more_than_the_queue_are_refused)
{
	uint64_t first = start("j1", 1);
	const struct job_event *e;

	start("j2", 1);
	rig_job(&r, "j3", 1);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j3", 1);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
	rig_job(&r, "j4", 1);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j4", 1);
	rig_job(&r, "j5", 1);
	e = rig_must_say(&r, JOB_EVENT_REJECTED, "j5", 1);
	cr_assert_eq(e->code, CODE_QUEUE_FULL);
	cr_assert_gt(e->reason.n, 0);
	/* One ends: the next begins. */
	r.now += 70;
	rig_done(&r, first, 0, FINISH_STOP);
	first = run_of();
	rig_done(&r, first, 0, FINISH_STOP);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_DONE, "j3", 1)->queue_ms, 70);
}

Test(jobs, a_higher_priority_is_run_first_and_equals_in_their_order)
{
	const struct {
		const char *id;
		enum priority priority;
	} in[] = { { "low", PRIORITY_LOW }, { "n1", PRIORITY_NORMAL }, { "n2", PRIORITY_NORMAL },
		{ "high", PRIORITY_HIGH } };
	const char *out[] = { "high", "n1", "n2", "low" };
	struct agent_config c = rig_config();
	uint64_t run;

	rig_fini(&r);
	c.queue_max = 4;
	rig_ready(&r, &c);
	run = start("j1", 1);
	start("j2", 1);
	for (size_t i = 0; i < 4; i++)
		rig_job_msg(&r, (struct job_msg){ .job = span_of(in[i].id),
					.attempt = 1,
					.prompt = span_of(in[i].id),
					.priority = in[i].priority });
	for (size_t i = 0; i < 4; i++) {
		rig_done(&r, run, 0, FINISH_STOP);
		cr_assert(span_is(rig_sent(&r, ENGINE_GENERATE)->prompt, out[i]), "%s came out of turn", out[i]);
		run = run_of();
	}
}

Test(jobs, refusals_say_which_and_why)
{
	const double hot = 1e9;
	struct job_msg bad = { .job = SPAN("j3"), .attempt = 1, .sampling.temperature = hot };
	const struct job_event *e;

	msg_set(&bad.sampling, SAMPLING_TEMPERATURE);
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j1"), .attempt = 1, .model = SPAN("other") });
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_REJECTED, "j1", 1)->code, CODE_MODEL_UNKNOWN);
	rig_job_msg(&r, bad);
	e = rig_must_say(&r, JOB_EVENT_REJECTED, "j3", 1);
	cr_assert_eq(e->code, CODE_BAD_REQUEST);
	cr_assert(span_is(e->reason, "temperature is out of its range"));
	rig_exit(&r, 9);
	rig_job(&r, "j4", 1);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_REJECTED, "j4", 1)->code, CODE_MODEL_NOT_LOADED);
	rig_control(&r, CONTROL_DRAIN, "", 0, 0);
	rig_job(&r, "j5", 1);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_REJECTED, "j5", 1)->code, CODE_NO_AGENT);
	cr_assert_eq(counters()->jobs_rejected, 4);
}

Test(jobs, a_request_that_would_not_fit_a_message_to_the_engine_is_refused)
{
	static uint32_t prefix[PROTO_MAX_TOKENS - 1];
	static char text[PROTO_MAX_PROMPT];
	struct turn turns[3];

	for (size_t i = 0; i < 3; i++)
		turns[i] = (struct turn){ .role = SPAN("user"), .content = span_mem(text, sizeof(text)) };
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j1"),
				.attempt = 1,
				.turns = turns,
				.n_turns = 3,
				.prefix = prefix,
				.n_prefix = PROTO_MAX_TOKENS - 1 });
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_REJECTED, "j1", 1)->code, CODE_TOO_LARGE);
}

Test(jobs, a_refused_attempt_stays_refused_when_its_dispatch_comes_late_once_more)
{
	rig_control(&r, CONTROL_DRAIN, "", 0, 0);
	rig_job(&r, "j1", 2);
	rig_must_say(&r, JOB_EVENT_REJECTED, "j1", 2);
	rig_control(&r, CONTROL_RESUME, "", 0, 0);
	rig_job(&r, "j1", 2);
	rig_must_say(&r, JOB_EVENT_REJECTED, "j1", 2);
	rig_job(&r, "j1", 1);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0, "a lower one is stale, whatever became of the higher one");
	rig_job(&r, "j1", 3);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 3);
}

Test(jobs, a_deadline_that_passes_in_the_queue_ends_the_job)
{
	start("j1", 1);
	start("j2", 1);
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j3"), .attempt = 1, .prompt = SPAN("p"), .deadline_ms = 500 });
	rig_pass(&r, 499);
	cr_assert_eq(counters()->jobs_failed, 0);
	r.now++;
	rig_simple(&r, AGENT_EV_TICK);
	must_fail("j3", 1, CODE_DEADLINE_EXCEEDED);
	cr_assert_null(rig_sent(&r, ENGINE_CANCEL), "the engine never had it");
}

Test(jobs, a_deadline_that_passes_while_it_runs_ends_the_job_and_stops_the_engine)
{
	uint64_t run;

	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j1"), .attempt = 1, .prompt = SPAN("p"), .deadline_ms = 500 });
	run = run_of();
	rig_tokens(&r, run, 0, "ab");
	r.now += 500;
	rig_simple(&r, AGENT_EV_TICK);
	must_fail("j1", 1, CODE_DEADLINE_EXCEEDED);
	cr_assert_eq(rig_said(&r, JOB_EVENT_FAILED)->index, 2);
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, run);
	rig_done(&r, run, 2, FINISH_CANCELLED);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0, "it has ended already");
}

Test(jobs, cancel_takes_a_waiting_job_out)
{
	uint64_t first = start("j1", 1);
	const struct job_event *e;

	start("j2", 1);
	rig_job(&r, "j3", 1);
	rig_control(&r, CONTROL_CANCEL, "j3", 1, 0);
	e = rig_must_say(&r, JOB_EVENT_DONE, "j3", 1);
	cr_assert_eq(e->finish, FINISH_CANCELLED);
	cr_assert_eq(e->index, 0);
	rig_done(&r, first, 0, FINISH_STOP);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
}

Test(jobs, cancel_stops_a_running_job_once_and_it_ends_cancelled)
{
	uint64_t run = start("j1", 1);
	const struct job_event *e;

	rig_tokens(&r, run, 0, "ab");
	rig_control(&r, CONTROL_CANCEL, "j1", 1, 0);
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, run);
	rig_control(&r, CONTROL_CANCEL, "j1", 1, 0);
	cr_assert_null(rig_sent(&r, ENGINE_CANCEL), "once is enough");
	rig_tokens(&r, run, 2, "c"); /* on its way when the cancel came */
	rig_done(&r, run, 3, FINISH_CANCELLED);
	e = rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	cr_assert_eq(e->finish, FINISH_CANCELLED);
	cr_assert_eq(e->index, 3);
	rig_control(&r, CONTROL_CANCEL, "j1", 1, 0);
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
}

Test(jobs, a_cancel_of_a_later_attempt_stops_the_one_that_is_known)
{
	uint64_t run = start("j1", 1);

	rig_control(&r, CONTROL_CANCEL, "j1", 2, 0);
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, run);
}

Test(jobs, a_cancel_that_overtakes_its_dispatch_wins)
{
	rig_control(&r, CONTROL_CANCEL, "j1", 2, 0);
	must_fail("j1", 2, CODE_CANCELLED);
	cr_assert_eq(counters()->controls_unknown_job, 1);
	rig_job(&r, "j1", 2);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
	must_fail("j1", 2, CODE_CANCELLED);
}

Test(jobs, end_of_a_job_that_still_runs_aborts_it_in_silence)
{
	uint64_t run = start("j1", 1);

	rig_control(&r, CONTROL_END, "j1", 1, 0);
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, run);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_job(&r, "j1", 1);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
	cr_assert_eq(counters()->jobs_failed, 0);
}

Test(jobs, controls_about_jobs_that_are_not_known)
{
	rig_control(&r, CONTROL_ACK, "x", 1, 5);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_control(&r, CONTROL_END, "x", 1, 5);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_control(&r, CONTROL_RESEND, "x", 4, 5);
	must_fail("x", 4, CODE_AGENT_LOST);
	rig_control(&r, CONTROL_RESEND, "not an id", 4, 5);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	cr_assert_eq(counters()->controls_unknown_job, 4);
}

Test(jobs, work_stops_when_the_hub_has_been_silent_for_its_lease)
{
	uint64_t run = start("j1", 1);

	rig_pass(&r, 6000);
	rig_control(&r, CONTROL_ACK, "j1", 1, 0); /* a word of the hub renews */
	rig_pass(&r, 9999);
	cr_assert_eq(counters()->jobs_failed, 0);
	r.now++;
	rig_simple(&r, AGENT_EV_TICK);
	must_fail("j1", 1, CODE_AGENT_LOST);
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, run);
	/* And when the hub asks, it is told. */
	rig_done(&r, run, 0, FINISH_CANCELLED);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 0);
	must_fail("j1", 1, CODE_AGENT_LOST);
}

Test(jobs, without_work_the_silence_of_the_hub_is_of_no_interest)
{
	rig_pass(&r, 60000);
	start("j1", 1);
	rig_pass(&r, 5000);
	cr_assert_eq(counters()->jobs_failed, 0);
}

Test(jobs, an_end_nobody_confirms_is_forgotten_after_a_while)
{
	uint64_t run = start("j1", 1);

	rig_done(&r, run, 0, FINISH_STOP);
	rig_pass(&r, 29999);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 0);
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	rig_pass(&r, 2);
	rig_control(&r, CONTROL_RESEND, "j1", 1, 0);
	must_fail("j1", 1, CODE_AGENT_LOST);
}

Test(jobs, the_table_is_bounded_and_the_oldest_end_makes_room)
{
	char id[16];

	for (unsigned i = 0; i < AGENT_MAX_JOBS + 10; i++) {
		(void)snprintf(id, sizeof(id), "j%u", i);
		rig_done(&r, start(id, 1), 0, FINISH_STOP);
		rig_must_say(&r, JOB_EVENT_DONE, id, 1);
	}
	rig_control(&r, CONTROL_RESEND, "j0", 1, 0);
	must_fail("j0", 1, CODE_AGENT_LOST);
	rig_control(&r, CONTROL_RESEND, "j500", 1, 0);
	rig_must_say(&r, JOB_EVENT_DONE, "j500", 1);
}

Test(jobs, ids_that_are_none_and_attempt_zero_are_dropped)
{
	rig_job(&r, "a/b", 1);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_job(&r, "j1", 0);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	cr_assert_eq(counters()->jobs_rejected, 2);
}

Test(jobs, a_job_the_engine_refuses_fails_with_its_code)
{
	uint64_t run = start("j1", 1);

	rig_engine(&r, (struct engine_msg){ .type = ENGINE_ERROR,
			       .job = run,
			       .code = CODE_CONTEXT_FULL,
			       .reason = SPAN("the prompt has 600 tokens, the context 512") });
	must_fail("j1", 1, CODE_CONTEXT_FULL);
	start("j2", 1);
	start("j3", 1);
}
