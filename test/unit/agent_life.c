/* The life of the agent: link, registration, status, heartbeat, drain and stop. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "agent_rig.h"

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

TestSuite(life, .init = ready, .fini = fini);

static const struct status *status_said(void)
{
	const struct agent_action *act = rig_find(&r, AGENT_ACT_STATUS, 0);

	return act != NULL ? &act->status : NULL;
}

static const struct registration *registered(void)
{
	const struct agent_action *act = rig_find(&r, AGENT_ACT_REGISTER, 0);

	return act != NULL ? &act->registration : NULL;
}

static const struct heartbeat *beat(uint64_t within_ms)
{
	const struct agent_action *act = rig_wait_for(&r, AGENT_ACT_HEARTBEAT, within_ms);

	return act != NULL ? &act->heartbeat : NULL;
}

static void own_status(struct status s)
{
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_OWN_STATUS, .status = &s });
}

static void hub_status(uint64_t epoch, unsigned state, uint64_t fleet)
{
	struct hub_status s = { .version = 1, .epoch = epoch, .state = state, .fleet = fleet };

	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_HUB_STATUS, .hub_status = &s });
}

Test(life, it_goes_through_its_phases)
{
	struct agent_config c = rig_config();
	struct agent *a;

	rig_fini(&r);
	cr_assert_eq(agent_new(&c, &a), 0);
	cr_assert_eq(agent_phase(a), AGENT_PHASE_START);
	agent_free(a);
	rig_init(&r, &c);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_CONNECTING);
	cr_assert_eq(rig_count(&r, AGENT_ACT_ENGINE_START), 1, "models load while it connects");
	rig_link_up(&r);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_REGISTERING);
	cr_assert_not_null(registered());
	cr_assert_not_null(status_said());
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY);
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_CONNECTING);
	rig_link_up(&r);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY);
}

Test(life, configurations_that_make_no_sense_are_refused)
{
	struct agent_config good = rig_config(), c;
	struct agent_model twins[2] = { good.models[0], good.models[0] };
	struct agent *a;

	c = good, c.id = SPAN("a/b");
	cr_assert_eq(agent_new(&c, &a), ERR_RANGE);
	c = good, c.epoch = 0;
	cr_assert_eq(agent_new(&c, &a), ERR_RANGE);
	c = good, c.n_models = AGENT_MAX_MODELS + 1;
	cr_assert_eq(agent_new(&c, &a), ERR_RANGE);
	c = good, c.models = twins, c.n_models = 2;
	cr_assert_eq(agent_new(&c, &a), ERR_RANGE);
	c = good, twins[0].digest = SPAN("short"), c.models = twins;
	cr_assert_eq(agent_new(&c, &a), ERR_RANGE);
}

Test(life, each_connection_announces_everything_anew)
{
	uint64_t seq;

	rig_simple(&r, AGENT_EV_LINK_DOWN);
	cr_assert_eq(r.n, 1, "nothing but a line of log");
	rig_link_up(&r);
	seq = registered()->seq;
	cr_assert_eq(registered()->epoch, RIG_EPOCH);
	cr_assert_eq(registered()->conn, 2);
	cr_assert_eq(registered()->nonce, 99);
	cr_assert_eq(status_said()->conn, 2);
	cr_assert_eq(status_said()->epoch, RIG_EPOCH);
	cr_assert_eq(status_said()->state, AGENT_ONLINE);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_HEARTBEAT, 0));
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	rig_link_up(&r);
	cr_assert_gt(registered()->seq, seq);
	cr_assert_eq(registered()->conn, 3);
}

Test(life, what_the_will_says)
{
	struct status s = agent_will(r.a, 5);

	cr_assert_eq(s.epoch, RIG_EPOCH);
	cr_assert_eq(s.conn, 5);
	cr_assert_eq(s.state, AGENT_OFFLINE);
}

Test(life, while_the_link_is_down_nothing_is_published)
{
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	rig_exit(&r, 9);
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(rig_count(&r, AGENT_ACT_REGISTER) + rig_count(&r, AGENT_ACT_STATUS) +
				     rig_count(&r, AGENT_ACT_HEARTBEAT) + rig_count(&r, AGENT_ACT_EVENT),
			0);
		rig_pass(&r, 100);
	}
}

Test(life, a_heartbeat_comes_each_five_seconds_idle_and_each_two_with_work)
{
	uint64_t began = r.now;

	rig_wait_for(&r, AGENT_ACT_HEARTBEAT, 5000);
	began = r.now;
	cr_assert_not_null(beat(5000));
	cr_assert_eq(r.now - began, 5000);
	rig_job(&r, "j1", 1);
	cr_assert_not_null(beat(200));
	began = r.now;
	cr_assert_not_null(beat(2000));
	cr_assert_eq(r.now - began, 2000);
}

Test(life, a_change_is_told_at_once_but_not_more_often_than_each_200_ms)
{
	const struct heartbeat *b;

	rig_pass(&r, 1000);
	rig_job(&r, "j1", 1);
	b = &rig_find(&r, AGENT_ACT_HEARTBEAT, 0)->heartbeat;
	cr_assert_eq(b->running, 1);
	cr_assert_eq(b->slots, 2);
	rig_job(&r, "j2", 1);
	rig_job(&r, "j3", 1);
	cr_assert_null(rig_find(&r, AGENT_ACT_HEARTBEAT, 0));
	b = beat(200);
	cr_assert_not_null(b);
	cr_assert_eq(b->running, 2);
	cr_assert_eq(b->queued, 1);
}

Test(life, a_heartbeat_tells_tokens_and_samples)
{
	struct agent_sample s = { .mem_available = 11, .rss = 22, .load_milli = 33, .bad_messages = 44 };
	const struct heartbeat *b;

	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &s });
	rig_job(&r, "j1", 1);
	rig_pass(&r, 300);
	for (uint64_t i = 0; i < 20; i++)
		rig_tokens(&r, 1, i, "x");
	b = beat(2000);
	cr_assert_eq(b->tokens_total, 20);
	cr_assert_geq(b->tokens_per_s, 8000, "about 20 tokens in 2 s, in thousandths");
	cr_assert_leq(b->tokens_per_s, 20000);
	cr_assert(b->mem_available == 11 && b->rss == 22 && b->load_milli == 33 && b->bad_messages == 44);
}

Test(life, a_ping_is_answered_with_all_there_is_to_say)
{
	rig_pass(&r, 1000);
	rig_control(&r, CONTROL_PING, "", 0, 0);
	cr_assert(registered() != NULL && status_said() != NULL && rig_find(&r, AGENT_ACT_HEARTBEAT, 0) != NULL);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_REGISTER, 0));
	cr_assert_not_null(rig_find(&r, AGENT_ACT_STATUS, 0));
}

Test(life, another_hub_is_told_everything_within_a_jitter_that_grows_with_the_fleet)
{
	const struct {
		uint64_t fleet, most;
	} cases[] = { { 3, 6 }, { 1000, 2000 }, { 100000, 10000 } };
	uint64_t began;

	for (uint64_t i = 0; i < 3; i++) {
		rig_pass(&r, 1000);
		hub_status(50 + i, AGENT_ONLINE, cases[i].fleet);
		began = r.now;
		if (registered() == NULL)
			cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_REGISTER, cases[i].most));
		cr_assert_leq(r.now - began, cases[i].most);
		/* The same hub again is no news. */
		hub_status(50 + i, AGENT_ONLINE, cases[i].fleet);
		cr_assert_null(rig_wait_for(&r, AGENT_ACT_REGISTER, 12000));
	}
}

Test(life, a_hub_that_goes_is_no_reason_to_announce)
{
	hub_status(50, AGENT_OFFLINE, 3);
	cr_assert_null(rig_wait_for(&r, AGENT_ACT_REGISTER, 12000));
}

Test(life, a_stale_will_on_its_status_is_overwritten_with_the_truth)
{
	own_status((struct status){
		.epoch = RIG_EPOCH, .conn = 0, .state = AGENT_OFFLINE, .reason = SPAN("the connection was lost") });
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_STATUS, 1000));
	cr_assert_eq(status_said()->state, AGENT_ONLINE);
	cr_assert_eq(status_said()->conn, 1);
	/* Again at once: at most once a second. */
	own_status((struct status){ .epoch = RIG_EPOCH - 1, .conn = 1, .state = AGENT_OFFLINE });
	cr_assert_null(rig_wait_for(&r, AGENT_ACT_STATUS, 900));
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_STATUS, 200));
}

Test(life, its_own_echo_is_no_reason_to_repeat_it)
{
	own_status((struct status){ .epoch = RIG_EPOCH, .conn = 1, .state = AGENT_ONLINE });
	cr_assert_null(rig_wait_for(&r, AGENT_ACT_STATUS, 5000));
	/* A late echo of the one before, then the one of now. */
	own_status((struct status){ .epoch = RIG_EPOCH, .conn = 1, .state = AGENT_DEGRADED, .reason = SPAN("model m: …") });
	own_status((struct status){ .epoch = RIG_EPOCH, .conn = 1, .state = AGENT_ONLINE });
	cr_assert_null(rig_wait_for(&r, AGENT_ACT_STATUS, 5000));
}

Test(life, what_may_have_been_lost_in_congestion_is_said_again)
{
	rig_simple(&r, AGENT_EV_CONGESTED);
	rig_exit(&r, 9);
	cr_assert_null(registered());
	cr_assert_null(status_said());
	rig_simple(&r, AGENT_EV_WRITABLE);
	cr_assert_not_null(registered());
	cr_assert_eq(status_said()->state, AGENT_DEGRADED);
}

Test(life, the_hub_may_drain_it_and_take_that_back)
{
	rig_job(&r, "j1", 1);
	rig_control(&r, CONTROL_DRAIN, "", 0, 0);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_DRAINING);
	cr_assert_eq(status_said()->state, AGENT_DRAINING);
	rig_tokens(&r, 1, 0, "x");
	rig_must_say(&r, JOB_EVENT_TOKENS, "j1", 1);
	rig_pass(&r, 3500);
	rig_control(&r, CONTROL_RESUME, "", 0, 0);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY);
	cr_assert_eq(status_said()->state, AGENT_ONLINE);
	rig_job(&r, "j2", 1);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j2", 1);
}

Test(life, its_button_drains_and_resumes_whoever_drained_it)
{
	rig_simple(&r, AGENT_EV_BUTTON);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_DRAINING);
	cr_assert_eq(status_said()->state, AGENT_DRAINING);
	cr_assert(span_is(status_said()->reason, "drained by its button"));
	rig_pass(&r, 500);
	rig_simple(&r, AGENT_EV_BUTTON);
	cr_assert_eq(status_said()->state, AGENT_ONLINE);
	rig_pass(&r, 500);
	rig_control(&r, CONTROL_DRAIN, "", 0, 0);
	cr_assert(span_is(status_said()->reason, "drained on request"));
	rig_pass(&r, 500);
	rig_simple(&r, AGENT_EV_BUTTON);
	cr_assert_eq(status_said()->state, AGENT_ONLINE);
	rig_pass(&r, 500);
	rig_simple(&r, AGENT_EV_STOP);
	rig_simple(&r, AGENT_EV_BUTTON);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_DRAINING, "who stops does not resume");
}

Test(life, the_view_says_what_lights_may_show)
{
	struct agent_view v = agent_view(r.a);

	cr_assert(v.phase == AGENT_PHASE_READY && v.n_models == 1 && v.n_failed == 0 && v.n_running == 0 && v.has_engines);
	rig_job(&r, "j1", 1);
	cr_assert_eq(agent_view(r.a).n_running, 1);
	rig_exit(&r, 9);
	v = agent_view(r.a);
	cr_assert(v.n_failed == 1 && v.n_running == 0 && v.has_engines, "it is to start again");
}

Test(life, stopping_lets_running_jobs_finish_and_hands_waiting_ones_back)
{
	rig_job(&r, "j1", 1);
	rig_job(&r, "j2", 1);
	rig_job(&r, "j3", 1);
	rig_pass(&r, 500);
	rig_simple(&r, AGENT_EV_STOP);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j3", 1)->code, CODE_AGENT_LOST);
	cr_assert_eq(status_said()->state, AGENT_DRAINING);
	rig_done(&r, 1, 0, FINISH_STOP);
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	cr_assert_null(status_said());
	rig_done(&r, 2, 0, FINISH_STOP);
	rig_must_say(&r, JOB_EVENT_DONE, "j2", 1);
	cr_assert_eq(status_said()->state, AGENT_OFFLINE, "the end of the last job comes before the goodbye");
	cr_assert(span_is(status_said()->reason, "stopped"));
	cr_assert_not_null(rig_sent(&r, ENGINE_QUIT));
	cr_assert_eq(rig_count(&r, AGENT_ACT_STOPPED), 0);
	rig_exit(&r, 0);
	cr_assert_eq(rig_count(&r, AGENT_ACT_STOPPED), 1);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_STOPPED);
	cr_assert_eq(agent_deadline(r.a), UINT64_MAX);
}

Test(life, stopping_gives_running_jobs_up_when_the_time_is_over)
{
	rig_job(&r, "j1", 1);
	rig_simple(&r, AGENT_EV_STOP);
	rig_pass(&r, 2999);
	cr_assert_eq(agent_counters(r.a)->jobs_failed, 0);
	r.now++;
	rig_simple(&r, AGENT_EV_TICK);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1)->code, CODE_AGENT_LOST);
	cr_assert_eq(status_said()->state, AGENT_OFFLINE);
	cr_assert_not_null(rig_sent(&r, ENGINE_QUIT));
	/* The engine does not go by itself. */
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_STOPPED, 1000));
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
}

Test(life, a_second_stop_is_at_once)
{
	rig_job(&r, "j1", 1);
	rig_simple(&r, AGENT_EV_STOP);
	rig_simple(&r, AGENT_EV_STOP);
	rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1);
	cr_assert_eq(status_said()->state, AGENT_OFFLINE);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	cr_assert_eq(rig_count(&r, AGENT_ACT_STOPPED), 1);
}

Test(life, stopping_without_a_link_does_not_wait_for_one)
{
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	rig_simple(&r, AGENT_EV_STOP);
	rig_exit(&r, 0);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_STOPPED);
}

Test(life, stopping_waits_for_tokens_that_the_window_holds_back)
{
	rig_job(&r, "j1", 1);
	for (uint64_t i = 0; i <= PROTO_FRAME_WINDOW; i++)
		rig_tokens(&r, 1, i, "x");
	rig_done(&r, 1, PROTO_FRAME_WINDOW + 1, FINISH_STOP);
	rig_simple(&r, AGENT_EV_STOP);
	cr_assert_eq(status_said()->state, AGENT_DRAINING);
	rig_control(&r, CONTROL_ACK, "j1", 1, PROTO_FRAME_WINDOW);
	rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	cr_assert_eq(status_said()->state, AGENT_OFFLINE);
}

Test(life, an_engine_that_dies_while_stopping_is_not_started_again)
{
	rig_simple(&r, AGENT_EV_STOP);
	rig_exit(&r, 9);
	cr_assert_eq(rig_count(&r, AGENT_ACT_ENGINE_START), 0);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_STOPPED);
}
