/* How much of a prompt goes in beside running answers, on simulated boxes; and who waits for company. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "gather.h"
#include "pace.h"
#include "rng.h"

enum { MAX_STREAMS = 16, MAX_GAPS = 20000 };

/* ---- a box: what a pass takes ---- */

struct box {
	const char *name;
	double weights, row; /* of a pass, and of each row in it; together 1000 us */
};

static const struct box boxes[] = { { "memory is the bottleneck", 950, 50 }, { "both are", 700, 300 },
	{ "a core or two", 450, 550 }, { "a tiny model", 100, 900 } };
enum { N_BOXES = sizeof(boxes) / sizeof(boxes[0]) };

static double pass_us(const struct box *b, size_t rows)
{
	return rows > 0 ? b->weights + b->row * (double)rows : 0;
}

/* ---- an engine on it ---- */

struct stream {
	size_t prompt, answer; /* still to come */
	bool is_generating;
	double came_us, said_us, first_us;
	bool is_watched; /* its gaps count */
};

struct run {
	const struct box *box;
	struct pace pace;
	bool is_greedy; /* whole prompts at once, whoever waits */
	struct rng rng; /* the machine does other things, too */
	struct plan_limits limits;
	struct stream s[MAX_STREAMS];
	size_t n;
	double now_us;
	double gaps[MAX_GAPS];
	size_t n_gaps;
};

static void run_init(struct run *r, const struct box *b, bool is_greedy)
{
	*r = (struct run){ .box = b, .is_greedy = is_greedy, .limits = { .batch_tokens = 512, .chunk = 56 } };
	pace_init(&r->pace, 0);
	rng_seed(&r->rng, 5);
}

/* One in 200 takes four times as long. */
static double noise(struct run *r)
{
	return rng_below(&r->rng, 200) == 0 ? 4 : 1;
}

static void add(struct run *r, struct stream s)
{
	s.came_us = s.said_us = r->now_us;
	r->s[r->n++] = s;
}

static void say(struct run *r, struct stream *s)
{
	if (s->is_generating && s->is_watched && r->n_gaps < MAX_GAPS)
		r->gaps[r->n_gaps++] = r->now_us - s->said_us;
	if (!s->is_generating)
		s->first_us = r->now_us;
	s->said_us = r->now_us;
	s->is_generating = true;
	s->answer -= s->answer > 0;
}

static void step(struct run *r)
{
	struct plan_seq seqs[MAX_STREAMS];
	size_t singles = 0;
	double chunks_us = 0, singles_us;

	for (size_t i = 0; i < r->n; i++) {
		size_t pending = r->s[i].is_generating ? r->s[i].answer > 0 : r->s[i].prompt;

		seqs[i] = (struct plan_seq){
			.pending = pending, .is_generating = r->s[i].is_generating, .is_short = pending <= PACE_SHORT
		};
	}
	pace_limit(&r->pace, &r->limits);
	if (r->is_greedy)
		r->limits.beside = r->limits.chunk = r->limits.batch_tokens = r->limits.whole = 2048;
	(void)plan_step(&r->limits, seqs, r->n);
	for (size_t i = 0; i < r->n; i++) {
		singles += seqs[i].n == 1;
		chunks_us += seqs[i].n > 1 ? pass_us(r->box, seqs[i].n) : 0;
	}
	chunks_us *= noise(r);
	singles_us = pass_us(r->box, singles) * noise(r);
	r->now_us += chunks_us + singles_us;
	pace_took(&r->pace, seqs, r->n, (uint64_t)chunks_us, (uint64_t)singles_us);
	for (size_t i = 0; i < r->n; i++) {
		r->s[i].prompt -= r->s[i].is_generating ? 0 : seqs[i].n;
		if (seqs[i].n > 0 && r->s[i].prompt == 0)
			say(r, &r->s[i]);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(double *v, size_t n, double q)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[(size_t)((double)(n - 1) * q)];
}

/* ---- a long prompt ---- */

/* n streams of 1,000 tokens, a prompt of 2,000 in the midst of them; how long it took. */
static double disturb(struct run *r, size_t n, const struct box *b, bool is_greedy)
{
	run_init(r, b, is_greedy);
	for (size_t i = 0; i < n; i++)
		add(r, (struct stream){ .prompt = 20, .answer = 3000, .is_watched = true });
	for (int i = 0; i < 200; i++)
		step(r);
	add(r, (struct stream){ .prompt = 2000, .answer = 10 });
	while (r->s[n].first_us <= 0 && r->now_us < 1e9)
		step(r);
	cr_assert_gt(r->s[n].first_us, 0, "%s: the prompt never ends", b->name);
	return r->s[n].first_us - r->s[n].came_us;
}

Test(pace, a_long_prompt_leaves_the_gaps_of_running_streams_below_three_times_their_median)
{
	static struct run r;

	for (size_t k = 0; k < N_BOXES; k++)
		for (size_t n = 1; n <= 7; n += 3) {
			double alone, took = disturb(&r, n, &boxes[k], false);
			double p99 = quantile(r.gaps, r.n_gaps, 0.99);

			alone = pass_us(&boxes[k], n); /* stricter than the median, which has the slow ones in it */
			cr_expect_leq(p99, 3 * alone, "%s, %zu streams: %.1f times", boxes[k].name, n, p99 / alone);
			cr_expect_leq(took, 2000 * 2.6 * alone, "%s, %zu streams: no row a step", boxes[k].name, n);
			(void)disturb(&r, n, &boxes[k], true);
			cr_expect_gt(quantile(r.gaps, r.n_gaps, 1), 3 * alone, "%s: nothing to be shown", boxes[k].name);
		}
}

Test(pace, rows_that_cost_little_are_taken_in_numbers)
{
	static struct run r;
	double took = disturb(&r, 4, &boxes[0], false);

	cr_assert_gt(r.pace.beside, 4);
	cr_assert_leq(took, 2000.0 / 5 * 2.6 * pass_us(&boxes[0], 4));
}

Test(pace, a_price_of_bad_times_is_forgotten)
{
	struct plan_seq seqs[] = { { .is_generating = true, .n = 1 }, { .n = 2 } };
	struct plan_limits limits = { .batch_tokens = 512, .chunk = 56 };
	struct pace p;

	pace_init(&p, 0);
	pace_took(&p, seqs, 2, 500000, 1000); /* the machine was busy with something else */
	for (int i = 0; i < 400; i++) {
		pace_limit(&p, &limits);
		seqs[1].n = limits.beside;
		pace_took(&p, seqs, 2, seqs[1].n > 1 ? 100 * seqs[1].n : 0, 1000);
	}
	cr_assert_eq(limits.beside, 15);
}

/* ---- short prompts ---- */

/* Beside 7 streams a prompt of 64 tokens comes each time the one before has been answered: the
 * times to their first tokens. */
static double short_prompts(const struct box *b, bool is_greedy, size_t answer, double q)
{
	static struct run r;
	static double times[100];

	run_init(&r, b, is_greedy);
	for (size_t i = 0; i < 7; i++)
		add(&r, (struct stream){ .prompt = 20, .answer = 1000000 });
	for (int i = 0; i < 50; i++)
		step(&r);
	for (size_t k = 0; k < 100; k++) {
		r.n = 7;
		add(&r, (struct stream){ .prompt = 64, .answer = answer });
		while (r.s[7].answer > 0)
			step(&r);
		times[k] = r.s[7].first_us - r.s[7].came_us;
	}
	return quantile(times, 100, q);
}

Test(pace, short_prompts_have_their_first_token_as_soon_as_if_nobody_else_counted)
{
	for (size_t k = 0; k < N_BOXES; k++)
		for (size_t answer = 8; answer <= 64; answer *= 8) {
			double ours = short_prompts(&boxes[k], false, answer, 0.95);
			double greedy = short_prompts(&boxes[k], true, answer, 0.95);

			cr_expect_leq(
				ours, 1.1 * greedy, "%s, answers of %zu: %.2f times", boxes[k].name, answer, ours / greedy);
		}
}

Test(pace, many_at_once_are_not_slowed_down_by_the_first_that_is_ready)
{
	static struct run r;
	double last[2] = { 0 };

	for (int is_greedy = 0; is_greedy < 2; is_greedy++) {
		run_init(&r, &boxes[2], is_greedy);
		r.limits.chunk = 256;
		for (size_t i = 0; i < 8; i++)
			add(&r, (struct stream){ .prompt = 200, .answer = 50 });
		while (r.s[7].first_us <= 0)
			step(&r);
		for (size_t i = 0; i < 8; i++)
			last[is_greedy] = r.s[i].first_us > last[is_greedy] ? r.s[i].first_us : last[is_greedy];
	}
	cr_assert_leq(last[0], 1.1 * last[1]);
}

Test(pace, a_flood_of_short_prompts_cannot_make_most_gaps_long)
{
	static struct run r;
	size_t n_long = 0;

	run_init(&r, &boxes[2], false);
	add(&r, (struct stream){ .prompt = 20, .answer = 100000, .is_watched = true });
	for (int i = 0; i < 5000; i++) {
		step(&r);
		if (r.n == 1)
			add(&r, (struct stream){ .prompt = 64, .answer = 1 });
		if (r.s[1].is_generating)
			r.n = 1;
	}
	for (size_t i = 0; i < r.n_gaps; i++)
		n_long += r.gaps[i] > 5 * 1000;
	cr_assert_gt(n_long, 100, "none went in whole");
	cr_assert_lt(n_long, r.n_gaps / 6, "%zu of %zu", n_long, r.n_gaps);
}

/* ---- company ---- */

Test(gather, nobody_waits_unless_told_to)
{
	const struct gather_limits limits = { .min_batch = 4 };
	struct gather g = { 0 };

	gather_arrived(&g, 1000);
	cr_assert_eq(gather_wait(&g, &limits, 1, 1000, 1000), 0);
}

Test(gather, a_job_waits_for_company_for_so_long_and_no_longer)
{
	const struct gather_limits limits = { .min_batch = 3, .wait_us = 20000 };
	struct gather g = { 0 };

	gather_arrived(&g, 1000);
	cr_assert_eq(gather_wait(&g, &limits, 1, 1000, 1000), 20000);
	gather_arrived(&g, 6000);
	cr_assert_eq(gather_wait(&g, &limits, 2, 1000, 6000), 15000);
	cr_assert_eq(gather_wait(&g, &limits, 2, 1000, 21000), 0, "the oldest has waited enough");
	cr_assert_eq(gather_wait(&g, &limits, 3, 1000, 6000), 0, "enough are there");
	cr_assert_eq(gather_wait(&g, &limits, 0, 0, 6000), 0);
}

Test(gather, an_adaptive_wait_is_for_those_who_are_likely_to_come)
{
	const struct gather_limits limits = { .min_batch = 8, .wait_us = 50000, .is_adaptive = true };
	struct gather g = { 0 };
	uint64_t now = 5000000;

	gather_arrived(&g, now);
	cr_assert_eq(gather_wait(&g, &limits, 1, now, now), 0, "the first in a long time");
	for (int i = 0; i < 40; i++) /* 40 a second */
		gather_arrived(&g, now += 25000);
	cr_assert_eq(gather_wait(&g, &limits, 1, now, now), 50000);
	cr_assert_eq(gather_wait(&g, &limits, 1, now, now + 45000), 0, "nobody will come within 5 ms");
	now += 5000000;
	gather_arrived(&g, now);
	cr_assert_eq(gather_wait(&g, &limits, 1, now, now), 0, "that was long ago");
}
