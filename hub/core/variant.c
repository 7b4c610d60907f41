/* variant.c - one name for several models or groups of agents (A/B, canary).
 *
 * A request for an alias is served by one of its variants.  Which one is a hash of alias, user
 * and session (or id), in [0, 1): the others take their shares from 0 on in the order they are listed
 * in, the first one listed, main, takes the rest.  So a conversation stays with its variant, over
 * restarts too, and a changed weight moves no more requests than it must.  A job keeps its variant
 * over all its attempts.
 *
 * The guard compares each variant with main over a window: when it fails more often by
 * guard_error_percent points, or its slowest twentieth takes guard_latency_percent of main's
 * time, its traffic goes to main, and stays there until an operator resumes it. */
#include "core.h"

#include <stdlib.h>

#define SLOW 0.95
#define SLOW_MIN_MS 50 /* less is no difference */

/* ---- which one ---- */

static bool is_alias(const struct variant *v, struct span name)
{
	return span_is(name, v->config->alias);
}

static struct variant *find(const struct hub *h, struct span alias, struct span model)
{
	for (size_t i = 0; i < h->n_variants; i++)
		if (is_alias(&h->variants[i], alias) && (model.n == 0 || span_is(model, h->variants[i].config->model)))
			return &h->variants[i];
	return NULL;
}

const char *hub_variants_check(const struct hub_config *c)
{
	for (size_t i = 0; i < c->n_variants; i++)
		for (size_t k = 0; k < c->n_variants; k++)
			if (strcmp(c->variants[i].model, c->variants[k].alias) == 0)
				return "variants: a variant's model is itself an alias; name a model that agents serve";
	return NULL;
}

/* The seed is fixed: who was served by what must not change with a run of the hub. */
static double place(struct span alias, struct span user, struct span key)
{
	uint64_t hash = table_hash(table_hash(table_hash(0, alias), user), key);

	return (double)(rng_mix(hash, 0) >> 11) / (double)(UINT64_C(1) << 53);
}

static struct variant *choose(const struct hub *h, struct variant *main, double at)
{
	uint64_t total = 0, before = 0;

	for (size_t i = 0; i < h->n_variants; i++)
		total += h->variants[i].main == main ? h->variants[i].weight : 0;
	for (size_t i = 0; i < h->n_variants; i++) {
		struct variant *v = &h->variants[i];

		if (v->main != main || v == main)
			continue;
		before += v->weight;
		if (at * (double)total < (double)before)
			return v->is_off ? main : v;
	}
	return main;
}

struct model *variant_asked(const struct hub *h, struct span user, const struct submit *s, struct variant **ret)
{
	struct variant *main = s->model.n > 0 ? find(h, s->model, SPAN_NONE) : NULL, *v;
	struct span key = s->session.n > 0 ? s->session : s->id;
	struct model *m;
	char number[24];

	*ret = NULL;
	if (main == NULL)
		return models_asked(h, s->model);
	if (key.n == 0 || !RULE(h, COHORT)) {
		struct buf b = BUF_INIT(sizeof(number));

		buf_addf(&b, "%llu", (unsigned long long)h->last_rank);
		(void)span_copy(buf_span(&b), number, sizeof(number));
		buf_fini(&b);
		key = span_of(number);
	}
	v = choose(h, main, place(s->model, user, key));
	m = models_find(h, span_of(v->config->model));
	if (m == NULL) { /* nobody has it (yet) */
		v = main;
		m = models_find(h, span_of(main->config->model));
	}
	*ret = v;
	return m;
}

bool variant_lets(const struct job *j, const struct agent *a)
{
	const struct span label = j->variant != NULL ? span_of(j->variant->config->label) : SPAN_NONE;

	return label.n == 0 || filter_labels(a, &label, 1) == 1;
}

/* ---- how it fares ---- */

static void window_turn(struct variant_window *w, uint64_t now_ms, uint64_t window_ms)
{
	if (now_ms - w->start_ms < window_ms)
		return;
	if (now_ms - w->start_ms < 2 * window_ms) {
		w->n[1] = w->n[0], w->bad[1] = w->bad[0], w->ms[1] = w->ms[0];
	} else {
		w->n[1] = w->bad[1] = 0;
		w->ms[1] = (struct hist){ 0 };
	}
	w->n[0] = w->bad[0] = 0;
	w->ms[0] = (struct hist){ 0 };
	w->start_ms = now_ms;
}

static uint64_t slow_ms(const struct variant *v)
{
	struct hist both = v->window.ms[0];

	hist_merge(&both, &v->window.ms[1]);
	return hist_quantile(&both, SLOW);
}

static double error_percent(const struct variant *v)
{
	uint64_t n = v->window.n[0] + v->window.n[1];

	return n > 0 ? 100.0 * (double)(v->window.bad[0] + v->window.bad[1]) / (double)n : 0;
}

static void keep(struct hub *h, const struct variant *v)
{
	struct buf key = BUF_INIT(2 * PROTO_MAX_NAME + 2);

	buf_addf(&key, "%s/%s/%s", v->config->alias, v->config->model, v->config->label != NULL ? v->config->label : "");
	(void)journal_value(h, HUB_PERSIST_CANARY, buf_span(&key), v->is_off ? span_of(v->reason) : SPAN_NONE);
	buf_fini(&key);
}

static void fall_back(struct hub *h, struct variant *v, struct buf *why)
{
	v->is_off = true;
	(void)span_copy(buf_span(why), v->reason, sizeof(v->reason));
	h->counters.variants_fallen++;
	HUB_SAY(h, SAY_ERROR, "variant %s of %s is taken out: %s; its traffic goes to %s until an operator resumes it",
		v->config->model, v->config->alias, v->reason, v->main->config->model);
	keep(h, v);
}

static void guard(struct hub *h, struct variant *v)
{
	const struct hub_config *c = &h->config;
	const struct variant *main = v->main;
	uint64_t n = v->window.n[0] + v->window.n[1], n_main = main->window.n[0] + main->window.n[1];
	struct buf why = BUF_INIT(sizeof(v->reason));

	if (v == main || v->is_off || c->guard_min == 0 || n < c->guard_min || !RULE(h, GUARD))
		return;
	if (error_percent(v) > error_percent(main) + (double)c->guard_error_percent)
		buf_addf(&why, "%.0f %% of %llu jobs failed, of %s %.0f %%", error_percent(v), (unsigned long long)n,
			main->config->model, error_percent(main));
	else if (n_main >= c->guard_min && slow_ms(v) > slow_ms(main) * c->guard_latency_percent / 100 + SLOW_MIN_MS)
		buf_addf(&why, "one in 20 takes over %llu ms, of %s %llu ms", (unsigned long long)slow_ms(v),
			main->config->model, (unsigned long long)slow_ms(main));
	if (why.n > 0)
		fall_back(h, v, &why);
	buf_fini(&why);
}

void variant_join(struct hub *h, struct job *j)
{
	if (h->n_variants > 0 && j->variant == NULL && j->submit->model.n > 0)
		j->variant = find(h, j->submit->model, span_of(j->model_name));
	if (j->variant != NULL)
		j->variant->n_jobs++;
}

/* What the client asked wrongly, or took back, says nothing about the variant. */
void variant_ended(struct hub *h, struct job *j)
{
	struct variant *v = j->variant;
	bool is_bad = j->state == HUB_JOB_FAILED || j->state == HUB_JOB_EXPIRED;

	if (v == NULL || j->state == HUB_JOB_CANCELLED)
		return;
	window_turn(&v->window, h->now_ms, h->config.guard_window_ms);
	window_turn(&v->main->window, h->now_ms, h->config.guard_window_ms);
	if (is_bad)
		v->errors[j->code <= CODE_MAX ? j->code : CODE_INTERNAL_ERROR]++;
	if (is_bad && code_info(j->code)->http < 500)
		return;
	v->window.n[0]++;
	v->window.bad[0] += is_bad;
	if (!is_bad) {
		hist_add(&v->window.ms[0], h->now_ms - j->submitted_ms);
		hist_add(&v->total_ms, h->now_ms - j->submitted_ms);
		if (j->first_ms > 0)
			hist_add(&v->first_ms, j->first_ms - j->submitted_ms);
		v->n_tokens += j->n_ids;
		v->decode_us += j->timings.decode_us;
	}
	guard(h, v);
}

/* ---- operators, and another run ---- */

void variant_event(struct hub *h, const struct hub_event *ev)
{
	struct variant *v = find(h, ev->variant.alias, ev->variant.model);

	if (v == NULL)
		return;
	if (!ev->variant.resumes) {
		v->weight = ev->variant.weight;
		HUB_SAY(h, SAY_NOTICE, "variant %s of %s has weight %llu now", v->config->model, v->config->alias,
			(unsigned long long)v->weight);
		return;
	}
	v->is_off = false;
	v->reason[0] = '\0';
	v->window = (struct variant_window){ .start_ms = h->now_ms };
	HUB_SAY(h, SAY_NOTICE, "variant %s of %s gets its traffic again", v->config->model, v->config->alias);
	keep(h, v);
}

void variant_restore(struct hub *h, const struct hub_record *r)
{
	for (size_t i = 0; i < h->n_variants; i++) {
		struct variant *v = &h->variants[i];
		struct buf key = BUF_INIT(2 * PROTO_MAX_NAME + 2);

		buf_addf(&key, "%s/%s/%s", v->config->alias, v->config->model,
			v->config->label != NULL ? v->config->label : "");
		if (span_eq(buf_span(&key), r->job) && r->body.n > 0 &&
			span_copy(r->body, v->reason, sizeof(v->reason)) == 0)
			v->is_off = true;
		buf_fini(&key);
	}
}

int variants_init(struct hub *h)
{
	const struct hub_config *c = &h->config;

	h->variants = c->n_variants > 0 ? calloc(c->n_variants, sizeof(*h->variants)) : NULL;
	if (h->variants == NULL)
		return c->n_variants > 0 ? ERR_NOMEM : 0;
	for (size_t i = 0; i < c->n_variants; i++) {
		struct variant *main = find(h, span_of(c->variants[i].alias), SPAN_NONE);

		h->variants[i] = (struct variant){ .config = &c->variants[i], .weight = c->variants[i].weight };
		h->variants[i].main = main != NULL ? main : &h->variants[i];
		h->n_variants++;
	}
	return 0;
}

void variants_fini(struct hub *h)
{
	free(h->variants);
}

void hub_each_variant(const struct hub *h, void (*fn)(void *ctx, const struct hub_variant_view *v), void *ctx)
{
	for (size_t i = 0; i < h->n_variants; i++) {
		const struct variant *v = &h->variants[i];
		struct hub_variant_view view = {
			.alias = span_of(v->config->alias),
			.model = span_of(v->config->model),
			.label = span_of(v->config->label),
			.weight = v->weight,
			.is_main = v->main == v,
			.is_off = v->is_off,
			.reason = span_of(v->reason),
			.jobs = v->n_jobs,
			.ended = v->total_ms.count,
			.errors = v->errors,
			.p50_ms = hist_quantile(&v->total_ms, 0.5),
			.p95_ms = hist_quantile(&v->total_ms, SLOW),
			.first_p50_ms = hist_quantile(&v->first_ms, 0.5),
			.first_p95_ms = hist_quantile(&v->first_ms, SLOW),
			.tokens = v->n_tokens,
			.tokens_per_s = v->decode_us > 0 ? (double)v->n_tokens * 1e6 / (double)v->decode_us : 0,
		};

		fn(ctx, &view);
	}
}
