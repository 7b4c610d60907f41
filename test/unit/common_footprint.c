/* How much memory a model takes, by what its head says.  That it is what engines really take is
 * tested with engines: test/engine/test_memory.py. */
#include <criterion/criterion.h>

#include "footprint.h"

#define MIB ((uint64_t)1 << 20)

/* As Llama 3 8B in Q4_K_M: 32 layers, 8 KV heads of 128. */
static const struct gguf_facts big = { .n_layers = 32,
	.n_ctx = 131072,
	.n_embd = 4096,
	.n_vocab = 128256,
	.n_heads = 32,
	.n_ff = 14336,
	.n_kv_values = 32 * 8 * 256 };
#define BIG_FILE ((uint64_t)4692 * MIB)

Test(footprint, the_cache_is_what_each_sequence_keeps_of_each_token)
{
	struct footprint f = footprint_of(&big, BIG_FILE, &(struct footprint_use){ .n_ctx = 8191, .parallel = 4 });

	cr_expect_eq(f.weights, BIG_FILE);
	cr_expect_eq(f.kv_token, (uint64_t)128 << 10);
	cr_expect_eq(f.kv, 4 * 1024 * MIB);
	cr_expect(f.work > 24 * MIB && f.work < 128 * MIB, "%llu", (unsigned long long)f.work);
	cr_expect_eq(footprint_total(&f), f.weights + f.kv + f.work);
}

Test(footprint, a_cell_to_spare_may_cost_256_of_them)
{
	struct footprint a = footprint_of(&big, BIG_FILE, &(struct footprint_use){ .n_ctx = 255, .parallel = 1 });
	struct footprint b = footprint_of(&big, BIG_FILE, &(struct footprint_use){ .n_ctx = 256, .parallel = 1 });

	cr_expect_eq(a.kv, 256 * a.kv_token);
	cr_expect_eq(b.kv, 512 * a.kv_token);
}

Test(footprint, no_more_context_is_counted_than_the_model_was_trained_with)
{
	struct footprint f = footprint_of(&big, BIG_FILE, &(struct footprint_use){ .parallel = 1 });
	struct footprint g = footprint_of(&big, BIG_FILE, &(struct footprint_use){ .n_ctx = 1 << 24, .parallel = 1 });

	cr_expect_eq(f.n_ctx, 131072);
	cr_expect_eq(g.n_ctx, 131072);
	cr_expect_eq(g.kv, f.kv);
}

Test(footprint, without_a_head_the_weights_are_known)
{
	struct gguf_facts none = { .n_ctx = 0 };
	struct footprint f = footprint_of(&none, 1000, &(struct footprint_use){ .n_ctx = 0 });

	cr_expect_eq(f.weights, 1000);
	cr_expect_eq(f.kv, 0);
	cr_expect_gt(f.work, 0);
}

/* More of anything never takes less, and nothing wraps. */
Test(footprint, it_grows_with_everything_and_never_wraps)
{
	struct gguf_facts most = { .n_ctx = (uint64_t)1 << 30,
		.n_embd = 1 << 20,
		.n_vocab = 1 << 24,
		.n_ff = 1 << 16,
		.n_kv_values = (uint64_t)512 << 33 };
	struct footprint last = { 0 };

	for (unsigned i = 0; i < 24; i++) {
		struct footprint_use use = { .n_ctx = (uint64_t)1 << i, .parallel = 1 + i, .rows = (uint64_t)1 << i };
		struct footprint f = footprint_of(&big, BIG_FILE, &use);

		cr_expect_geq(f.kv, last.kv);
		cr_expect_geq(f.work, last.work);
		last = f;
	}
	last = footprint_of(&most, UINT64_MAX / 4,
		&(struct footprint_use){ .n_ctx = UINT64_MAX, .parallel = UINT64_MAX, .rows = UINT64_MAX });
	cr_expect_eq(last.kv, UINT64_MAX / 16, "it is as much as there can be");
	cr_expect_gt(footprint_total(&last), last.kv);
}
