/* hedge.c - a second attempt at a job that has stalled, on another agent at once.
 *
 * After J. Dean and L. A. Barroso, "The Tail at Scale", 2013: what waits longer than nearly
 * all others did (their 99th percentile: to the first token, or from one to the next) is
 * asked of another agent, too.  Whose next tokens come first has the job, the other is
 * cancelled: a race ends with its first frame, so a client sees one stream.  Off by default:
 * it costs slots, and helps where some boxes are slower at times, not where all are full.
 *
 * The second attempt's number is that of the first and one; the attempt after it skips it,
 * also after a restart.  So the record of the first stands for both. */
#include "core.h"

#include <stdlib.h>

#define KEPT 4096 /* samples; then the old ones weigh half */
#define FRESH 64  /* samples between two looks at the percentile */
#define QUANTILE 0.99

struct pace { /* of a model */
	struct hist hist;
	uint64_t p99_ms; /* 0: too few samples */
};

struct paces {
	struct pace first, next;
};

static uint64_t look(const struct hub *h, struct pace *p)
{
	struct hist *x = &p->hist;

	if (x->count > KEPT) {
		x->count = 0;
		for (size_t i = 0; i < HIST_BUCKETS; i++)
			x->count += x->bucket[i] /= 2;
	}
	return x->count < h->config.hedge_samples ? 0 : hist_quantile(x, QUANTILE);
}

void hedge_measure(struct hub *h, struct job *j)
{
	struct pace *p;

	if (h->config.hedge_percent == 0 || j->is_embedding)
		return;
	if (j->model->paces == NULL)
		j->model->paces = calloc(1, sizeof(*j->model->paces));
	if (j->model->paces == NULL)
		return;
	p = j->has_token ? &j->model->paces->next : &j->model->paces->first;
	hist_add(&p->hist, h->now_ms - (j->has_token ? j->token_ms : j->begun_ms));
	if (p->hist.count % FRESH == 0 || p->p99_ms == 0)
		p->p99_ms = look(h, p);
}

/* ---- when ---- */

static bool may_hedge(const struct hub *h, const struct job *j)
{
	if (j->early_end != NULL || (j->sampling.max_tokens > 0 && j->n_ids >= j->sampling.max_tokens))
		return false; /* it has ended, only the word of it is missing */
	return h->config.hedge_percent > 0 && j->hedge == NULL && j->persist_seq == 0 && !j->is_embedding && j->kills == 0 &&
	       j->sole == NULL && !j->is_burned && j->model->paces != NULL;
}

uint64_t hedge_at(const struct hub *h, const struct job *j)
{
	const struct pace *p;
	uint64_t ms;

	if (!may_hedge(h, j))
		return UINT64_MAX;
	p = j->has_token ? &j->model->paces->next : &j->model->paces->first;
	if (p->p99_ms == 0)
		return UINT64_MAX;
	ms = p->p99_ms > h->config.hedge_min_ms ? p->p99_ms : h->config.hedge_min_ms;
	ms += j->has_token ? j->token_ms : j->begun_ms;
	return ms > j->no_hedge_ms ? ms : j->no_hedge_ms;
}

/* ---- its life ---- */

static void leave(struct hub *h, struct job *j)
{
	struct hedge *e = j->hedge;

	list_del(&e->place);
	h->counters.hedging--;
	j->hedge = NULL;
	act_trash(h, e);
}

void hedge_drop(struct hub *h, struct job *j, bool is_told)
{
	struct hedge *e = j->hedge;

	if (e == NULL)
		return;
	if (is_told)
		act_control(h, e->agent, CONTROL_CANCEL, e->epoch, span_of(j->id.s), e->attempt, 0);
	e->agent->n_jobs--;
	models_job(e->agent, j->model, false);
	fleet_refresh(h, e->agent);
	leave(h, j);
}

static bool is_affordable(const struct hub *h)
{
	return h->counters.hedging * 100 < h->counters.running * h->config.hedge_percent;
}

void hedge_try(struct hub *h, struct job *j)
{
	struct hold *o = is_affordable(h) ? route_second(h, j) : NULL;
	struct hedge *e = o != NULL ? calloc(1, sizeof(*e)) : NULL;

	if (e == NULL) { /* nobody now: look again when it has waited as long once more */
		j->no_hedge_ms = h->now_ms + h->config.hedge_min_ms;
		return;
	}
	e->agent = o->agent;
	e->job = j;
	e->attempt = j->attempt + 1;
	e->epoch = o->agent->reg->epoch;
	e->first_id = j->n_ids;
	e->begun_ms = h->now_ms;
	j->hedge = e;
	j->is_burned = true;
	models_job(e->agent, j->model, true);
	if (e->agent->n_jobs++ == 0)
		e->agent->busy_ms = h->now_ms;
	list_add_tail(&e->agent->hedges, &e->place);
	h->counters.hedges++;
	h->counters.hedging++;
	fleet_refresh(h, e->agent);
	fleet_arm(h, e->agent);
	attempt_dispatch_to(h, j, e->agent, e->attempt, e->epoch);
}

/* The first attempt is over for the agent it was on; the job is the second one's now. */
static void take_over(struct hub *h, struct job *j)
{
	struct hedge *e = j->hedge;

	list_del(&j->place);
	j->agent->n_jobs--;
	models_job(j->agent, j->model, false);
	fleet_refresh(h, j->agent);
	journal_rest(h, j);
	j->agent = e->agent;
	j->attempt = e->attempt;
	j->epoch = e->epoch;
	j->begun_ms = e->begun_ms;
	j->state = HUB_JOB_RUNNING;
	j->route = "hedge";
	attempt_reset(h, j);
	j->heard_ms = j->token_ms = j->told_ms = h->now_ms;
	j->is_burned = true; /* one is enough, and its record is not safe yet */
	j->crowd = e->agent->n_jobs;
	j->was_cold = j->began_load = false;
	list_add_tail(&e->agent->jobs, &j->place);
	leave(h, j);
	session_begun(h, j);
	(void)act_persist(h, HUB_PERSIST_ATTEMPT, j);
}

void hedge_win(struct hub *h, struct job *j)
{
	act_job_control(h, j, CONTROL_CANCEL, 0);
	h->counters.hedges_won++;
	take_over(h, j);
}

bool hedge_inherits(struct hub *h, struct job *j)
{
	if (j->hedge == NULL)
		return false;
	if (j->hedge->first_id != j->n_ids) {
		hedge_drop(h, j, true);
		return false;
	}
	take_over(h, j);
	jobs_arm(h, j);
	return true;
}

void hedge_agent_down(struct hub *h, struct agent *a)
{
	while (!list_empty(&a->hedges))
		hedge_drop(h, CONTAINER(a->hedges.next, struct hedge, place)->job, false);
}

bool hedge_is(const struct job *j, const struct agent *a, const struct job_event *e)
{
	const struct hedge *k = j->hedge;

	return k != NULL && k->agent == a && k->epoch == e->epoch && k->attempt == e->attempt;
}
