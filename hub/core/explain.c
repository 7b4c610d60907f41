/* explain.c - for people: of every agent, why it has a job, or not. */
#include "core.h"

#define X(name, code, text) code,
const char *const hub_reason_codes[] = { HUB_REASON_LIST(X) NULL };
#undef X
#define X(name, code, text) text,
const char *const hub_reason_texts[] = { HUB_REASON_LIST(X) NULL };
#undef X

static struct hub_route_view view_of(const struct hub *h, const struct ask *ask, const struct agent *a)
{
	const struct hold *o = models_hold(a, ask->j->model);
	struct hub_route_view v = { .agent = span_of(a->id), .reason = filter_all(h, ask, a, o) };

	if (o == NULL || models_warmth(o) == WARMTH_COUNT)
		return v;
	v.expected_ms = cost_expected_ms(h, ask, o);
	v.score = route_score(h, ask, o, v.expected_ms);
	v.cached = affinity_cached(h, ask->j, a);
	return v;
}

/* Of those that could take it the one with the least score; NULL: none can. */
static const struct agent *best_of(const struct hub *h, const struct ask *ask)
{
	const struct agent *best = NULL;
	double least = 0;

	LIST_EACH(l, &h->fleet)
	{
		const struct agent *a = CONTAINER(l, struct agent, all);
		struct hub_route_view v = view_of(h, ask, a);

		if (v.reason != HUB_REASON_OUTRANKED || (best != NULL && v.score >= least))
			continue;
		best = a;
		least = v.score;
	}
	return best;
}

static void explain(const struct hub *h, struct job *j, const struct agent *chosen,
	void (*fn)(void *ctx, const struct hub_route_view *v), void *ctx)
{
	struct ask ask = cost_ask(h, j);

	if (chosen == NULL)
		chosen = best_of(h, &ask);
	LIST_EACH(l, &h->fleet)
	{
		const struct agent *a = CONTAINER(l, struct agent, all);
		struct hub_route_view v = view_of(h, &ask, a);

		if (a == chosen)
			v.reason = HUB_REASON_CHOSEN;
		fn(ctx, &v);
	}
}

enum code hub_explain_job(
	const struct hub *h, struct span job, void (*fn)(void *ctx, const struct hub_route_view *v), void *ctx)
{
	struct job *j = jobs_find(h, job);
	bool is_given;

	if (j == NULL || !jobs_is_live(j))
		return CODE_NOT_FOUND;
	is_given = j->state == HUB_JOB_DISPATCHED || j->state == HUB_JOB_RUNNING;
	explain(h, j, is_given ? j->agent : NULL, fn, ctx);
	return CODE_OK;
}

enum code hub_explain_submit(
	const struct hub *h, const struct submit *s, void (*fn)(void *ctx, const struct hub_route_view *v), void *ctx)
{
	uint64_t deadline_ms = s->deadline_ms > 0 ? s->deadline_ms : h->config.default_deadline_ms;
	struct submit asked = *s;
	struct job j = { .submit = &asked };

	j.model = variant_asked(h, SPAN_NONE, s, &j.variant);

	if (j.model == NULL)
		return CODE_MODEL_UNKNOWN;
	j.sampling = submit_sampling(s);
	sampling_defaults(&j.sampling);
	j.is_embedding = s->n_input > 0;
	j.deadline_ms = deadline_ms > 0 ? h->now_ms + deadline_ms : UINT64_MAX;
	explain(h, &j, NULL, fn, ctx);
	return CODE_OK;
}
