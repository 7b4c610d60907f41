/* route.c - which agent gets which job.
 *
 * Two questions meet here: a job looks for an agent (when it is queued), an agent that has
 * got room looks for a job.  Between steps no waiting job fits any agent with room, so each
 * side only ever looks at the other's list for its own models.
 *
 * round_robin takes the head of the model's ring of ready agents: the one chosen longest ago.  least_loaded
 * takes the smallest (jobs + 1) / slots among the first ROUTE_SCAN of the ring, which is
 * exact for fleets up to that size and a choice of many beyond it (M. Mitzenmacher, "The
 * Power of Two Choices in Randomized Load Balancing", 2001: two already do most of it);
 * equals are taken in turn because the chosen one goes to the ring's end.
 *
 * An agent that would have to load the model first is taken only when no ready one has room;
 * then one that is loading it already before one that would begin, and always the same, so
 * that a burst of jobs fills one agent instead of loading the model on all. */
#include "core.h"

#define ROUTE_SCAN 64

static const char *const route_names[] = { [HUB_ROUND_ROBIN] = "round_robin", [HUB_LEAST_LOADED] = "least_loaded" };

static size_t labels_matching(const struct agent *a, const struct span *labels, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < a->reg->n_labels; k++)
			if (span_eq(labels[i], a->reg->labels[k])) {
				found++;
				break;
			}
	return found;
}

/* Room aside.  The agent that failed the job last is the last choice, not none. */
static bool fits(const struct hub *h, const struct job *j, const struct agent *a)
{
	const struct submit *s = j->submit;

	if (j->avoid == a && h->now_ms < j->avoid_until_ms && j->model->n_serving > 1)
		return false;
	return s->n_require == 0 || labels_matching(a, s->require, s->n_require) == s->n_require;
}

bool route_fits(const struct hub *h, const struct job *j, const struct agent *a)
{
	return fits(h, j, a);
}

struct choice {
	struct hold *hold;
	size_t preferred;
};

static bool is_better(bool by_load, const struct agent *a, size_t preferred, const struct choice *than)
{
	const struct agent *b = than->hold->agent;

	if (preferred != than->preferred)
		return preferred > than->preferred;
	if (!by_load)
		return false;
	return (a->n_jobs + 1) * b->reg->slots < (b->n_jobs + 1) * a->reg->slots;
}

static struct hold *choose_from(const struct hub *h, const struct job *j, enum warmth warmth)
{
	bool by_load = warmth == WARMTH_READY && h->config.policy == HUB_LEAST_LOADED;
	const struct submit *s = j->submit;
	struct choice best = { 0 };
	size_t seen = 0;

	LIST_EACH(l, &j->model->rings[warmth])
	{
		struct hold *o = CONTAINER(l, struct hold, ring);
		size_t preferred;

		if (!fits(h, j, o->agent))
			continue;
		preferred = labels_matching(o->agent, s->prefer, s->n_prefer);
		if (best.hold == NULL || is_better(by_load, o->agent, preferred, &best))
			best = (struct choice){ o, preferred };
		if (++seen == ROUTE_SCAN || (!by_load && s->n_prefer == 0))
			break;
	}
	return best.hold;
}

static struct hold *choose(const struct hub *h, const struct job *j)
{
	struct hold *o = NULL;

	for (unsigned w = 0; o == NULL && w < WARMTH_COUNT; w++)
		o = choose_from(h, j, (enum warmth)w);
	return o;
}

static void give(struct hub *h, struct job *j, struct hold *o)
{
	struct hold *home = session_hold(h, j);
	bool is_ready;
	const char *why;

	o = home != NULL ? home : o;
	is_ready = models_warmth(o) == WARMTH_READY;
	why = home != NULL ? "session" : j->model->n_serving == 1 ? "only" : is_ready ? route_names[h->config.policy] : "cold";

	list_del(&o->ring);
	if (is_ready)
		list_add_tail(&j->model->rings[WARMTH_READY], &o->ring);
	else
		list_add_head(&j->model->rings[models_warmth(o)], &o->ring);
	attempt_begin(h, j, o->agent, why);
}

bool route_job(struct hub *h, struct job *j)
{
	struct hold *o = NULL;

	if (!h->is_blind) {
		o = session_hold(h, j);
		if (o == NULL && session_wait(h, j))
			return true;
		if (o == NULL)
			o = choose(h, j);
	}
	if (o == NULL)
		return false;
	give(h, j, o);
	return true;
}

/* ---- an agent looks for a job ---- */

static const enum priority by_rank[] = { PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW };

static struct job *first_fitting(const struct hub *h, const struct hold *o, size_t *ret_priority)
{
	for (size_t p = 0; p < PRIORITY_COUNT; p++) {
		LIST_EACH(l, &o->model->queue[by_rank[p]])
		{
			struct job *j = CONTAINER(l, struct job, place);

			if (!fits(h, j, o->agent))
				continue;
			*ret_priority = p;
			return j;
		}
	}
	return NULL;
}

static bool offer(struct hub *h, struct agent *a)
{
	struct hold *best_hold = NULL;
	struct job *best = NULL;
	size_t best_priority = 0;

	for (size_t i = 0; i < a->n_holds; i++) {
		struct hold *o = &a->holds[i];
		size_t priority = 0;
		struct job *j = list_empty(&o->ring) ? NULL : first_fitting(h, o, &priority);

		if (j == NULL)
			continue;
		if (best != NULL && (priority > best_priority || (priority == best_priority && j->rank > best->rank)))
			continue;
		best = j;
		best_hold = o;
		best_priority = priority;
	}
	if (best == NULL)
		return false;
	if (models_warmth(best_hold) != WARMTH_READY)
		best_hold = choose(h, best); /* of all that have got room: one that is warm, if there is one */
	give(h, best, best_hold);
	return true;
}

/* Those that wait for this very agent, unless someone more urgent waits for any. */
static bool offer_waiting(struct hub *h, struct agent *a)
{
	struct job *j = session_waiting(h, a);

	if (j == NULL)
		return false;
	for (size_t p = 0; by_rank[p] != j->priority; p++)
		if (!list_empty(&j->model->queue[by_rank[p]]))
			return false;
	give(h, j, session_hold(h, j));
	return true;
}

void route_offers(struct hub *h)
{
	while (!list_empty(&h->offers)) {
		struct agent *a = CONTAINER(h->offers.next, struct agent, offer);

		if (!a->routable)
			session_release(h, a);
		while (a->open && !h->is_blind && (offer_waiting(h, a) || offer(h, a)))
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

		if (a->routable && labels_matching(a, j->submit->require, j->submit->n_require) == j->submit->n_require)
			return true;
	}
	return false;
}
