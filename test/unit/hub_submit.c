/* What is taken, what is refused and why, and what a repeated id means. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;

static void init_with(uint64_t slots)
{
	struct hub_config c = rig_config();

	c.queue_max = 4;
	c.max_ended = 2;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, slots);
}

static void init(void)
{
	init_with(8);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_submit, .init = init, .fini = fini);

/* ---- refusals ---- */

static char big[PROTO_MAX_PROMPT + 1];
static const struct turn hello = { .role = { "user", 4 }, .content = { "hello", 5 } };
static const struct turn silent = { .role = { "user", 4 } };
static struct turn two_halves[2];
static const struct span nine[9] = { { "x", 1 }, { "x", 1 }, { "x", 1 }, { "x", 1 }, { "x", 1 }, { "x", 1 }, { "x", 1 },
	{ "x", 1 }, { "x", 1 } };
static const struct span nothing = { "", 0 };

#define REQUEST .model = { "m", 1 }, .prompt = { "p", 1 }
static const struct {
	const char *what;
	struct submit s;
	enum code code;
} refused[] = {
	{ "a model nobody has", { .model = { "other", 5 }, .prompt = { "p", 1 } }, CODE_MODEL_UNKNOWN },
	{ "nothing to answer", { .model = { "m", 1 } }, CODE_BAD_REQUEST },
	{ "an empty message", { .model = { "m", 1 }, .messages = &silent, .n_messages = 1 }, CODE_BAD_REQUEST },
	{ "prompt and messages", { REQUEST, .messages = &hello, .n_messages = 1 }, CODE_BAD_REQUEST },
	{ "a prompt too long", { .model = { "m", 1 }, .prompt = { big, sizeof(big) } }, CODE_TOO_LARGE },
	{ "messages too long", { .model = { "m", 1 }, .messages = two_halves, .n_messages = 2 }, CODE_TOO_LARGE },
	{ "an id out of the alphabet", { REQUEST, .id = { "a/b", 3 } }, CODE_BAD_REQUEST },
	{ "temperature", { REQUEST, .has = 1 << SUBMIT_TEMPERATURE, .temperature = -1 }, CODE_BAD_REQUEST },
	{ "top_p", { REQUEST, .has = 1 << SUBMIT_TOP_P, .top_p = 1.5 }, CODE_BAD_REQUEST },
	{ "too many stops", { REQUEST, .stop = nine, .n_stop = 9 }, CODE_BAD_REQUEST },
	{ "an empty stop", { REQUEST, .stop = &nothing, .n_stop = 1 }, CODE_BAD_REQUEST },
	{ "an empty label", { REQUEST, .require = &nothing, .n_require = 1 }, CODE_BAD_REQUEST },
	{ "an empty preference", { REQUEST, .prefer = &nothing, .n_prefer = 1 }, CODE_BAD_REQUEST },
	{ "a deadline too far", { REQUEST, .deadline_ms = PROTO_MAX_DEADLINE_MS + 1 }, CODE_BAD_REQUEST },
};

Test(hub_submit, what_is_not_valid_is_refused_with_a_code_and_a_sentence)
{
	memset(big, 'x', sizeof(big));
	for (size_t i = 0; i < 2; i++)
		two_halves[i] = (struct turn){ .role = SPAN("user"), .content = { big, PROTO_MAX_PROMPT / 2 + 1 } };
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		rig_submit_to(&r, "alice", refused[i].s, "t", 0);
		cr_assert_eq(rig_count(&r, HUB_ACT_PERSIST), 0, "%s was taken", refused[i].what);
		rig_must_refuse(&r, refused[i].code);
	}
	cr_assert_eq(hub_counters(r.h)->jobs_refused, sizeof(refused) / sizeof(refused[0]));
	cr_assert_eq(hub_counters(r.h)->jobs_submitted, 0);
}

Test(hub_submit, without_a_name_the_only_model_is_meant_and_several_are_listed)
{
	struct model_info two[] = { { .name = SPAN("m"), .state = MODEL_READY },
		{ .name = SPAN("other"), .state = MODEL_READY } };
	struct registration g = rig_registration("b", 1, 1);
	struct submit s = { .prompt = SPAN("p") };

	rig_submit(&r, s);
	cr_assert(span_is(rig_find(&r, HUB_ACT_DISPATCH, 0)->job.model, "m"));
	g.models = two;
	g.n_models = 2;
	rig_register(&r, g);
	rig_submit_to(&r, "alice", s, "t", 0);
	cr_assert_neq(strstr(rig_must_refuse(&r, CODE_BAD_REQUEST)->message.p, "m other"), NULL);
}

Test(hub_submit, a_refusal_goes_where_the_request_came_from)
{
	struct submit s = rig_request("k1", true);
	const struct hub_action *a;

	s.model = SPAN("other");
	s.correlation = SPAN("c1");
	rig_submit_to(&r, "alice", s, "t9", 7);
	a = rig_answer(&r, ANSWER_ERROR);
	cr_assert(span_is(a->reply.topic, "t9"));
	cr_assert_eq(a->reply.conn, 7);
	cr_assert(a->stream);
	cr_assert(span_is(a->answer.id, "k1"));
	cr_assert(span_is(a->answer.correlation, "c1"));
}

Test(hub_submit, with_no_agent_at_all_it_is_worth_trying_again)
{
	struct hub_config c = rig_config();

	rig_init(&r, &c);
	rig_submit_to(&r, "alice", rig_request("", false), "t", 0);
	cr_assert_gt(rig_must_refuse(&r, CODE_NO_AGENT)->retry_after_ms, 0);
}

Test(hub_submit, a_full_queue_refuses_with_a_time_to_wait)
{
	init_with(1);
	for (int i = 0; i < 5; i++) /* one runs, four wait */
		rig_submit(&r, rig_request("", false));
	rig_submit_to(&r, "alice", rig_request("", false), "t", 0);
	cr_assert_gt(rig_must_refuse(&r, CODE_QUEUE_FULL)->retry_after_ms, 0);
}

Test(hub_submit, too_many_live_jobs_refuse_more)
{
	struct hub_config c = rig_config();

	c.max_jobs = 2;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 8);
	rig_submit(&r, rig_request("", false));
	rig_submit(&r, rig_request("", false));
	rig_submit_to(&r, "alice", rig_request("", false), "t", 0);
	rig_must_refuse(&r, CODE_QUEUE_FULL);
}

Test(hub_submit, memory_is_bounded_and_ended_jobs_make_room)
{
	struct hub_config c = rig_config();
	struct submit s = rig_request("k1", false);
	const char *job;

	memset(big, 'x', sizeof(big));
	c.max_bytes = 600 << 10;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 8);
	s.prompt = span_mem(big, 200 << 10);
	job = rig_submit(&r, s);
	rig_tokens(&r, "a", job, 1, 0, "x");
	rig_done(&r, "a", job, 1, 1, "x");
	s.id = SPAN_NONE;
	rig_submit(&r, s);
	rig_submit(&r, s);
	rig_submit_to(&r, "alice", s, "t", 0);
	rig_must_refuse(&r, CODE_QUEUE_FULL);
	s.id = SPAN("k1");
	rig_submit_to(&r, "alice", s, "t", 0); /* forgotten: it would be a new job */
	rig_must_refuse(&r, CODE_QUEUE_FULL);
}

/* ---- what the agent is given ---- */

Test(hub_submit, the_dispatch_has_every_sampling_value_and_a_seed)
{
	struct submit s = rig_request("", false);
	const struct job_msg *m;
	uint64_t seed;

	rig_submit(&r, s);
	m = rig_dispatched(&r, "a");
	cr_assert_float_eq(m->sampling.temperature, 0.8, 1e-9);
	cr_assert(m->sampling.cache_prompt);
	cr_assert(msg_has(&m->sampling, SAMPLING_SEED));
	seed = m->sampling.seed;
	rig_submit(&r, s);
	cr_assert_neq(rig_dispatched(&r, "a")->sampling.seed, seed);
	s.seed = 5;
	msg_set(&s, SUBMIT_SEED);
	s.deadline_ms = 1500;
	s.priority = PRIORITY_HIGH;
	s.session = SPAN("s1");
	rig_submit(&r, s);
	m = rig_dispatched(&r, "a");
	cr_assert_eq(m->sampling.seed, 5);
	cr_assert_eq(m->deadline_ms, 1500);
	cr_assert_eq(m->priority, PRIORITY_HIGH);
	cr_assert(span_is(m->session, "s1"));
	cr_assert(span_is(m->prompt, "p"));
}

Test(hub_submit, messages_reach_the_agent_as_they_were_sent)
{
	struct submit s = { .model = SPAN("m"), .messages = &hello, .n_messages = 1 };
	struct hub_event ev = { .type = HUB_EV_SUBMIT, .user = SPAN("alice"), .submit = &s };
	const struct hub_action *acts;

	hub_step(r.h, r.now, &ev, &acts);
	hub_step(r.h, r.now, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = 1 }, &acts);
	cr_assert_eq(hub_step(r.h, r.now, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = 2 }, &acts), 1);
	cr_assert_eq(acts[0].type, HUB_ACT_DISPATCH);
	cr_assert_eq(acts[0].job.n_turns, 1);
	cr_assert(span_is(acts[0].job.turns[0].role, "user"));
	cr_assert(span_is(acts[0].job.turns[0].content, "hello"));
}

/* ---- the same id ---- */

Test(hub_submit, the_same_id_from_the_same_place_only_says_how_it_stands)
{
	const char *job = rig_submit(&r, rig_request("k1", true));

	rig_tokens(&r, "a", job, 1, 0, "hey");
	rig_submit_to(&r, "alice", rig_request("k1", true), "t", 0);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 1);
	cr_assert(span_is(rig_answer(&r, ANSWER_ACCEPTED)->answer.state, "running"));
	cr_assert(span_is(rig_answer(&r, ANSWER_ACCEPTED)->answer.job, job));
	cr_assert_eq(rig_count(&r, HUB_ACT_PERSIST), 0);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	cr_assert_eq(hub_counters(r.h)->jobs_repeated, 1);
}

Test(hub_submit, the_same_id_from_elsewhere_takes_the_answers_over_from_the_start)
{
	const char *job = rig_submit(&r, rig_request("k1", true));
	const struct hub_action *a;

	rig_tokens(&r, "a", job, 1, 0, "he");
	rig_submit_to(&r, "alice", rig_request("k1", true), "t2", 0);
	cr_assert(span_is(rig_find(&r, HUB_ACT_DETACH, 0)->reply.topic, "t"));
	cr_assert_eq(rig_answers(&r, ANSWER_ACCEPTED), 1);
	a = rig_answer(&r, ANSWER_TOKENS);
	cr_assert_eq(a->answer.index, 0);
	cr_assert_eq(a->answer.n, 2);
	cr_assert(span_is(a->answer.text, "he"));
	cr_assert(span_is(a->reply.topic, "t2"));
	rig_tokens(&r, "a", job, 1, 2, "y");
	cr_assert(span_is(rig_answer(&r, ANSWER_TOKENS)->reply.topic, "t2"));
	rig_done(&r, "a", job, 1, 3, "hey");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
}

Test(hub_submit, the_same_id_after_the_end_gets_the_same_end)
{
	const char *job = rig_submit(&r, rig_request("k1", false));

	rig_tokens(&r, "a", job, 1, 0, "hey");
	rig_done(&r, "a", job, 1, 3, "hey");
	rig_submit_to(&r, "alice", rig_request("k1", false), "t2", 0);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 1);
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.text, "hey"));
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.usage.completion_tokens, 3);
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->reply.topic, "t2"));
	cr_assert_eq(rig_count(&r, HUB_ACT_PERSIST), 0);
}

Test(hub_submit, how_the_answer_is_delivered_is_not_what_was_asked)
{
	struct submit s = rig_request("k1", false);
	const char *job = rig_submit(&r, s);

	rig_tokens(&r, "a", job, 1, 0, "hey");
	s.stream = true;
	rig_submit_to(&r, "alice", s, "t", 0);
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
	s.prompt = SPAN("other");
	rig_submit_to(&r, "alice", s, "t", 0);
	rig_must_refuse(&r, CODE_CONFLICT);
	s.prompt = SPAN("p");
	s.max_tokens = 5;
	rig_submit_to(&r, "alice", s, "t", 0);
	rig_must_refuse(&r, CODE_CONFLICT);
}

Test(hub_submit, an_id_belongs_to_its_user)
{
	const char *job = rig_submit(&r, rig_request("k1", true));

	rig_submit_to(&r, "bob", rig_request("k1", true), "t", 0);
	cr_assert_not(span_is(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.job, job));
	cr_assert_eq(rig_count(&r, HUB_ACT_DETACH), 0);
}

Test(hub_submit, ended_jobs_are_remembered_up_to_a_number)
{
	const char *first = NULL;

	for (int i = 0; i < 3; i++) {
		char id[3] = { 'k', (char)('0' + i), '\0' };
		const char *job = rig_submit(&r, rig_request(id, false));

		first = i == 0 ? job : first;
		rig_tokens(&r, "a", job, 1, 0, "x");
		rig_done(&r, "a", job, 1, 1, "x");
	}
	rig_submit_to(&r, "alice", rig_request("k2", false), "t", 0);
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
	cr_assert_not(span_is(span_of(rig_submit(&r, rig_request("k0", false))), first));
}

/* ---- what is recorded, and waited for ---- */

Test(hub_submit, nothing_is_promised_or_sent_before_it_is_safe)
{
	uint64_t seq;

	r.hold_persist = true;
	rig_submit(&r, rig_request("k1", true));
	cr_assert_eq(r.n, 1);
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.kind, HUB_PERSIST_SUBMIT);
	seq = r.persist_seq;
	rig_submit_to(&r, "alice", rig_request("k1", true), "t", 0); /* a repetition meanwhile */
	cr_assert_eq(r.n, 0);
	rig_pass(&r, 4000);
	cr_assert_eq(r.n, 0);
	rig_persisted(&r, seq - 1);
	cr_assert_eq(r.n, 0);
	rig_persisted(&r, seq);
	cr_assert_eq(rig_answers(&r, ANSWER_ACCEPTED), 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.kind, HUB_PERSIST_ATTEMPT);
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.attempt, 1);
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.seq, seq + 1);
	rig_pass(&r, 5000);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 0);
	rig_persisted(&r, seq + 1);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 1);
}

Test(hub_submit, one_word_from_the_journal_covers_all_before_it)
{
	r.hold_persist = true;
	for (int i = 0; i < 3; i++)
		rig_submit(&r, rig_request("", true));
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(rig_answers(&r, ANSWER_ACCEPTED), 3);
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(rig_count(&r, HUB_ACT_DISPATCH), 3);
}

Test(hub_submit, the_end_is_recorded_before_it_is_told_but_not_waited_for)
{
	const char *job = rig_submit(&r, rig_request("", false));

	r.hold_persist = true;
	rig_tokens(&r, "a", job, 1, 0, "x");
	rig_done(&r, "a", job, 1, 1, "x");
	cr_assert_lt(rig_find(&r, HUB_ACT_PERSIST, 0), rig_answer(&r, ANSWER_DONE));
	cr_assert_eq(rig_find(&r, HUB_ACT_PERSIST, 0)->persist.kind, HUB_PERSIST_END);
}

Test(hub_submit, a_job_cancelled_before_it_is_safe_is_never_sent)
{
	const char *job;

	r.hold_persist = true;
	job = rig_submit(&r, rig_request("", true));
	rig_cancel(&r, "alice", job, NULL);
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(r.n, 0);
}
