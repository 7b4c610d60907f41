/* route.c - which agent gets which job.
 *
 * Two questions meet here: a job looks for an agent (when it is queued), an agent that has
 * got room looks for a job.  Between steps no waiting job fits any agent with room, so each
 * side only ever looks at the other's list for its own models.
 *
 * A decision looks at no more than ROUTE_SCAN agents that could take the job, which stand in
 * an order that suits the policy, and takes the one with the least score:
 *
 *   round_robin     the head of the model's ring of ready agents: chosen longest ago
 *   least_loaded    the smallest (jobs + 1) / slots of the first of that ring: exact for fleets up to
 *                   that size, and a choice of many beyond it (M. Mitzenmacher, "The Power of Two
 *                   Choices in Randomized Load Balancing", 2001: two already do most of it)
 *   hardware_aware  the smallest box that is large enough for the model, so that large ones stay free
 *                   for what needs them; among equals the least loaded
 *   cost            the least expected time (cost.c).  The agents stand in classes by it, and the best
 *                   classes are looked at first, so that the fast ones among 10,000 are found however few
 *                   they are; within a class the look goes round.  Of those within a twentieth of
 *                   the best two are drawn and the less loaded one is taken, lest a wrong estimate draw
 *                   everything to one agent
 *
 * An agent that would have to load the model first is taken only when no ready one has room;
 * then one that is loading it already before one that would begin, and always the same, so
 * that a burst of jobs fills one agent instead of loading the model on all.  But cost decides that
 * by time as well. */
#include "core.h"

#include <stdlib.h>

#define ROUTE_SCAN 64
#define CLASS_SCAN 8       /* of one class of expected times */
#define CLASSES_SCAN 24    /* of all: in a large fleet each one looked at is some cache misses */
#define AS_GOOD 1.05       /* scores so near the best are equal to it */
#define WARM_FIRST 1e15    /* all policies but cost: ready before loading before held */
#define PREFER_FIRST 1e12  /* … then more of the labels that are preferred */
#define ROUTE_CANDIDATES 5 /* told in a receipt */
#define UNFIT 100          /* hardware_aware: a box that is too small for the model */

struct option { /* an agent that could take the job */
	struct hold *hold;
	double score, expected_ms;
};

struct look { /* the agents one decision looks at */
	struct ask ask;
	struct option at[ROUTE_SCAN];
	size_t n;
};

/* ---- what policies compare ---- */

static double load_of(const struct agent *a)
{
	uint64_t slots = a->reg->slots > 0 ? a->reg->slots : 1, weight = admin_weight(a) > 0 ? admin_weight(a) : 1;

	return (double)(a->n_jobs + 1) / (double)slots * ADMIN_MAX_WEIGHT / (double)weight;
}

static double tier_score(const struct hold *o)
{
	unsigned needed = tier_of_model(o->info), has = tier_of_agent(o->agent);

	return (has >= needed ? has - needed : UNFIT + needed - has) * 1e6 + load_of(o->agent);
}

enum hub_policy route_policy(const struct job *j)
{
	return msg_has(j->submit, SUBMIT_POLICY) ? (enum hub_policy)j->submit->policy : j->model->policy;
}

double route_score(const struct hub *h, const struct ask *ask, const struct hold *o, double expected_ms)
{
	const struct submit *s = ask->j->submit;
	double score = WARM_FIRST * models_warmth(o);

	if (ask->policy == HUB_COST)
		return cost_score(h, ask, o, expected_ms);
	if (s->n_prefer > 0)
		score += PREFER_FIRST * (double)(s->n_prefer - filter_labels(o->agent, s->prefer, s->n_prefer));
	if (models_warmth(o) != WARMTH_READY)
		return score; /* in the order of the ring */
	switch (ask->policy) {
	case HUB_ROUND_ROBIN: return score + (double)o->turn;
	case HUB_HARDWARE_AWARE: return score + tier_score(o);
	default: return score + load_of(o->agent);
	}
}

/* ---- who is looked at ---- */

static void consider(const struct hub *h, struct look *l, struct hold *o)
{
	struct option *c = &l->at[l->n];

	if (l->n == ROUTE_SCAN || filter_job(h, &l->ask, o) != HUB_REASON_OUTRANKED)
		return;
	c->hold = o;
	c->expected_ms = cost_expected_ms(h, &l->ask, o);
	c->score = route_score(h, &l->ask, o, c->expected_ms);
	l->n++;
}

static void look_at_ring(const struct hub *h, struct look *l, enum warmth warmth)
{
	bool is_first_enough = l->ask.policy == HUB_ROUND_ROBIN && l->ask.j->submit->n_prefer == 0;

	LIST_EACH(it, &l->ask.j->model->rings[warmth])
	{
		consider(h, l, CONTAINER(it, struct hold, ring));
		if (l->n == ROUTE_SCAN || (l->n > 0 && (is_first_enough || warmth != WARMTH_READY)))
			break;
	}
}

static enum tier model_tier(const struct model *m)
{
	return list_empty(&m->holds) ? TIER_BELOW_3B : tier_of_model(CONTAINER(m->holds.next, struct hold, of_model)->info);
}

/* From the smallest that is large enough up; then downwards. */
static void look_at_tiers(const struct hub *h, struct look *l)
{
	struct model *m = l->ask.j->model;
	unsigned needed = model_tier(m);

	for (unsigned k = 0; k < TIER_COUNT && l->n == 0; k++) {
		unsigned t = needed + k < TIER_COUNT ? needed + k : TIER_COUNT - 1 - k;

		LIST_EACH(it, &m->tiers[t])
		{
			consider(h, l, CONTAINER(it, struct hold, tier));
			if (l->n == ROUTE_SCAN)
				break;
		}
	}
}

/* The ring's head moves behind the last one looked at: next time others are. */
static void look_at_class(const struct hub *h, struct look *l, struct list *ring)
{
	size_t end = l->n + CLASS_SCAN;

	LIST_EACH(it, ring)
	{
		consider(h, l, CONTAINER(it, struct hold, class));
		if (l->n < end && l->n < ROUTE_SCAN)
			continue;
		list_del(ring);
		list_add_after(it, ring);
		return;
	}
}

static void look_at_classes(const struct hub *h, struct look *l)
{
	struct model *m = l->ask.j->model;
	struct hold *near[AFFINITY_HITS];
	size_t n_near = affinity_holds(h, l->ask.j, near);

	for (size_t i = 0; i < n_near; i++)
		if (!list_empty(&near[i]->ring))
			consider(h, l, near[i]);
	for (uint64_t bits = m->class_bits; bits != 0 && l->n < CLASSES_SCAN; bits &= bits - 1)
		look_at_class(h, l, &m->classes[__builtin_ctzll(bits)]);
}

static struct look *look_at_nobody(const struct hub *h, struct look *l, struct job *j)
{
	l->n = 0;
	l->ask = cost_ask(h, j);
	return l;
}

static void look(const struct hub *h, struct look *l)
{
	if (l->ask.policy == HUB_COST) {
		look_at_classes(h, l);
		return;
	}
	if (l->ask.policy == HUB_HARDWARE_AWARE)
		look_at_tiers(h, l);
	for (unsigned w = 0; l->n == 0 && w < WARMTH_COUNT; w++)
		look_at_ring(h, l, (enum warmth)w);
}

/* ---- who is taken ---- */

static bool is_less_loaded(const struct hold *a, const struct hold *b)
{
	double x = load_of(a->agent), y = load_of(b->agent);

	return x != y ? x < y : a->turn < b->turn;
}

static struct option *two_choices(struct hub *h, struct look *l, struct option *best)
{
	size_t equal[ROUTE_SCAN], n = 0;
	struct option *a, *b;

	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].score <= best->score * AS_GOOD)
			equal[n++] = i;
	if (n < 2)
		return best;
	a = &l->at[equal[rng_below(&h->rng, n)]];
	b = &l->at[equal[rng_below(&h->rng, n)]];
	return is_less_loaded(b->hold, a->hold) ? b : a;
}

static struct option *choose(struct hub *h, struct look *l, struct job *j)
{
	struct option *best = NULL;

	look(h, look_at_nobody(h, l, j));
	for (size_t i = 0; i < l->n; i++)
		if (best == NULL || l->at[i].score < best->score)
			best = &l->at[i];
	return best != NULL && l->ask.policy == HUB_COST ? two_choices(h, l, best) : best;
}

struct hold *route_second(struct hub *h, struct job *j)
{
	struct agent *avoid = j->avoid;
	uint64_t avoid_until_ms = j->avoid_until_ms, kin_until_ms = j->kin_until_ms;
	const struct option *best;
	struct hold *o;
	struct look l;

	j->avoid = j->agent;
	j->avoid_until_ms = UINT64_MAX;
	if (j->n_ids > 0)
		j->kin_until_ms = UINT64_MAX; /* of its own will a hub changes nobody's words */
	best = h->is_blind ? NULL : choose(h, &l, j);
	o = best != NULL ? best->hold : NULL;
	j->avoid = avoid;
	j->avoid_until_ms = avoid_until_ms;
	j->kin_until_ms = kin_until_ms;
	return o != NULL && o->agent != j->agent && models_warmth(o) == WARMTH_READY ? o : NULL;
}

/* ---- what the receipt tells ---- */

static uint64_t whole_ms(double ms)
{
	return ms > 0 && ms < 1e15 ? (uint64_t)(ms + 0.5) : 0;
}

struct notes {
	struct {
		const struct agent *agent;
		enum hub_reason reason;
		double ms;
	} at[ROUTE_CANDIDATES];
	size_t n;
};

static void note(struct notes *t, const struct agent *a, enum hub_reason reason, double ms)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->at[i].agent == a)
			return;
	if (t->n == ROUTE_CANDIDATES)
		return;
	t->at[t->n].agent = a;
	t->at[t->n].reason = reason;
	t->at[t->n++].ms = ms;
}

/* Those that were looked at, the best first. */
static void note_rivals(struct notes *t, struct look *l)
{
	while (l->n > 0 && t->n < ROUTE_CANDIDATES) {
		size_t best = 0;

		for (size_t i = 1; i < l->n; i++)
			if (l->at[i].score < l->at[best].score)
				best = i;
		note(t, l->at[best].hold->agent, HUB_REASON_OUTRANKED, l->at[best].expected_ms);
		l->at[best] = l->at[--l->n];
	}
}

/* Where there is still place, some that could not have it. */
static void note_others(const struct hub *h, struct notes *t, const struct ask *ask)
{
	size_t n = 0;

	LIST_EACH(it, &ask->j->model->holds)
	{
		const struct hold *o = CONTAINER(it, struct hold, of_model);
		enum hub_reason reason = filter_all(h, ask, o->agent, o);

		if (t->n == ROUTE_CANDIDATES || n++ == 4 * ROUTE_CANDIDATES)
			return;
		note(t, o->agent, reason, reason == HUB_REASON_OUTRANKED ? cost_expected_ms(h, ask, o) : 0);
	}
}

/* With the agents' ids in the same block: they may be forgotten before the job is. */
static void keep_notes(struct hub *h, struct job *j, const struct notes *t)
{
	struct route_candidate *c = malloc(t->n * (sizeof(*c) + PROTO_MAX_ID));
	char *ids = (char *)(c + t->n);

	act_trash(h, j->candidates);
	j->candidates = c;
	j->n_candidates = c != NULL ? t->n : 0;
	for (size_t i = 0; i < j->n_candidates; i++) {
		struct span id = span_of(t->at[i].agent->id);

		memcpy(ids, id.p, id.n);
		c[i] = (struct route_candidate){ .agent = span_mem(ids, id.n),
			.reason = span_of(hub_reason_codes[t->at[i].reason]),
			.expected_ms = whole_ms(t->at[i].ms) };
		ids += id.n;
	}
}

static void note_choice(struct hub *h, struct look *l, struct job *j, const struct hold *o)
{
	struct notes t = { 0 };
	double ms = cost_expected_ms(h, &l->ask, o);

	note(&t, o->agent, HUB_REASON_CHOSEN, ms);
	note_rivals(&t, l);
	note_others(h, &t, &l->ask);
	keep_notes(h, j, &t);
	j->expected_ms = whole_ms(ms);
}

static void give(struct hub *h, struct look *l, struct job *j, struct hold *o)
{
	struct hold *home = session_hold(h, j);
	bool is_ready;
	const char *why;

	o = home != NULL ? home : o;
	is_ready = models_warmth(o) == WARMTH_READY;
	why = home != NULL               ? "session"
	      : j->model->n_serving == 1 ? "only"
	      : is_ready                 ? hub_policy_names[l->ask.policy]
					 : "cold";
	note_choice(h, l, j, o);
	list_del(&o->ring);
	if (is_ready)
		list_add_tail(&j->model->rings[WARMTH_READY], &o->ring);
	else
		list_add_head(&j->model->rings[models_warmth(o)], &o->ring);
	o->turn = ++j->model->last_turn;
	j->was_cold = !is_ready;
	j->began_load = !is_ready && o->cold_ms == 0;
	if (j->began_load)
		o->cold_ms = h->now_ms;
	cost_given(h, j, o);
	attempt_begin(h, j, o->agent, why);
}

bool route_job(struct hub *h, struct job *j)
{
	struct hold *home = h->is_blind ? NULL : session_hold(h, j);
	const struct option *best;
	struct look l;

	if (home != NULL) {
		give(h, look_at_nobody(h, &l, j), j, home);
		return true;
	}
	if (h->is_blind)
		return false;
	if (session_wait(h, j))
		return true;
	best = choose(h, &l, j);
	if (best == NULL)
		return false;
	give(h, &l, j, best->hold);
	return true;
}

/* ---- an agent looks for a job ---- */

static bool fits(const struct hub *h, struct job *j, const struct hold *o)
{
	struct ask ask = cost_ask(h, j);

	return filter_job(h, &ask, o) == HUB_REASON_OUTRANKED;
}

bool route_fits(const struct hub *h, struct job *j, const struct agent *a)
{
	const struct hold *o = models_hold(a, j->model);

	return o != NULL && fits(h, j, o);
}

static bool offer(struct hub *h, struct agent *a)
{
	const struct option *better = NULL;
	struct hold *best_hold = NULL;
	struct look l;
	struct job *best = NULL;
	size_t best_level = 0;

	for (size_t i = 0; i < a->n_holds; i++) {
		struct hold *o = &a->holds[i];
		size_t level = 0;
		struct job *j = list_empty(&o->ring) ? NULL : line_first(h, o, &level);

		if (j == NULL)
			continue;
		if (best != NULL && (level > best_level || (level == best_level && line_is_before(h, best, j))))
			continue;
		best = j;
		best_hold = o;
		best_level = level;
	}
	if (best == NULL)
		return false;
	if (models_warmth(best_hold) != WARMTH_READY || route_policy(best) == HUB_COST)
		better = choose(h, &l, best); /* of all that have got room */
	else
		look_at_nobody(h, &l, best);
	give(h, &l, best, better != NULL ? better->hold : best_hold);
	return true;
}

/* Those that wait for this very agent, unless someone more urgent waits for any. */
static bool offer_waiting(struct hub *h, struct agent *a)
{
	struct job *j = session_waiting(h, a);
	struct look l;

	if (j == NULL)
		return false;
	for (size_t level = 0; level < line_level(j); level++)
		if (j->model->queue[level].n > 0)
			return false;
	give(h, look_at_nobody(h, &l, j), j, session_hold(h, j));
	return true;
}

void route_offers(struct hub *h)
{
	while (!list_empty(&h->offers)) {
		struct agent *a = CONTAINER(h->offers.next, struct agent, offer);

		if (!a->routable)
			session_release(h, a);
		while (RULE(h, OFFER) && a->open && !h->is_blind && (offer_waiting(h, a) || offer(h, a)))
			;
		list_del(&a->offer);
	}
}

bool route_is_possible(const struct job *j)
{
	const struct model *m = j->model;

	if (m->n_able + m->n_coming == 0)
		return false;
	if (j->submit->n_require == 0)
		return true;
	LIST_EACH(l, &m->holds)
	{
		const struct agent *a = CONTAINER(l, struct hold, of_model)->agent;

		if (a->routable && filter_labels(a, j->submit->require, j->submit->n_require) == j->submit->n_require)
			return true;
	}
	return false;
}
