/* Who is there: registrations, statuses and wills, leases, clones. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;

static void init(void)
{
	struct hub_config c = rig_config();

	rig_init(&r, &c);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_fleet, .init = init, .fini = fini);

/* ---- registrations ---- */

static const struct {
	uint64_t epoch, conn, seq;
	bool wins;
} against_5_3_2[] = {
	{ 5, 3, 3, true },
	{ 5, 4, 1, true },
	{ 6, 1, 1, true },
	{ 5, 3, 2, false },
	{ 5, 3, 1, false },
	{ 5, 2, 9, false },
	{ 4, 9, 9, false },
};

Test(hub_fleet, a_registration_wins_only_if_its_epoch_conn_and_seq_are_greater)
{
	for (size_t i = 0; i < sizeof(against_5_3_2) / sizeof(against_5_3_2[0]); i++) {
		char id[] = "box-0";
		struct registration g = rig_registration(id, 5, 3);

		id[4] = (char)('0' + i);
		g.seq = 2;
		rig_register(&r, g);
		g.epoch = against_5_3_2[i].epoch;
		g.conn = against_5_3_2[i].conn;
		g.seq = against_5_3_2[i].seq;
		g.slots = 77;
		rig_register(&r, g);
		cr_assert_eq(rig_agent_view(&r, id).slots, against_5_3_2[i].wins ? 77 : 1, "case %zu", i);
	}
	cr_assert_eq(hub_counters(r.h)->registrations_stale, 3, "an equal one is only a copy");
}

Test(hub_fleet, what_a_registration_says_is_kept_whole)
{
	struct model_info models[] = { { .name = SPAN("m"), .state = MODEL_READY, .n_ctx = 512 },
		{ .name = SPAN("n"), .state = MODEL_FAILED, .reason = SPAN("no file") } };
	struct span labels[] = { SPAN("zone=eu"), SPAN("gpu=no") }, isa[] = { SPAN("neon"), SPAN("dotprod") };
	struct registration g = rig_registration("box-1", 1, 1);
	const struct registration *kept;

	g.models = models;
	g.n_models = 2;
	g.labels = labels;
	g.n_labels = 2;
	g.hardware.cpu = SPAN("Cortex-A72");
	g.hardware.isa = isa;
	g.hardware.n_isa = 2;
	rig_register(&r, g);
	models[0].name = labels[0] = isa[1] = SPAN("changed");
	kept = rig_agent_view(&r, "box-1").registration;
	cr_assert_eq(kept->n_models, 2);
	cr_assert(span_is(kept->models[0].name, "m"));
	cr_assert_eq(kept->models[0].n_ctx, 512);
	cr_assert(span_is(kept->models[1].reason, "no file"));
	cr_assert(span_is(kept->labels[0], "zone=eu"));
	cr_assert(span_is(kept->hardware.cpu, "Cortex-A72") && span_is(kept->hardware.isa[1], "dotprod"));
}

Test(hub_fleet, a_fleet_has_a_greatest_size_and_says_so_once)
{
	struct hub_config c = rig_config();

	c.max_agents = 2;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 1, 1, 1);
	rig_agent(&r, "c", 1, 1, 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_LOG), 1);
	rig_agent(&r, "d", 1, 1, 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_LOG), 0);
}

Test(hub_fleet, two_boxes_with_one_identity_are_both_put_aside)
{
	struct registration g = rig_registration("a", 1, 1);
	const char *job;

	rig_register(&r, g);
	rig_agent(&r, "b", 1, 1, 1);
	job = rig_submit(&r, rig_request("", false));
	cr_assert_not_null(rig_dispatched(&r, "a"));
	g.nonce++;
	rig_register(&r, g);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_QUARANTINED);
	cr_assert_eq(hub_counters(r.h)->clones, 1);
	cr_assert_not_null(rig_dispatched(&r, "b"), "its work moves");
	g.conn++;
	rig_register(&r, g);
	rig_status(&r, "a", 1, 2, AGENT_ONLINE);
	rig_heartbeat(&r, "a", 1, 2);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_QUARANTINED);
	rig_tokens(&r, "b", job, 2, 0, "x");
	rig_agent(&r, "a", 2, 1, 1); /* set right and restarted */
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
}

/* ---- statuses and wills ---- */

static const struct {
	uint64_t epoch, conn;
	bool counts;
} wills[] = { { 2, 2, true }, { 2, 1, false }, { 1, 2, false }, { 3, 1, false }, { 2, 3, false } };

Test(hub_fleet, a_will_counts_only_for_the_very_connection_it_was_left_for)
{
	for (size_t i = 0; i < sizeof(wills) / sizeof(wills[0]); i++) {
		char id[] = "box-0";

		id[4] = (char)('0' + i);
		rig_agent(&r, id, 2, 2, 1);
		rig_status(&r, id, wills[i].epoch, wills[i].conn, AGENT_OFFLINE);
		rig_pass(&r, 249);
		cr_assert_eq(rig_presence(&r, id), HUB_PRESENCE_ONLINE, "case %zu", i);
		rig_pass(&r, 1);
		cr_assert_eq(
			rig_presence(&r, id), wills[i].counts ? HUB_PRESENCE_OFFLINE : HUB_PRESENCE_ONLINE, "case %zu", i);
	}
	cr_assert_eq(hub_counters(r.h)->status_stale, 4);
	cr_assert_eq(hub_counters(r.h)->agents_lost, 1);
}

Test(hub_fleet, a_reconnect_inside_the_grace_costs_nothing)
{
	const char *job;

	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 1, 1, 1);
	job = rig_submit(&r, rig_request("", true));
	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 200);
	rig_agent(&r, "a", 1, 2, 1);
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.index, 2, "what the broken link swallowed is asked for");
	rig_pass(&r, 1000);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE); /* the will of the old connection, late */
	rig_pass(&r, 1000);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	cr_assert_eq(rig_job_view(&r, job).attempt, 1);
	cr_assert_eq(hub_counters(r.h)->agents_lost, 0);
}

Test(hub_fleet, a_will_that_comes_before_its_registration_is_not_forgotten)
{
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	rig_agent(&r, "a", 1, 1, 1);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	rig_agent(&r, "a", 1, 2, 1);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
}

Test(hub_fleet, after_a_will_only_a_new_connection_or_the_truth_brings_it_back)
{
	rig_agent(&r, "a", 1, 1, 1);
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	rig_heartbeat(&r, "a", 1, 1); /* sent before it died */
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	rig_status(&r, "a", 1, 1, AGENT_ONLINE); /* it saw a stale will on its own topic */
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
}

Test(hub_fleet, an_agent_that_drains_gets_no_work_and_may_leave_at_once)
{
	const char *job;

	rig_agent(&r, "a", 1, 1, 2);
	job = rig_submit(&r, rig_request("", false));
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_DRAINING);
	rig_submit(&r, rig_request("", false));
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	rig_tokens(&r, "a", job, 1, 0, "x");
	rig_done(&r, "a", job, 1, 1, "x");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1, "what runs is finished");
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	cr_assert_eq(hub_counters(r.h)->agents_lost, 0, "it said goodbye");
	cr_assert(span_is(rig_agent_view(&r, "a").reason, "stopped"));
}

Test(hub_fleet, a_drain_can_be_taken_back)
{
	rig_agent(&r, "a", 1, 1, 2);
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	rig_submit(&r, rig_request("", false));
	rig_status(&r, "a", 1, 1, AGENT_ONLINE);
	cr_assert_not_null(rig_dispatched(&r, "a"));
}

Test(hub_fleet, a_degraded_agent_still_works)
{
	rig_agent(&r, "a", 1, 1, 2);
	rig_status(&r, "a", 1, 1, AGENT_DEGRADED);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
}

/* ---- leases ---- */

Test(hub_fleet, an_idle_agent_is_suspect_at_three_missed_heartbeats_and_lost_at_four)
{
	rig_agent(&r, "a", 1, 1, 1);
	rig_pass(&r, 14999);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_pass(&r, 1);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_SUSPECT);
	rig_pass(&r, 4999);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_SUSPECT);
	rig_pass(&r, 1);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
}

Test(hub_fleet, with_work_the_lease_is_shorter_but_begins_with_the_work)
{
	rig_agent(&r, "a", 1, 1, 1);
	rig_pass(&r, 14900);   /* of 15000 until it is suspect */
	r.hold_persist = true; /* it has work, but cannot have answered yet */
	rig_submit(&r, rig_request("", false));
	rig_persisted(&r, 1);
	cr_assert_eq(rig_agent_view(&r, "a").in_flight, 1);
	rig_pass(&r, 5999);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_pass(&r, 1);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_SUSPECT);
}

Test(hub_fleet, a_suspect_gets_no_work_but_keeps_what_it_has)
{
	const char *job;

	rig_agent(&r, "a", 1, 1, 2);
	job = rig_submit(&r, rig_request("", false));
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	rig_pass(&r, 6000);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_SUSPECT);
	cr_assert_eq(rig_agent_view(&r, "a").in_flight, 1);
	rig_submit(&r, rig_request("", false));
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	rig_tokens(&r, "a", job, 1, 0, "x"); /* any valid frame renews */
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 1);
}

Test(hub_fleet, heartbeats_of_the_connection_held_renew_and_no_others)
{
	rig_agent(&r, "a", 2, 2, 1);
	rig_pass(&r, 10000);
	rig_heartbeat(&r, "a", 2, 2);
	rig_pass(&r, 10000);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	cr_assert_not_null(rig_agent_view(&r, "a").heartbeat);
	rig_heartbeat(&r, "a", 2, 1);
	rig_heartbeat(&r, "a", 1, 2);
	rig_heartbeat(&r, "a", 3, 1);
	rig_pass(&r, 10000);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
}

Test(hub_fleet, what_is_kept_of_a_heartbeat_borrows_nothing)
{
	struct code_count errors[] = { { .code = SPAN("QUEUE_FULL"), .n = 2 }, { .code = SPAN("CANCELLED"), .n = 1 } };
	struct figures figures[] = { { .requests_total = 9, .errors = errors, .n_errors = 2 },
		{ .name = SPAN("m"), .requests_total = 8, .errors = errors, .n_errors = 1 } };
	struct heartbeat b = { .epoch = 1,
		.conn = 1,
		.state = AGENT_DEGRADED,
		.slots = 1,
		.reason = SPAN("borrowed"),
		.figures = figures,
		.n_figures = 2 };
	struct hub_event ev = { .type = HUB_EV_HEARTBEAT, .agent = SPAN("a"), .heartbeat = &b };
	const struct heartbeat *kept;

	rig_agent(&r, "a", 1, 1, 1);
	rig_event(&r, ev);
	figures[1].name = errors[1].code = SPAN("changed");
	kept = rig_agent_view(&r, "a").heartbeat;
	cr_assert(kept->state == AGENT_DEGRADED && kept->reason.n == 0);
	cr_assert(kept->n_figures == 2 && kept->figures[0].n_errors == 2 && span_is(kept->figures[1].name, "m"));
	cr_assert(span_is(kept->figures[0].errors[1].code, "CANCELLED") && kept->figures[0].errors[0].n == 2);
	rig_event(&r, ev); /* the one before goes */
	cr_assert(span_is(rig_agent_view(&r, "a").heartbeat->figures[1].name, "changed"));
}

Test(hub_fleet, one_that_was_only_frozen_is_back_with_its_next_heartbeat)
{
	rig_agent(&r, "a", 1, 1, 1);
	rig_pass(&r, 20000);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	rig_heartbeat(&r, "a", 1, 1);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
}

Test(hub_fleet, a_heartbeat_that_tells_more_than_is_known_is_asked_about)
{
	struct heartbeat b = { .epoch = 1, .conn = 1, .state = AGENT_ONLINE, .slots = 1 };
	struct hub_event ev = { .type = HUB_EV_HEARTBEAT, .agent = SPAN("a"), .heartbeat = &b };

	rig_event(&r, ev); /* its registration never came */
	cr_assert_eq(rig_control(&r, CONTROL_PING)->control.epoch, 1);
	rig_event(&r, ev);
	cr_assert_eq(rig_controls(&r, CONTROL_PING), 0, "not at every heartbeat");
	rig_agent(&r, "a", 1, 1, 1);
	rig_pass(&r, 1000);
	rig_event(&r, ev);
	cr_assert_eq(rig_controls(&r, CONTROL_PING), 0, "all is known");
	b.slots = 2;
	rig_event(&r, ev);
	cr_assert_eq(rig_controls(&r, CONTROL_PING), 1, "more slots");
	b.slots = 1;
	b.state = AGENT_DRAINING;
	rig_pass(&r, 1000);
	rig_event(&r, ev);
	cr_assert_eq(rig_controls(&r, CONTROL_PING), 1, "a drain");
	b.state = AGENT_ONLINE;
	b.conn = 2;
	rig_pass(&r, 1000);
	rig_event(&r, ev);
	cr_assert_eq(rig_controls(&r, CONTROL_PING), 1, "a new connection");
	b.conn = 0;
	rig_pass(&r, 1000);
	rig_event(&r, ev);
	cr_assert_eq(rig_controls(&r, CONTROL_PING), 0, "an old one");
}

/* ---- what happens to its work ---- */

Test(hub_fleet, a_lost_agents_work_goes_on_elsewhere_at_once)
{
	const char *job;
	const struct job_msg *m;

	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 7, 1, 1);
	job = rig_submit(&r, rig_request("", true));
	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	m = rig_dispatched(&r, "b");
	cr_assert_not_null(m, "within the grace of the will");
	cr_assert_eq(m->attempt, 2);
	cr_assert_eq(m->epoch, 7);
	cr_assert_eq(m->n_prefix, 2);
	cr_assert_eq(m->prefix[0], 'h');
	cr_assert_eq(m->prefix[1], 'e');
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0, "the client sees a pause");
	cr_assert_eq(hub_counters(r.h)->failovers, 1);
}

Test(hub_fleet, a_restart_moves_the_work_of_the_life_before)
{
	const char *job;

	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 1, 1, 1);
	job = rig_submit(&r, rig_request("", false));
	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_agent(&r, "a", 2, 1, 1);
	cr_assert_eq(rig_dispatched(&r, "b")->attempt, 2);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	cr_assert_eq(rig_agent_view(&r, "a").in_flight, 0);
}

Test(hub_fleet, alone_in_the_fleet_it_gets_its_work_back_in_its_new_life)
{
	const char *job;

	rig_agent(&r, "a", 1, 1, 1);
	job = rig_submit(&r, rig_request("", false));
	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_agent(&r, "a", 2, 1, 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 1);
	cr_assert_eq(rig_dispatched(&r, "a")->epoch, 2);
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 2);
}

Test(hub_fleet, a_dispatch_that_found_nobody_means_gone_unless_it_comes_back)
{
	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 1, 1, 1);
	rig_submit(&r, rig_request("", false));
	rig_event(&r, (struct hub_event){ .type = HUB_EV_NO_SUBSCRIBER, .agent = SPAN("a") });
	rig_pass(&r, 249);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_agent(&r, "a", 1, 2, 1);
	cr_assert_not_null(rig_dispatched(&r, "a"), "the unanswered dispatch is repeated on the new connection");
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 1);
	rig_event(&r, (struct hub_event){ .type = HUB_EV_NO_SUBSCRIBER, .agent = SPAN("a") });
	rig_pass(&r, 250);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	cr_assert_not_null(rig_dispatched(&r, "b"));
}

Test(hub_fleet, an_agent_only_known_by_its_status_was_never_seen)
{
	rig_status(&r, "a", 1, 1, AGENT_ONLINE);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	cr_assert_null(rig_agent_view(&r, "a").registration);
	rig_event(&r, (struct hub_event){ .type = HUB_EV_NO_SUBSCRIBER, .agent = SPAN("a") });
	rig_heartbeat(&r, "a", 1, 1);
	rig_tokens(&r, "a", "j", 1, 0, "x");
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
}

/* ---- blind ---- */

Test(hub_fleet, without_a_link_leases_freeze_and_new_work_is_refused)
{
	const char *job;

	rig_agent(&r, "a", 1, 1, 2);
	rig_agent(&r, "b", 1, 1, 2);
	job = rig_submit(&r, rig_request("k1", true));
	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_simple(&r, HUB_EV_LINK_DOWN);
	rig_pass(&r, 3600 * 1000);
	cr_assert_eq(r.n, 0);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_submit_to(&r, "alice", rig_request("", false), "t", 0);
	cr_assert_gt(rig_must_refuse(&r, CODE_NO_AGENT)->retry_after_ms, 0);
	rig_submit_to(&r, "alice", rig_request("k1", true), "t", 0);
	cr_assert_eq(rig_answers(&r, ANSWER_ACCEPTED), 1, "what is known is still answered");
	rig_simple(&r, HUB_EV_LINK_UP);
	cr_assert_eq(rig_control(&r, CONTROL_RESEND)->control.index, 2);
	rig_pass(&r, 7900);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_SUSPECT, "a full lease from now");
	rig_pass(&r, 100);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
}

Test(hub_fleet, deadlines_run_on_while_blind)
{
	struct submit s = rig_request("", false);

	rig_agent(&r, "a", 1, 1, 1);
	s.deadline_ms = 1000;
	rig_submit(&r, s);
	rig_simple(&r, HUB_EV_LINK_DOWN);
	rig_pass(&r, 1000);
	rig_must_refuse(&r, CODE_DEADLINE_EXCEEDED);
}

Test(hub_fleet, an_unanswered_dispatch_is_repeated_when_the_link_is_back)
{
	rig_agent(&r, "a", 1, 1, 1);
	rig_submit(&r, rig_request("", false));
	rig_simple(&r, HUB_EV_LINK_DOWN);
	rig_simple(&r, HUB_EV_LINK_UP);
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 1);
	cr_assert_eq(hub_counters(r.h)->dispatch_repeats, 1);
}

static char names[10][4];

static void ten_agents(void)
{
	for (size_t i = 0; i < 10; i++) {
		names[i][0] = 'b';
		names[i][1] = (char)('0' + i);
		rig_agent(&r, names[i], 1, 1, 1);
	}
}

static size_t n_offline(void)
{
	size_t n = 0;

	for (size_t i = 0; i < 10; i++)
		n += rig_presence(&r, names[i]) == HUB_PRESENCE_OFFLINE;
	return n;
}

static bool is_blind(void)
{
	const char *why;

	return hub_is_blind(r.h, &why);
}

Test(hub_fleet, when_most_of_the_fleet_goes_at_once_it_is_us_who_are_blind)
{
	ten_agents();
	for (size_t i = 0; i < 10; i++)
		rig_status(&r, names[i], 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	cr_assert(is_blind());
	cr_assert_eq(n_offline(), 5, "half may go, not more");
	rig_submit_to(&r, "alice", rig_request("", false), "t", 0);
	rig_must_refuse(&r, CODE_NO_AGENT);
	rig_pass(&r, 10000);
	cr_assert_not(is_blind());
	cr_assert_eq(n_offline(), 5);
	rig_pass(&r, 250);
	cr_assert_eq(n_offline(), 10, "a second look is believed");
	cr_assert_not(is_blind());
}

Test(hub_fleet, a_broker_that_forgets_everyone_costs_no_work_when_they_come_back)
{
	const char *job;

	ten_agents();
	job = rig_submit(&r, rig_request("", false));
	rig_say(&r, "b0", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	for (size_t i = 10; i-- > 0;) {
		rig_status(&r, names[i], 1, 1, AGENT_OFFLINE);
		rig_pass(&r, 1);
	}
	rig_pass(&r, 250);
	cr_assert(is_blind());
	for (size_t i = 0; i < 10; i++)
		rig_agent(&r, names[i], 1, 2, 1);
	rig_pass(&r, 10000);
	cr_assert_not(is_blind());
	cr_assert_eq(n_offline(), 0);
	cr_assert_eq(rig_job_view(&r, job).attempt, 1);
}

Test(hub_fleet, losses_spread_over_time_are_just_losses)
{
	ten_agents();
	for (size_t i = 0; i < 10; i++) {
		for (size_t k = i; k < 10; k++)
			rig_heartbeat(&r, names[k], 1, 1);
		rig_status(&r, names[i], 1, 1, AGENT_OFFLINE);
		rig_pass(&r, 6000);
		cr_assert_not(is_blind());
	}
	cr_assert_eq(n_offline(), 10);
}

Test(hub_fleet, a_small_fleet_is_never_called_blind)
{
	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 1, 1, 1);
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_status(&r, "b", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	cr_assert_eq(rig_presence(&r, "b"), HUB_PRESENCE_OFFLINE);
}

Test(hub_fleet, a_hub_that_stood_still_gives_everyone_a_full_lease)
{
	rig_agent(&r, "a", 1, 1, 1);
	r.now += 60000; /* SIGSTOP, or a machine out of memory */
	rig_simple(&r, HUB_EV_TICK);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	rig_pass(&r, 20000);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
}

/* ---- views ---- */

struct seen_models {
	size_t n;
	uint64_t ready[4];
	struct span name[4];
};

static void see_model(void *ctx, const struct model_info *m, uint64_t n_ready)
{
	struct seen_models *s = ctx;

	s->name[s->n] = m->name;
	s->ready[s->n++] = n_ready;
}

Test(hub_fleet, each_model_is_listed_once_with_how_many_hold_it_ready)
{
	struct model_info two[] = { { .name = SPAN("m"), .state = MODEL_LOADING },
		{ .name = SPAN("n"), .state = MODEL_READY } };
	struct registration g = rig_registration("c", 1, 1);
	struct seen_models s = { 0 };

	rig_agent(&r, "a", 1, 1, 1);
	rig_agent(&r, "b", 1, 1, 1);
	g.models = two;
	g.n_models = 2;
	rig_register(&r, g);
	hub_each_model(r.h, see_model, &s);
	cr_assert_eq(s.n, 2);
	cr_assert(span_is(s.name[0], "m"));
	cr_assert_eq(s.ready[0], 2);
	cr_assert_eq(s.ready[1], 1);
	g.n_models = 1;
	g.seq++;
	rig_register(&r, g);
	s = (struct seen_models){ 0 };
	hub_each_model(r.h, see_model, &s);
	cr_assert_eq(s.n, 1, "a model nobody lists any more is gone");
}

/* ---- what an operator asks ---- */

static void load(const char *agent, const char *model)
{
	rig_event(&r, (struct hub_event){ .type = HUB_EV_LOAD, .agent = span_of(agent), .model = span_of(model) });
}

Test(hub_fleet, a_model_can_be_asked_for_where_it_is_configured)
{
	rig_agent(&r, "a", 3, 1, 1);
	cr_assert_eq(hub_can_load(r.h, SPAN("a"), SPAN("m")), CODE_OK);
	load("a", "m");
	cr_assert_eq(rig_count(&r, HUB_ACT_CONTROL), 1);
	cr_assert(span_is(rig_control(&r, CONTROL_LOAD)->agent, "a"));
	cr_assert(span_is(rig_control(&r, CONTROL_LOAD)->control.model, "m"));
	cr_assert_eq(rig_control(&r, CONTROL_LOAD)->control.epoch, 3);
}

Test(hub_fleet, what_nobody_could_do_is_not_asked)
{
	rig_agent(&r, "a", 1, 1, 1);
	cr_assert_eq(hub_can_load(r.h, SPAN("zz"), SPAN("m")), CODE_NOT_FOUND);
	cr_assert_eq(hub_can_load(r.h, SPAN("a"), SPAN("other")), CODE_MODEL_UNKNOWN);
	load("zz", "m");
	cr_assert_eq(rig_count(&r, HUB_ACT_CONTROL), 0);
	load("a", "other");
	cr_assert_eq(rig_count(&r, HUB_ACT_CONTROL), 0);
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 1000);
	cr_assert_eq(hub_can_load(r.h, SPAN("a"), SPAN("m")), CODE_NO_AGENT);
	load("a", "m");
	cr_assert_eq(rig_count(&r, HUB_ACT_CONTROL), 0);
	rig_simple(&r, HUB_EV_LINK_DOWN);
	rig_agent(&r, "b", 1, 1, 1);
	cr_assert_eq(hub_can_load(r.h, SPAN("b"), SPAN("m")), CODE_NO_AGENT, "the hub itself is cut off");
}
