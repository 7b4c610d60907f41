#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;

static void begin(size_t n_agents, uint64_t slots)
{
	struct hub_config c = rig_config();

	rig_init(&r, &c);
	for (size_t i = 0; i < n_agents; i++)
		rig_agent(&r, (const char *[]){ "a", "b", "c" }[i], 1, 1, slots);
}

static const struct answer *ask(enum admin_verb verb, const char *agent)
{
	return rig_admin(&r, (struct admin){ .verb = verb, .agent = span_of(agent) });
}

static void must(const struct answer *a, enum code code)
{
	cr_assert_eq(a->type, code == CODE_OK ? ANSWER_DONE : ANSWER_ERROR, "%.*s", SPAN_FMT(a->message));
	cr_assert(code == CODE_OK || span_is(a->code, code_name(code)), "%.*s instead of %s", SPAN_FMT(a->code),
		code_name(code));
	cr_assert_gt(a->message.n, 0);
}

static void ok(enum admin_verb verb, const char *agent)
{
	must(ask(verb, agent), CODE_OK);
}

static const struct answer *weight(const char *agent, uint64_t value)
{
	struct admin a = { .verb = ADMIN_WEIGHT, .agent = span_of(agent), .value = value };

	msg_set(&a, ADMIN_VALUE);
	return rig_admin(&r, a);
}

static bool has(struct span text, const char *words)
{
	return memmem(text.p, text.n, words, strlen(words)) != NULL;
}

static const char *running_on(const char *agent)
{
	const char *job = rig_submit(&r, rig_request("", true));

	cr_assert_not_null(rig_dispatched(&r, agent));
	rig_say(&r, agent, rig_said(JOB_EVENT_ACCEPTED, job, 1));
	return job;
}

static void beat(const char *agent, enum agent_status_state state)
{
	struct heartbeat b = { .epoch = 1, .conn = 1, .state = state, .slots = 1 };

	rig_event(&r, (struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = span_of(agent), .heartbeat = &b });
}

/* ---- drain and resume ---- */

Test(admin, a_drained_agent_finishes_what_it_has_and_gets_nothing_new)
{
	const char *job;

	begin(1, 1);
	job = running_on("a");
	ok(ADMIN_DRAIN, "a");
	cr_assert_not_null(rig_control(&r, CONTROL_DRAIN));
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_DRAINING);
	rig_tokens(&r, "a", job, 1, 0, "xy");
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
	rig_submit(&r, rig_request("", false));
	cr_assert_null(rig_dispatched(&r, "a"));
	rig_done(&r, "a", job, 1, 2, "xy");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
	cr_assert_null(rig_dispatched(&r, "a"), "its slot is free, but not for the one that waits");
	rig_agent(&r, "b", 1, 1, 1);
	cr_assert_not_null(rig_dispatched(&r, "b"));
	rig_fini(&r);
}

Test(admin, a_drain_is_said_until_the_agent_follows_and_to_its_next_life_again)
{
	begin(1, 1);
	ok(ADMIN_DRAIN, "a");
	rig_pass(&r, 1500);
	beat("a", AGENT_ONLINE); /* the control message was lost */
	cr_assert_eq(rig_controls(&r, CONTROL_DRAIN), 1);
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	rig_pass(&r, 1500);
	beat("a", AGENT_DRAINING);
	cr_assert_eq(rig_controls(&r, CONTROL_DRAIN), 0);
	rig_agent(&r, "a", 2, 1, 1);
	cr_assert_eq(rig_controls(&r, CONTROL_DRAIN), 1);
	rig_status(&r, "a", 2, 1, AGENT_ONLINE); /* it has not heard yet */
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_DRAINING);
	rig_fini(&r);
}

Test(admin, resume_ends_a_drain_whoever_began_it)
{
	begin(1, 1);
	ok(ADMIN_DRAIN, "a");
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	ok(ADMIN_RESUME, "a");
	cr_assert_eq(rig_controls(&r, CONTROL_RESUME), 1);
	rig_submit(&r, rig_request("", false));
	cr_assert_null(rig_dispatched(&r, "a"), "it would refuse");
	rig_status(&r, "a", 1, 1, AGENT_ONLINE);
	cr_assert_not_null(rig_dispatched(&r, "a"));
	rig_status(&r, "a", 1, 1, AGENT_DRAINING); /* by its button */
	ok(ADMIN_RESUME, "a");
	cr_assert_eq(rig_controls(&r, CONTROL_RESUME), 1);
	rig_fini(&r);
}

Test(admin, the_button_of_an_agent_that_had_followed_ends_the_drain)
{
	begin(1, 1);
	ok(ADMIN_DRAIN, "a");
	beat("a", AGENT_ONLINE); /* from before */
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	beat("a", AGENT_ONLINE); /* a late one */
	cr_assert(rig_agent_view(&r, "a").is_drained);
	rig_status(&r, "a", 1, 1, AGENT_ONLINE);
	cr_assert(rig_agent_view(&r, "a").is_drained, "a status may be an old one");
	beat("a", AGENT_ONLINE);
	cr_assert_not(rig_agent_view(&r, "a").is_drained);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_fini(&r);
}

Test(admin, a_wish_holds_for_an_agent_that_is_away)
{
	begin(1, 1);
	rig_pass(&r, 60000);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	must(ask(ADMIN_DRAIN, "a"), CODE_OK);
	cr_assert(has(rig_find(&r, HUB_ACT_ADMIN, 0)->answer.message, "when it comes back"));
	cr_assert_eq(rig_count(&r, HUB_ACT_CONTROL), 0);
	rig_agent(&r, "a", 2, 1, 1);
	cr_assert_eq(rig_controls(&r, CONTROL_DRAIN), 1);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_DRAINING);
	rig_fini(&r);
}

/* ---- weight ---- */

Test(admin, an_agent_of_weight_0_gets_no_work_until_it_has_one)
{
	begin(1, 1);
	must(weight("a", 0), CODE_OK);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_submit(&r, rig_request("", false));
	cr_assert_null(rig_dispatched(&r, "a"));
	must(weight("a", 30), CODE_OK);
	cr_assert_not_null(rig_dispatched(&r, "a"));
	cr_assert_eq(rig_agent_view(&r, "a").weight, 30);
	must(weight("a", 101), CODE_BAD_REQUEST);
	must(ask(ADMIN_WEIGHT, "a"), CODE_BAD_REQUEST);
	cr_assert_eq(rig_agent_view(&r, "a").weight, 30);
	rig_fini(&r);
}

Test(admin, a_weight_is_the_share_of_its_slots_that_an_agent_gets_by_any_policy)
{
	static const enum hub_policy policies[] = { HUB_ROUND_ROBIN, HUB_LEAST_LOADED, HUB_HARDWARE_AWARE, HUB_COST };

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct hub_config c = rig_config();

		c.policy = policies[i];
		rig_init(&r, &c);
		rig_agent(&r, "a", 1, 1, 8);
		rig_agent(&r, "b", 1, 1, 8);
		must(weight("b", 25), CODE_OK);
		for (int k = 0; k < 12; k++)
			rig_submit(&r, rig_request("", false));
		cr_expect_eq(rig_agent_view(&r, "a").in_flight, 8, "policy %zu", i);
		cr_expect_eq(rig_agent_view(&r, "b").in_flight, 2, "policy %zu", i);
		must(weight("b", 1), CODE_OK);
		cr_expect_eq(rig_agent_view(&r, "b").in_flight, 2, "what it has it keeps");
		must(weight("b", 100), CODE_OK);
		cr_expect_eq(rig_agent_view(&r, "b").in_flight, 4, "those that waited");
		rig_fini(&r);
		memset(&r, 0, sizeof(r));
	}
}

/* ---- quarantine and release ---- */

Test(admin, a_quarantine_takes_the_work_of_an_agent_and_a_release_lets_it_have_new)
{
	const char *job;
	const struct hub_action *cancel;

	begin(1, 1);
	job = running_on("a");
	rig_tokens(&r, "a", job, 1, 0, "xy");
	rig_agent(&r, "b", 1, 1, 1);
	must(rig_admin(&r, (struct admin){ .verb = ADMIN_QUARANTINE, .agent = SPAN("a"), .reason = SPAN("smells") }),
		CODE_OK);
	cancel = rig_control(&r, CONTROL_CANCEL);
	cr_assert(cancel != NULL && span_is(cancel->agent, "a") && span_is(cancel->control.job, job));
	cr_assert_eq(rig_dispatched(&r, "b")->n_prefix, 2, "it goes on behind what was shown");
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_QUARANTINED);
	cr_assert(span_is(rig_agent_view(&r, "a").admin_reason, "smells"));
	rig_submit(&r, rig_request("", false));
	cr_assert_null(rig_dispatched(&r, "a"));
	rig_agent(&r, "a", 2, 1, 1); /* a restart changes nothing */
	cr_assert_null(rig_dispatched(&r, "a"));
	ok(ADMIN_RELEASE, "a");
	cr_assert_not_null(rig_dispatched(&r, "a"));
	ok(ADMIN_RELEASE, "a");
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_fini(&r);
}

Test(admin, clones_are_not_released)
{
	struct registration g = rig_registration("a", 1, 1);

	begin(1, 1);
	g.nonce = 7;
	rig_register(&r, g);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_QUARANTINED);
	must(ask(ADMIN_RELEASE, "a"), CODE_CONFLICT);
	must(ask(ADMIN_FORGET, "a"), CODE_CONFLICT);
	rig_fini(&r);
}

/* ---- forget ---- */

Test(admin, only_an_offline_agent_is_forgotten_and_what_names_it_stays)
{
	struct submit s = rig_request("k", false);
	const char *job;

	begin(1, 1);
	must(ask(ADMIN_FORGET, "a"), CODE_CONFLICT);
	cr_assert_eq(rig_count(&r, HUB_ACT_FORGET), 0);
	job = rig_submit(&r, s);
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	rig_done(&r, "a", job, 1, 0, "");
	rig_pass(&r, 60000);
	ok(ADMIN_FORGET, "a");
	cr_assert(span_is(rig_find(&r, HUB_ACT_FORGET, 0)->agent, "a"));
	must(ask(ADMIN_FORGET, "a"), CODE_NOT_FOUND);
	rig_submit_to(&r, "alice", s, "t", 0);
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.receipt.agent, "a"));
	rig_agent(&r, "a", 1, 2, 1); /* it comes back as one nobody knew */
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	cr_assert_eq(rig_agent_view(&r, "a").weight, 100);
	rig_pass(&r, 60000);
	ok(ADMIN_FORGET, "a");
	rig_fini(&r);
}

/* ---- cancel ---- */

Test(admin, any_job_can_be_cancelled_and_twice)
{
	struct admin cancel = { .verb = ADMIN_CANCEL };
	const char *job;

	begin(1, 1);
	job = running_on("a");
	cancel.job = span_of(job);
	must(rig_admin(&r, cancel), CODE_OK);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL), 1);
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.finish_reason, FINISH_CANCELLED);
	must(rig_admin(&r, cancel), CODE_OK);
	cr_assert(has(rig_find(&r, HUB_ACT_ADMIN, 0)->answer.message, "cancelled"));
	cancel.job = SPAN("no-such-job");
	must(rig_admin(&r, cancel), CODE_NOT_FOUND);
	rig_fini(&r);
}

/* ---- what was asked ---- */

struct seen {
	size_t n;
	struct hub_admin_view first;
};

static void see(void *ctx, const struct hub_admin_view *v)
{
	struct seen *s = ctx;

	if (s->n++ == 0)
		s->first = *v;
}

Test(admin, the_last_things_asked_are_kept_with_who_asked_and_how_it_went)
{
	struct seen s = { 0 };

	begin(1, 1);
	for (int i = 0; i < HUB_ADMIN_KEPT + 6; i++)
		ok(ADMIN_DRAIN, "a");
	must(ask(ADMIN_DRAIN, "nobody"), CODE_NOT_FOUND);
	hub_each_admin(r.h, see, &s);
	cr_assert_eq(s.n, HUB_ADMIN_KEPT);
	cr_assert(span_is(s.first.user, "ops") && span_is(s.first.target, "nobody") && s.first.code == CODE_NOT_FOUND &&
		  s.first.verb == ADMIN_DRAIN && s.first.at_ms == r.now);
	rig_fini(&r);
}

/* ---- another run ---- */

Test(admin, what_operators_want_outlives_the_hub)
{
	struct hub_config c = rig_config();

	c.journal = HUB_JOURNAL_SYNC;
	rig_init(&r, &c);
	for (size_t i = 0; i < 3; i++)
		rig_agent(&r, (const char *[]){ "a", "b", "c" }[i], 1, 1, 1);
	ok(ADMIN_DRAIN, "a");
	must(rig_admin(&r, (struct admin){ .verb = ADMIN_QUARANTINE, .agent = SPAN("b"), .reason = SPAN("smells") }),
		CODE_OK);
	must(weight("c", 0), CODE_OK);
	rig_crash(&r, &c, r.n_records, 1000);
	rig_simple(&r, HUB_EV_LINK_UP);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	rig_agent(&r, "a", 1, 1, 1);
	cr_assert_eq(rig_controls(&r, CONTROL_DRAIN), 1, "it may have missed it");
	rig_agent(&r, "b", 1, 1, 1);
	rig_agent(&r, "c", 1, 1, 1);
	cr_assert(rig_presence(&r, "a") == HUB_PRESENCE_DRAINING && rig_presence(&r, "b") == HUB_PRESENCE_QUARANTINED);
	cr_assert(span_is(rig_agent_view(&r, "b").admin_reason, "smells") && rig_agent_view(&r, "c").weight == 0);
	rig_submit(&r, rig_request("", false));
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	ok(ADMIN_RELEASE, "b");
	must(weight("c", 100), CODE_OK);
	cr_assert_eq(r.records[r.n_records - 1].body.n, 0, "nothing is left to be kept of it");
	rig_fini(&r);
}

Test(admin, an_answer_waits_until_its_record_is_safe)
{
	struct hub_config c = rig_config();
	struct admin drain = { .verb = ADMIN_DRAIN, .agent = SPAN("a"), .correlation = SPAN("c1") };
	struct hub_event ev = {
		.type = HUB_EV_ADMIN, .user = SPAN("ops"), .reply = { .topic = SPAN("t") }, .admin = &drain
	};

	c.journal = HUB_JOURNAL_SYNC;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 1);
	r.hold_persist = true;
	rig_event(&r, ev);
	cr_assert_eq(rig_count(&r, HUB_ACT_ADMIN), 0);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_DRAINING, "it holds already");
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(rig_count(&r, HUB_ACT_ADMIN), 1);
	must(&rig_find(&r, HUB_ACT_ADMIN, 0)->answer, CODE_OK);
	cr_assert(span_is(rig_find(&r, HUB_ACT_ADMIN, 0)->answer.correlation, "c1"));
	rig_event(&r, ev); /* one that is never answered: the hub goes before */
	rig_event(&r, (struct hub_event){ .type = HUB_EV_JOURNAL, .is_full = true });
	rig_event(&r, ev);
	cr_assert(has(rig_find(&r, HUB_ACT_ADMIN, 0)->answer.message, "disk is full"));
	rig_fini(&r);
}
