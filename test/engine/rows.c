/* A row gives the same bits in every company: engine/llama by itself, through model.h.
 *
 * Tokens of several sequences are computed one by one, each alone; then again, cut and mixed by
 * chance as jobs that come and go do, and that go on behind what others have left or still use.
 * Wherever logits are wanted they must be the same floats. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <inttypes.h>
#include <llama.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "model.h"
#include "rng.h"

enum { N_SEQS = 4, N_TOKENS = 280, N_VOCAB = 700, N_SHARED = 100 /* the first tokens of sequences 0 and 1 */ };

struct walk {
	uint32_t tokens[N_SEQS][N_TOKENS];
	float *want[N_SEQS]; /* N_TOKENS x n_logits */
	size_t n_logits;
	struct model *m;
	struct picker *picker;
};

static bool go_on(void *ctx, double share)
{
	(void)ctx;
	return share >= 0;
}

static struct model *open_model(const char *path, size_t n_threads)
{
	struct model_config config = { .path = path,
		.n_ctx = N_TOKENS,
		.n_sequences = N_SEQS,
		.batch_tokens = 200,
		.chunk = MODEL_EXACT_ROWS,
		.n_threads = n_threads,
		.max_threads = n_threads,
		.on_progress = go_on };
	char reason[MODEL_REASON_MAX] = "";
	struct model *m;

	config.file = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(config.file, 0);
	cr_assert_eq(model_init(NULL, reason), 0, "%s", reason);
	cr_assert_eq(model_open(&config, &m, reason), 0, "%s", reason);
	close(config.file);
	if (!model_facts(m)->is_exact && strstr(path, "random-") != NULL)
		cr_skip_test("the engine says that this kind of weights is not exact with these kernels");
	cr_assert(model_facts(m)->is_exact);
	return m;
}

static void walk_init(struct walk *w, struct model *m)
{
	struct sampling all = { .temperature = 1, .top_p = 1, .repeat_penalty = 1 }; /* no candidate is cut */
	struct rng rng;

	*w = (struct walk){ .m = m };
	rng_seed(&rng, 7);
	for (size_t s = 0; s < N_SEQS; s++)
		for (size_t i = 0; i < N_TOKENS; i++)
			w->tokens[s][i] = s == 1 && i < N_SHARED ? w->tokens[0][i] : (uint32_t)rng_below(&rng, N_VOCAB);
	cr_assert_eq(picker_new(m, &all, &w->picker), 0);
}

static void walk_fini(struct walk *w)
{
	for (size_t s = 0; s < N_SEQS; s++)
		free(w->want[s]);
	picker_free(w->picker);
	model_close(w->m);
}

static struct model_rows rows_of(const struct walk *w, size_t seq, size_t slot, size_t first, size_t n, bool want_logits)
{
	return (struct model_rows){
		.seq = slot, .tokens = w->tokens[seq] + first, .n = n, .first = first, .want_logits = want_logits
	};
}

/* Every token in a step of its own, nothing beside it. */
static void compute_alone(struct walk *w, size_t n_seqs)
{
	for (size_t s = 0; s < n_seqs; s++) {
		for (size_t i = 0; i < N_TOKENS; i++) {
			struct model_rows r = rows_of(w, s, 0, i, 1, true);
			const struct candidate *c;

			cr_assert_eq(model_compute(w->m, &r, 1), 0);
			w->n_logits = picker_candidates(w->picker, 0, NULL, &c);
			if (w->want[s] == NULL)
				w->want[s] = calloc(N_TOKENS * w->n_logits, sizeof(float));
			for (size_t k = 0; k < w->n_logits; k++)
				w->want[s][i * w->n_logits + k] = c[k].logit;
		}
		model_drop(w->m, 0);
	}
}

/* How many of a row's logits are other floats. */
static size_t count_other(const float *want, const struct candidate *c, size_t n)
{
	size_t n_other = 0;

	for (size_t k = 0; k < n; k++)
		n_other += memcmp(&want[k], &c[k].logit, sizeof(float)) != 0;
	return n_other;
}

static void compare(struct walk *w, size_t row, size_t seq, size_t at, uint64_t seed)
{
	const struct candidate *c;
	size_t n = picker_candidates(w->picker, row, NULL, &c);

	cr_assert_eq(n, w->n_logits);
	cr_assert_eq(
		count_other(w->want[seq] + at * n, c, n), 0, "seed %" PRIu64 ", sequence %zu, token %zu", seed, seq, at);
}

struct place {
	size_t slot, n; /* how far it is */
	bool is_in;     /* holds a slot now */
};

struct slot {
	size_t seq, n; /* what the model holds in it */
	bool is_taken;
};

struct count {
	size_t kept, copied; /* tokens */
};

/* One step with whom chance picks, in cuts that chance makes. */
static void step(struct walk *w, struct place *places, struct slot *slots, struct rng *rng, uint64_t seed)
{
	struct model_rows rows[N_SEQS];
	size_t seqs[N_SEQS], n_rows = 0;

	for (size_t s = 0; s < N_SEQS; s++) {
		size_t left = N_TOKENS - places[s].n, n = 1;

		if (!places[s].is_in || left == 0 || rng_below(rng, 4) == 0)
			continue;
		if (rng_below(rng, 3) == 0)
			n = 1 + rng_below(rng, MODEL_EXACT_ROWS);
		if (n > left)
			n = left;
		seqs[n_rows] = s;
		rows[n_rows++] = rows_of(w, s, places[s].slot, places[s].n, n, rng_below(rng, 4) > 0);
		places[s].n += n;
		slots[places[s].slot].n = places[s].n;
	}
	cr_assert_eq(model_compute(w->m, rows, n_rows), 0);
	for (size_t i = 0; i < n_rows; i++)
		if (rows[i].want_logits || rows[i].n == 1)
			compare(w, i, seqs[i], rows[i].first + rows[i].n - 1, seed);
}

/* Tokens of sequence s at the beginning of what a slot holds. */
static size_t in_common(const struct slot *slot, size_t s)
{
	size_t most = slot->seq == s ? N_TOKENS - 1 : slot->seq + s == 1 ? N_SHARED : 0;

	return slot->n < most ? slot->n : most;
}

/* Takes a free slot, and by chance goes on behind what is in it or in another. */
static void come(struct walk *w, struct place *p, size_t s, struct slot *slots, struct rng *rng, struct count *count)
{
	size_t slot = rng_below(rng, N_SEQS), from = rng_below(rng, 2) ? slot : rng_below(rng, N_SEQS), n;

	if (slots[slot].is_taken)
		return;
	n = rng_below(rng, in_common(&slots[from], s) + 1);
	if (n > 0)
		cr_assert_eq(model_keep(w->m, slot, from, n), n);
	else
		model_drop(w->m, slot);
	*(from == slot ? &count->kept : &count->copied) += n;
	slots[slot] = (struct slot){ .seq = s, .n = n, .is_taken = true };
	*p = (struct place){ .slot = slot, .n = n, .is_in = true };
}

/* Sequences take free slots and give them up, at their end or before. */
static void come_and_go(struct walk *w, struct place *places, struct slot *slots, struct rng *rng, struct count *count)
{
	for (size_t s = 0; s < N_SEQS; s++) {
		if (!places[s].is_in) {
			come(w, &places[s], s, slots, rng, count);
		} else if (places[s].n == N_TOKENS || rng_below(rng, 20) == 0) {
			slots[places[s].slot].is_taken = false;
			places[s] = (struct place){ .n = 0 };
		}
	}
}

static void compute_together(struct walk *w, uint64_t seed, int n_steps, struct count *count)
{
	struct place places[N_SEQS] = { { .n = 0 } };
	struct slot slots[N_SEQS] = { { .n = 0 } };
	struct rng rng;

	rng_seed(&rng, seed);
	for (int i = 0; i < n_steps; i++) {
		come_and_go(w, places, slots, &rng, count);
		step(w, places, slots, &rng, seed);
	}
	for (size_t s = 0; s < N_SEQS; s++)
		model_drop(w->m, s);
}

#define RANDOM(kind) SHOAL_TEST_MODELS "/random-" kind ".gguf"

static const char *const files[] = { SHOAL_SOURCE_DIR "/models/shoal-triage.gguf", RANDOM("f16"), RANDOM("q8_0"),
	RANDOM("q4_0"), RANDOM("q4_k"), RANDOM("iq4_nl") };
static int numbers[] = { 0, 1, 2, 3, 4, 5 }; /* of files: a test's process gets a copy of its parameter alone */

ParameterizedTestParameters(rows, give_the_same_bits_in_every_company)
{
	return cr_make_param_array(int, numbers, sizeof(numbers) / sizeof(numbers[0]));
}

ParameterizedTest(int *file, rows, give_the_same_bits_in_every_company)
{
	struct count count = { .kept = 0 };
	struct walk w;

	walk_init(&w, open_model(files[*file], 1));
	compute_alone(&w, N_SEQS);
	for (uint64_t seed = 1; seed <= 2; seed++)
		compute_together(&w, seed, 80, &count);
	cr_assert(count.kept > 100 && count.copied > 100, "%zu tokens kept, %zu copied", count.kept, count.copied);
	walk_fini(&w);
}

/* Of weights that need no company for a lone row but where threads share its attention. */
Test(rows, give_the_same_bits_with_any_number_of_threads)
{
	struct walk one, two;

	walk_init(&one, open_model(RANDOM("q8_0"), 1));
	compute_alone(&one, 1);
	walk_init(&two, open_model(RANDOM("q8_0"), 2));
	compute_alone(&two, 1);
	cr_assert_eq(one.n_logits, two.n_logits);
	for (size_t i = 0; i < N_TOKENS; i++)
		cr_assert_eq(
			memcmp(one.want[0] + i * one.n_logits, two.want[0] + i * one.n_logits, one.n_logits * sizeof(float)),
			0, "token %zu", i);
	walk_fini(&one);
	walk_fini(&two);
}

/* As many as the tuner may choose, from step to step; also where threads share a lone row's attention. */
Test(rows, give_the_same_bits_when_the_number_of_threads_changes_on_the_way)
{
	struct model_rows r;
	struct walk w, one;

	walk_init(&one, open_model(RANDOM("q8_0"), 1));
	compute_alone(&one, 1);
	walk_init(&w, open_model(RANDOM("q8_0"), 3));
	w.n_logits = one.n_logits;
	for (size_t i = 0, n; i < N_TOKENS; i += n) {
		n = i < 240 ? 48 : 1;
		model_set_threads(w.m, 1 + (i / n) % 3);
		r = rows_of(&w, 0, 0, i, n, true);
		cr_assert_eq(model_compute(w.m, &r, 1), 0);
		w.want[0] = one.want[0];
		compare(&w, 0, 0, i + n - 1, 0);
		w.want[0] = NULL; /* the other's */
	}
	walk_fini(&w);
	walk_fini(&one);
}

/* ---- vectors of texts ---- */

/* What libllama gives with nothing of ours around it. */
static void bare_vector(const char *path, const uint32_t *tokens, size_t n, float *ret, size_t n_embd)
{
	struct llama_model *llama = llama_model_load_from_file(path, llama_model_default_params());
	struct llama_context_params params = llama_context_default_params();
	struct llama_context *ctx;
	llama_token *copy = calloc(n, sizeof(*copy));
	double sum = 0;

	params.embeddings = true;
	params.pooling_type = LLAMA_POOLING_TYPE_MEAN;
	params.n_ctx = params.n_batch = params.n_ubatch = 256;
	params.n_threads = params.n_threads_batch = 1;
	params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
	ctx = llama_init_from_model(llama, params);
	for (size_t i = 0; i < n; i++)
		copy[i] = (llama_token)tokens[i];
	cr_assert_eq(llama_decode(ctx, llama_batch_get_one(copy, (int32_t)n)), 0);
	for (size_t i = 0; i < n_embd; i++)
		sum += pow((double)llama_get_embeddings_seq(ctx, 0)[i], 2);
	for (size_t i = 0; i < n_embd; i++)
		ret[i] = (float)((double)llama_get_embeddings_seq(ctx, 0)[i] / sqrt(sum));
	free(copy);
	llama_free(ctx);
	llama_model_free(llama);
}

Test(rows, vectors_are_those_of_a_bare_program)
{
	const char *path = SHOAL_SOURCE_DIR "/models/shoal-triage.gguf";
	struct model_config config = { .path = path,
		.n_ctx = N_TOKENS,
		.n_sequences = 2,
		.batch_tokens = 100,
		.chunk = MODEL_EXACT_ROWS,
		.n_threads = 1,
		.max_threads = 1,
		.embeds = true,
		.on_progress = go_on };
	char reason[MODEL_REASON_MAX] = "";
	struct model_tokens t;
	struct model *m;
	float *got, *want;
	size_t n_embd;

	config.file = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(model_init(NULL, reason), 0, "%s", reason);
	cr_assert_eq(model_open(&config, &m, reason), 0, "%s", reason);
	close(config.file);
	n_embd = model_facts(m)->n_embd;
	cr_assert_gt(n_embd, 0);
	got = calloc(n_embd, sizeof(*got));
	want = calloc(n_embd, sizeof(*want));
	cr_assert_eq(model_read_prompt(m, SPAN("cold-room-4 door=open temp=11.2:HH, and so on for a while"), &t, reason), 0);
	cr_assert_eq(model_embed(m, t.ids, t.n, got), 0);
	bare_vector(path, t.ids, t.n, want, n_embd);
	for (size_t i = 0; i < n_embd; i++)
		cr_assert_float_eq(got[i], want[i], 1e-6, "number %zu: %g and not %g", i, (double)got[i], (double)want[i]);
	cr_assert_eq(model_embed(m, t.ids, N_TOKENS + 1, got), ERR_RANGE);
	free(t.ids);
	free(got);
	free(want);
	model_close(m);
}
