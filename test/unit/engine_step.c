/* What goes into a step, and which candidate is drawn after it. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>

#include "draw.h"
#include "plan.h"
#include "rng.h"

#define MAX_SEQS 16

Test(plan, next_tokens_come_first_and_prompts_share_what_is_left)
{
	const struct plan_limits limits = { .batch_tokens = 100, .chunk = 40, .beside = 200 };
	struct plan_seq seqs[] = {
		{ .pending = 1, .is_generating = true },
		{ .pending = 90 },
		{ .pending = 1, .is_generating = true },
		{ .pending = 15 },
		{ .pending = 70 },
		{ .pending = 3 },
	};
	const size_t want[] = { 1, 40, 1, 15, 40, 3 };

	cr_assert_eq(plan_step(&limits, seqs, 6), 100);
	for (size_t i = 0; i < 6; i++)
		cr_expect_eq(seqs[i].n, want[i], "%zu", i);
}

Test(plan, a_prompt_is_not_kept_out_by_a_budget_that_others_fill)
{
	const struct plan_limits limits = { .batch_tokens = 2, .chunk = 4, .beside = 4 };
	struct plan_seq seqs[] = { { .pending = 9 }, { .pending = 1, .is_generating = true },
		{ .pending = 1, .is_generating = true } };

	cr_assert_eq(plan_step(&limits, seqs, 3), 3);
	cr_assert_eq(seqs[0].n, 1);
}

Test(plan, few_rows_go_to_the_oldest_prompt)
{
	const struct plan_limits limits = { .batch_tokens = 100, .chunk = 40, .beside = 12 };
	struct plan_seq seqs[] = { { .pending = 1, .is_generating = true }, { .pending = 90 }, { .pending = 70 } };

	cr_assert_eq(plan_step(&limits, seqs, 3), 13);
	cr_assert_eq(seqs[1].n, 12);
	seqs[1].pending = 5; /* more than half is left */
	cr_assert_eq(plan_step(&limits, seqs, 3), 13);
	cr_assert_eq(seqs[2].n, 7);
	seqs[1].pending = 9;
	cr_assert_eq(plan_step(&limits, seqs, 3), 10);
	seqs[2].pending = 3; /* all of it */
	cr_assert_eq(plan_step(&limits, seqs, 3), 13);
}

Test(plan, short_prompts_go_in_whole_as_far_as_credit_and_budget_go)
{
	const struct plan_limits limits = { .batch_tokens = 150, .chunk = 40, .beside = 12, .whole = 130 };
	struct plan_seq seqs[] = { { .pending = 1, .is_generating = true }, { .pending = 90 },
		{ .pending = 70, .is_short = true }, { .pending = 60, .is_short = true },
		{ .pending = 1, .is_short = true } };

	cr_assert_eq(plan_step(&limits, seqs, 5), 131);
	cr_assert(seqs[0].n == 1 && seqs[1].n == 0 && seqs[2].n == 70 && seqs[3].n == 60 && seqs[4].n == 0);
	seqs[3].pending = 100;
	cr_assert_eq(plan_step(&limits, seqs, 5), 72);
	seqs[2].pending = 140;
	seqs[3].pending = 200;
	cr_assert_eq(plan_step(&limits, seqs, 5), 13, "none can: the oldest goes on");
	cr_assert_eq(seqs[1].n, 12);
}

Test(plan, places_are_taken_in_turn_when_there_are_fewer_than_sequences)
{
	const struct plan_limits limits = { .batch_tokens = 100, .chunk = 40, .beside = 12, .max_batch = 2 };
	struct plan_seq seqs[5];
	size_t n_times[5] = { 0 };

	for (size_t i = 0; i < 5; i++)
		seqs[i] = (struct plan_seq){ .pending = i == 2 ? 1000 : 1, .is_generating = i != 2 };
	for (int k = 0; k < 50; k++) {
		size_t n_in = 0;

		(void)plan_step(&limits, seqs, 5);
		for (size_t i = 0; i < 5; i++) {
			n_in += seqs[i].n > 0;
			n_times[i] += seqs[i].n > 0;
			seqs[i].n_waited = seqs[i].n > 0 ? 0 : seqs[i].n_waited + 1;
		}
		cr_assert_eq(n_in, 2);
	}
	for (size_t i = 0; i < 5; i++)
		cr_assert(n_times[i] >= 15 && n_times[i] <= 25, "sequence %zu was in %zu of 50 steps", i, n_times[i]);
}

Test(plan, prompts_are_taken_oldest_first)
{
	const struct plan_limits limits = { .batch_tokens = 50, .chunk = 40 };
	/* The third would fit beside the first, but the second was there before it. */
	struct plan_seq seqs[] = { { .pending = 40 }, { .pending = 40 }, { .pending = 5 } };

	cr_assert_eq(plan_step(&limits, seqs, 3), 40);
	cr_assert_eq(seqs[1].n, 0);
	cr_assert_eq(seqs[2].n, 0);
}

Test(plan, every_prompt_ends_in_steps_that_keep_the_limits)
{
	for (uint64_t seed = 1; seed <= 1000; seed++) {
		struct plan_seq seqs[MAX_SEQS] = { { .n = 0 } };
		struct plan_limits limits = { .max_batch = 0 };
		size_t n, left = 0, n_generating = 0, n_steps = 0;
		struct rng rng;

		rng_seed(&rng, seed);
		n = 1 + rng_below(&rng, MAX_SEQS);
		limits.chunk = 1 + rng_below(&rng, 60);
		limits.batch_tokens = limits.chunk + rng_below(&rng, 200);
		limits.beside = 1 + rng_below(&rng, 300);
		limits.whole = rng_below(&rng, 300);
		for (size_t i = 0; i < n; i++) {
			seqs[i].is_generating = rng_below(&rng, 2) == 0;
			seqs[i].pending = seqs[i].is_generating ? 1 : rng_below(&rng, 300);
			seqs[i].is_short = rng_below(&rng, 2) == 0;
			left += seqs[i].is_generating ? 0 : seqs[i].pending;
			n_generating += seqs[i].is_generating;
		}
		while (left > 0) {
			size_t sum = plan_step(&limits, seqs, n), total = 0;

			cr_assert_leq(sum,
				limits.batch_tokens > n_generating + limits.chunk ? limits.batch_tokens
										  : n_generating + limits.chunk,
				"seed %" PRIu64, seed);
			for (size_t i = 0; i < n; i++) {
				total += seqs[i].n;
				cr_assert_leq(seqs[i].n, seqs[i].pending, "seed %" PRIu64, seed);
				if (seqs[i].is_generating) {
					cr_assert_eq(seqs[i].n, 1, "seed %" PRIu64 ": a generating sequence waits", seed);
					continue;
				}
				cr_assert(seqs[i].n <= limits.chunk || seqs[i].n == seqs[i].pending, "seed %" PRIu64, seed);
				seqs[i].pending -= seqs[i].n;
				left -= seqs[i].n;
			}
			cr_assert_eq(total, sum, "seed %" PRIu64, seed);
			cr_assert_lt(++n_steps, 6000, "seed %" PRIu64 ": no progress", seed);
		}
	}
}

Test(draw, follows_the_softmax_of_the_logits)
{
	const struct candidate c[] = { { 7, 0.0f }, { 3, 1.0f }, { 9, -INFINITY }, { 4, -1.0f }, { 5, NAN }, { 6, 0.5f } };
	const size_t n = sizeof(c) / sizeof(c[0]), n_draws = 200000;
	size_t count[6] = { 0 };
	double sum = 0;

	for (size_t i = 0; i < n_draws; i++)
		count[draw(c, n, 42, i)]++;
	for (size_t i = 0; i < n; i++)
		sum += isfinite(c[i].logit) ? exp((double)c[i].logit) : 0;
	for (size_t i = 0; i < n; i++) {
		double p = isfinite(c[i].logit) ? exp((double)c[i].logit) / sum : 0;
		double sigma = sqrt((double)n_draws * p * (1 - p));

		cr_expect_leq(
			fabs((double)count[i] - (double)n_draws * p), 5 * sigma, "candidate %zu: %zu times", i, count[i]);
	}
}

Test(draw, depends_on_seed_and_index_and_on_both)
{
	const struct candidate c[] = { { 0, 0.0f }, { 1, 0.0f }, { 2, 0.0f }, { 3, 0.0f } };
	size_t same_seed = 0, same_index = 0;

	for (uint64_t i = 0; i < 1000; i++) {
		cr_assert_eq(draw(c, 4, 5, i), draw(c, 4, 5, i));
		same_index += draw(c, 4, 5, i) == draw(c, 4, 6, i);
		same_seed += draw(c, 4, 5, i) == draw(c, 4, 5, i + 1);
	}
	/* A quarter by chance. */
	cr_expect(same_index > 180 && same_index < 320, "%zu", same_index);
	cr_expect(same_seed > 180 && same_seed < 320, "%zu", same_seed);
}

Test(draw, takes_the_greatest_when_chance_has_no_say)
{
	const struct candidate ties[] = { { 0, NAN }, { 1, 2.0f }, { 2, 3.0f }, { 3, 3.0f } };
	const struct candidate one[] = { { 8, -3.0f } };
	const struct candidate infinite[] = { { 0, 1.0f }, { 1, INFINITY } };
	const struct candidate none[] = { { 0, -INFINITY }, { 1, -INFINITY } };

	cr_expect_eq(draw_greatest(ties, 4), 2);
	cr_expect_eq(draw(one, 1, 1, 1), 0);
	cr_expect_eq(draw(infinite, 2, 1, 1), 1);
	cr_expect_lt(draw(none, 2, 1, 1), 2);
}
