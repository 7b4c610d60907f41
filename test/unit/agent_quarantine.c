/* An engine that dies too often is left alone, and what that does to jobs and to the other models. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent_rig.h"

#define TRY_MS 60000

static struct rig r;

static void fini(void)
{
	rig_fini(&r);
}

static void init(void)
{
	struct agent_config c = rig_config();

	c.quarantine_deaths = 3;
	c.quarantine_window_ms = 20000;
	c.quarantine_ms = TRY_MS;
	c.hub_lease_ms = 10 * TRY_MS; /* nobody here says a word */
	rig_ready(&r, &c);
}

TestSuite(quarantine, .init = init, .fini = fini);

static const struct model_info *registered(void)
{
	const struct agent_action *act = rig_find(&r, AGENT_ACT_REGISTER, 0);

	if (act == NULL)
		act = rig_wait_for(&r, AGENT_ACT_REGISTER, 2000);
	cr_assert_not_null(act, "nothing was registered");
	return &act->registration.models[0];
}

static bool comes_back(uint64_t within_ms)
{
	return rig_wait_for(&r, AGENT_ACT_ENGINE_START, within_ms) != NULL;
}

static void must_come_back(void)
{
	cr_assert(comes_back(4000), "the engine does not start again");
	rig_hello(&r);
	rig_loaded(&r);
}

/* It dies while job `id` runs; NULL: while none does. */
static void die_with(const char *id, uint64_t attempt)
{
	if (id != NULL) {
		rig_job(&r, id, attempt);
		cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE));
	}
	rig_exit(&r, 11);
}

static void into_quarantine(uint64_t attempt)
{
	die_with("j1", attempt);
	must_come_back();
	die_with("j2", attempt);
	must_come_back();
	die_with("j3", attempt);
}

static void load(const char *model, uint64_t epoch)
{
	struct control c = { .verb = CONTROL_LOAD, .epoch = epoch, .model = span_of(model) };

	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_CONTROL, .control = &c });
}

static bool says(struct span text, const char *what)
{
	char copy[512];

	return span_copy(text, copy, sizeof(copy)) == 0 && strstr(copy, what) != NULL;
}

Test(quarantine, the_third_death_in_the_window_ends_the_tries_and_everyone_is_told_why)
{
	const struct model_info *m;
	const struct agent_action *act;
	const struct job_event *e;

	into_quarantine(1);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j3", 1)->code, CODE_ENGINE_CRASHED);
	m = registered();
	cr_assert_eq(m->state, MODEL_QUARANTINED);
	cr_assert(says(m->reason, "died 3 times within 20 s") && says(m->reason, "signal 11"), "%.*s", SPAN_FMT(m->reason));
	cr_assert_eq(rig_find(&r, AGENT_ACT_REGISTER, 0)->registration.slots, 0);
	cr_assert_not(comes_back(TRY_MS - 5000));

	rig_job(&r, "j4", 1);
	e = rig_must_say(&r, JOB_EVENT_REJECTED, "j4", 1);
	cr_assert_eq(e->code, CODE_ENGINE_CRASHED);
	cr_assert(says(e->reason, "quarantined"));

	rig_simple(&r, AGENT_EV_WRITABLE);
	act = rig_find(&r, AGENT_ACT_STATUS, 0);
	cr_assert(act->status.state == AGENT_DEGRADED && says(act->status.reason, "model m: quarantined"));
	act = rig_find(&r, AGENT_ACT_HEARTBEAT, 0);
	if (act == NULL)
		act = rig_wait_for(&r, AGENT_ACT_HEARTBEAT, 1000);
	cr_assert(act->heartbeat.state == AGENT_DEGRADED && says(act->heartbeat.reason, "model m: quarantined"));
}

Test(quarantine, one_that_dies_loading_is_refused_as_a_load_that_failed)
{
	rig_exit(&r, 11);
	for (int i = 0; i < 2; i++) {
		cr_assert(comes_back(4000));
		rig_hello(&r);
		rig_exit(&r, 11);
	}
	cr_assert_eq(registered()->state, MODEL_QUARANTINED);
	rig_job(&r, "j1", 1);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_REJECTED, "j1", 1)->code, CODE_MODEL_LOAD_FAILED);
}

Test(quarantine, hangs_and_nonsense_are_deaths_too)
{
	for (int i = 0; i < 3; i++) {
		rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine_msg = NULL });
		cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
		if (i == 2)
			cr_assert_eq(registered()->state, MODEL_QUARANTINED, "also while the child is still to go");
		rig_exit(&r, 9);
		if (i < 2)
			must_come_back();
	}
	cr_assert_not(comes_back(TRY_MS - 5000));
}

Test(quarantine, an_engine_that_says_why_it_cannot_load_and_one_that_cannot_be_started_are_tried_on)
{
	rig_exit(&r, 11);
	for (int i = 0; i < 10; i++) {
		cr_assert(comes_back(4000), "try %d", i);
		if (i % 2 == 0) {
			rig_exit(&r, -2);
			continue;
		}
		rig_hello(&r);
		rig_engine(
			&r, (struct engine_msg){
				    .type = ENGINE_ERROR, .code = CODE_MODEL_LOAD_FAILED, .reason = SPAN("no such file") });
		rig_exit(&r, 9);
	}
	cr_assert_eq(registered()->state, MODEL_FAILED);
}

Test(quarantine, deaths_that_are_far_apart_do_not_count_together)
{
	char id[16];

	for (int i = 0; i < 8; i++) {
		(void)snprintf(id, sizeof(id), "j%d", i);
		die_with(id, 1);
		must_come_back();
		rig_pass(&r, 10001);
	}
}

Test(quarantine, a_job_that_kills_it_each_time_counts_once)
{
	for (uint64_t attempt = 1; attempt <= 6; attempt++) {
		die_with("poison", attempt);
		must_come_back();
	}
	die_with("j1", 1);
	must_come_back();
	die_with("j2", 1);
	cr_assert_eq(registered()->state, MODEL_QUARANTINED, "but that makes no other job's death count less");
}

Test(quarantine, it_is_tried_once_more_and_one_more_death_is_enough_then)
{
	into_quarantine(1);
	cr_assert_eq(registered()->state, MODEL_QUARANTINED);
	cr_assert(comes_back(TRY_MS));
	cr_assert_eq(registered()->state, MODEL_FAILED, "on trial");
	rig_hello(&r);
	rig_exit(&r, 11);
	cr_assert_eq(registered()->state, MODEL_QUARANTINED);
	cr_assert_not(comes_back(TRY_MS - 3000));
	cr_assert(comes_back(3000));
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_eq(registered()->state, MODEL_READY);
	rig_pass(&r, 20000); /* the window: it has passed the trial */
	into_quarantine(2);
	cr_assert_eq(registered()->state, MODEL_QUARANTINED);
}

Test(quarantine, an_operator_can_end_it)
{
	into_quarantine(1);
	load("other", RIG_EPOCH);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_START, 0));
	load("m", RIG_EPOCH + 1);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_START, 0));
	load("m", RIG_EPOCH);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_START, 0));
	load("m", RIG_EPOCH);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_START, 0), "it runs");
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_eq(registered()->state, MODEL_READY);
	into_quarantine(2); /* and has all its lives again, also with jobs of the same names */
}

Test(quarantine, what_powers_the_engine_may_rest_until_it_is_tried_again)
{
	cr_assert(agent_view(r.a).has_engines);
	die_with("j1", 1);
	cr_assert(agent_view(r.a).has_engines, "it is about to start again");
	must_come_back();
	die_with("j2", 1);
	must_come_back();
	die_with("j3", 1);
	cr_assert_not(agent_view(r.a).has_engines);
	cr_assert(comes_back(TRY_MS));
	cr_assert(agent_view(r.a).has_engines, "there is power when it starts");
	rig_hello(&r);
	rig_exit(&r, 11);
	cr_assert_not(agent_view(r.a).has_engines);
	load("m", RIG_EPOCH);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_START, 0));
	cr_assert(agent_view(r.a).has_engines);
}

Test(quarantine, an_agent_that_stops_loads_nothing)
{
	into_quarantine(1);
	rig_job(&r, "j9", 1);
	rig_simple(&r, AGENT_EV_STOP);
	load("m", RIG_EPOCH);
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_START, 0));
	rig_pass(&r, 10000);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_STOPPED);
}

Test(quarantine, the_other_models_are_not_touched)
{
	struct agent_config c = rig_config();
	struct agent_model models[] = { c.models[0], c.models[0] };
	struct engine_msg hello = { .type = ENGINE_HELLO, .version = ENGINE_PROTO_VERSION, .max_sequences = 2 };
	struct engine_msg loaded = { .type = ENGINE_LOADED, .n_ctx = 512 };
	const struct registration *reg;

	rig_fini(&r);
	models[1].name = SPAN("good");
	c.models = models;
	c.n_models = 2;
	c.quarantine_deaths = 1;
	c.hub_lease_ms = TRY_MS;
	rig_init(&r, &c);
	rig_link_up(&r);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = 1, .engine_msg = &hello });
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = 1, .engine_msg = &loaded });
	rig_exit(&r, 11);
	rig_wait_for(&r, AGENT_ACT_REGISTER, 1000);
	reg = &rig_find(&r, AGENT_ACT_REGISTER, 0)->registration;
	cr_assert(reg->models[0].state == MODEL_QUARANTINED && reg->models[1].state == MODEL_READY);
	cr_assert_eq(reg->slots, 2);
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j1"), .attempt = 1, .model = SPAN("good"), .prompt = SPAN("p") });
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE));
}
