/* What a job would cost where: speeds, penalties, sizes, reasons, and what must hold whatever comes. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "hub_rig.h"
#include "rng.h"
#include "sha256.h"

static struct rig r;
static struct hub_config config;

static void init(void)
{
	config = rig_config();
	config.policy = HUB_COST;
	rig_init(&r, &config);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_cost, .init = init, .fini = fini);

/* ---- agents ---- */

struct box {
	const char *id;
	uint64_t slots, prefill_per_s, decode_per_s;
	enum model_state state;
	uint64_t size, memory, mem_total;
	const struct span *labels;
	size_t n_labels;
	bool metered;
};

static void join(struct box b)
{
	struct model_info m = { .name = SPAN("m"), .state = b.state, .slots = b.slots, .size = b.size, .memory = b.memory };
	struct registration g = rig_registration(b.id, 1, 1);

	msg_set(&m, MODEL_INFO_SLOTS);
	m.prefill_milli = b.prefill_per_s * 1000;
	m.decode_milli = b.decode_per_s * 1000;
	g.models = &m;
	g.slots = b.slots;
	g.labels = b.labels;
	g.n_labels = b.n_labels;
	g.metered = b.metered;
	g.hardware.mem_total = b.mem_total;
	rig_register(&r, g);
}

static void ready(const char *id, uint64_t slots, uint64_t decode_per_s)
{
	join((struct box){ id, slots, 10 * decode_per_s, decode_per_s, .state = MODEL_READY });
}

static void beats(const char *id, struct sensors s)
{
	struct heartbeat b = { .epoch = 1, .conn = 1, .state = AGENT_ONLINE, .slots = 1, .sensors = s };

	b.slots = rig_agent_view(&r, id).slots;
	rig_event(&r, (struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = span_of(id), .heartbeat = &b });
}

static const char *goes_to(struct submit s)
{
	return rig_goes_to(&r, s);
}

/* It ends with so many tokens at such a speed. */
static void done(const char *agent, const char *job, uint64_t tokens, uint64_t decode_per_s)
{
	uint8_t none[SHA256_SIZE];
	struct job_event e = rig_said(JOB_EVENT_TOKENS, job, 1);
	uint32_t ids[64] = { 0 };

	sha256_of(SPAN(""), none);
	e.ids = ids;
	e.n_ids = tokens;
	rig_say(&r, agent, e); /* tokens without text */
	e = rig_said(JOB_EVENT_DONE, job, 1);
	e.index = tokens;
	e.finish = FINISH_STOP;
	e.sha256 = span_mem(none, sizeof(none));
	e.usage = (struct usage){ .prompt_tokens = 40 };
	e.timings = (struct timings){ .prefill_us = 40000000 / (10 * decode_per_s),
		.decode_us = tokens * 1000000 / decode_per_s };
	rig_say(&r, agent, e);
	cr_assert_not_null(rig_answer(&r, ANSWER_DONE), "job %s on %s", job, agent);
}

/* So many jobs, one after the other: how many go to that agent. */
static unsigned share(const char *agent, unsigned n_jobs, uint64_t (*speed)(const char *agent))
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_jobs; i++) {
		const char *job = rig_submit(&r, rig_request("", false));
		const struct hub_action *a = rig_find(&r, HUB_ACT_DISPATCH, 0);
		const char *id;

		cr_assert_not_null(a);
		id = a->agent.p; /* the rig ends it in NUL */
		n += strcmp(id, agent) == 0;
		done(id, job, 20, speed(id));
	}
	return n;
}

/* ---- explanations ---- */

struct story {
	struct hub_route_view of[64];
	char ids[64][PROTO_MAX_ID + 1];
	size_t n;
};

static void tell(void *ctx, const struct hub_route_view *v)
{
	struct story *s = ctx;

	cr_assert_lt(s->n, 64);
	cr_assert_eq(span_copy(v->agent, s->ids[s->n], sizeof(s->ids[0])), 0);
	s->of[s->n++] = *v;
}

static struct story explain(struct submit s)
{
	struct story story = { 0 };

	cr_assert_eq(hub_explain_submit(r.h, &s, tell, &story), CODE_OK);
	return story;
}

static const struct hub_route_view *about(const struct story *s, const char *id)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->ids[i], id) == 0)
			return &s->of[i];
	cr_assert_fail("nothing is told of %s", id);
	return NULL;
}

static enum hub_reason reason_of(const char *id, struct submit s)
{
	struct story story = explain(s);

	return about(&story, id)->reason;
}

/* ---- speed ---- */

Test(hub_cost, the_faster_one_gets_the_job_until_its_load_makes_it_slower)
{
	unsigned fast = 0;

	ready("fast", 8, 40);
	ready("slow", 8, 20);
	cr_assert_str_eq(goes_to(rig_request("", false)), "fast");
	for (unsigned i = 1; i < 12; i++)
		fast += strcmp(goes_to(rig_request("", false)), "fast") == 0;
	cr_assert(fast >= 6 && fast < 11, "twice as fast: most, not all: %u of 11", fast);
}

static uint64_t b_is_fast(const char *agent)
{
	return strcmp(agent, "b") == 0 ? 50 : 5;
}

static uint64_t a_is_fast(const char *agent)
{
	return strcmp(agent, "a") == 0 ? 50 : 5;
}

Test(hub_cost, speed_is_what_ends_of_jobs_say_and_a_change_is_noticed)
{
	struct hub_rates_view v;

	ready("a", 1, 20);
	ready("b", 1, 20);
	cr_assert_geq(share("b", 40, b_is_fast), 35);
	cr_assert(hub_rates_of(r.h, SPAN("b"), SPAN("m"), &v));
	cr_assert_float_eq(v.decode_per_s, 50, 1);
	cr_assert_float_eq(v.prefill_per_s, 500, 10);
	(void)share("b", 40, a_is_fast); /* now a is, and b has become slow */
	cr_assert_geq(share("a", 40, a_is_fast), 35);
}

Test(hub_cost, an_agent_of_which_nothing_is_known_is_as_fast_as_the_others_are)
{
	struct story s;

	ready("a", 1, 30);
	(void)share("a", 5, a_is_fast);
	rig_keep_alive(&r, "a", 5000); /* until it has read all prompts, as far as the hub can tell */
	join((struct box){ "new", 1, 0, 0, .state = MODEL_READY });
	s = explain(rig_request("", false));
	cr_assert_float_eq(about(&s, "new")->expected_ms, about(&s, "a")->expected_ms, 1);
}

Test(hub_cost, among_thousands_the_few_fast_ones_are_found)
{
	static char ids[3000][8];
	unsigned fast = 0;

	for (size_t i = 0; i < 3000; i++) {
		(void)snprintf(ids[i], sizeof(ids[i]), "n%zu", i);
		ready(ids[i], 1, i % 100 == 50 ? 40 : 4 + i % 7);
	}
	for (unsigned i = 0; i < 30; i++) {
		const char *id = goes_to(rig_request("", false));

		fast += strtoul(id + 1, NULL, 10) % 100 == 50;
	}
	cr_assert_eq(fast, 30, "30 of 3,000 are fast, and have all the jobs: %u", fast);
	cr_assert_str_neq(goes_to(rig_request("", false)), "", "then others");
}

Test(hub_cost, equals_share_the_work)
{
	unsigned n[4] = { 0 };

	for (size_t i = 0; i < 4; i++)
		ready((const char *[]){ "a", "b", "c", "d" }[i], 100, 20);
	for (unsigned i = 0; i < 100; i++)
		n[goes_to(rig_request("", false))[0] - 'a']++;
	for (size_t i = 0; i < 4; i++)
		cr_assert(n[i] >= 20 && n[i] <= 30, "%u %u %u %u", n[0], n[1], n[2], n[3]);
}

/* ---- loading ---- */

Test(hub_cost, a_slow_load_is_dearer_than_a_slow_agent_and_a_slow_agent_than_a_quick_load)
{
	const uint64_t large = (uint64_t)20 << 30;

	join((struct box){ "cold", 1, 1000, 100, .state = MODEL_HELD, .size = large });
	join((struct box){ "warm", 4, 100, 10, .state = MODEL_READY, .size = large });
	cr_assert_str_eq(goes_to(rig_request("", false)), "warm");
	init();
	join((struct box){ "cold", 1, 1000, 100, .state = MODEL_HELD, .size = 1 << 20 });
	join((struct box){ "warm", 4, 20, 2, .state = MODEL_READY, .size = 1 << 20 });
	cr_assert_str_eq(
		goes_to(rig_request("", false)), "cold", "100 tokens take a second there, with the load two or three");
}

Test(hub_cost, of_equals_the_warm_one)
{
	join((struct box){ "cold", 8, 100, 10, .state = MODEL_HELD });
	join((struct box){ "warm", 8, 100, 10, .state = MODEL_READY });
	cr_assert_str_eq(goes_to(rig_request("", false)), "warm");
}

Test(hub_cost, the_receipt_tells_how_long_the_load_took)
{
	struct model_info m = { .name = SPAN("m"), .state = MODEL_READY, .slots = 1 };
	struct registration g = rig_registration("a", 1, 1);
	uint8_t digest[SHA256_SIZE];
	const struct receipt *t;
	struct job_event e;
	const char *job;

	join((struct box){ "a", 1, 100, 10, .state = MODEL_HELD });
	job = rig_submit(&r, rig_request("", false));
	rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, job, 1));
	rig_keep_alive(&r, "a", 1500);
	msg_set(&m, MODEL_INFO_SLOTS);
	g.models = &m;
	g.seq = 2;
	rig_register(&r, g);
	rig_tokens(&r, "a", job, 1, 0, "x");
	e = rig_said(JOB_EVENT_DONE, job, 1);
	e.queue_ms = 1600;
	e.index = 1;
	e.finish = FINISH_STOP;
	sha256_of(SPAN("x"), digest);
	e.sha256 = span_mem(digest, sizeof(digest));
	rig_say(&r, "a", e);
	cr_assert_not_null(rig_answer(&r, ANSWER_DONE));
	t = &rig_answer(&r, ANSWER_DONE)->answer.receipt;
	cr_assert_float_eq(t->load_ms, 1500, 1);
	cr_assert_float_eq(t->wait_ms, 100, 1);
	cr_assert(span_is(t->route, "only"));
}

/* ---- what speaks against an agent ---- */

static struct sensors sensing(unsigned key)
{
	struct sensors s = { 0 };

	msg_set(&s, key);
	return s;
}

Test(hub_cost, heat_battery_a_metered_link_and_errors_make_an_agent_the_second_choice)
{
	struct sensors hot = sensing(SENSORS_TEMP), slowed = sensing(SENSORS_THROTTLED), cold = sensing(SENSORS_TEMP),
		       battery = sensing(SENSORS_ON_MAINS), mains = battery;
	const struct sensors *against[] = { &hot, &slowed, &battery };

	hot.temp_milli = 90000;
	cold.temp_milli = 40000;
	slowed.throttled = true;
	mains.on_mains = true;
	for (size_t i = 0; i < 3; i++) {
		init();
		ready("a", 4, 20);
		ready("b", 4, 19);
		cr_assert_eq(reason_of("a", rig_request("", false)), HUB_REASON_CHOSEN);
		beats("a", *against[i]);
		cr_assert_eq(reason_of("b", rig_request("", false)), HUB_REASON_CHOSEN, "sensor %zu", i);
		cr_assert_str_eq(goes_to(rig_request("", false)), "b");
		beats("a", i == 2 ? mains : cold);
		cr_assert_eq(reason_of("a", rig_request("", false)), HUB_REASON_CHOSEN, "it has recovered");
	}
	init();
	join((struct box){ "a", 4, 200, 20, .state = MODEL_READY, .metered = true });
	ready("b", 4, 15);
	cr_assert_str_eq(goes_to(rig_request("", false)), "b");
	init();
	ready("a", 4, 20);
	ready("b", 4, 15);
	rig_failed(&r, "a", rig_submit(&r, rig_request("", false)), 1, CODE_BATCH_FAILED);
	cr_assert_eq(reason_of("b", rig_request("", false)), HUB_REASON_CHOSEN);
}

Test(hub_cost, a_preferred_label_is_worth_something_but_not_everything)
{
	struct span label = SPAN("zone=eu");
	struct submit s = rig_request("", false);

	join((struct box){ "eu", 8, 150, 15, .state = MODEL_READY, .labels = &label, .n_labels = 1 });
	ready("us", 8, 20);
	s.prefer = &label;
	s.n_prefer = 1;
	cr_assert_str_eq(goes_to(s), "eu");
	init();
	join((struct box){ "eu", 8, 15, 1, .state = MODEL_READY, .labels = &label, .n_labels = 1 });
	ready("us", 8, 20);
	cr_assert_str_eq(goes_to(s), "us", "twenty times slower is too much");
}

/* ---- sizes ---- */

#define GIB ((uint64_t)1 << 30)

Test(hub_cost, hardware_aware_takes_the_smallest_box_that_is_large_enough)
{
	config.policy = HUB_HARDWARE_AWARE;
	rig_init(&r, &config);
	for (size_t i = 0; i < 3; i++)
		join((struct box){ (const char *[]){ "huge", "right", "small" }[i], 1, 0, 0, .state = MODEL_READY,
			.size = (uint64_t)4400 << 20, .mem_total = (const uint64_t[]){ 128, 8, 2 }[i] * GIB });
	cr_assert_str_eq(rig_agent_view(&r, "huge").tier, "30B+");
	cr_assert_str_eq(rig_agent_view(&r, "right").tier, "7-13B");
	cr_assert_str_eq(rig_agent_view(&r, "small").tier, "<3B");
	cr_assert_str_eq(goes_to(rig_request("", false)), "right");
	cr_assert_str_eq(goes_to(rig_request("", false)), "huge");
	cr_assert_str_eq(goes_to(rig_request("", false)), "small", "it has loaded it, after all");
}

Test(hub_cost, a_box_with_memory_but_no_speed_is_a_small_one)
{
	join((struct box){ "slow", 1, 10, 1, .state = MODEL_READY, .size = 2 * GIB, .mem_total = 64 * GIB });
	join((struct box){ "quick", 1, 100, 20, .state = MODEL_READY, .size = 2 * GIB, .mem_total = 64 * GIB });
	cr_assert_str_eq(rig_agent_view(&r, "slow").tier, "<3B", "2 GiB a second: a 3B model would have one token a second");
	cr_assert_str_eq(rig_agent_view(&r, "quick").tier, "30B+");
}

/* ---- agents of the configuration ---- */

Test(hub_cost, an_expected_agent_is_shown_before_it_comes_and_has_the_labels_given_to_it)
{
	static char id[] = "shed", label[] = "place=shed";
	static char *labels[] = { label };
	static const struct hub_known_agent known = { .id = id, .labels = labels, .n_labels = 1, .metered = true };
	struct submit s = rig_request("", false);
	struct span want = SPAN("place=shed");

	config.agents = &known;
	config.n_agents = 1;
	rig_init(&r, &config);
	cr_assert_eq(rig_presence(&r, "shed"), HUB_PRESENCE_OFFLINE);
	cr_assert(span_is(rig_agent_view(&r, "shed").reason, "never seen"));
	ready("other", 1, 20);
	s.require = &want;
	s.n_require = 1;
	cr_assert_eq(reason_of("shed", s), HUB_REASON_NEVER_SEEN);
	cr_assert_str_eq(goes_to(s), "");
	ready("shed", 1, 20);
	cr_assert_not_null(rig_dispatched(&r, "shed"), "it waited for that label");
	cr_assert(rig_agent_view(&r, "shed").metered);
}

/* ---- reasons ---- */

Test(hub_cost, each_refusal_has_its_reason)
{
	struct submit s = rig_request("", false), labelled = s, hurried = s;
	struct span label = SPAN("gpu");
	struct model_info other = { .name = SPAN("n"), .state = MODEL_READY };
	struct registration g = rig_registration("elsewhere", 1, 1);
	struct heartbeat newer = { .epoch = 9, .conn = 1, .state = AGENT_ONLINE },
			 tight = { .epoch = 1, .conn = 1, .state = AGENT_ONLINE, .slots = 1, .memory_limit = GIB };

	labelled.require = &label;
	labelled.n_require = 1;
	hurried.deadline_ms = 5;
	g.models = &other;
	rig_register(&r, g);
	ready("a", 1, 20);
	ready("gone", 1, 20);
	ready("drained", 1, 20);
	ready("restarted", 1, 20);
	ready("none", 0, 20);
	join((struct box){ "failed", 1, .state = MODEL_FAILED });
	join((struct box){ "ill", 1, .state = MODEL_QUARANTINED });
	join((struct box){ "absent", 1, .state = MODEL_ABSENT });
	join((struct box){ "tight", 1, .state = MODEL_HELD, .memory = 2 * GIB });
	rig_event(&r, (struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = SPAN("tight"), .heartbeat = &tight });
	rig_event(&r, (struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = SPAN("restarted"), .heartbeat = &newer });
	rig_status(&r, "drained", 1, 1, AGENT_DRAINING);
	rig_status(&r, "gone", 1, 1, AGENT_OFFLINE);
	rig_pass(&r, 250);
	rig_status(&r, "stranger", 1, 1, AGENT_ONLINE);
	(void)share("a", 3, a_is_fast); /* 40 tokens of a prompt take it 80 ms */

	cr_assert_eq(reason_of("a", s), HUB_REASON_CHOSEN);
	cr_assert_eq(reason_of("elsewhere", s), HUB_REASON_MODEL_ABSENT);
	cr_assert_eq(reason_of("gone", s), HUB_REASON_OFFLINE);
	cr_assert_eq(reason_of("drained", s), HUB_REASON_DRAINING);
	cr_assert_eq(reason_of("restarted", s), HUB_REASON_STALE_EPOCH);
	cr_assert_eq(rig_presence(&r, "restarted"), HUB_PRESENCE_SUSPECT);
	cr_assert_eq(reason_of("none", s), HUB_REASON_NO_SLOTS);
	cr_assert_eq(reason_of("failed", s), HUB_REASON_MODEL_FAILED);
	cr_assert_eq(reason_of("ill", s), HUB_REASON_MODEL_QUARANTINED);
	cr_assert_eq(reason_of("absent", s), HUB_REASON_MODEL_ABSENT);
	cr_assert_eq(reason_of("tight", s), HUB_REASON_TOO_BIG);
	cr_assert_eq(reason_of("stranger", s), HUB_REASON_NEVER_SEEN);
	cr_assert_eq(reason_of("a", labelled), HUB_REASON_LABEL_MISSING);
	hurried.prompt = SPAN(
		"a prompt that is long enough for its computing to take longer than there is time for, at 500 a second");
	cr_assert_eq(reason_of("a", hurried), HUB_REASON_DEADLINE);
	rig_submit(&r, s);
	cr_assert_eq(reason_of("a", s), HUB_REASON_SLOTS_FULL);
	rig_simple(&r, HUB_EV_LINK_DOWN);
	cr_assert_eq(reason_of("a", s), HUB_REASON_BLIND);
}

Test(hub_cost, a_restarted_agent_is_current_again_with_its_registration)
{
	struct heartbeat newer = { .epoch = 2, .conn = 1, .state = AGENT_ONLINE };

	ready("a", 1, 20);
	rig_event(&r, (struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = SPAN("a"), .heartbeat = &newer });
	cr_assert_str_eq(goes_to(rig_request("", false)), "");
	rig_agent(&r, "a", 2, 1, 1);
	cr_assert_not_null(rig_dispatched(&r, "a"));
}

/* ---- what must hold whatever comes ---- */

#define N_BOXES 12
#define N_RUNS 60

struct flight {
	char job[64], agent[8];
	bool is_live;
};

static char box_ids[N_BOXES][4];
static uint64_t box_slots[N_BOXES];

static void random_box(struct rng *g, size_t i, uint64_t seq)
{
	static const enum model_state states[] = { MODEL_READY, MODEL_READY, MODEL_READY, MODEL_HELD, MODEL_LOADING,
		MODEL_FAILED };
	struct span label = SPAN("x");
	struct model_info m = { .name = SPAN("m"), .state = states[rng_below(g, 6)], .slots = rng_below(g, 3) };
	struct registration reg = rig_registration(box_ids[i], 1, 1);

	box_slots[i] = rng_below(g, 4);
	msg_set(&m, MODEL_INFO_SLOTS);
	m.decode_milli = 1000 * (1 + rng_below(g, 50));
	m.prefill_milli = 10 * m.decode_milli;
	reg.models = &m;
	reg.slots = box_slots[i];
	reg.labels = &label;
	reg.n_labels = rng_below(g, 2);
	reg.seq = seq;
	rig_register(&r, reg);
}

static struct submit random_request(struct rng *g)
{
	static struct span label = { "x", 1 };
	struct submit s = rig_request("", false);

	s.require = &label;
	s.n_require = rng_below(g, 3) == 0;
	if (rng_below(g, 2) == 0) {
		s.policy = (unsigned)rng_below(g, HUB_POLICY_COUNT);
		msg_set(&s, SUBMIT_POLICY);
	}
	return s;
}

static void is_waiting_for_nothing(void *ctx, const struct hub_route_view *v)
{
	cr_assert(v->reason != HUB_REASON_OUTRANKED && v->reason != HUB_REASON_CHOSEN, "job %s waits and %.*s has room",
		(char *)ctx, SPAN_FMT(v->agent));
}

static void check_job(void *ctx, const struct hub_job_view *v)
{
	char id[64];

	(void)ctx;
	if (v->state != HUB_JOB_QUEUED || v->not_before_ms > r.now)
		return;
	cr_assert_eq(span_copy(v->job, id, sizeof(id)), 0);
	cr_assert_eq(hub_explain_job(r.h, v->job, is_waiting_for_nothing, id), CODE_OK);
}

/* Decisions look at lists; this looks at everyone. */
static void check_choice(const struct story *before, const char *agent, enum hub_policy policy)
{
	const struct hub_route_view *taken = about(before, agent);
	double least = 1e300;

	cr_assert(taken->reason == HUB_REASON_OUTRANKED || taken->reason == HUB_REASON_CHOSEN, "%s: %s", agent,
		hub_reason_codes[taken->reason]);
	for (size_t i = 0; i < before->n; i++)
		if ((before->of[i].reason == HUB_REASON_OUTRANKED || before->of[i].reason == HUB_REASON_CHOSEN) &&
			before->of[i].score < least)
			least = before->of[i].score;
	cr_assert_leq(taken->score, least * (policy == HUB_COST ? 1.0501 : 1) + 1e-9, "policy %s took %s: %g, not %g",
		hub_policy_names[policy], agent, taken->score, least);
}

static void submit_one(struct rng *g, struct flight *f)
{
	struct submit s = random_request(g);
	struct story before = explain(s);
	const struct hub_action *a;

	cr_assert_eq(span_copy(span_of(rig_submit(&r, s)), f->job, sizeof(f->job)), 0);
	a = rig_find(&r, HUB_ACT_DISPATCH, 0);
	f->is_live = a != NULL;
	if (a == NULL)
		return;
	cr_assert_eq(span_copy(a->agent, f->agent, sizeof(f->agent)), 0);
	check_choice(&before, f->agent, msg_has(&s, SUBMIT_POLICY) ? (enum hub_policy)s.policy : config.policy);
}

static void check_all(void)
{
	for (size_t i = 0; i < N_BOXES; i++) {
		struct hub_agent_view v = rig_agent_view(&r, box_ids[i]);

		cr_assert_leq(v.in_flight, v.slots > 3 ? v.slots : 3, "%s", box_ids[i]);
	}
	hub_each_job(r.h, check_job, NULL);
}

static void one_world(uint64_t seed)
{
	struct flight flights[200] = { 0 };
	struct rng g;
	size_t n = 0;

	rng_seed(&g, seed);
	config.policy = (enum hub_policy)(seed % HUB_POLICY_COUNT);
	rig_init(&r, &config);
	for (size_t i = 0; i < N_BOXES; i++)
		random_box(&g, i, 1);
	for (uint64_t step = 2; step < 120; step++) {
		size_t i = rng_below(&g, n + 1);

		if (rng_below(&g, 3) > 0 && n < 60)
			submit_one(&g, &flights[n++]);
		else if (i < n && flights[i].is_live && (flights[i].is_live = false) == false)
			rig_cancel(&r, "alice", flights[i].job, "");
		else
			random_box(&g, rng_below(&g, N_BOXES), step);
		check_all();
	}
}

Test(hub_cost, nobody_waits_while_one_has_room_and_lists_choose_as_a_look_at_everyone_would)
{
	for (size_t i = 0; i < N_BOXES; i++)
		(void)snprintf(box_ids[i], sizeof(box_ids[i]), "b%zu", i);
	for (uint64_t seed = 1; seed <= N_RUNS; seed++)
		one_world(seed);
}
