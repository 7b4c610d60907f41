/* Which agent gets which job, and in which order jobs wait. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;

static void init_policy(enum hub_policy policy)
{
	struct hub_config c = rig_config();

	c.policy = policy;
	rig_init(&r, &c);
}

static void init(void)
{
	init_policy(HUB_LEAST_LOADED);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_route, .init = init, .fini = fini);

static const char *goes_to(struct submit s)
{
	return rig_goes_to(&r, s);
}

static void finish(const char *agent, const char *job)
{
	rig_tokens(&r, agent, job, 1, 0, "x");
	rig_done(&r, agent, job, 1, 1, "x");
}

Test(hub_route, round_robin_goes_round)
{
	static const char *const expected[] = { "a", "b", "c", "a", "b", "c" };

	init_policy(HUB_ROUND_ROBIN);
	rig_agent(&r, "a", 1, 1, 8);
	rig_agent(&r, "b", 1, 1, 4);
	rig_agent(&r, "c", 1, 1, 8);
	for (size_t i = 0; i < 6; i++)
		cr_assert_str_eq(goes_to(rig_request("", false)), expected[i], "job %zu", i);
}

Test(hub_route, least_loaded_fills_in_proportion_to_slots)
{
	size_t a = 0, b = 0;

	rig_agent(&r, "a", 1, 1, 2);
	rig_agent(&r, "b", 1, 1, 6);
	for (size_t i = 0; i < 8; i++) {
		const char *id = goes_to(rig_request("", false));

		a += id[0] == 'a';
		b += id[0] == 'b';
		if (i == 3)
			cr_assert(a == 1 && b == 3, "a quarter and three quarters on the way, too: %zu %zu", a, b);
	}
	cr_assert_eq(a, 2);
	cr_assert_eq(b, 6);
}

Test(hub_route, equals_are_taken_in_turn)
{
	const char *last = "";

	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 1, 1, 1);
	for (int i = 0; i < 4; i++) {
		const char *job = rig_submit(&r, rig_request("", false));
		const char *id = rig_find(&r, HUB_ACT_DISPATCH, 0)->agent.p;

		cr_assert_str_neq(id, last);
		last = id;
		finish(id, job);
	}
}

Test(hub_route, an_agent_never_has_more_than_its_slots)
{
	const char *first;

	rig_agent(&r, "a", 1, 1, 2);
	first = rig_submit(&r, rig_request("", false));
	goes_to(rig_request("", false));
	cr_assert_str_eq(goes_to(rig_request("", false)), "");
	cr_assert_eq(rig_agent_view(&r, "a").in_flight, 2);
	cr_assert_eq(hub_counters(r.h)->queued, 1);
	finish("a", first);
	cr_assert_not_null(rig_dispatched(&r, "a"), "room again: the one that waited goes");
	cr_assert_eq(rig_agent_view(&r, "a").in_flight, 2);
	cr_assert_eq(hub_counters(r.h)->queued, 0);
	cr_assert_eq(hub_counters(r.h)->running, 2);
}

Test(hub_route, extra_credit_lets_some_wait_at_the_agent)
{
	struct hub_config c = rig_config();

	c.extra_credit = 1;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 1);
	cr_assert_str_eq(goes_to(rig_request("", false)), "a");
	cr_assert_str_eq(goes_to(rig_request("", false)), "a");
	cr_assert_str_eq(goes_to(rig_request("", false)), "");
	rig_agent(&r, "b", 1, 1, 0);
	cr_assert_str_eq(goes_to(rig_request("", false)), "", "no slots, no credit");
}

Test(hub_route, high_goes_before_normal_before_low_and_each_in_order)
{
	static const enum priority order[] = { PRIORITY_LOW, PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_NORMAL,
		PRIORITY_HIGH };
	static const size_t expected[] = { 2, 4, 1, 3, 0 };
	const char *running, *waiting[5];

	rig_agent(&r, "a", 1, 1, 1);
	running = rig_submit(&r, rig_request("", false));
	for (size_t i = 0; i < 5; i++) {
		struct submit s = rig_request("", false);

		s.priority = order[i];
		waiting[i] = rig_submit(&r, s);
	}
	for (size_t i = 0; i < 5; i++) {
		finish("a", running);
		running = waiting[expected[i]];
		cr_assert(span_is(rig_dispatched(&r, "a")->job, running), "place %zu", i);
	}
}

Test(hub_route, a_job_nobody_can_take_does_not_hold_up_the_others)
{
	struct model_info n = { .name = SPAN("n"), .state = MODEL_READY };
	struct registration g = rig_registration("b", 1, 1);
	struct span label = SPAN("gpu=yes");
	struct submit picky = rig_request("", false);
	const char *job;

	g.models = &n;
	rig_register(&r, g);
	rig_agent(&r, "a", 1, 1, 1);
	job = rig_submit(&r, rig_request("", false));
	cr_assert_str_eq(goes_to(rig_request("", false)), "");
	picky.model = SPAN("n");
	cr_assert_str_eq(goes_to(picky), "b", "another model has its own line");
	picky.model = SPAN("m");
	picky.require = &label;
	picky.n_require = 1;
	picky.priority = PRIORITY_HIGH;
	cr_assert_str_eq(goes_to(picky), "");
	finish("a", job);
	cr_assert_not_null(rig_dispatched(&r, "a"), "the head of the line does not fit, the next one does");
}

static struct registration labelled(const char *id, const struct span *labels, size_t n)
{
	struct registration g = rig_registration(id, 1, 1);

	g.labels = labels;
	g.n_labels = n;
	g.slots = 2;
	return g;
}

Test(hub_route, required_labels_must_all_be_there_preferred_ones_tip_the_scale)
{
	struct span eu[] = { SPAN("zone=eu"), SPAN("disk=ssd") }, us[] = { SPAN("zone=us") };
	struct span need[] = { SPAN("zone=eu"), SPAN("disk=ssd") };
	struct submit s = rig_request("", false);

	rig_agent(&r, "x", 1, 1, 64);
	rig_register(&r, labelled("eu", eu, 2));
	rig_register(&r, labelled("us", us, 1));
	s.prefer = us;
	s.n_prefer = 1;
	cr_assert_str_eq(goes_to(s), "us");
	cr_assert_str_eq(goes_to(s), "us");
	cr_assert_str_neq(goes_to(s), "us", "it is full: a preference does not wait");
	s.n_prefer = 0;
	s.require = need;
	s.n_require = 2;
	cr_assert_str_eq(goes_to(s), "eu");
	cr_assert_str_eq(goes_to(s), "eu");
	cr_assert_str_eq(goes_to(s), "", "a requirement does");
}

Test(hub_route, the_agent_that_failed_a_job_is_not_asked_again_while_there_are_others)
{
	const char *job, *other;

	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 1, 1, 1);
	job = rig_submit(&r, rig_request("", false));
	other = rig_submit(&r, rig_request("", false));
	rig_say(&r, "b", rig_said(JOB_EVENT_ACCEPTED, other, 1));
	rig_failed(&r, "a", job, 1, CODE_ENGINE_CRASHED);
	rig_pass(&r, 1000);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0, "a is free, but has just failed it");
	finish("b", other);
	cr_assert(span_is(rig_dispatched(&r, "b")->job, job));
}

Test(hub_route, but_it_is_asked_again_after_a_while_or_when_it_is_the_only_one)
{
	const char *job;

	rig_agent(&r, "a", 1, 1, 1);
	job = rig_submit(&r, rig_request("", false));
	rig_failed(&r, "a", job, 1, CODE_ENGINE_CRASHED);
	rig_pass(&r, 100);
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 2);
	rig_agent(&r, "b", 1, 1, 1);
	rig_submit(&r, rig_request("", false)); /* b is busy now, for long */
	rig_failed(&r, "a", job, 2, CODE_ENGINE_CRASHED);
	rig_pass(&r, 500);
	cr_assert_null(rig_dispatched(&r, "a"));
	rig_keep_alive(&r, "a", 5200);
	cr_assert_not_null(rig_dispatched(&r, "a"));
}

Test(hub_route, a_model_that_is_loading_is_waited_for)
{
	struct model_info m = { .name = SPAN("m"), .state = MODEL_LOADING };
	struct registration g = rig_registration("a", 1, 1);

	g.models = &m;
	rig_register(&r, g);
	cr_assert_str_eq(goes_to(rig_request("", false)), "");
	rig_keep_alive(&r, "a", 60000);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	m.state = MODEL_READY;
	g.seq++;
	rig_register(&r, g);
	cr_assert_not_null(rig_dispatched(&r, "a"));
}

Test(hub_route, a_known_model_without_anyone_online_is_waited_for_but_not_for_ever)
{
	rig_agent(&r, "a", 1, 1, 1);
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	cr_assert_str_eq(goes_to(rig_request("", false)), "");
	rig_pass(&r, 29999);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_pass(&r, 1);
	cr_assert_gt(rig_must_refuse(&r, CODE_NO_AGENT)->retry_after_ms, 0);
}

Test(hub_route, waiting_behind_others_is_not_waiting_in_vain)
{
	const char *job;

	rig_agent(&r, "a", 1, 1, 1);
	job = rig_submit(&r, rig_request("", false));
	goes_to(rig_request("", false));
	rig_tokens(&r, "a", job, 1, 0, "x");
	for (int i = 1; i < 40; i++) {
		rig_keep_alive(&r, "a", 2000);
		rig_tokens(&r, "a", job, 1, (uint64_t)i, "x");
	}
	cr_assert_eq(hub_counters(r.h)->queued, 1);
}

Test(hub_route, work_that_waited_goes_to_whoever_comes)
{
	rig_agent(&r, "a", 1, 1, 1);
	for (int i = 0; i < 4; i++)
		rig_submit(&r, rig_request("", false));
	rig_agent(&r, "b", 1, 1, 2);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 2);
	cr_assert_eq(hub_counters(r.h)->queued, 1);
}

Test(hub_route, a_big_fleet_is_used_evenly)
{
	static char ids[200][8];
	size_t most = 0;

	for (size_t i = 0; i < 200; i++) {
		ids[i][0] = 'n';
		ids[i][1] = (char)('a' + i / 20);
		ids[i][2] = (char)('a' + i % 20);
		rig_agent(&r, ids[i], 1, 1, 4);
	}
	for (int i = 0; i < 400; i++)
		cr_assert_str_neq(goes_to(rig_request("", false)), "");
	for (size_t i = 0; i < 200; i++) {
		size_t n = rig_agent_view(&r, ids[i]).in_flight;

		most = n > most ? n : most;
	}
	cr_assert_eq(most, 2, "400 jobs on 200 agents are two each");
}

/* ---- several models, not all loaded ---- */

static struct model_info info(const char *name, enum model_state state, uint64_t slots)
{
	struct model_info m = { .name = span_of(name), .state = state, .slots = slots };

	msg_set(&m, MODEL_INFO_SLOTS);
	return m;
}

static void agent_with(const char *id, uint64_t seq, uint64_t slots, const struct model_info *models, size_t n)
{
	struct registration g = rig_registration(id, 1, 1);

	g.seq = seq;
	g.slots = slots;
	g.models = models;
	g.n_models = n;
	rig_register(&r, g);
}

static const char *goes_to_for(const char *model)
{
	struct submit s = rig_request("", false);

	s.model = span_of(model);
	return goes_to(s);
}

Test(hub_route, an_agent_gets_no_more_jobs_of_a_model_than_it_runs_at_once)
{
	const struct model_info two[] = { info("m", MODEL_READY, 1), info("n", MODEL_READY, 3) };

	agent_with("a", 1, 4, two, 2);
	cr_assert_str_eq(goes_to_for("m"), "a");
	cr_assert_str_eq(goes_to_for("m"), "", "it has room, but not for this one");
	for (size_t i = 0; i < 3; i++)
		cr_assert_str_eq(goes_to_for("n"), "a");
	cr_assert_str_eq(goes_to_for("n"), "");
}

Test(hub_route, what_was_given_counts_also_after_a_new_registration)
{
	const struct model_info one = info("m", MODEL_READY, 2);

	agent_with("a", 1, 8, &one, 1);
	cr_assert_str_eq(goes_to_for("m"), "a");
	agent_with("a", 2, 8, &one, 1);
	cr_assert_str_eq(goes_to_for("m"), "a");
	cr_assert_str_eq(goes_to_for("m"), "");
}

Test(hub_route, who_has_to_load_the_model_is_asked_only_when_no_ready_one_has_room)
{
	const struct model_info held = info("m", MODEL_HELD, 4), ready = info("m", MODEL_READY, 1);

	agent_with("cold", 1, 4, &held, 1);
	agent_with("warm", 1, 1, &ready, 1);
	cr_assert_str_eq(goes_to_for("m"), "warm");
	cr_assert_str_eq(goes_to_for("m"), "cold");
}

Test(hub_route, a_burst_loads_the_model_on_one_agent_and_not_on_all)
{
	const struct model_info held = info("m", MODEL_HELD, 2), loading = info("m", MODEL_LOADING, 2);

	agent_with("a", 1, 2, &held, 1);
	agent_with("b", 1, 2, &held, 1);
	agent_with("c", 1, 2, &held, 1);
	cr_assert_str_eq(goes_to_for("m"), "a");
	cr_assert_str_eq(goes_to_for("m"), "a");
	cr_assert_str_eq(goes_to_for("m"), "b", "a would have to let it wait");
	agent_with("c", 2, 2, &loading, 1); /* for another hub's job, or an operator's */
	cr_assert_str_eq(goes_to_for("m"), "c", "it will be ready first");
}

Test(hub_route, one_that_loads_before_its_time_gets_no_jobs_yet)
{
	const struct model_info loading = info("m", MODEL_LOADING, 0), ready = info("m", MODEL_READY, 1);

	agent_with("a", 1, 0, &loading, 1);
	cr_assert_str_eq(goes_to_for("m"), "");
	agent_with("a", 2, 1, &ready, 1);
	cr_assert_not_null(rig_dispatched(&r, "a"), "but then it does");
}

Test(hub_route, a_waiting_job_goes_to_the_warm_one_of_two_that_get_room)
{
	const struct model_info held = info("m", MODEL_HELD, 1), ready = info("m", MODEL_READY, 1);
	const char *job;

	agent_with("cold", 1, 1, &held, 1);
	agent_with("warm", 1, 1, &ready, 1);
	job = rig_submit(&r, rig_request("", false));
	cr_assert_str_eq(goes_to_for("m"), "cold");
	cr_assert_str_eq(goes_to_for("m"), "");
	finish("warm", job);
	cr_assert_not_null(rig_dispatched(&r, "warm"));
}

Test(hub_route, an_agent_that_could_load_takes_over_from_one_that_failed)
{
	const struct model_info held = info("m", MODEL_HELD, 1), ready = info("m", MODEL_READY, 1);
	const char *job;

	agent_with("warm", 1, 1, &ready, 1);
	agent_with("cold", 1, 1, &held, 1);
	job = rig_submit(&r, rig_request("", false));
	rig_failed(&r, "warm", job, 1, CODE_RESOURCE_LIMIT_EXCEEDED);
	for (unsigned i = 0; i < 40 && rig_dispatched(&r, "cold") == NULL; i++) {
		cr_assert_null(rig_dispatched(&r, "warm"));
		rig_pass(&r, 50);
	}
	cr_assert_not_null(rig_dispatched(&r, "cold"));
}

Test(hub_route, a_load_that_goes_on_is_told_to_the_client_and_no_stall)
{
	const struct model_info held = info("m", MODEL_HELD, 1);
	struct hub_config c = rig_config();
	struct job_event e;
	const char *job;

	c.first_token_ms = 5000;
	rig_init(&r, &c);
	agent_with("a", 1, 1, &held, 1);
	job = rig_submit(&r, rig_request("", true));
	e = rig_said(JOB_EVENT_PROGRESS, job, 1);
	msg_set(&e, JOB_EVENT_LOAD_PERCENT);
	for (uint64_t percent = 0; percent <= 100; percent += 20) {
		const struct hub_action *a;

		e.load_percent = percent;
		rig_say(&r, "a", e);
		a = rig_answer(&r, ANSWER_PROGRESS);
		cr_assert_not_null(a, "at %d %%", (int)percent);
		cr_assert_eq(a->answer.percent, percent);
		cr_assert(msg_has(&a->answer, ANSWER_PERCENT) && span_is(a->answer.state, "loading"));
		rig_say(&r, "a", e);
		cr_assert_null(rig_answer(&r, ANSWER_PROGRESS), "once is enough");
		rig_keep_alive(&r, "a", 4000);
		cr_assert_null(rig_control(&r, CONTROL_CANCEL));
	}
	for (unsigned i = 0; i < 4 && rig_control(&r, CONTROL_CANCEL) == NULL; i++) {
		rig_say(&r, "a", e); /* says something, but gets no further */
		rig_keep_alive(&r, "a", 1000);
	}
	cr_assert_not_null(rig_control(&r, CONTROL_CANCEL));
}

Test(hub_route, when_nobody_can_the_client_hears_why_in_the_agents_words)
{
	struct model_info failed = info("m", MODEL_FAILED, 0);
	const struct hub_action *a = NULL;
	char text[512];

	failed.reason = SPAN("it needs 900 MiB: lower context");
	agent_with("box-7", 1, 0, &failed, 1);
	rig_submit(&r, rig_request("", false));
	for (unsigned i = 0; i < 100 && (a = rig_answer(&r, ANSWER_ERROR)) == NULL; i++)
		rig_keep_alive(&r, "box-7", 1000);
	cr_assert_not_null(a);
	cr_assert(span_is(a->answer.code, "NO_AGENT"));
	cr_assert_eq(span_copy(a->answer.message, text, sizeof(text)), 0);
	cr_assert_not_null(strstr(text, "the model is failed on box-7: it needs 900 MiB: lower context"), "%s", text);
}

/* ---- receipts ---- */

static void refuses(const char *id)
{
	rig_status(&r, id, 1, 1, AGENT_DRAINING);
}

Test(hub_route, a_receipt_tells_who_else_could_have_had_the_job_and_why_others_could_not)
{
	static const char *const reasons[][2] = { { "a", "chosen" }, { "b", "outranked" }, { "c", "draining" },
		{ "d", "label_missing" } };
	struct span label = SPAN("zone=eu");
	struct submit s = rig_request("", false);
	const struct receipt *t;
	const char *job;

	for (size_t i = 0; i < 3; i++)
		rig_register(&r, labelled(reasons[i][0], &label, 1));
	rig_agent(&r, "d", 1, 1, 1);
	refuses("c");
	s.require = &label;
	s.n_require = 1;
	job = rig_submit(&r, s);
	finish("a", job);
	t = &rig_answer(&r, ANSWER_DONE)->answer.receipt;
	cr_assert_eq(t->n_candidates, 4);
	for (size_t i = 0; i < 4; i++) {
		cr_assert(span_is(t->candidates[i].agent, reasons[i][0]), "candidate %zu", i);
		cr_assert(span_is(t->candidates[i].reason, reasons[i][1]), "%.*s", SPAN_FMT(t->candidates[i].reason));
	}
	cr_assert_gt(t->candidates[0].expected_ms, 0);
	cr_assert_eq(t->candidates[0].expected_ms, t->expected_ms);
	cr_assert_eq(t->cached_tokens, 2);
	cr_assert(span_is(t->route, "least_loaded"));
}

Test(hub_route, a_receipt_stays_short_in_a_big_fleet)
{
	static char ids[50][8];
	const char *job;

	for (size_t i = 0; i < 50; i++) {
		ids[i][0] = (char)('a' + i / 10);
		ids[i][1] = (char)('0' + i % 10);
		rig_agent(&r, ids[i], 1, 1, 1);
	}
	job = rig_submit(&r, rig_request("", false));
	finish("a0", job);
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.receipt.n_candidates, 5);
}

Test(hub_route, a_job_may_name_its_policy_and_so_may_the_configuration_for_a_model)
{
	static char model[] = "m";
	static const struct hub_model_policy in_turn = { .model = model, .policy = HUB_ROUND_ROBIN };
	struct hub_config c = rig_config();
	struct submit s = rig_request("", false);

	c.policies = &in_turn;
	c.n_policies = 1;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 2);
	rig_agent(&r, "b", 1, 1, 8);
	cr_assert_str_eq(goes_to(s), "a");
	cr_assert_str_eq(goes_to(s), "b");
	cr_assert_str_eq(goes_to(s), "a", "in turn");
	s.policy = HUB_LEAST_LOADED;
	msg_set(&s, SUBMIT_POLICY);
	for (int i = 0; i < 4; i++)
		cr_assert_str_eq(goes_to(s), "b");
}

/* ---- prompts that are read one after the other ---- */

static struct model_info measured(uint64_t prefill, uint64_t decode)
{
	struct model_info m = info("m", MODEL_READY, 8);

	m.prefill_milli = prefill * 1000;
	m.decode_milli = decode * 1000;
	return m;
}

static const char *goes_to_with(size_t prompt_bytes)
{
	static char text[200000];
	struct submit s = rig_request("", false);

	memset(text, 'x', sizeof(text));
	s.prompt = span_mem(text, prompt_bytes);
	return goes_to(s);
}

Test(hub_route, a_job_keeps_clear_of_an_agent_that_has_a_long_prompt_to_read)
{
	const struct model_info fast = measured(1000, 50), slow = measured(400, 20);

	init_policy(HUB_COST);
	agent_with("fast", 1, 8, &fast, 1);
	agent_with("slow", 1, 8, &slow, 1);
	cr_assert_str_eq(goes_to_with(400), "fast");
	cr_assert_str_eq(goes_to_with(400), "fast", "it has slots, and the first prompt was short");
	cr_assert_str_eq(goes_to_with(200000), "fast", "it takes 50 s, on the other 125");
	cr_assert_str_eq(goes_to_with(400), "slow", "and not behind that");
}
