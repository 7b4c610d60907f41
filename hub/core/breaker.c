/* breaker.c - one agent's one model fails too often: others first, for a while.
 *
 * Circuit breaker (M. Nygard, Release It!, 2007), per agent and model: an agent whose one
 * model is broken serves its others.  Closed: verdicts are counted in a window that slides
 * by parts of it; enough of them, and enough of those failures, open it.  Open: the agent
 * is given no job of this model, for a time that doubles with each opening in a row.  Half
 * open: one job may try; its end closes it or opens it again.
 *
 * What counts is what the agent or its engine did: crashes, stalls, wrong bytes, refusals.
 * Full queues, deadlines, cancels and lost agents say nothing about the model there.  One
 * job counts once an agent however often it fails, and the death of an engine counts once
 * however many jobs it ran: a bad job opens no breaker.
 *
 * A breaker exists from the first failure until a whole window has passed without one, so
 * a healthy fleet pays nothing for it. */
#include "core.h"

#include <stdlib.h>

#define X(name, text) text,
const char *const hub_breaker_names[] = { HUB_BREAKER_LIST(X) NULL };
#undef X

#define PARTS 6 /* of the window */

struct breaker {
	struct timer timer;
	struct list all; /* hub.breakers */
	struct hold *hold;
	enum hub_breaker state;
	uint64_t until_ms;    /* while open */
	uint64_t failed_ms;   /* when it was counted last; 0: never */
	uint64_t open_for_ms; /* next time; 0: as at first */
	uint64_t part;        /* number of the youngest; time / length of one */
	struct {
		uint32_t good, bad;
	} parts[PARTS];
};

static uint64_t part_ms(const struct hub *h)
{
	return h->config.breaker_window_ms / PARTS + 1;
}

static void forget(struct breaker *b)
{
	memset(b->parts, 0, sizeof(b->parts));
}

/* Parts that have left the window are emptied for their next use. */
static void slide(const struct hub *h, struct breaker *b)
{
	uint64_t now = h->now_ms / part_ms(h), steps = now - b->part;

	if (steps > PARTS)
		steps = PARTS;
	for (; steps > 0; steps--)
		memset(&b->parts[(now - steps + 1) % PARTS], 0, sizeof(b->parts[0]));
	b->part = now;
}

static void sum(const struct breaker *b, uint64_t *ret_good, uint64_t *ret_bad)
{
	*ret_good = *ret_bad = 0;
	for (size_t i = 0; i < PARTS; i++) {
		*ret_good += b->parts[i].good;
		*ret_bad += b->parts[i].bad;
	}
}

/* ---- life ---- */

static struct breaker *breaker_get(struct hub *h, struct hold *o)
{
	struct breaker *b = o->breaker;

	if (b != NULL || h->config.breaker_min == 0)
		return b;
	b = calloc(1, sizeof(*b));
	if (b == NULL || timers_reserve(&h->timers) < 0) {
		free(b);
		return NULL; /* no memory: this failure is not counted */
	}
	b->timer.kind = TIMER_BREAKER;
	b->hold = o;
	b->part = h->now_ms / part_ms(h);
	list_add_tail(&h->breakers, &b->all);
	o->breaker = b;
	return b;
}

void breaker_free(struct hub *h, struct hold *o)
{
	struct breaker *b = o->breaker;

	if (b == NULL)
		return;
	h->counters.breakers_open -= b->state != HUB_BREAKER_CLOSED;
	timers_release(&h->timers, &b->timer);
	list_del(&b->all);
	act_trash(h, b);
	o->breaker = NULL;
}

void breaker_move(struct hold *from, struct hold *to)
{
	to->breaker = from->breaker;
	from->breaker = NULL;
	if (to->breaker != NULL)
		to->breaker->hold = to;
}

/* ---- states ---- */

static void set_state(struct hub *h, struct breaker *b, enum hub_breaker state)
{
	h->counters.breakers_open += state != HUB_BREAKER_CLOSED;
	h->counters.breakers_open -= b->state != HUB_BREAKER_CLOSED;
	b->state = state;
	fleet_refresh(h, b->hold->agent);
}

static void open_it(struct hub *h, struct breaker *b, uint64_t good, uint64_t bad)
{
	const struct hub_config *c = &h->config;
	uint64_t ms = b->open_for_ms > 0 ? b->open_for_ms : c->breaker_open_ms;

	HUB_SAY(h, SAY_WARN, "%s fails at %s (%llu of %llu lately): it gets no jobs of it for %llu ms, then one to try",
		b->hold->agent->id, b->hold->model->name, (unsigned long long)bad, (unsigned long long)(good + bad),
		(unsigned long long)ms);
	h->counters.breakers_opened++;
	b->until_ms = h->now_ms + ms;
	b->open_for_ms = ms * 2 < c->breaker_open_max_ms ? ms * 2 : c->breaker_open_max_ms;
	forget(b);
	set_state(h, b, HUB_BREAKER_OPEN);
	timer_set(&h->timers, &b->timer, b->until_ms);
}

static void close_it(struct hub *h, struct breaker *b)
{
	HUB_SAY(h, SAY_NOTICE, "%s does %s again: it gets jobs as before", b->hold->agent->id, b->hold->model->name);
	h->counters.breakers_closed++;
	forget(b);
	set_state(h, b, HUB_BREAKER_CLOSED);
	/* Kept for a while: one that fails again soon stays away for longer. */
	timer_set(&h->timers, &b->timer, h->now_ms + h->config.breaker_window_ms + b->open_for_ms);
}

void breaker_tick(struct hub *h, struct timer *t)
{
	struct breaker *b = CONTAINER(t, struct breaker, timer);
	uint64_t good, bad;

	if (b->state == HUB_BREAKER_OPEN) {
		set_state(h, b, HUB_BREAKER_HALF_OPEN);
		return;
	}
	slide(h, b);
	sum(b, &good, &bad);
	if (bad > 0)
		timer_set(&h->timers, &b->timer, h->now_ms + h->config.breaker_window_ms);
	else
		breaker_free(h, b->hold);
}

void breaker_reset(struct hub *h, struct hold *o)
{
	if (o->breaker != NULL && o->breaker->state != HUB_BREAKER_CLOSED)
		close_it(h, o->breaker);
	breaker_free(h, o);
}

/* ---- verdicts ---- */

static bool is_verdict(enum code code)
{
	switch (code) {
	case CODE_QUEUE_FULL:
	case CODE_QUEUE_TIMEOUT:
	case CODE_NO_AGENT:
	case CODE_AGENT_LOST: return false;
	default: return code_info(code)->retryable || code == CODE_INTERNAL_ERROR;
	}
}

/* It died, or hung, and all that ran beside failed with it: told once already. */
static bool is_same_death(const struct hold *o, uint64_t begun_ms, enum code code)
{
	if (code != CODE_ENGINE_CRASHED && code != CODE_BATCH_TIMEOUT)
		return false;
	return o->breaker != NULL && o->breaker->failed_ms >= begun_ms;
}

/* True when this job has failed on this agent before. */
static bool is_known(struct job *j, const struct agent *a)
{
	for (size_t i = 0; i < JOB_BLAMES; i++)
		if (j->blamed[i] == a)
			return true;
	j->blamed[j->n_blamed++ % JOB_BLAMES] = a;
	return false;
}

static void bad(struct hub *h, struct hold *o)
{
	const struct hub_config *c = &h->config;
	struct breaker *b = breaker_get(h, o);
	uint64_t n_good, n_bad;

	if (b == NULL || b->state == HUB_BREAKER_OPEN)
		return; /* of a job from before it opened */
	slide(h, b);
	b->parts[b->part % PARTS].bad++;
	b->failed_ms = h->now_ms;
	sum(b, &n_good, &n_bad);
	if (b->state == HUB_BREAKER_HALF_OPEN ||
		(n_good + n_bad >= c->breaker_min && n_bad * 100 >= (n_good + n_bad) * c->breaker_percent))
		open_it(h, b, n_good, n_bad);
	else if (b->timer.pos == 0)
		timer_set(&h->timers, &b->timer, h->now_ms + c->breaker_window_ms);
}

void breaker_failed(struct hub *h, struct job *j, const struct agent *a, uint64_t begun_ms, enum code code)
{
	struct hold *o = models_hold(a, j->model);
	bool is_half_open = o != NULL && o->breaker != NULL && o->breaker->state == HUB_BREAKER_HALF_OPEN;

	if (o == NULL || !is_verdict(code) || !RULE(h, BREAKER))
		return;
	if ((!is_known(j, a) && !is_same_death(o, begun_ms, code)) || is_half_open)
		bad(h, o);
}

void breaker_unanswered(struct hub *h, struct job *j)
{
	struct hold *o = models_hold(j->agent, j->model);

	if (o != NULL && RULE(h, BREAKER) && !is_known(j, j->agent))
		bad(h, o);
}

void breaker_worked(struct hub *h, const struct job *j)
{
	struct hold *o = models_hold(j->agent, j->model);
	struct breaker *b = o != NULL ? o->breaker : NULL;

	if (b == NULL || b->state == HUB_BREAKER_OPEN)
		return;
	if (b->state == HUB_BREAKER_HALF_OPEN) {
		close_it(h, b);
		return;
	}
	slide(h, b);
	b->parts[b->part % PARTS].good++;
}

bool breaker_lets(const struct hold *o)
{
	if (o->breaker == NULL || o->breaker->state == HUB_BREAKER_CLOSED)
		return true;
	return o->breaker->state == HUB_BREAKER_HALF_OPEN && o->n_jobs == 0;
}

/* ---- what others see ---- */

static struct hub_breaker_view view_of(const struct hub *h, const struct breaker *b)
{
	struct hub_breaker_view v = {
		.agent = span_of(b->hold->agent->id),
		.model = span_of(b->hold->model->name),
		.state = b->state,
		.left_ms = b->state == HUB_BREAKER_OPEN && b->until_ms > h->now_ms ? b->until_ms - h->now_ms : 0,
	};

	sum(b, &v.good, &v.bad);
	return v;
}

void hub_each_breaker(const struct hub *h, void (*fn)(void *ctx, const struct hub_breaker_view *v), void *ctx)
{
	LIST_EACH(l, &h->breakers)
	{
		struct hub_breaker_view v = view_of(h, CONTAINER(l, struct breaker, all));

		fn(ctx, &v);
	}
}

struct hub_breaker_view hub_breaker_of(const struct hub *h, struct span agent, struct span model)
{
	struct agent *a = fleet_find(h, agent);
	const struct model *m = models_find(h, model);
	struct hold *o = a != NULL && m != NULL ? models_hold(a, m) : NULL;

	if (o == NULL || o->breaker == NULL)
		return (struct hub_breaker_view){ .agent = agent, .model = model };
	return view_of(h, o->breaker);
}
