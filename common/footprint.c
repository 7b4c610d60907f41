#include "footprint.h"

#define KV_SIZE 2 /* bytes of a number in the KV cache: F16 */
#define CELLS 256 /* llama.cpp takes the cells of a sequence in multiples of that, */
#define SPARE 1   /* and the engine asks for one more than the context */
#define DEFAULT_PARALLEL 4
#define DEFAULT_CTX 4096 /* of files that do not say what they were trained with */
#define DEFAULT_ROWS 56
#define PROBE_ROWS 17                /* of which the engine wants logits at once when it tries itself */
#define PROGRAM ((uint64_t)24 << 20) /* engine and libraries with nothing loaded, threads, small change */
#define MAX_CTX ((uint64_t)1 << 30)
#define MAX_PARALLEL 4096

static uint64_t min(uint64_t x, uint64_t y)
{
	return x < y ? x : y;
}

static uint64_t max(uint64_t x, uint64_t y)
{
	return x > y ? x : y;
}

/* A header may say what it likes: too much is just too much. */
static uint64_t times(uint64_t x, uint64_t y)
{
	uint64_t most = UINT64_MAX / 16;

	return y != 0 && x > most / y ? most : x * y;
}

static uint64_t cells(uint64_t n_ctx)
{
	return (n_ctx + SPARE + CELLS - 1) / CELLS * CELLS;
}

/* Logits of the rows that want them, twice (computed, and kept for drawing); of each sequence
 * once more; the candidates of a draw.  Of a pass: the widest of the layer's results that
 * live at once, and the mask of attention in two kinds of numbers. */
static uint64_t work_of(const struct gguf_facts *g, uint64_t n_ctx, uint64_t parallel, uint64_t rows)
{
	uint64_t outputs = max(parallel + 1, PROBE_ROWS), values = 6 * g->n_embd + 3 * g->n_ff;

	rows = max(rows, parallel + 1);
	return PROGRAM + 4 * g->n_vocab * (2 * outputs + parallel + 8) + 4 * rows * values + 6 * rows * cells(n_ctx);
}

struct footprint footprint_of(const struct gguf_facts *facts, uint64_t file_size, const struct footprint_use *use)
{
	uint64_t trained = facts->n_ctx != 0 ? facts->n_ctx : use->n_ctx != 0 ? use->n_ctx : DEFAULT_CTX;
	struct footprint f = { .weights = min(file_size, UINT64_MAX / 16), .kv_token = facts->n_kv_values * KV_SIZE };

	f.n_ctx = min(use->n_ctx != 0 ? min(use->n_ctx, trained) : trained, MAX_CTX);
	f.parallel = min(use->parallel != 0 ? use->parallel : DEFAULT_PARALLEL, MAX_PARALLEL);
	f.kv = times(times(f.kv_token, cells(f.n_ctx)), f.parallel);
	f.work = work_of(facts, f.n_ctx, f.parallel, min(use->rows != 0 ? use->rows : DEFAULT_ROWS, 1 << 16));
	return f;
}
