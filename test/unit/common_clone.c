/* Copies of messages: as a round trip through the codec gives them. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "clone.h"
#include "support/msg_gen.h"

#define ROUNDS 100

/* Which fields a decoder would find. */
static uint64_t has_decoded(const struct msg_type *t, const void *m)
{
	struct arena arena = { .p = malloc(1 << 20), .cap = 1 << 20 };
	struct buf bytes = BUF_INIT(1 << 20);
	void *back = malloc(t->size);
	uint64_t has;

	cr_assert_eq(msg_encode(t, m, MSG_KEYS_INT, &bytes), 0);
	cr_assert_eq(msg_decode(t, buf_span(&bytes), MSG_KEYS_INT, &arena, back, NULL), 0);
	has = *(uint64_t *)back;
	free(back);
	free(arena.p);
	buf_fini(&bytes);
	return has;
}

/* The copy is compared when nothing is left of what it was made of. */
Test(clone, a_copy_of_any_message_stands_alone)
{
	struct arena from = { .p = malloc(1 << 20), .cap = 1 << 20 }, again = { .p = malloc(1 << 20), .cap = 1 << 20 };

	for (const struct msg_type *const *t = msg_gen_types; *t != NULL; t++)
		for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
			void *m = malloc((*t)->size), *same = malloc((*t)->size), *copy;
			struct rng rng;

			arena_reset(&from);
			rng_seed(&rng, seed);
			msg_gen(&rng, *t, &from, m);
			copy = malloc(msg_clone_size(*t, m)); /* a sanitizer tells what is written behind it */
			msg_clone_into(*t, m, copy);
			memset(from.p, 0xa5, from.n);
			memset(m, 0xa5, (*t)->size);
			arena_reset(&again);
			rng_seed(&rng, seed);
			msg_gen(&rng, *t, &again, same);
			cr_assert(msg_equal(*t, same, copy), "%s seed %" PRIu64, (*t)->name, seed);
			cr_assert_eq(*(uint64_t *)copy, has_decoded(*t, same),
				"%s seed %" PRIu64 ": %" PRIx64 " for %" PRIx64, (*t)->name, seed, *(uint64_t *)copy,
				has_decoded(*t, same));
			free(copy);
			free(same);
			free(m);
		}
	free(from.p);
	free(again.p);
}
