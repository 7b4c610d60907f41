/* Which sequence a prompt takes, and what of it is kept. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "prefix.h"
#include "rng.h"

enum { MIN_COPY = 8 };

static uint32_t count[200];   /* 0, 1, 2 … */
static uint32_t other[200];   /* nothing in common with it */
static uint32_t sibling[200]; /* 20 tokens in common, then others */

static void make_tokens(void)
{
	for (uint32_t i = 0; i < 200; i++) {
		count[i] = i;
		other[i] = 1000 + i;
		sibling[i] = i < 20 ? i : 2000 + i;
	}
}

TestSuite(prefix, .init = make_tokens);

static void choose(const struct prefix_slot *slots, size_t n, size_t max_keep, struct prefix_choice want)
{
	struct prefix_choice got = { .slot = 99 };

	cr_assert_eq(prefix_choose(slots, n, count, max_keep, MIN_COPY, &got), 0);
	cr_assert(got.slot == want.slot && got.from == want.from && got.keep == want.keep,
		"slot %zu, %zu of %zu; not slot %zu, %zu of %zu", got.slot, got.keep, got.from, want.slot, want.keep,
		want.from);
}

Test(prefix, a_conversation_goes_on_where_it_is)
{
	const struct prefix_slot slots[] = { { .tokens = other, .n = 50, .used = 1 },
		{ .tokens = count, .n = 60, .used = 9 }, { .n = 0 } };

	choose(slots, 3, 99, (struct prefix_choice){ .slot = 1, .from = 1, .keep = 60 });
	choose(slots, 3, 54, (struct prefix_choice){ .slot = 1, .from = 1, .keep = 54 });
}

Test(prefix, an_empty_place_goes_before_one_that_holds_something)
{
	const struct prefix_slot slots[] = { { .tokens = other, .n = 50, .used = 1 }, { .n = 0 }, { .n = 0 } };

	choose(slots, 3, 99, (struct prefix_choice){ .slot = 1, .from = 1, .keep = 0 });
}

Test(prefix, the_place_not_used_for_longest_goes_first)
{
	const struct prefix_slot slots[] = { { .tokens = other, .n = 50, .used = 7 },
		{ .tokens = other, .n = 30, .used = 3 }, { .tokens = other, .n = 90, .used = 5 } };

	choose(slots, 3, 99, (struct prefix_choice){ .slot = 1, .from = 1, .keep = 0 });
}

Test(prefix, a_beginning_that_others_would_miss_is_copied)
{
	const struct prefix_slot idle[] = { { .tokens = sibling, .n = 60, .used = 7 },
		{ .tokens = other, .n = 30, .used = 3 } };
	const struct prefix_slot busy[] = { { .tokens = count, .n = 60, .used = 1, .is_busy = true },
		{ .tokens = other, .n = 30, .used = 3 } };

	choose(idle, 2, 99, (struct prefix_choice){ .slot = 1, .from = 0, .keep = 20 });
	choose(busy, 2, 99, (struct prefix_choice){ .slot = 1, .from = 0, .keep = 60 });
}

Test(prefix, the_only_place_is_cut_in_place)
{
	const struct prefix_slot slots[] = { { .tokens = sibling, .n = 60, .used = 7 } };

	choose(slots, 1, 99, (struct prefix_choice){ .slot = 0, .from = 0, .keep = 20 });
}

Test(prefix, a_copy_of_a_few_tokens_is_not_worth_it)
{
	const struct prefix_slot slots[] = { { .tokens = sibling, .n = 60, .used = 7, .is_busy = true },
		{ .tokens = other, .n = 30, .used = 3 } };

	choose(slots, 2, MIN_COPY - 1, (struct prefix_choice){ .slot = 1, .from = 1, .keep = 0 });
	choose(slots, 2, MIN_COPY, (struct prefix_choice){ .slot = 1, .from = 0, .keep = MIN_COPY });
	cr_assert_eq(prefix_min_copy(512), 8);
	cr_assert_eq(prefix_min_copy(32768), 64);
}

Test(prefix, a_free_sequence_nearly_as_good_spares_the_copy)
{
	const struct prefix_slot slots[] = { { .tokens = count, .n = 60, .used = 1, .is_busy = true },
		{ .tokens = other, .n = 30, .used = 3 }, { .tokens = count, .n = 55, .used = 9 } };

	choose(slots, 3, 99, (struct prefix_choice){ .slot = 2, .from = 2, .keep = 55 });
}

Test(prefix, busy_places_are_never_taken)
{
	const struct prefix_slot slots[] = { { .tokens = count, .n = 60, .is_busy = true }, { .is_busy = true } };
	struct prefix_choice got;

	cr_assert_eq(prefix_choose(slots, 2, count, 99, MIN_COPY, &got), ERR_STATE);
	cr_assert_eq(prefix_choose(slots, 0, count, 99, MIN_COPY, &got), ERR_STATE);
}

/* Whatever the slots hold: the place is free, what is kept is what it claims to be, and no
 * more than a copy's worth below the best there is. */
Test(prefix, any_choice_keeps_its_promises)
{
	for (uint64_t seed = 1; seed <= 20000; seed++) {
		struct prefix_slot slots[6] = { { .n = 0 } };
		uint32_t tokens[6][40], prompt[40];
		struct prefix_choice c;
		size_t best = 0, n_free = 0, n_slots, max_keep;
		struct rng rng;

		rng_seed(&rng, seed);
		n_slots = 1 + rng_below(&rng, 6);
		max_keep = rng_below(&rng, 40);
		for (size_t k = 0; k < 40; k++)
			prompt[k] = (uint32_t)rng_below(&rng, 2);
		for (size_t i = 0; i < n_slots; i++) {
			size_t same = rng_below(&rng, 41);

			for (size_t k = 0; k < 40; k++)
				tokens[i][k] = k < same ? prompt[k] : 2;
			slots[i] = (struct prefix_slot){ .tokens = tokens[i],
				.n = rng_below(&rng, 41),
				.used = rng_below(&rng, 5),
				.is_busy = rng_below(&rng, 2) == 0 };
			n_free += !slots[i].is_busy;
			same = same < slots[i].n ? same : slots[i].n;
			same = same < max_keep ? same : max_keep;
			best = same > best ? same : best;
		}
		if (prefix_choose(slots, n_slots, prompt, max_keep, MIN_COPY, &c) < 0) {
			cr_assert_eq(n_free, 0, "seed %" PRIu64, seed);
			continue;
		}
		cr_assert(c.slot < n_slots && c.from < n_slots && !slots[c.slot].is_busy, "seed %" PRIu64, seed);
		cr_assert(c.keep <= max_keep && c.keep <= slots[c.from].n, "seed %" PRIu64, seed);
		cr_assert_eq(memcmp(slots[c.from].tokens, prompt, c.keep * sizeof(uint32_t)), 0, "seed %" PRIu64, seed);
		cr_assert(c.keep + MIN_COPY > best, "seed %" PRIu64, seed);
	}
}
