/* Conversations stay with the agent that computed them, as long as it can take them. */
#include <criterion/criterion.h>

#include "hub_rig.h"
#include "id.h"
#include "rng.h"

static struct rig r;
static struct hub_config config;

static void init(void)
{
	config = rig_config();
	config.policy = HUB_ROUND_ROBIN;
	rig_init(&r, &config);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_sessions, .init = init, .fini = fini);

static struct submit turn(const char *session, const char *prompt)
{
	struct submit s = rig_request("", false);

	s.session = span_of(session);
	s.prompt = span_of(prompt);
	return s;
}

struct begun {
	const char *job;
	char agent[PROTO_MAX_ID + 1]; /* empty: it waits */
};

static struct begun begin_as(const char *user, struct submit s)
{
	struct begun b = { 0 };
	const struct hub_action *a;

	rig_submit_to(&r, user, s, "t", 0);
	cr_assert_not_null(rig_find(&r, HUB_ACT_PERSIST, 0));
	b.job = rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p;
	a = rig_find(&r, HUB_ACT_DISPATCH, 0);
	if (a != NULL)
		cr_assert_eq(span_copy(a->agent, b.agent, sizeof(b.agent)), 0);
	return b;
}

static struct begun begin(struct submit s)
{
	return begin_as("alice", s);
}

static void finish_with(struct begun b, uint64_t attempt, uint64_t epoch, struct usage usage)
{
	struct job_event e = rig_said(JOB_EVENT_DONE, b.job, attempt);
	static const uint8_t digest[32] = { 0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99,
		0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8,
		0x55 };

	e.epoch = epoch;
	e.finish = FINISH_STOP;
	e.sha256 = span_mem(digest, sizeof(digest)); /* of no text */
	e.usage = usage;
	e.timings = (struct timings){ .prefill_us = (usage.prompt_tokens - usage.cached_tokens) * 1000 };
	rig_say(&r, b.agent, e);
	cr_assert_not_null(rig_answer(&r, ANSWER_DONE), "job %s on %s", b.job, b.agent);
}

static void finish(struct begun b)
{
	finish_with(b, 1, 1, (struct usage){ .prompt_tokens = 100, .cached_tokens = 0 });
}

static const char *take_turn(const char *session)
{
	static struct begun b;

	b = begin(turn(session, "p"));
	cr_assert_str_neq(b.agent, "");
	finish(b);
	return b.agent;
}

/* ---- what is seen of it ---- */

struct seen {
	size_t n;
	struct hub_session_view last;
};

static void see(void *ctx, const struct hub_session_view *v)
{
	struct seen *s = ctx;

	s->n++;
	s->last = *v;
}

static struct seen sessions(void)
{
	struct seen s = { 0 };

	hub_each_session(r.h, see, &s);
	cr_assert_eq(s.n, hub_session_stats(r.h).live);
	return s;
}

static struct hub_session_view only(void)
{
	struct seen s = sessions();

	cr_assert_eq(s.n, 1);
	return s.last;
}

static uint64_t moves(enum hub_move why)
{
	return hub_session_stats(r.h).moves[why];
}

static void agents(uint64_t slots)
{
	static const char *const ids[] = { "a", "b", "c" };

	for (size_t i = 0; i < 3; i++)
		rig_agent(&r, ids[i], 1, 1, slots);
}

Test(hub_sessions, a_conversation_stays_where_it_began_under_any_policy)
{
	for (unsigned policy = 0; policy < HUB_POLICY_COUNT; policy++) {
		char home[PROTO_MAX_ID + 1];

		config.policy = (enum hub_policy)policy;
		rig_init(&r, &config);
		agents(4);
		cr_assert_eq(span_copy(span_of(take_turn("s")), home, sizeof(home)), 0);
		for (int i = 0; i < 5; i++) {
			take_turn("");
			cr_assert_str_eq(take_turn("s"), home, "policy %s, turn %d", hub_policy_names[policy], i);
		}
		cr_assert_eq(hub_session_stats(r.h).kept, 5);
		cr_assert_eq(hub_session_stats(r.h).moved, 0);
		cr_assert_eq(only().turns, 6);
		cr_assert(span_is(only().agent, home) && span_is(only().user, "alice") && span_is(only().session, "s") &&
			  span_is(only().model, "m"));
		cr_assert_eq(only().tokens, 100);
	}
}

Test(hub_sessions, one_name_of_two_users_is_two_sessions)
{
	struct begun b;

	agents(4);
	cr_assert_str_eq(take_turn("s"), "a");
	b = begin_as("bob", turn("s", "p"));
	cr_assert_str_eq(b.agent, "b");
	finish(b);
	cr_assert_eq(sessions().n, 2);
	cr_assert_str_eq(take_turn("s"), "a");
}

Test(hub_sessions, who_wants_no_cache_has_no_session)
{
	struct submit s = turn("s", "p");

	s.cache_prompt = false;
	msg_set(&s, SUBMIT_CACHE_PROMPT);
	agents(1);
	finish(begin(s));
	cr_assert_eq(sessions().n, 0);
}

Test(hub_sessions, it_moves_when_its_agent_drains)
{
	agents(4);
	cr_assert_str_eq(take_turn("s"), "a");
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	cr_assert_str_eq(take_turn("s"), "b");
	rig_status(&r, "a", 1, 1, AGENT_ONLINE);
	cr_assert_str_eq(take_turn("s"), "b", "and stays where it is now");
	cr_assert_eq(moves(HUB_MOVE_DRAIN), 1);
	cr_assert_eq(only().moves, 1);
}

Test(hub_sessions, it_moves_when_its_agent_is_lost_and_is_not_found_there_after_a_restart)
{
	agents(4);
	cr_assert_str_eq(take_turn("s"), "a");
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_OFFLINE);
	rig_agent(&r, "a", 2, 1, 4);
	cr_assert_eq(only().agent.n, 0, "its cache died with that life");
	cr_assert_eq(only().tokens, 0);
	cr_assert_str_eq(take_turn("s"), "b");
	cr_assert_eq(moves(HUB_MOVE_CACHE), 1);
	rig_status(&r, "b", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	cr_assert_str_eq(take_turn("s"), "c");
	cr_assert_eq(moves(HUB_MOVE_LOST), 1);
}

Test(hub_sessions, an_agent_that_was_only_out_of_sight_still_has_it)
{
	agents(4);
	cr_assert_str_eq(take_turn("s"), "a");
	rig_status(&r, "a", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	rig_agent(&r, "a", 1, 2, 4);
	cr_assert_eq(rig_presence(&r, "a"), HUB_PRESENCE_ONLINE);
	cr_assert_str_eq(take_turn("s"), "a");
}

static void register_model(const char *id, uint64_t seq, enum model_state state)
{
	struct registration g = rig_registration(id, 1, 1);
	struct model_info m = { .name = SPAN("m"), .state = state, .slots = 4 };

	msg_set(&m, MODEL_INFO_SLOTS);
	g.seq = seq;
	g.slots = 4;
	g.models = &m;
	rig_register(&r, g);
}

Test(hub_sessions, unloading_the_model_ends_what_was_computed)
{
	register_model("a", 1, MODEL_READY);
	cr_assert_str_eq(take_turn("s"), "a");
	register_model("a", 2, MODEL_READY);
	cr_assert(span_is(only().agent, "a"), "a registration as such changes nothing");
	register_model("a", 3, MODEL_HELD);
	cr_assert_eq(only().agent.n, 0);
	register_model("a", 4, MODEL_READY);
	cr_assert_eq(only().agent.n, 0);
}

Test(hub_sessions, a_model_that_is_loaded_for_the_first_turn_is_not_unloaded_by_that)
{
	struct begun b;

	register_model("a", 1, MODEL_HELD);
	b = begin(turn("s", "p"));
	register_model("a", 2, MODEL_LOADING);
	register_model("a", 3, MODEL_READY);
	finish(b);
	cr_assert(span_is(only().agent, "a"));
}

Test(hub_sessions, labels_go_before_affinity)
{
	struct registration g = rig_registration("gpu", 1, 1);
	struct span label = SPAN("gpu=yes");
	struct submit s = turn("s", "p");
	struct begun b;

	agents(4);
	cr_assert_str_eq(take_turn("s"), "a");
	g.labels = &label;
	g.n_labels = 1;
	rig_register(&r, g);
	s.require = &label;
	s.n_require = 1;
	b = begin(s);
	cr_assert_str_eq(b.agent, "gpu");
	finish(b);
	cr_assert_eq(moves(HUB_MOVE_UNFIT), 1);
}

Test(hub_sessions, it_moves_from_an_agent_that_failed_it)
{
	struct begun b;

	agents(4);
	cr_assert_str_eq(take_turn("s"), "a");
	b = begin(turn("s", "p"));
	cr_assert_str_eq(b.agent, "a");
	rig_failed(&r, "a", b.job, 1, CODE_ENGINE_CRASHED);
	rig_pass(&r, 100);
	cr_assert_not_null(rig_find(&r, HUB_ACT_DISPATCH, 0));
	cr_assert(span_is(rig_find(&r, HUB_ACT_DISPATCH, 0)->agent, "b"));
	(void)span_copy(SPAN("b"), b.agent, sizeof(b.agent));
	finish_with(b, 2, 1, (struct usage){ .prompt_tokens = 10 });
	cr_assert_eq(moves(HUB_MOVE_FAILED), 1);
	cr_assert_str_eq(take_turn("s"), "b");
}

/* ---- the cap, and waiting ---- */

static char *long_prompt(char *buf, size_t n, char c)
{
	memset(buf, c, n);
	buf[n] = '\0';
	return buf;
}

/* A session on an agent that has 2,000 of its tokens and computes one a millisecond. */
static struct begun fill_home(char *prompt)
{
	struct begun b = begin(turn("s", prompt)), other;

	finish_with(b, 1, 1, (struct usage){ .prompt_tokens = strlen(prompt) / 4 });
	other = begin(turn("s", "another"));
	cr_assert_str_eq(other.agent, b.agent);
	return other;
}

Test(hub_sessions, a_request_waits_for_its_full_agent_while_that_is_worth_it)
{
	char prompt[8001];
	struct begun busy, b;

	agents(1);
	busy = fill_home(long_prompt(prompt, 8000, 'x'));
	b = begin(turn("s", prompt));
	cr_assert_str_eq(b.agent, "", "two others are idle, but have to compute all of it");
	rig_keep_alive(&r, "a", 500);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	finish(busy);
	cr_assert(span_is(rig_dispatched(&r, "a")->job, b.job));
	cr_assert_eq(rig_agent_view(&r, "a").in_flight, 1);
}

Test(hub_sessions, but_not_for_ever)
{
	char prompt[8001];
	struct begun b;

	agents(1);
	fill_home(long_prompt(prompt, 8000, 'x'));
	b = begin(turn("s", prompt));
	rig_pass(&r, config.session_wait_ms - 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	rig_pass(&r, 1);
	cr_assert(span_is(rig_dispatched(&r, "b")->job, b.job));
	finish_with((struct begun){ b.job, "b" }, 1, 1, (struct usage){ .prompt_tokens = 2000 });
	cr_assert_eq(moves(HUB_MOVE_FULL), 1);
}

Test(hub_sessions, nor_longer_than_computing_anew_takes)
{
	char prompt[8001];
	struct begun b;

	config.session_wait_ms = 60000;
	rig_init(&r, &config);
	agents(1);
	fill_home(long_prompt(prompt, 8000, 'x'));
	b = begin(turn("s", prompt));
	rig_keep_alive(&r, "a", 1500);
	cr_assert_null(rig_dispatched(&r, "b"));
	rig_pass(&r, 600);
	cr_assert_not_null(rig_dispatched(&r, "b"));
	cr_assert(span_is(rig_dispatched(&r, "b")->job, b.job));
}

Test(hub_sessions, nobody_waits_for_little)
{
	agents(1);
	fill_home((char[]){ "short" });
	cr_assert_str_eq(begin(turn("s", "something else")).agent, "b");
}

Test(hub_sessions, no_more_wait_than_the_agent_has_slots)
{
	char prompt[8001];

	agents(1);
	fill_home(long_prompt(prompt, 8000, 'x'));
	cr_assert_str_eq(begin(turn("s", prompt)).agent, "");
	cr_assert_str_eq(begin(turn("s", prompt)).agent, "b");
}

Test(hub_sessions, when_the_agent_goes_nobody_waits_for_it)
{
	char prompt[8001];
	struct begun b;

	agents(1);
	fill_home(long_prompt(prompt, 8000, 'x'));
	b = begin(turn("s", prompt));
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	cr_assert(span_is(rig_dispatched(&r, "b")->job, b.job));
	finish_with((struct begun){ b.job, "b" }, 1, 1, (struct usage){ .prompt_tokens = 2000 });
	cr_assert_eq(moves(HUB_MOVE_DRAIN), 1);
}

Test(hub_sessions, one_that_waits_can_be_cancelled)
{
	char prompt[8001];
	struct begun busy, b;

	agents(1);
	busy = fill_home(long_prompt(prompt, 8000, 'x'));
	b = begin(turn("s", prompt));
	rig_cancel(&r, "alice", b.job, "");
	cr_assert_eq(hub_counters(r.h)->queued, 0);
	finish(busy);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	b = begin(turn("s", prompt));
	cr_assert_str_eq(b.agent, "a", "nothing is left of it");
}

Test(hub_sessions, who_is_more_urgent_gets_the_slot_first)
{
	char prompt[8001];
	struct submit urgent = rig_request("", false);
	struct begun busy, waits, high;

	rig_agent(&r, "a", 1, 1, 1);
	busy = fill_home(long_prompt(prompt, 8000, 'x'));
	waits = begin(turn("s", prompt));
	urgent.priority = PRIORITY_HIGH;
	high = begin(urgent);
	finish(busy);
	cr_assert(span_is(rig_dispatched(&r, "a")->job, high.job));
	cr_assert_str_eq(waits.agent, "");
}

Test(hub_sessions, a_session_never_uses_the_credit_beyond_the_slots_nor_the_cap)
{
	config.extra_credit = 2;
	config.session_max_load = 50;
	rig_init(&r, &config);
	agents(4);
	cr_assert_str_eq(take_turn("s"), "a");
	cr_assert_str_eq(begin(turn("s", "1")).agent, "a");
	cr_assert_str_eq(begin(turn("s", "2")).agent, "a");
	cr_assert_str_neq(begin(turn("s", "3")).agent, "a", "two of four slots are half of them");
	cr_assert_leq(rig_agent_view(&r, "a").in_flight, 2);
}

/* ---- bounds ---- */

Test(hub_sessions, they_end_when_they_are_not_used)
{
	agents(4);
	take_turn("s");
	rig_pass(&r, config.session_ttl_ms - 1);
	cr_assert_eq(sessions().n, 1);
	rig_pass(&r, 1);
	cr_assert_eq(sessions().n, 0);
	cr_assert_eq(hub_session_stats(r.h).expired, 1);
}

Test(hub_sessions, one_with_a_live_request_does_not_end)
{
	struct begun b;

	config.session_ttl_ms = 1000;
	rig_init(&r, &config);
	agents(4);
	b = begin(turn("s", "p"));
	rig_keep_alive(&r, "a", 1500);
	cr_assert_eq(sessions().n, 1);
	finish(b);
	rig_pass(&r, 999);
	cr_assert_eq(sessions().n, 1);
	rig_pass(&r, 1);
	cr_assert_eq(sessions().n, 0);
}

Test(hub_sessions, there_are_never_more_than_the_cap_and_the_oldest_goes)
{
	config.max_sessions = 3;
	rig_init(&r, &config);
	agents(4);
	take_turn("1");
	take_turn("2");
	take_turn("3");
	take_turn("1");
	take_turn("4");
	cr_assert_eq(sessions().n, 3);
	cr_assert(span_is(sessions().last.session, "3"), "the second has gone");
	cr_assert_eq(hub_session_stats(r.h).displaced, 1);
}

Test(hub_sessions, when_all_are_in_use_a_new_one_does_without)
{
	struct begun b;

	config.max_sessions = 1;
	rig_init(&r, &config);
	agents(4);
	b = begin(turn("1", "p"));
	finish(begin(turn("2", "p")));
	cr_assert(span_is(only().session, "1"));
	finish(b);
	take_turn("2");
	cr_assert(span_is(only().session, "2"));
}

/* ---- beginnings of prompts ---- */

static struct hub_session_stats stats_of_turn(struct submit s, const char *agent, struct usage usage)
{
	struct hub_session_stats before = hub_session_stats(r.h), after;
	struct begun b = begin(s);

	cr_assert_str_eq(b.agent, agent);
	finish_with(b, 1, 1, usage);
	after = hub_session_stats(r.h);
	after.expected_tokens -= before.expected_tokens;
	return after;
}

Test(hub_sessions, what_is_expected_to_be_cached_is_what_was_computed_there)
{
	struct turn t[] = { { .role = SPAN("system"), .content = { 0 } },
		{ .role = SPAN("user"), .content = SPAN("hello") } };
	struct submit s = rig_request("", false);
	char system[4001], other[4001];
	uint64_t expected;

	t[0].content = span_of(long_prompt(system, 4000, 'x'));
	s.prompt = SPAN_NONE;
	s.messages = t;
	s.n_messages = 2;
	rig_agent(&r, "a", 1, 1, 4);
	expected = stats_of_turn(s, "a", (struct usage){ .prompt_tokens = 1000 }).expected_tokens;
	cr_assert_eq(expected, 0);
	t[1].content = SPAN("good day");
	expected = stats_of_turn(s, "a", (struct usage){ .prompt_tokens = 1000, .cached_tokens = 990 }).expected_tokens;
	cr_assert(expected > 800 && expected <= 1000, "%u", (unsigned)expected);
	t[0].content = span_of(long_prompt(other, 4000, 'y'));
	expected = stats_of_turn(s, "a", (struct usage){ .prompt_tokens = 1000 }).expected_tokens;
	cr_assert_eq(expected, 0);
}

Test(hub_sessions, what_other_prompts_have_displaced_is_not_expected)
{
	char prompt[8001];

	rig_agent(&r, "a", 1, 1, 2);
	for (int round = 0; round < 2; round++)
		for (char c = 'a'; c < 'd'; c++) {
			struct submit s = turn("", long_prompt(prompt, 8000, c));

			cr_assert_eq(stats_of_turn(s, "a", (struct usage){ .prompt_tokens = 2000 }).expected_tokens, 0,
				"three prompts take turns in two places");
		}
}

Test(hub_sessions, an_engine_that_keeps_more_than_it_has_slots_is_found_out)
{
	char prompt[8001];
	uint64_t expected = 0;

	rig_agent(&r, "a", 1, 1, 1);
	for (int round = 0; round < 4; round++)
		for (char c = 'a'; c < 'c'; c++) {
			char name[2] = { c, '\0' };
			struct submit s = turn(name, long_prompt(prompt, 8000, c));

			expected = stats_of_turn(
				s, "a", (struct usage){ .prompt_tokens = 2000, .cached_tokens = round > 0 ? 1990 : 0 })
					   .expected_tokens;
			rig_submit(&r, rig_request("", false));
			finish_with((struct begun){ rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job.p, "a" }, 1, 1,
				(struct usage){ .prompt_tokens = 8 });
		}
	cr_assert_gt(expected, 1500);
}

/* ---- over another run ---- */

static void keep_a_journal(void)
{
	config.journal = HUB_JOURNAL_SYNC;
	rig_init(&r, &config);
	agents(4);
}

static const struct hub_record *kept(size_t nth)
{
	for (size_t i = 0; i < r.n_records; i++)
		if (r.records[i].kind == HUB_PERSIST_SESSION && nth-- == 0)
			return &r.records[i];
	return NULL;
}

Test(hub_sessions, one_is_written_down_where_it_begins_moves_and_ends_and_not_with_each_turn)
{
	keep_a_journal();
	for (int i = 0; i < 3; i++)
		cr_assert_str_eq(take_turn("s"), "a");
	cr_assert(kept(0) != NULL && kept(1) == NULL);
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	take_turn("s");
	cr_assert(kept(1) != NULL && kept(2) == NULL && kept(1)->body.n > 0);
	cr_assert(span_eq(kept(0)->job, kept(1)->job));
	rig_pass(&r, config.session_ttl_ms);
	cr_assert(kept(2) != NULL && kept(2)->body.n == 0 && span_eq(kept(2)->job, kept(0)->job));
}

Test(hub_sessions, it_is_found_again_by_the_next_run_of_the_hub_on_the_same_life_of_its_agent)
{
	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		keep_a_journal();
		take_turn("");
		cr_assert_str_eq(take_turn("s"), "b");
		rig_crash(&r, &config, r.n_records, 1000);
		cr_assert_eq(sessions().n, 1);
		rig_simple(&r, HUB_EV_LINK_UP);
		rig_agent(&r, "a", 1, 2, 4);
		rig_agent(&r, "b", epoch, 2, 4);
		if (epoch == 1) {
			cr_assert_str_eq(take_turn("s"), "b");
			cr_assert_eq(hub_session_stats(r.h).kept, 1);
			continue;
		}
		cr_assert_str_neq(begin(turn("s", "p")).agent, "");
		cr_assert_eq(only().moves, 1, "its agent has forgotten it");
	}
}

Test(hub_sessions, one_with_a_restored_request_is_in_use_whichever_record_comes_first)
{
	const char *job;

	config.session_ttl_ms = 100;
	config.no_agent_wait_ms = 10000;
	keep_a_journal();
	job = begin(turn("s", "p")).job;
	rig_crash(&r, &config, r.n_records, 1000);
	rig_pass(&r, 1000);
	cr_assert_eq(only().jobs, 1, "job %s", job);
}

Test(hub_sessions, when_its_agent_has_not_come_back_yet_it_moves)
{
	keep_a_journal();
	take_turn("");
	cr_assert_str_eq(take_turn("s"), "b");
	rig_crash(&r, &config, r.n_records, 1000);
	rig_simple(&r, HUB_EV_LINK_UP);
	rig_agent(&r, "a", 1, 2, 4);
	cr_assert_str_eq(take_turn("s"), "a");
	cr_assert_eq(moves(HUB_MOVE_LOST), 1);
	rig_agent(&r, "b", 1, 2, 4);
	cr_assert_str_eq(take_turn("s"), "a");
}

Test(hub_sessions, what_the_next_run_finds_damaged_or_too_much_of_it_leaves)
{
	struct hub_record record = { .kind = HUB_PERSIST_SESSION, .job = SPAN("\xff\x01xyz"), .body = SPAN("\xa2") };

	config.max_sessions = 1;
	rig_init(&r, &config);
	rig_event(&r, (struct hub_event){ .type = HUB_EV_RESTORE, .record = &record });
	record.job = SPAN("\x01");
	rig_event(&r, (struct hub_event){ .type = HUB_EV_RESTORE, .record = &record });
	record.job = SPAN("\x01\x01ums");
	rig_event(&r, (struct hub_event){ .type = HUB_EV_RESTORE, .record = &record });
	cr_assert_eq(sessions().n, 0);
	record.body = SPAN("\xa2\x01\x61\x61\x02\x01");
	rig_event(&r, (struct hub_event){ .type = HUB_EV_RESTORE, .record = &record });
	record.job = SPAN("\x01\x01umt");
	rig_event(&r, (struct hub_event){ .type = HUB_EV_RESTORE, .record = &record });
	cr_assert(span_is(only().session, "s"));
}

/* ---- for all seeds ---- */

#define N_AGENTS 4

static const char *const names[N_AGENTS] = { "a", "b", "c", "d" };

struct world {
	struct rng rng;
	uint64_t epoch[N_AGENTS], slots;
	struct {
		char job[ID_LEN + 1];
		size_t agent;
		uint64_t attempt, epoch;
	} live[512];
	size_t n_live;
};

static size_t number_of(struct span agent)
{
	return (size_t)(agent.p[0] - 'a');
}

static void check_session(void *ctx, const struct hub_session_view *v)
{
	const struct world *w = ctx;

	cr_assert(v->jobs > 0 || r.now < v->used_ms + config.session_ttl_ms, "it outlives its time");
	if (v->agent.n > 0)
		cr_assert_eq(v->epoch, w->epoch[number_of(v->agent)], "it points at a life that is over");
}

static void add_agent(void *ctx, const struct hub_agent_view *v)
{
	*(uint64_t *)ctx += v->in_flight;
}

static void add_job(void *ctx, const struct hub_job_view *v)
{
	*(uint64_t *)ctx += v->state == HUB_JOB_DISPATCHED || v->state == HUB_JOB_RUNNING;
}

static void check_step(struct world *w)
{
	uint64_t in_flight = 0, assigned = 0;
	const struct hub_action *a;

	for (size_t n = 0; (a = rig_find(&r, HUB_ACT_DISPATCH, n)) != NULL; n++) {
		size_t i = number_of(a->agent);

		cr_assert_eq(a->job.epoch, w->epoch[i]);
		cr_assert_leq(rig_agent_view(&r, names[i]).in_flight, w->slots, "%s is loaded beyond its slots", names[i]);
		cr_assert_lt(w->n_live, sizeof(w->live) / sizeof(w->live[0]));
		w->live[w->n_live].agent = i;
		w->live[w->n_live].attempt = a->job.attempt;
		w->live[w->n_live].epoch = a->job.epoch;
		cr_assert_eq(span_copy(a->job.job, w->live[w->n_live++].job, ID_LEN + 1), 0);
	}
	hub_each_agent(r.h, add_agent, &in_flight);
	hub_each_job(r.h, add_job, &assigned);
	cr_assert_eq(in_flight, assigned);
	cr_assert_leq(hub_session_stats(r.h).live, config.max_sessions);
	hub_each_session(r.h, check_session, w);
}

static void submit_some(struct world *w)
{
	static char prompts[8][3001];
	size_t k = rng_below(&w->rng, 8);
	char session[2] = { (char)('0' + k), '\0' };

	long_prompt(prompts[k], rng_below(&w->rng, 3000) + 1, (char)('A' + k));
	(void)begin(turn(rng_below(&w->rng, 4) > 0 ? session : "", prompts[k]));
}

/* It may have been moved, or its agent be gone: then nothing comes of it. */
static void end_some(struct world *w)
{
	size_t i = rng_below(&w->rng, w->n_live);
	struct job_event e = rig_said(JOB_EVENT_FAILED, w->live[i].job, w->live[i].attempt);
	size_t agent = w->live[i].agent;

	e.epoch = w->live[i].epoch;
	e.code = CODE_CONTEXT_FULL; /* the end, whatever its sessions hold */
	if (rng_below(&w->rng, 4) == 0)
		e.code = CODE_ENGINE_CRASHED;
	rig_say(&r, names[agent], e);
	w->live[i] = w->live[--w->n_live];
}

static void trouble(struct world *w)
{
	size_t i = rng_below(&w->rng, N_AGENTS);

	switch (rng_below(&w->rng, 4)) {
	case 0: rig_agent(&r, names[i], ++w->epoch[i], 1, w->slots); break;
	case 1: rig_status(&r, names[i], w->epoch[i], 1, AGENT_DRAINING); break;
	case 2: rig_status(&r, names[i], w->epoch[i], 1, AGENT_OFFLINE); break;
	default: rig_status(&r, names[i], w->epoch[i], 1, AGENT_ONLINE); break;
	}
}

Test(hub_sessions, whatever_happens_caps_hold_and_sessions_point_at_the_living)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct world w = { .slots = seed % 3 + 1 };

		rng_seed(&w.rng, seed);
		config = rig_config();
		config.policy = (enum hub_policy)(seed % HUB_POLICY_COUNT);
		config.max_sessions = 5;
		config.session_ttl_ms = 3000;
		config.max_prefixes = 16;
		rig_init(&r, &config);
		for (size_t i = 0; i < N_AGENTS; i++)
			rig_agent(&r, names[i], w.epoch[i] = 1, 1, w.slots);
		for (int step = 0; step < 200; step++) {
			uint64_t dice = rng_below(&w.rng, 100);

			if (dice < 45)
				submit_some(&w);
			else if (dice < 80 && w.n_live > 0)
				end_some(&w);
			else if (dice < 85)
				trouble(&w);
			else
				rig_pass(&r, rng_below(&w.rng, 400));
			check_step(&w);
		}
	}
}
