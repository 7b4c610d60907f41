/* Figures of the last requests: by themselves against a model that keeps everything, and as
 * the agent fills them. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "agent_core.h"
#include "agent_rig.h"
#include "rng.h"

/* ---- by themselves ---- */

#define ADDED 3500
#define MODELS 3

static struct metric all[ADDED];
static struct metrics m;

static const struct metric *of_model(size_t i, size_t model)
{
	return model == METRICS_ALL || all[i].model == model ? &all[i] : NULL;
}

/* How many of the window that ended well took no longer. */
static size_t rank_of(size_t from, size_t n, size_t model, uint64_t latency)
{
	size_t rank = 0;

	for (size_t i = from; i < n; i++)
		rank += of_model(i, model) != NULL && all[i].code == CODE_OK && all[i].latency_ms <= latency;
	return rank;
}

static void must_be_percentile(size_t from, size_t n, size_t model, uint64_t ok, uint64_t value, double percent)
{
	double want = percent / 100 * (double)ok;

	cr_assert((double)rank_of(from, n, model, value) >= want, "p%g is too low", percent);
	cr_assert(value == 0 || (double)rank_of(from, n, model, value - 1) < want, "p%g is too high", percent);
}

static void compare(size_t n, size_t model)
{
	size_t from = n > METRICS_WINDOW ? n - METRICS_WINDOW : 0;
	uint64_t total = 0, total_ok = 0, window = 0, ok = 0, min = UINT64_MAX, max = 0, sum = 0, tokens = 0, us = 0;
	struct metrics_view v;

	metrics_view(&m, model, &v);
	for (size_t i = 0; i < n; i++) {
		const struct metric *r = of_model(i, model);

		total += r != NULL;
		total_ok += r != NULL && r->code == CODE_OK;
		if (r == NULL || i < from)
			continue;
		window++;
		if (r->code != CODE_OK)
			continue;
		ok++;
		min = r->latency_ms < min ? r->latency_ms : min;
		max = r->latency_ms > max ? r->latency_ms : max;
		sum += r->latency_ms;
		tokens += r->tokens;
		us += r->decode_us;
	}
	cr_assert(v.requests_total == total && v.errors_total == total - total_ok);
	cr_assert(v.requests == window && v.ok == ok && v.by_code[CODE_OK] == ok);
	if (ok == 0) {
		cr_assert(v.latency_min == 0 && v.latency_max == 0 && v.latency_p99 == 0 && v.decode_milli == 0);
		return;
	}
	cr_assert(v.latency_min == min && v.latency_max == max && v.latency_avg == sum / ok);
	must_be_percentile(from, n, model, ok, v.latency_p50, 50);
	must_be_percentile(from, n, model, ok, v.latency_p95, 95);
	must_be_percentile(from, n, model, ok, v.latency_p99, 99);
	cr_assert_float_eq((double)v.decode_milli, 1e9 * (double)tokens / (double)us, 1);
}

Test(metrics, they_are_what_keeping_everything_would_give)
{
	static const unsigned codes[] = { CODE_OK, CODE_OK, CODE_OK, CODE_ENGINE_CRASHED, CODE_CANCELLED };
	struct rng rng;

	rng_seed(&rng, 7);
	compare(0, METRICS_ALL);
	for (size_t i = 0; i < ADDED; i++) {
		all[i] = (struct metric){ .model = rng_below(&rng, MODELS),
			.code = codes[rng_below(&rng, 5)],
			.latency_ms = rng_below(&rng, (uint64_t)1 << (1 + rng_below(&rng, 16))),
			.tokens = 1 + rng_below(&rng, 100),
			.decode_us = 1 + rng_below(&rng, 1000000) };
		metrics_add(&m, &all[i]);
		if (i > 30 && i % 97 != 0 && i != METRICS_WINDOW && i != METRICS_WINDOW - 1)
			continue;
		compare(i + 1, METRICS_ALL);
		for (size_t k = 0; k < MODELS; k++)
			compare(i + 1, k);
	}
}

Test(metrics, what_is_out_of_range_is_counted_and_breaks_nothing)
{
	struct metrics_view v;

	metrics_add(&m,
		&(struct metric){
			.model = 99, .latency_ms = UINT64_MAX, .prompt_tokens = UINT64_MAX, .prefill_us = 1, .tokens = 1 });
	metrics_add(&m, &(struct metric){ .model = METRICS_NO_MODEL, .code = 12345 });
	metrics_refused(&m, METRICS_NO_MODEL, CODE_MODEL_UNKNOWN);
	metrics_view(&m, METRICS_ALL, &v);
	cr_assert(v.latency_max == UINT32_MAX && v.decode_milli == 0 && v.prefill_milli > 0);
	cr_assert(v.requests_total == 3 && v.errors_total == 2 && v.requests == 2 && v.by_code[CODE_INTERNAL_ERROR] == 1);
	metrics_view(&m, METRICS_MODELS, &v);
	cr_assert_eq(v.requests_total, 0);
}

Test(metrics, refusals_are_counted_and_push_nothing_out)
{
	struct metrics_view v;

	metrics_add(&m, &(struct metric){ .latency_ms = 5 });
	for (size_t i = 0; i < 2 * METRICS_WINDOW; i++)
		metrics_refused(&m, 0, CODE_QUEUE_FULL);
	metrics_view(&m, 0, &v);
	cr_assert(v.ok == 1 && v.requests == 1 && v.latency_p50 == 5);
	cr_assert(v.total.by_code[CODE_QUEUE_FULL] == 2 * METRICS_WINDOW && v.errors_total == 2 * METRICS_WINDOW);
}

/* ---- as the agent fills them ---- */

static struct rig r;

static void init(void)
{
	struct agent_config c = rig_config();

	c.hub_lease_ms = 3600 * 1000;
	rig_ready(&r, &c);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(metrics_agent, .init = init, .fini = fini);

static struct metrics_view view(void)
{
	struct metrics_view v;

	metrics_view(&r.a->metrics, 0, &v);
	return v;
}

static uint64_t start(const char *id)
{
	rig_job(&r, id, 1);
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE));
	return rig_sent(&r, ENGINE_GENERATE)->job;
}

Test(metrics_agent, each_end_is_counted_under_its_code)
{
	uint64_t run = start("j1");
	struct metrics_view v;

	r.now += 250;
	rig_tokens(&r, run, 0, "abc");
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_DONE,
			       .job = run,
			       .index = 3,
			       .finish = FINISH_STOP,
			       .usage = { .prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 3 },
			       .timings = { .prefill_us = 2000, .decode_us = 1000 } });
	v = view();
	cr_assert(v.ok == 1 && v.latency_min == 250 && v.latency_p99 == 250 && v.total.tokens == 3);
	cr_assert(v.prefill_milli == 3000000 && v.decode_milli == 3000000);

	run = start("j2");
	rig_control(&r, CONTROL_CANCEL, "j2", 1, 0);
	rig_done(&r, run, 0, FINISH_CANCELLED);
	start("j3");
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j4"), .attempt = 1, .prompt = SPAN("p"), .deadline_ms = 10 });
	rig_pass(&r, 10);
	rig_exit(&r, 9);
	rig_job(&r, "j5", 1);
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("j6"), .attempt = 1, .model = SPAN("other") });
	v = view();
	cr_assert(v.total.by_code[CODE_CANCELLED] == 1 && v.total.by_code[CODE_DEADLINE_EXCEEDED] == 1);
	cr_assert(v.total.by_code[CODE_ENGINE_CRASHED] == 1 && v.total.by_code[CODE_MODEL_NOT_LOADED] == 1);
	cr_assert(v.requests_total == 5 && v.requests == 4 && v.ok == 1, "a refusal is not in the window");
	metrics_view(&r.a->metrics, METRICS_ALL, &v);
	cr_assert(v.requests_total == 6 && v.total.by_code[CODE_MODEL_UNKNOWN] == 1);
}

Test(metrics_agent, the_heartbeat_has_a_summary)
{
	const struct figures *both, *one;
	const struct agent_action *act;

	for (uint64_t i = 1; i <= 100; i++) {
		char id[] = { 'j', (char)('0' + i / 100), (char)('0' + i / 10 % 10), (char)('0' + i % 10), '\0' };
		uint64_t run = start(id);

		r.now += i;
		rig_done(&r, run, 0, FINISH_STOP);
	}
	rig_job_msg(&r, (struct job_msg){ .job = SPAN("x"), .attempt = 1, .model = SPAN("other") });
	rig_simple(&r, AGENT_EV_WRITABLE);
	act = rig_wait_for(&r, AGENT_ACT_HEARTBEAT, 6000);
	cr_assert_not_null(act);
	cr_assert(act->heartbeat.requests_total == 101 && act->heartbeat.errors_total == 1);
	cr_assert(act->heartbeat.latency_p50_ms == 50 && act->heartbeat.latency_p95_ms == 95 &&
		  act->heartbeat.latency_p99_ms == 99);
	cr_assert_eq(act->heartbeat.n_figures, 2, "all, and the one model that had some");
	both = &act->heartbeat.figures[0];
	one = &act->heartbeat.figures[1];
	cr_assert(both->name.n == 0 && both->requests_total == 101 && both->errors_total == 1 && both->n_errors == 1);
	cr_assert(span_is(both->errors[0].code, "MODEL_UNKNOWN") && both->errors[0].n == 1);
	cr_assert(span_is(one->name, "m") && one->requests_total == 100 && one->n_errors == 0);
	cr_assert(one->latency_min_ms == 1 && one->latency_avg_ms == 50 && one->latency_max_ms == 100);
}
