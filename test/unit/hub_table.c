/* Hash tables and timers against a slow model of themselves. */
#include <criterion/criterion.h>

#include "rng.h"
#include "table.h"

#define N 2000

struct item {
	struct node node;
	struct timer timer;
	uint64_t key;
};

Test(hub_table, what_is_added_is_found_until_it_is_taken_out)
{
	static struct item items[N];
	static bool is_in[N];
	struct table t;
	struct rng rng;

	rng_seed(&rng, 1);
	cr_assert_eq(table_init(&t), 0);
	for (int step = 0; step < 20000; step++) {
		size_t i = rng_below(&rng, N);
		size_t same = 0, expected = 0;

		if (is_in[i])
			table_del(&t, &items[i].node);
		else
			table_add(&t, items[i].key = rng_below(&rng, 300), &items[i].node);
		is_in[i] = !is_in[i];
		for (struct node *n = table_first(&t, items[i].key); n != NULL; n = table_next(n))
			same++;
		for (size_t k = 0; k < N; k++)
			expected += is_in[k] && items[k].key == items[i].key;
		cr_assert_eq(same, expected);
	}
	table_fini(&t);
}

Test(hub_table, a_node_taken_out_twice_does_no_harm)
{
	struct item a = { 0 }, b = { 0 };
	struct table t;

	cr_assert_eq(table_init(&t), 0);
	table_add(&t, 1, &a.node);
	table_add(&t, 1, &b.node);
	table_del(&t, &a.node);
	table_del(&t, &a.node);
	cr_assert_eq(t.n, 1);
	cr_assert_eq(table_first(&t, 1), &b.node);
	table_fini(&t);
}

Test(hub_table, names_hash_alike_only_when_they_are_the_same)
{
	cr_assert_eq(table_hash(1, SPAN("box-1")), table_hash(1, SPAN("box-1")));
	cr_assert_neq(table_hash(1, SPAN("box-1")), table_hash(1, SPAN("box-2")));
	cr_assert_neq(table_hash(1, SPAN("box-1")), table_hash(2, SPAN("box-1")));
	cr_assert_neq(table_hash(1, SPAN("a")), table_hash(1, span_mem("a\0", 2)));
}

static uint64_t soonest(const struct item *items)
{
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < N; i++)
		if (items[i].timer.pos != 0 && items[i].timer.at_ms < at)
			at = items[i].timer.at_ms;
	return at;
}

Test(hub_table, timers_fire_in_order_whatever_is_set_and_reset)
{
	static struct item items[N];
	struct timers ts = { 0 };
	struct rng rng;
	uint64_t now = 0;

	rng_seed(&rng, 2);
	for (size_t i = 0; i < N; i++)
		cr_assert_eq(timers_reserve(&ts), 0);
	for (int step = 0; step < 20000; step++) {
		struct item *it = &items[rng_below(&rng, N)];
		struct timer *t;

		timer_set(&ts, &it->timer, rng_below(&rng, 4) == 0 ? UINT64_MAX : now + rng_below(&rng, 1000));
		if (step % 16 != 0)
			continue;
		cr_assert_eq(timers_next(&ts), soonest(items));
		now += rng_below(&rng, 20);
		for (uint64_t last = 0; (t = timers_pop(&ts, now)) != NULL; last = t->at_ms) {
			cr_assert_leq(t->at_ms, now);
			cr_assert_geq(t->at_ms, last);
			cr_assert_eq(t->pos, 0);
		}
	}
	for (size_t i = 0; i < N; i++)
		timers_release(&ts, &items[i].timer);
	cr_assert_eq(ts.n, 0);
	timers_fini(&ts);
}
