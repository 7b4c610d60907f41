#include "api_explain.h"

#include <stdlib.h>

struct rows {
	struct hub_route_view *items;
	size_t n, cap;
};

/* Out of memory: the list is cut short. */
static void add(void *ctx, const struct hub_route_view *v)
{
	struct rows *r = ctx;

	if (r->n == r->cap) {
		size_t cap = r->cap > 0 ? 2 * r->cap : 64;
		void *p = realloc(r->items, cap * sizeof(*r->items));

		if (p == NULL)
			return;
		r->items = p;
		r->cap = cap;
	}
	r->items[r->n++] = *v;
}

/* In the order of the reasons, those that could take it by what the policy compares. */
static int by_chance(const void *a, const void *b)
{
	const struct hub_route_view *x = a, *y = b;

	if (x->reason != y->reason)
		return x->reason < y->reason ? -1 : 1;
	if (x->score != y->score)
		return x->score < y->score ? -1 : 1;
	return x->agent.n != y->agent.n ? (x->agent.n < y->agent.n ? -1 : 1) : memcmp(x->agent.p, y->agent.p, x->agent.n);
}

static void count(struct explain *e, const struct rows *r)
{
	for (size_t i = 0; i < r->n; i++) {
		struct span code = span_of(hub_reason_codes[r->items[i].reason]);

		if (e->doc.n_reasons == 0 || !span_eq(e->reasons[e->doc.n_reasons - 1].reason, code))
			e->reasons[e->doc.n_reasons++] = (struct api_reason){ .reason = code };
		e->reasons[e->doc.n_reasons - 1].agents++;
	}
}

static enum code tell(struct explain *e, struct rows *r, size_t max)
{
	size_t n = r->n < max ? r->n : max;

	if (r->n > 1)
		qsort(r->items, r->n, sizeof(*r->items), by_chance);
	e->candidates = calloc(n > 0 ? n : 1, sizeof(*e->candidates));
	for (size_t i = 0; i < n && e->candidates != NULL; i++) {
		const struct hub_route_view *v = &r->items[i];

		e->candidates[i] = (struct api_candidate){ .agent = v->agent,
			.reason = span_of(hub_reason_codes[v->reason]),
			.text = span_of(hub_reason_texts[v->reason]),
			.expected_ms = v->expected_ms,
			.score = v->score,
			.cached_tokens = v->cached };
	}
	count(e, r);
	e->doc.total = r->n;
	e->doc.reasons = e->reasons;
	e->doc.candidates = e->candidates;
	e->doc.n_candidates = e->candidates != NULL ? n : 0;
	free(r->items);
	return e->candidates != NULL ? CODE_OK : CODE_RESOURCE_LIMIT_EXCEEDED;
}

enum code explain_job(const struct hub *h, struct span job, struct span model, size_t max, struct explain *ret)
{
	struct rows r = { 0 };
	enum code code = hub_explain_job(h, job, add, &r);

	*ret = (struct explain){ .doc.model = model };
	return code == CODE_OK ? tell(ret, &r, max) : code;
}

enum code explain_request(const struct hub *h, const struct submit *s, size_t max, struct explain *ret)
{
	struct rows r = { 0 };
	enum code code = hub_explain_submit(h, s, add, &r);

	*ret = (struct explain){ .doc.model = s->model };
	return code == CODE_OK ? tell(ret, &r, max) : code;
}

void explain_fini(struct explain *e)
{
	free(e->candidates);
	e->candidates = NULL;
}
