/* figures.c - how requests went, as the heartbeat tells it: of all models, then of each that had any. */
#include "agent_core.h"

_Static_assert(FIGURES_MAX == AGENT_MAX_MODELS + 1, "one for each, and one for all");

static size_t put_errors(const struct metrics_total *t, struct code_count *list)
{
	size_t n = 0;

	for (unsigned code = CODE_OK + 1; code <= CODE_MAX && n < PROTO_MAX_CODES; code++)
		if (t->by_code[code] > 0)
			list[n++] = (struct code_count){ .code = span_of(code_name(code)), .n = t->by_code[code] };
	return n;
}

static void put(struct agent *a, size_t model, struct span name)
{
	struct figures *f = &a->figures[a->n_figures];
	struct code_count *errors = a->error_counts[a->n_figures];
	struct metrics_view v;

	metrics_view(&a->metrics, model, &v);
	if (v.requests_total == 0)
		return;
	*f = (struct figures){ .name = name,
		.requests_total = v.requests_total,
		.errors_total = v.errors_total,
		.tokens_total = v.total.tokens,
		.latency_min_ms = v.latency_min,
		.latency_avg_ms = v.latency_avg,
		.latency_p50_ms = v.latency_p50,
		.latency_p95_ms = v.latency_p95,
		.latency_p99_ms = v.latency_p99,
		.latency_max_ms = v.latency_max,
		.prefill_milli = v.prefill_milli,
		.decode_milli = v.decode_milli,
		.errors = errors,
		.n_errors = put_errors(&v.total, errors) };
	a->n_figures++;
}

/* Nothing is computed while nothing ends. */
void figures_look(struct agent *a)
{
	uint64_t n = 0;

	for (unsigned code = 0; code <= CODE_MAX; code++)
		n += a->metrics.all.by_code[code];
	if (n == a->n_counted)
		return;
	a->n_counted = n;
	a->n_figures = 0;
	put(a, METRICS_ALL, SPAN_NONE);
	for (size_t i = 0; i < a->n_engines; i++)
		put(a, i, a->engines[i].model.name);
}
