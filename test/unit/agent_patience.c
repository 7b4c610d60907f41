/* Engines that stand still, hang, or forget a job: found in time, and only they. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "agent_rig.h"

#define TOKEN_MS 2000
#define KIB_MS 1000

static struct rig r;

static void fini(void)
{
	rig_fini(&r);
}

static struct agent_config config(void)
{
	struct agent_config c = rig_config();

	c.token_timeout_ms = TOKEN_MS;
	c.prompt_timeout_ms = KIB_MS;
	return c;
}

static void init(void)
{
	struct agent_config c = config();

	rig_ready(&r, &c);
}

TestSuite(patience, .init = init, .fini = fini);

static void ack(const char *job)
{
	rig_control(&r, CONTROL_ACK, job, 1, 0); /* the hub is there */
}

/* Time passes until the job fails, pings are answered if the engine is not mute; how long it took.
 * The actions are those of the failure. */
static uint64_t wait_for_failure(const char *job)
{
	uint64_t began = r.now, ack_ms = r.now;

	while (r.now < began + 60000) {
		uint64_t at = agent_deadline(r.a);

		r.now = at > r.now ? at : r.now;
		rig_simple(&r, AGENT_EV_TICK);
		if (rig_said(&r, JOB_EVENT_FAILED) != NULL)
			break;
		if (rig_sent(&r, ENGINE_PING) != NULL && !r.is_engine_mute)
			rig_engine(&r, (struct engine_msg){ .type = ENGINE_PONG });
		if (r.now >= ack_ms + 1000) {
			ack_ms = r.now;
			ack(job);
		}
	}
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, job, 1)->code, CODE_BATCH_TIMEOUT);
	return r.now - began;
}

static void job_of(const char *id, size_t prompt_bytes, const char *stop)
{
	static char prompt[64 << 10];
	struct span stops[] = { span_of(stop) };
	struct job_msg m = { .job = span_of(id), .attempt = 1, .prompt = span_mem(prompt, prompt_bytes) };

	memset(prompt, 'x', sizeof(prompt));
	m.sampling.stop = stops;
	m.sampling.n_stop = *stop != '\0';
	rig_job_msg(&r, m);
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE), "%s does not start", id);
}

static void must_be_near(uint64_t got, uint64_t want)
{
	/* The rest of a message weighs a little, too. */
	cr_assert(got >= want && got <= want + KIB_MS * 3 / 2, "after %" PRIu64 " ms, not %" PRIu64, got, want);
}

Test(patience, a_mute_engine_is_ended_when_its_next_token_is_overdue)
{
	job_of("j1", 1, "");
	rig_tokens(&r, 1, 0, "abc");
	r.is_engine_mute = true;
	cr_assert_eq(wait_for_failure("j1"), TOKEN_MS);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
}

Test(patience, an_idle_engine_that_answers_no_ping_is_ended)
{
	uint64_t began = r.now;

	r.is_engine_mute = true;
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, 60000));
	cr_assert_leq(r.now - began, TOKEN_MS);
	rig_exit(&r, 9);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 1000));
}

Test(patience, an_idle_engine_that_answers_lives_on)
{
	for (int i = 0; i < 100; i++) {
		rig_pass(&r, TOKEN_MS / 4 + 1);
		cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	}
	cr_assert_eq(agent_counters(r.a)->engine_bad_messages, 0);
}

Test(patience, the_first_token_may_take_the_longer_the_longer_the_prompt)
{
	job_of("j1", 16 << 10, "");
	r.is_engine_mute = true;
	must_be_near(wait_for_failure("j1"), TOKEN_MS + 16 * KIB_MS);
}

Test(patience, a_job_that_may_wait_for_company_gets_that_time_too)
{
	struct agent_config c = config();
	struct agent_model m = c.models[0];

	m.batch_wait_ms = 30000;
	c.models = &m;
	rig_fini(&r);
	rig_ready(&r, &c);
	job_of("j1", 1, "");
	must_be_near(wait_for_failure("j1"), TOKEN_MS + 30000);
}

Test(patience, a_prompt_that_is_read_makes_the_steps_of_the_others_longer)
{
	job_of("j1", 1, "");
	rig_tokens(&r, 1, 0, "abc");
	job_of("j2", 16 << 10, "");
	r.is_engine_mute = true;
	must_be_near(wait_for_failure("j1"), TOKEN_MS + 16 * KIB_MS);
}

Test(patience, the_end_of_a_prompt_does_not_shorten_the_time_of_the_others_in_its_step)
{
	job_of("j1", 1, "");
	rig_tokens(&r, 1, 0, "abc");
	job_of("j2", 16 << 10, "");
	rig_pass(&r, 4 * TOKEN_MS); /* of which the last step took all: not a word but pongs */
	rig_tokens(&r, 2, 0, "a");
	cr_assert_null(rig_said(&r, JOB_EVENT_FAILED));
	rig_tokens(&r, 1, 3, "d");
	cr_assert_null(rig_said(&r, JOB_EVENT_FAILED));
	/* From here on nobody reads. */
	rig_tokens(&r, 2, 1, "b");
	r.is_engine_mute = true;
	cr_assert_eq(wait_for_failure("j1"), TOKEN_MS);
}

Test(patience, tokens_held_back_for_a_stop_string_are_waited_for)
{
	job_of("j1", 1, "12345678");
	rig_tokens(&r, 1, 0, "abc");
	cr_assert_eq(wait_for_failure("j1"), 9 * TOKEN_MS);
}

Test(patience, a_live_engine_that_forgot_a_job_loses_only_that_one)
{
	job_of("j1", 1, "");
	rig_tokens(&r, 1, 0, "abc");
	cr_assert_eq(wait_for_failure("j1"), TOKEN_MS);
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, 1);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	job_of("j2", 1, "");
	rig_done(&r, 1, 3, FINISH_CANCELLED);
	rig_tokens(&r, 2, 0, "abc");
	cr_assert_not_null(rig_said(&r, JOB_EVENT_TOKENS));
}

Test(patience, one_that_never_ends_a_cancelled_job_is_ended)
{
	bool is_killed = false;

	job_of("j1", 1, "");
	job_of("j2", 1, "");
	rig_control(&r, CONTROL_CANCEL, "j1", 1, 0);
	for (uint64_t i = 0, at = r.now; !is_killed && r.now < at + 2 * TOKEN_MS; i++) {
		rig_tokens(&r, 2, i, "x"); /* alive and well */
		rig_control(&r, CONTROL_ACK, "j2", 1, i + 1);
		rig_pass(&r, 100);
		is_killed = rig_find(&r, AGENT_ACT_ENGINE_KILL, 0) != NULL;
	}
	cr_assert(is_killed);
}

Test(patience, an_agent_that_stood_still_does_not_blame_its_engines)
{
	job_of("j1", 1, "");
	rig_tokens(&r, 1, 0, "abc");
	r.now += 3600 * 1000; /* the box slept */
	rig_control(&r, CONTROL_ACK, "j1", 1, 3);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 0);
	rig_tokens(&r, 1, 3, "d"); /* it was in the socket */
	r.is_engine_mute = true;
	cr_assert_eq(wait_for_failure("j1"), TOKEN_MS);
}

Test(patience, an_engine_that_loads_is_given_the_time_the_agent_lost)
{
	struct agent_config c = config();

	rig_fini(&r);
	rig_init(&r, &c);
	rig_hello(&r);
	r.now += 3600 * 1000;
	rig_simple(&r, AGENT_EV_TICK);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, c.load_timeout_ms));
}

/* ---- SIGSTOP ---- */

static void stop(size_t engine)
{
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE_STOPPED, .engine = engine, .signo = 19 });
}

Test(patience, one_that_was_stopped_is_ended_and_its_jobs_fail_at_once)
{
	const struct job_event *e;

	job_of("j1", 1, "");
	stop(0);
	e = rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1);
	cr_assert_eq(e->code, CODE_ENGINE_CRASHED);
	cr_assert(span_is(e->reason, "the engine was stopped by signal 19 and was ended"));
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	stop(0); /* said again: nothing more to do */
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	rig_exit(&r, 9);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 1000));
	stop(0); /* while it starts */
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
}

Test(patience, a_stop_that_is_seen_when_the_child_is_gone_is_none)
{
	rig_exit(&r, 9);
	stop(0);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
}

Test(patience, jobs_of_other_models_are_not_touched)
{
	struct agent_config c = config();
	struct agent_model two[] = { c.models[0], c.models[0] };
	struct engine_msg token = {
		.type = ENGINE_TOKENS, .job = 2, .ids = (const uint32_t[]){ 7 }, .n_ids = 1, .text = SPAN("x")
	};
	struct engine_msg hello = { .type = ENGINE_HELLO, .version = ENGINE_PROTO_VERSION, .max_sequences = 8 };
	struct engine_msg loaded = { .type = ENGINE_LOADED, .n_ctx = 512 };

	two[1].name = SPAN("m2");
	c.models = two;
	c.n_models = 2;
	rig_fini(&r);
	rig_init(&r, &c);
	rig_link_up(&r);
	rig_hello(&r);
	rig_loaded(&r);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = 1, .engine_msg = &hello });
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = 1, .engine_msg = &loaded });
	rig_job(&r, "j1", 1);
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j2"), .attempt = 1, .model = SPAN("m2"), .prompt = SPAN("p") });
	stop(0);
	cr_assert_eq(rig_count(&r, AGENT_ACT_EVENT), 1);
	(void)rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = 1, .engine_msg = &token });
	(void)rig_must_say(&r, JOB_EVENT_TOKENS, "j2", 1);
}
