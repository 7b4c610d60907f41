/* The engines' state machine: every cell of its table, and what a life is like. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "agent_core.h"
#include "agent_rig.h"

static struct rig r;

static void fini(void)
{
	rig_fini(&r);
}

static void init(void)
{
	struct agent_config c = rig_config();

	c.session_bytes = 1 << 20;
	rig_init(&r, &c);
	rig_link_up(&r);
}

TestSuite(engines, .init = init, .fini = fini);

static const struct agent_counters *counters(void)
{
	return agent_counters(r.a);
}

static const struct model_info *registered(void)
{
	const struct agent_action *act = rig_find(&r, AGENT_ACT_REGISTER, 0);

	if (act == NULL)
		act = rig_wait_for(&r, AGENT_ACT_REGISTER, 2000);
	cr_assert_not_null(act, "nothing was registered");
	cr_assert_eq(act->registration.n_models, 1);
	return &act->registration.models[0];
}

static void kill_must_follow(void)
{
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0), "the engine goes on");
	rig_exit(&r, 9);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 1000), "the engine does not start again");
}

/* ---- the table ---- */

#define ___ -1
#define S(name) ENGINE_STATE_##name
/* Rows: states in their order; columns: START STOP TIMEOUT EXIT HELLO PROGRESS LOADED TOKENS DONE ERROR PONG STATS SAVED
 * RESTORED. */
static const int expected[ENGINE_STATE_COUNT][ENGINE_EV_COUNT] = {
	[S(DOWN)] = { S(STARTING), S(DOWN), ___, ___, ___, ___, ___, ___, ___, ___, ___, ___, ___, ___ },
	[S(STARTING)] = { ___, S(STOPPING), S(STOPPING), S(BACKOFF), S(LOADING), ___, ___, ___, ___, ___, ___, ___, ___, ___ },
	[S(LOADING)] = { ___, S(STOPPING), S(STOPPING), S(BACKOFF), ___, S(LOADING), S(READY), ___, ___, S(STOPPING), ___, ___,
		___, ___ },
	[S(READY)] = { ___, S(STOPPING), S(READY), S(BACKOFF), ___, ___, ___, S(READY), S(READY), S(READY), S(READY), S(READY),
		S(READY), S(READY) },
	[S(STOPPING)] = { ___, S(STOPPING), S(STOPPING), S(BACKOFF), S(STOPPING), S(STOPPING), S(STOPPING), S(STOPPING),
		S(STOPPING), S(STOPPING), S(STOPPING), S(STOPPING), S(STOPPING), S(STOPPING) },
	[S(BACKOFF)] = { S(STARTING), S(DOWN), S(BACKOFF), ___, ___, ___, ___, ___, ___, ___, ___, ___, ___, ___ },
	[S(QUARANTINED)] = { S(STARTING), S(DOWN), S(QUARANTINED), ___, ___, ___, ___, ___, ___, ___, ___, ___, ___, ___ },
};
#undef S

Test(engines, every_cell_of_the_table_is_legal_or_refused_on_purpose)
{
	static const enum engine_msg_type types[ENGINE_EV_COUNT] = { [ENGINE_EV_HELLO] = ENGINE_HELLO,
		[ENGINE_EV_PROGRESS] = ENGINE_PROGRESS,
		[ENGINE_EV_LOADED] = ENGINE_LOADED,
		[ENGINE_EV_TOKENS] = ENGINE_TOKENS,
		[ENGINE_EV_DONE] = ENGINE_DONE,
		[ENGINE_EV_ERROR] = ENGINE_ERROR,
		[ENGINE_EV_PONG] = ENGINE_PONG,
		[ENGINE_EV_STATS] = ENGINE_STATS,
		[ENGINE_EV_SAVED] = ENGINE_SAVED,
		[ENGINE_EV_RESTORED] = ENGINE_RESTORED };

	for (int state = 0; state < ENGINE_STATE_COUNT; state++)
		for (int ev = 0; ev < ENGINE_EV_COUNT; ev++) {
			struct engine_msg m = { .type = types[ev],
				.version = ENGINE_PROTO_VERSION,
				.code = CODE_BATCH_FAILED,
				.job = 1,
				.index = 0,
				.ids = (const uint32_t[]){ 1 },
				.n_ids = 1,
				.finish = FINISH_STOP };
			struct agent_event in = { .type = AGENT_EV_ENGINE, .engine_msg = &m, .wstatus = 9 };
			struct engine *e = &r.a->engines[0];
			bool is_legal = expected[state][ev] >= 0;
			int rc;

			rig_simple(&r, AGENT_EV_TICK); /* an empty list of actions */
			*e->runs = (struct run){ .number = 1 };
			e->n_busy = 1;
			e->is_wanted = true;
			e->due_ms = r.now + 1000;
			e->runs[0].due_ms = r.now + 1000;
			e->n_pings = 1;
			sessions_end(e, sessions_begin(e, &(struct job_msg){ .session = SPAN("s") }, 1), 1);
			sessions_save_all(e);
			e->n_restoring = 1;
			e->state = (enum engine_state)state;
			rc = engine_step(e, (enum engine_ev)ev, &in);
			if (is_legal)
				cr_assert(rc == 0 && (int)e->state == expected[state][ev], "%s, event %d: %d and %s",
					engine_state_names[state], ev, rc, engine_state_names[e->state]);
			else
				cr_assert(rc == ERR_STATE && (int)e->state == state, "%s, event %d is taken",
					engine_state_names[state], ev);
			e->runs[0] = (struct run){ 0 };
			e->n_busy = 0;
			e->timer_ms = UINT64_MAX;
		}
	r.a->engines[0].state = ENGINE_STATE_DOWN;
}

/* ---- a life ---- */

Test(engines, each_model_is_started_loaded_and_made_known)
{
	const struct engine_msg *load;

	cr_assert_eq(registered()->state, MODEL_LOADING);
	rig_hello(&r);
	load = rig_sent(&r, ENGINE_LOAD);
	cr_assert_not_null(load);
	cr_assert(span_is(load->path, "/models/m.gguf"));
	cr_assert_eq(load->parallel, 2);
	rig_loaded(&r);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY);
	cr_assert_eq(registered()->state, MODEL_READY);
	cr_assert_eq(registered()->n_ctx, 512);
	cr_assert(span_is(registered()->digest, RIG_DIGEST));
	cr_assert(span_is(registered()->arch, "llama"));
	cr_assert_eq(rig_find(&r, AGENT_ACT_REGISTER, 0)->registration.slots, 2);
	cr_assert(span_is(rig_find(&r, AGENT_ACT_REGISTER, 0)->registration.engine, "test 1"));
}

/* Speed unless the model is configured otherwise; what the engine could do is made known. */
Test(engines, a_model_is_exact_when_configured_so_and_the_engine_manages)
{
	struct agent_config c = rig_config();
	struct agent_model m = c.models[0];

	c.models = &m;
	for (int is_wanted = 0; is_wanted < 2; is_wanted++)
		for (int is_managed = 0; is_managed < 2; is_managed++) {
			rig_fini(&r);
			m.exact = is_wanted != 0;
			rig_init(&r, &c);
			rig_link_up(&r);
			rig_hello(&r);
			cr_assert_eq(rig_sent(&r, ENGINE_LOAD)->fast, !m.exact);
			rig_engine(&r, (struct engine_msg){ .type = ENGINE_LOADED, .n_ctx = 512, .exact = is_managed != 0 });
			cr_assert_eq(registered()->exact, is_managed != 0);
		}
}

Test(engines, an_engine_of_fewer_sequences_gets_fewer_jobs)
{
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_HELLO, .version = ENGINE_PROTO_VERSION, .max_sequences = 1 });
	cr_assert_eq(rig_sent(&r, ENGINE_LOAD)->parallel, 1);
	rig_loaded(&r);
	rig_job(&r, "j1", 1);
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE));
	rig_job(&r, "j2", 1);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
}

Test(engines, an_engine_of_another_protocol_version_is_not_used)
{
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_HELLO, .version = ENGINE_PROTO_VERSION + 1 });
	cr_assert_null(rig_sent(&r, ENGINE_LOAD));
	kill_must_follow();
}

Test(engines, a_file_with_another_digest_than_configured_is_not_used)
{
	struct agent_config c = rig_config();
	struct agent_model m = c.models[0];

	rig_fini(&r);
	m.digest = SPAN("another 32 byte long digest.....");
	c.models = &m;
	rig_init(&r, &c);
	rig_link_up(&r);
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY, "ready, with a model that failed");
	cr_assert_eq(registered()->state, MODEL_FAILED);
	cr_assert_gt(registered()->reason.n, 0);
	cr_assert_eq(rig_find(&r, AGENT_ACT_REGISTER, 0)->registration.slots, 0);
	rig_exit(&r, 9);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 1000), "the file may be put right");
}

Test(engines, a_load_that_fails_is_told_with_the_engines_own_words)
{
	const struct agent_action *status;

	rig_hello(&r);
	rig_engine(&r,
		(struct engine_msg){ .type = ENGINE_ERROR, .code = CODE_MODEL_LOAD_FAILED, .reason = SPAN("no such file") });
	kill_must_follow();
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY);
	cr_assert_eq(registered()->state, MODEL_FAILED, "and stays so while it is tried again");
	cr_assert(span_is(registered()->reason, "no such file"));
	rig_simple(&r, AGENT_EV_WRITABLE);
	status = rig_find(&r, AGENT_ACT_STATUS, 0);
	cr_assert_eq(status->status.state, AGENT_DEGRADED);
	cr_assert(span_is(status->status.reason, "model m: no such file"));
	/* Put right: online again. */
	rig_hello(&r);
	rig_loaded(&r);
	status = rig_wait_for(&r, AGENT_ACT_STATUS, 500);
	cr_assert_not_null(status);
	cr_assert_eq(status->status.state, AGENT_ONLINE);
	cr_assert_eq(status->status.reason.n, 0);
}

Test(engines, loading_may_take_as_long_as_it_makes_progress)
{
	rig_hello(&r);
	for (uint64_t percent = 10; percent <= 50; percent += 10) {
		rig_pass(&r, 7000);
		rig_engine(&r, (struct engine_msg){ .type = ENGINE_PROGRESS, .percent = percent });
	}
	cr_assert_eq(registered()->load_percent, 50);
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_PROGRESS, .percent = 50 }); /* none */
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, 8000));
	cr_assert_eq(registered()->state, MODEL_FAILED);
}

Test(engines, an_engine_that_never_says_hello_is_ended)
{
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, 8000));
}

static void load(void)
{
	rig_hello(&r);
	rig_loaded(&r);
	rig_pass(&r, 1000);
}

Test(engines, when_it_dies_its_jobs_fail_at_once_and_it_starts_again)
{
	const struct agent_action *act;

	load();
	rig_job(&r, "j1", 1);
	rig_job(&r, "j2", 1);
	rig_job(&r, "j3", 1); /* waits */
	rig_exit(&r, 9);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 3);
	for (size_t i = 0; (act = rig_find(&r, AGENT_ACT_EVENT, i)) != NULL; i++) {
		cr_assert_eq(act->job_event.type, JOB_EVENT_FAILED);
		cr_assert_eq(act->job_event.code,
			span_is(act->job_event.job, "j3") ? CODE_MODEL_NOT_LOADED : CODE_ENGINE_CRASHED);
		cr_assert(span_is(act->job_event.reason, "the engine was ended by signal 9"));
	}
	cr_assert_eq(counters()->engine_deaths, 1);
	cr_assert_eq(registered()->state, MODEL_FAILED);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 251));
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_eq(registered()->state, MODEL_READY);
	rig_job(&r, "j4", 1);
	cr_assert_gt(rig_sent(&r, ENGINE_GENERATE)->job, 2, "numbers are never used again");
}

Test(engines, restarts_come_later_and_later_up_to_a_cap_and_sooner_after_a_good_while)
{
	uint64_t most = 250, began;

	load();
	for (int i = 0; i < 8; i++) {
		rig_exit(&r, 0x100);
		began = r.now;
		cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, most));
		cr_assert_geq(r.now - began, most / 2 - 1, "try %d came after %" PRIu64 " ms", i, r.now - began);
		most = most * 2 < 4000 ? most * 2 : 4000;
	}
	load();
	rig_pass(&r, 10000);
	rig_exit(&r, 0x100);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 250));
}

Test(engines, a_program_that_cannot_be_started_is_tried_again)
{
	rig_exit(&r, -2);
	cr_assert_eq(registered()->state, MODEL_FAILED);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 500));
}

Test(engines, one_that_says_what_is_not_valid_is_ended)
{
	const uint32_t ids[] = { 1 };
	const struct engine_msg bad[] = {
		{ .type = ENGINE_TOKENS, .job = 99, .ids = ids, .n_ids = 1 }, /* no such job */
		{ .type = ENGINE_TOKENS, .job = 0, .ids = ids, .n_ids = 1 },
		{ .type = ENGINE_TOKENS, .job = 1, .ids = ids, .n_ids = 1, .index = 1 }, /* a gap */
		{ .type = ENGINE_TOKENS, .job = 1, .text = SPAN("text of no token") },
		{ .type = ENGINE_DONE, .job = 1, .index = 1, .finish = FINISH_STOP }, /* a token is missing */
		{ .type = ENGINE_DONE, .job = 1 }, { .type = ENGINE_DONE, .job = 99, .finish = FINISH_STOP },
		{ .type = ENGINE_ERROR, .job = 99, .code = CODE_BATCH_FAILED }, { .type = ENGINE_ERROR, .job = 1 },
		{ .type = ENGINE_HELLO, .version = ENGINE_PROTO_VERSION }, /* twice */
		{ .type = ENGINE_LOADED }, { .type = ENGINE_LOAD },        /* ours to say */
		{ .type = 12345 }, { .type = ENGINE_PONG },                /* of no ping */
	};
	struct agent_config c = rig_config();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		rig_fini(&r);
		rig_ready(&r, &c);
		rig_job(&r, "j1", 1);
		cr_assert_eq(rig_sent(&r, ENGINE_GENERATE)->job, 1);
		rig_engine(&r, bad[i]);
		cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1)->code, CODE_ENGINE_CRASHED, "case %zu", i);
		cr_assert_eq(counters()->engine_bad_messages, 1);
		kill_must_follow();
	}
}

Test(engines, its_figures_are_kept_and_a_change_of_threads_is_logged)
{
	struct engine_msg m = { .type = ENGINE_STATS, .threads = 3, .token_us = 4100, .step_rows = 7500, .n_kept = 2 };
	const struct engine_stats *s = &r.a->engines[0].stats;

	load();
	rig_engine(&r, m);
	cr_assert_eq(rig_count(&r, AGENT_ACT_LOG), 1);
	cr_assert(s->threads == 3 && s->token_us == 4100 && s->step_rows == 7500 && s->n_kept == 2);
	m.token_us = 4200;
	rig_engine(&r, m);
	cr_assert_eq(rig_count(&r, AGENT_ACT_LOG), 0);
	cr_assert_eq(s->token_us, 4200);
	rig_exit(&r, 9);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 1000));
	cr_assert_eq(s->threads, 0, "those of a dead engine");
}

Test(engines, one_that_sends_bytes_that_are_no_message_is_ended)
{
	load();
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine_msg = NULL });
	kill_must_follow();
}

Test(engines, what_it_says_after_it_was_ended_is_ignored)
{
	load();
	rig_job(&r, "j1", 1);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine_msg = NULL });
	rig_tokens(&r, 1, 0, "late");
	cr_assert_null(rig_said(&r, JOB_EVENT_TOKENS));
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
}

Test(engines, progress_that_is_none_is_not_listened_to_for_ever)
{
	size_t n = 0;

	rig_hello(&r);
	do
		rig_engine(&r, (struct engine_msg){ .type = ENGINE_PROGRESS, .percent = 1 });
	while (rig_find(&r, AGENT_ACT_ENGINE_KILL, 0) == NULL && n++ < 10000);
	cr_assert(n > 100 && n < 10000, "%zu messages", n);
	kill_must_follow();
}

Test(engines, the_slot_of_an_aborted_job_is_free_only_when_the_engine_says_so)
{
	load();
	rig_job(&r, "j1", 1);
	rig_job(&r, "j2", 1);
	rig_job(&r, "j3", 1);
	rig_job(&r, "j1", 2); /* aborts run 1 */
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE));
	rig_done(&r, 1, 0, FINISH_CANCELLED);
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE));
}
