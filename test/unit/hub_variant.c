/* One name for several models: who is served by what, and when that ends. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "hub_rig.h"

static struct rig r;
static struct hub_variant_config two[] = { { .alias = "triage", .model = "v1", .weight = 90 },
	{ .alias = "triage", .model = "v2", .weight = 10 } };
static const struct model_info models[] = { { .name = { "v1", 2 }, .state = MODEL_READY, .n_ctx = 512 },
	{ .name = { "v2", 2 }, .state = MODEL_READY, .n_ctx = 512 } };

static void begin(const struct hub_config *c)
{
	struct registration g = rig_registration("a", 1, 1);

	rig_init(&r, c);
	g.slots = 64;
	g.models = models;
	g.n_models = 2;
	rig_register(&r, g);
}

static struct hub_config config(void)
{
	struct hub_config c = rig_config();

	c.variants = two;
	c.n_variants = 2;
	c.guard_min = 20;
	c.breaker_min = 0;
	return c;
}

static void init(void)
{
	struct hub_config c = config();

	begin(&c);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_variant, .init = init, .fini = fini);

struct asked {
	const char *job;
	bool is_second;
};

static struct asked ask(const char *session)
{
	struct submit s = rig_request("", false);
	struct asked a;

	s.model = SPAN("triage");
	s.session = span_of(session);
	a.job = rig_submit(&r, s);
	cr_assert_not_null(rig_dispatched(&r, "a"));
	a.is_second = span_is(rig_dispatched(&r, "a")->model, "v2");
	return a;
}

static void answer(struct asked a, uint64_t ms, bool is_bad)
{
	rig_keep_alive(&r, "a", ms);
	if (is_bad) {
		rig_failed(&r, "a", a.job, 1, CODE_INTERNAL_ERROR);
		return;
	}
	rig_tokens(&r, "a", a.job, 1, 0, "x");
	rig_done(&r, "a", a.job, 1, 1, "x");
	cr_assert(span_is(rig_answer(&r, ANSWER_DONE)->answer.model, a.is_second ? "v2" : "v1"));
}

static struct asked ask_nth(int i)
{
	char session[16];

	(void)snprintf(session, sizeof(session), "s%d", i);
	return ask(session);
}

struct found {
	bool is_off;
	uint64_t jobs, errors;
	char reason[160];
};

static void find_second(void *ctx, const struct hub_variant_view *v)
{
	struct found *f = ctx;

	if (!span_is(v->model, "v2"))
		return;
	f->is_off = v->is_off;
	f->jobs = v->jobs;
	f->errors = v->errors[CODE_INTERNAL_ERROR];
	(void)span_copy(v->reason, f->reason, sizeof(f->reason));
}

static struct found second(void)
{
	struct found f = { 0 };

	hub_each_variant(r.h, find_second, &f);
	return f;
}

Test(hub_variant, shares_are_by_weight_and_a_conversation_stays)
{
	bool before[1000];
	double n = 0, sigma = sqrt(1000 * 0.1 * 0.9);

	for (int i = 0; i < 1000; i++) {
		struct asked a = ask_nth(i);

		before[i] = a.is_second;
		n += a.is_second;
		answer(a, 0, false);
	}
	cr_assert(fabs(n - 100) < 4 * sigma, "%.0f of 1000", n);
	for (int i = 0; i < 200; i++) {
		struct asked a = ask_nth(i);

		cr_assert_eq(a.is_second, before[i]);
		answer(a, 0, false);
	}
}

static void event(bool resumes, uint64_t weight)
{
	struct hub_event ev = { .type = HUB_EV_VARIANT };

	ev.variant.alias = SPAN("triage");
	ev.variant.model = SPAN("v2");
	ev.variant.resumes = resumes;
	ev.variant.weight = weight;
	rig_event(&r, ev);
}

Test(hub_variant, more_weight_moves_only_those_it_must)
{
	bool before[300];
	int moved = 0;

	for (int i = 0; i < 300; i++) {
		struct asked a = ask_nth(i);

		before[i] = a.is_second;
		answer(a, 0, false);
	}
	event(false, 30);
	for (int i = 0; i < 300; i++) {
		struct asked a = ask_nth(i);

		cr_assert(a.is_second || !before[i], "nobody goes back");
		moved += a.is_second != before[i];
		answer(a, 0, false);
	}
	cr_assert(moved > 20 && moved < 80, "from 10 to 25 per cent: %d of 300", moved);
}

Test(hub_variant, one_that_fails_is_taken_out_until_it_is_resumed)
{
	for (int i = 0; i < 1000 && !second().is_off; i++) {
		struct asked a = ask_nth(i);

		answer(a, 1, a.is_second && i % 2 == 0);
	}
	cr_assert(second().is_off, "half of its jobs fail");
	cr_assert(second().jobs >= 20 && second().jobs < 40, "%u", (unsigned)second().jobs);
	cr_assert(second().reason[0] != '\0');
	cr_assert_eq(hub_counters(r.h)->variants_fallen, 1);
	for (int k = 0; k < 200; k++) {
		struct asked a = ask_nth(k);

		cr_assert_not(a.is_second);
		answer(a, 0, false);
	}
	event(true, 0);
	cr_assert_not(second().is_off);
	for (int k = 0, n = 0; n == 0; k++) {
		struct asked a = ask_nth(k);

		cr_assert(k < 200);
		n += a.is_second;
		answer(a, 0, false);
	}
}

Test(hub_variant, one_that_is_slow_is_taken_out)
{
	for (int i = 0; i < 1000 && !second().is_off; i++) {
		struct asked a = ask_nth(i);

		answer(a, a.is_second ? 400 : 100, false);
	}
	cr_assert(second().is_off);
}

Test(hub_variant, a_good_one_stays_and_what_clients_do_wrong_does_not_count)
{
	for (int i = 0; i < 1000; i++) {
		struct asked a = ask_nth(i);

		if (i % 3 == 0 && a.is_second)
			rig_failed(&r, "a", a.job, 1, CODE_CONTEXT_FULL);
		else
			answer(a, 1, i % 50 == 0);
	}
	cr_assert_not(second().is_off);
}

Test(hub_variant, a_label_keeps_a_variant_to_its_agents)
{
	struct hub_variant_config canary[] = { { .alias = "x", .model = "m", .weight = 1 },
		{ .alias = "x", .model = "m", .label = "canary", .weight = 1 } };
	struct span label = SPAN("canary");
	struct registration g = rig_registration("c", 1, 1);
	struct hub_config c = rig_config();
	int n = 0;

	c.variants = canary;
	c.n_variants = 2;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 64);
	g.slots = 64;
	g.labels = &label;
	g.n_labels = 1;
	rig_register(&r, g);
	for (int i = 0; i < 40; i++) {
		struct submit s = rig_request("", false);
		char session[16];

		(void)snprintf(session, sizeof(session), "s%d", i);
		s.model = SPAN("x");
		s.session = span_of(session);
		rig_submit(&r, s);
		n += rig_dispatched(&r, "c") != NULL;
	}
	cr_assert(n >= 8, "the canary's half goes to its agents: %d", n);
}

Test(hub_variant, a_chain_of_aliases_is_refused)
{
	struct hub_variant_config chain[] = { { .alias = "a", .model = "b", .weight = 1 },
		{ .alias = "b", .model = "m", .weight = 1 } };
	struct hub_config c = rig_config();

	c.variants = chain;
	c.n_variants = 2;
	cr_assert_not_null(hub_variants_check(&c));
	c.variants = two;
	cr_assert_null(hub_variants_check(&c));
}

Test(hub_variant, what_was_taken_out_stays_out_over_a_restart)
{
	struct hub_variant_config half[] = { { .alias = "triage", .model = "v1", .weight = 1 },
		{ .alias = "triage", .model = "v2", .weight = 1 } };
	struct hub_config c = config();

	c.journal = HUB_JOURNAL_SYNC;
	c.variants = half;
	c.guard_min = 5;
	begin(&c);
	for (int i = 0; i < 60 && !second().is_off; i++) {
		struct asked a = ask_nth(i);

		answer(a, 1, a.is_second);
	}
	cr_assert(second().is_off);
	rig_crash(&r, &c, r.n_records, 1000);
	cr_assert(second().is_off);
	cr_assert(second().reason[0] != '\0');
}
