/* Log probabilities of tokens from a model's logits. */
#include <criterion/criterion.h>
#include <math.h>

#include "likely.h"
#include "logprob.h"
#include "rng.h"

Test(likely, probabilities_add_up_to_one_however_great_the_logits)
{
	static const float offsets[] = { 0, 1000, -1000, 30000 };
	struct rng rng;
	float x[300];

	rng_seed(&rng, 5);
	for (size_t k = 0; k < sizeof(offsets) / sizeof(offsets[0]); k++) {
		double sum = 0, norm;

		for (size_t i = 0; i < 300; i++)
			x[i] = offsets[k] + (float)(rng_real(&rng) * 20);
		norm = likely_norm(x, 300);
		for (size_t i = 0; i < 300; i++)
			sum += exp(likely_log(x[i], norm));
		cr_expect_float_eq(sum, 1, 1e-6, "%g: %.9g", (double)offsets[k], sum);
	}
}

Test(likely, two_equal_logits_are_even_odds)
{
	const float x[] = { 3, 3 };

	cr_assert_float_eq(likely_log(x[0], likely_norm(x, 2)), log(0.5), 1e-12);
}

Test(likely, what_never_comes_has_the_least_there_is)
{
	const float x[] = { -INFINITY, 1, NAN }, none[] = { -INFINITY, -INFINITY };
	double norm = likely_norm(x, 3);

	cr_assert_eq(likely_log(x[0], norm), LOGPROB_LEAST);
	cr_assert_eq(likely_log(x[2], norm), LOGPROB_LEAST);
	cr_assert_eq(likely_log(x[1], norm), 0);
	cr_assert_eq(likely_log(none[0], likely_norm(none, 2)), LOGPROB_LEAST);
	cr_assert_eq(likely_log(-1e30f, 0), LOGPROB_LEAST);
}

Test(likely, the_greatest_come_first_and_of_equal_ones_the_first)
{
	const float x[] = { 1, NAN, 5, 2, 5, -INFINITY, 3 };
	struct candidate top[7];

	cr_assert_eq(likely_top(x, 7, top, 0), 0);
	cr_assert_eq(likely_top(x, 7, top, 3), 3);
	cr_assert(top[0].id == 2 && top[1].id == 4 && top[2].id == 6);
	cr_assert_eq(likely_top(x, 7, top, 7), 5, "only what may come");
	cr_assert(top[3].id == 3 && top[4].id == 0);
}

Test(likely, the_top_is_that_of_a_sorted_list)
{
	struct rng rng;
	float x[64];
	struct candidate top[20];

	rng_seed(&rng, 9);
	for (int round = 0; round < 500; round++) {
		size_t n = 1 + (size_t)rng_below(&rng, 64), n_top = (size_t)rng_below(&rng, 21), got;

		for (size_t i = 0; i < n; i++)
			x[i] = (float)rng_below(&rng, 30);
		got = likely_top(x, n, top, n_top);
		cr_assert_eq(got, n < n_top ? n : n_top);
		for (size_t k = 0; k < got; k++) {
			size_t before = 0;

			for (size_t i = 0; i < n; i++)
				before += x[i] > x[top[k].id] || (x[i] == x[top[k].id] && i < top[k].id);
			cr_assert_eq(before, k);
		}
	}
}
