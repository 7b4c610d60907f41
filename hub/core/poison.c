/* poison.c - a job that kills the engines it runs on.
 *
 * An engine's death fails every job it ran, and one of them may be why.  Each of them has
 * one more try as any other; one that was there at a second death runs alone from then on,
 * so that the next death names it and costs nobody else anything.  After poison_kills
 * deaths a job ends with POISON: engines were lent to it often enough.
 *
 * Alone means: the only one of its model on that agent, as an engine serves one model.  When
 * no agent is free of its model, one is kept free: it finishes what it has and takes nothing
 * else until the job has had its turn. */
#include "core.h"

#define ALONE_FROM 2 /* deaths */
#define KEEP_SCAN 64 /* agents looked at for one to keep free */

static bool is_suspect(const struct hub *h, const struct job *j)
{
	return RULE(h, ALONE) && h->config.poison_kills > 0 && j->kills >= ALONE_FROM;
}

bool poison_lets(const struct hub *h, const struct job *j, const struct hold *o)
{
	if (o->sole != NULL && o->sole != j)
		return false;
	return !is_suspect(h, j) || o->n_jobs == 0;
}

bool poison_has_room(const struct hold *o)
{
	return o->sole == NULL || o->n_jobs == 0;
}

bool poison_killed(struct hub *h, struct job *j, enum code code)
{
	if (code != CODE_ENGINE_CRASHED)
		return false;
	j->kills++;
	return RULE(h, POISON) && h->config.poison_kills > 0 && j->kills >= h->config.poison_kills;
}

void poison_end(struct hub *h, struct job *j, struct span reason)
{
	h->counters.jobs_poison++;
	HUB_SAY(h, SAY_WARN, "job %s of %s is given up: %llu engines died while they ran it", j->id.s, j->user,
		(unsigned long long)j->kills);
	jobs_fail(h, j, CODE_POISON, reason);
}

/* ---- an agent is kept for a job ---- */

static void keep(struct job *j, struct hold *o)
{
	j->sole = o;
	o->sole = j;
}

void poison_release(struct hub *h, struct job *j)
{
	struct hold *o = j->sole;

	if (o == NULL)
		return;
	o->sole = NULL;
	j->sole = NULL;
	fleet_refresh(h, o->agent);
}

void poison_begin(const struct hub *h, struct job *j)
{
	struct hold *o = is_suspect(h, j) ? models_hold(j->agent, j->model) : NULL;

	if (o != NULL && o->sole == NULL)
		keep(j, o);
}

static bool may_have(const struct hold *o, const struct job *j)
{
	const struct submit *s = j->submit;

	return filter_labels(o->agent, s->require, s->n_require) >= s->n_require;
}

void poison_wait(struct hub *h, struct job *j)
{
	struct hold *best = NULL;
	size_t n = 0;

	if (j->sole != NULL && !j->sole->agent->routable)
		poison_release(h, j);
	if (!is_suspect(h, j) || j->sole != NULL)
		return;
	LIST_EACH(l, &j->model->holds)
	{
		struct hold *o = CONTAINER(l, struct hold, of_model);

		if (o->agent->routable && o->sole == NULL && models_slots(o) > 0 && may_have(o, j) &&
			(best == NULL || o->n_jobs < best->n_jobs))
			best = o;
		if (++n == KEEP_SCAN)
			break;
	}
	if (best == NULL)
		return;
	keep(j, best);
	fleet_refresh(h, best->agent);
}

void poison_move(struct hold *from, struct hold *to)
{
	if (from->sole == NULL)
		return;
	keep(from->sole, to);
	from->sole = NULL;
}

void poison_drop(struct hold *o)
{
	if (o->sole != NULL)
		o->sole->sole = NULL;
	o->sole = NULL;
}
