#include "prefix.h"

#define MIN_COPY 8
#define CELLS_A_TOKEN 512 /* copied in the time of one token, with a margin of two */

size_t prefix_min_copy(size_t n_ctx)
{
	size_t n = n_ctx / CELLS_A_TOKEN;

	return n > MIN_COPY ? n : MIN_COPY;
}

static size_t common(const struct prefix_slot *s, const uint32_t *prompt, size_t max_keep)
{
	size_t n = 0;

	while (n < s->n && n < max_keep && s->tokens[n] == prompt[n])
		n++;
	return n;
}

/* Of two sequences to copy from, with as much in common: a free one. */
static bool is_better(const struct prefix_slot *a, size_t n_a, const struct prefix_slot *b, size_t n_b)
{
	return n_a > n_b || (n_a == n_b && !a->is_busy && b->is_busy);
}

/* Of two free places: one where little is lost behind the common beginning, because the
 * same conversation goes on, or nothing is there; else the one not used for longest. */
static bool is_better_place(const struct prefix_slot *a, size_t n_a, const struct prefix_slot *b, size_t n_b, size_t little)
{
	bool a_is_home = a->n - n_a < little, b_is_home = b->n - n_b < little;

	if (a_is_home != b_is_home)
		return a_is_home;
	return a_is_home && n_a != n_b ? n_a > n_b : a->used < b->used;
}

int prefix_choose(const struct prefix_slot *slots, size_t n_slots, const uint32_t *prompt, size_t max_keep, size_t min_copy,
	struct prefix_choice *ret)
{
	size_t from = 0, n_from = 0, place = n_slots, n_place = 0;

	for (size_t i = 0; i < n_slots; i++) {
		size_t n = common(&slots[i], prompt, max_keep);

		if (i == 0 || is_better(&slots[i], n, &slots[from], n_from)) {
			from = i;
			n_from = n;
		}
		if (slots[i].is_busy)
			continue;
		if (place == n_slots || is_better_place(&slots[i], n, &slots[place], n_place, min_copy)) {
			place = i;
			n_place = n;
		}
	}
	if (place == n_slots)
		return ERR_STATE;
	*ret = (struct prefix_choice){ .slot = place, .from = place, .keep = n_place };
	if (n_from >= n_place + min_copy) {
		ret->from = from;
		ret->keep = n_from;
	}
	return 0;
}
