/* The tuner on a simulated machine whose cores are taken and given back by others. */
#include <criterion/criterion.h>
#include <math.h>

#include "rng.h"
#include "tuner.h"

#define SECOND 1000000ull

struct machine {
	size_t cores, n_others; /* that run all the time */
	double alone_us;        /* a step with one thread */
	double worst;           /* times as long, when threads must share cores */
	bool tells;             /* how many cores are idle, and who waits */
	struct rng rng;
};

static double step_us(const struct machine *m, size_t n)
{
	bool is_crowded = n + m->n_others > m->cores;

	if (is_crowded && n == 1)
		return 2 * m->alone_us;
	return is_crowded ? m->worst * m->alone_us : m->alone_us / pow((double)n, 0.9);
}

static double best_us(const struct machine *m)
{
	double best = INFINITY;

	for (size_t n = 1; n <= m->cores; n++)
		best = fmin(best, step_us(m, n));
	return best;
}

static struct tuner_load load_of(const struct machine *m, size_t n)
{
	if (!m->tells)
		return (struct tuner_load){ -1, -1 };
	if (n + m->n_others > m->cores)
		return (struct tuner_load){ 0, 0.9 };
	return (struct tuner_load){ (double)(m->cores - n - m->n_others), 0.02 };
}

/* Computes until a time; steps done after `from_us`, as a share of what the best count would have
 * brought. */
static double run(struct machine *m, struct tuner *t, uint64_t *now_us, uint64_t from_us, uint64_t until_us)
{
	double n_steps = 0;

	while (*now_us < until_us) {
		struct tuner_load load = load_of(m, t->n);
		double noise = rng_below(&m->rng, 100) == 0 ? 3 : 1 + 0.1 * rng_real(&m->rng);
		double us = step_us(m, t->n) * noise;

		*now_us += (uint64_t)us;
		n_steps += *now_us > from_us;
		tuner_took(t, &(struct tuner_step){ .now_us = *now_us, .took_us = (uint64_t)us, .rows = 8 }, &load);
		cr_assert(t->n >= 1 && t->n <= m->cores);
	}
	return n_steps * best_us(m) * 1.07 / (double)(until_us - from_us);
}

Test(tuner, it_finds_four_fifths_of_the_best_within_five_seconds_of_any_change)
{
	static const size_t cores[] = { 1, 2, 3, 4, 8, 16, 64 };
	static const double steps_us[] = { 200, 10000, 100000 };

	for (size_t c = 0; c < sizeof(cores) / sizeof(cores[0]); c++)
		for (size_t k = cores[c] > 4; k < (cores[c] > 8 ? 2 : 3); k++) /* not too short, nor too long a step */
			for (size_t others = 1; others <= cores[c];
				others = others < cores[c] - 1 ? cores[c] - 1 : others + 1)
				for (int tells = 1; tells >= (k < 2 ? 0 : 1); tells--) {
					struct machine m = { cores[c], 0, steps_us[k], 15, tells != 0, { .s = { 0 } } };
					struct tuner t;
					uint64_t now = 0;
					double share[3];

					rng_seed(&m.rng, 11);
					tuner_init(&t, m.cores);
					share[0] = run(&m, &t, &now, 5 * SECOND, 15 * SECOND);
					m.n_others = others;
					share[1] = run(&m, &t, &now, now + 5 * SECOND, now + 15 * SECOND);
					m.n_others = 0;
					share[2] = run(&m, &t, &now, now + 5 * SECOND, now + 15 * SECOND);
					for (int i = 0; i < 3; i++)
						cr_expect_geq(share[i], 0.8, "%zu cores, %zu others, %.0f us, %s: %.2f %s",
							m.cores, others, m.alone_us, m.tells ? "with figures" : "without",
							share[i],
							i == 0   ? "at first"
							: i == 1 ? "when others run"
								 : "when they have gone");
				}
}

Test(tuner, a_steady_box_sees_few_changes)
{
	struct machine m = { .cores = 4, .n_others = 1, .alone_us = 10000, .worst = 15, .tells = true };
	struct tuner t;
	uint64_t now = 0;
	size_t n_changes = 0;

	rng_seed(&m.rng, 3);
	tuner_init(&t, m.cores);
	(void)run(&m, &t, &now, 0, 5 * SECOND);
	for (size_t i = 0; i < 6000; i++) {
		size_t before = t.n;

		(void)run(&m, &t, &now, 0, now + 10000);
		n_changes += t.n != before;
	}
	cr_assert_eq(t.n, 3);
	cr_assert_leq(n_changes, 30, "%zu changes in a minute", n_changes);
}

Test(tuner, steps_of_other_sizes_are_not_taken_for_a_change_of_the_box)
{
	struct tuner_load load = { .idle = 0 };
	struct tuner t;
	uint64_t now = SECOND;

	tuner_init(&t, 4);
	for (size_t i = 0; i < 4000; i++) {
		size_t rows = i / 50 % 2 == 0 ? 1 : 8;

		now += 1000 * rows * (1 + i / 50 % 3);
		tuner_took(&t,
			&(struct tuner_step){ .now_us = now,
				.took_us = 1000 * rows * (1 + i / 50 % 3),
				.rows = rows,
				.is_prompt = i / 100 % 2 == 1 },
			&load);
		cr_assert_eq(t.n, 3, "step %zu", i);
	}
}

Test(tuner, it_starts_with_one_core_less_and_never_with_none)
{
	struct tuner t;

	for (size_t cores = 0; cores < 5; cores++) {
		tuner_init(&t, cores);
		cr_assert_eq(t.n, cores > 1 ? cores - 1 : 1);
	}
}

/* Half a second that others need, and the box is as it was. */
Test(tuner, a_short_disturbance_is_over_soon)
{
	struct machine m = { .cores = 8, .alone_us = 10000, .worst = 15, .tells = true };
	struct tuner t;
	uint64_t now = 0;

	rng_seed(&m.rng, 4);
	tuner_init(&t, m.cores);
	(void)run(&m, &t, &now, 0, 5 * SECOND);
	for (int i = 0; i < 10; i++) {
		m.n_others = 1;
		(void)run(&m, &t, &now, 0, now + SECOND / 2);
		m.n_others = 0;
		cr_assert_geq(run(&m, &t, &now, now + 2 * SECOND, now + 6 * SECOND), 0.8);
	}
}
