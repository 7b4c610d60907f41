#include "metrics.h"

#include <stdlib.h>
#include <string.h>

static uint32_t clamp(uint64_t value)
{
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static void count_in(struct metrics_total *t, const struct metric *r)
{
	t->by_code[r->code]++;
	t->prompt_tokens += r->prompt_tokens;
	t->cached_tokens += r->cached_tokens;
	t->tokens += r->tokens;
	t->latency_ms += r->code == CODE_OK ? r->latency_ms : 0;
}

/* r->code is a known one. */
static void count(struct metrics *m, const struct metric *r)
{
	count_in(&m->all, r);
	if (r->model < METRICS_MODELS)
		count_in(&m->models[r->model], r);
}

static unsigned known(unsigned code)
{
	return code <= CODE_MAX ? code : CODE_INTERNAL_ERROR;
}

void metrics_refused(struct metrics *m, size_t model, unsigned code)
{
	count(m, &(struct metric){ .model = model, .code = known(code) });
}

void metrics_add(struct metrics *m, const struct metric *r)
{
	struct metric counted = *r;

	counted.code = known(r->code);
	m->ring[m->next] = (struct metrics_entry){
		.latency_ms = clamp(r->latency_ms),
		.prompt_tokens = clamp(r->prompt_tokens),
		.tokens = clamp(r->tokens),
		.prefill_us = clamp(r->prefill_us),
		.decode_us = clamp(r->decode_us),
		.model = (uint8_t)(r->model < METRICS_MODELS ? r->model : METRICS_NO_MODEL),
		.code = (uint8_t)counted.code,
	};
	m->next = (m->next + 1) % METRICS_WINDOW;
	m->n += m->n < METRICS_WINDOW;
	count(m, &counted);
}

/* ---- looking ---- */

static int compare(const void *a, const void *b)
{
	uint32_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

static uint64_t percentile(const uint32_t *sorted, size_t n, size_t percent)
{
	return sorted[(n * percent + 99) / 100 - 1];
}

static void view_latency(uint32_t *values, size_t n, struct metrics_view *v)
{
	uint64_t sum = 0;

	if (n == 0)
		return;
	qsort(values, n, sizeof(*values), compare);
	for (size_t i = 0; i < n; i++)
		sum += values[i];
	v->latency_min = values[0];
	v->latency_max = values[n - 1];
	v->latency_avg = sum / n;
	v->latency_p50 = percentile(values, n, 50);
	v->latency_p95 = percentile(values, n, 95);
	v->latency_p99 = percentile(values, n, 99);
}

static uint64_t rate_milli(uint64_t tokens, uint64_t us)
{
	const uint64_t scale = 1000u * 1000 * 1000;

	if (tokens > UINT64_MAX / scale)
		tokens = UINT64_MAX / scale; /* no engine is that fast, but one may say so */
	return us > 0 ? tokens * scale / us : 0;
}

static void view_window(const struct metrics *m, size_t model, struct metrics_view *v)
{
	uint64_t prompt_tokens = 0, tokens = 0, prefill_us = 0, decode_us = 0;
	uint32_t latency[METRICS_WINDOW];
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++) {
		const struct metrics_entry *e = &m->ring[i];

		if (model != METRICS_ALL && e->model != model)
			continue;
		v->requests++;
		v->by_code[e->code]++;
		if (e->code != CODE_OK)
			continue;
		latency[n++] = e->latency_ms;
		prompt_tokens += e->prompt_tokens;
		tokens += e->tokens;
		prefill_us += e->prefill_us;
		decode_us += e->decode_us;
	}
	v->ok = n;
	v->prefill_milli = rate_milli(prompt_tokens, prefill_us);
	v->decode_milli = rate_milli(tokens, decode_us);
	view_latency(latency, n, v);
}

void metrics_view(const struct metrics *m, size_t model, struct metrics_view *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (model != METRICS_ALL && model >= METRICS_MODELS)
		return;
	ret->total = model == METRICS_ALL ? m->all : m->models[model];
	for (unsigned code = 0; code <= CODE_MAX; code++)
		ret->requests_total += ret->total.by_code[code];
	ret->errors_total = ret->requests_total - ret->total.by_code[CODE_OK];
	view_window(m, model, ret);
}
