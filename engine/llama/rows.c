#include <stdlib.h>

#include "adapter.h"
#include "clock.h"

/* ggml computes attention of a lone row with 512 cells or more in one piece for each thread, and
 * so gives other bits with another number of threads; cells are counted in steps of 256. */
#define LONE_ROW_CELLS 255

#define MAX_GAP 2 /* idle sequences: two rows of no use at most, as many as two lone rows would get */

int rows_init(struct model *m, size_t max_rows)
{
	m->batch = llama_batch_init((int32_t)max_rows, 0, 1);
	m->batch_cap = max_rows;
	m->logits = calloc(m->n_sequences, sizeof(*m->logits));
	m->order = calloc(m->n_sequences, sizeof(*m->order));
	m->kept = calloc(m->n_sequences, sizeof(*m->kept));
	return m->batch.token != NULL && m->logits != NULL && m->order != NULL && m->kept != NULL ? 0 : ERR_NOMEM;
}

void rows_fini(struct model *m)
{
	for (size_t i = 0; m->kept != NULL && i < m->n_sequences; i++)
		free(m->kept[i]);
	free(m->kept);
	free(m->order);
	free(m->logits);
	if (m->batch.token != NULL)
		llama_batch_free(m->batch);
	m->kept = NULL;
	m->order = NULL;
	m->logits = NULL;
	m->batch = (struct llama_batch){ .n_tokens = 0 };
}

static void add_row(struct model *m, size_t seq, uint32_t token, size_t position, bool wants_logits)
{
	struct llama_batch *b = &m->batch;
	int32_t i = b->n_tokens++;

	b->token[i] = (llama_token)token;
	b->pos[i] = (llama_pos)position;
	b->n_seq_id[i] = 1;
	b->seq_id[i][0] = (llama_seq_id)seq;
	b->logits[i] = wants_logits;
}

static bool cut(struct model *m, size_t seq, size_t length)
{
	return llama_memory_seq_rm(llama_get_memory(m->ctx), (llama_seq_id)seq, (llama_pos)length, -1);
}

static int decode(struct model *m)
{
	if (llama_decode(m->ctx, m->batch) != 0)
		return ERR_STATE;
	m->has_copies = false;
	return 0;
}

/* Of n rows in all: faster each in a pass of its own, and with the same bits. */
static bool is_faster_alone(const struct model *m, const struct model_rows *r, size_t n)
{
	return n <= m->lone_rows && r->first + r->n <= m->exact.pad_from;
}

/* As many as fit, in parts of about one size: none is a row alone, but where all are. */
static int compute_parts(struct model *m, const struct model_rows *r)
{
	size_t most = m->exact.is_exact ? MODEL_EXACT_ROWS : m->batch_cap;
	size_t n_parts = is_faster_alone(m, r, r->n) ? r->n : (r->n + most - 1) / most, k = 0;

	for (size_t part = 1; part <= n_parts; part++) {
		m->batch.n_tokens = 0;
		for (; k < r->n * part / n_parts; k++)
			add_row(m, r->seq, r->tokens[k], r->first + k, r->want_logits && k + 2 >= r->n);
		if (decode(m) < 0)
			return ERR_STATE;
	}
	return 0;
}

/* Several rows of one sequence, in passes of their own.  From the last layer's feed-forward on
 * llama.cpp computes only rows whose logits are wanted: they are never one alone either. */
static int compute_chunk(struct model *m, const struct model_rows *r, const float **ret_logits)
{
	const float *logits;

	if (compute_parts(m, r) < 0)
		return ERR_STATE;
	if (!r->want_logits)
		return 0;
	if (m->kept[r->seq] == NULL && (m->kept[r->seq] = calloc(m->n_vocab, sizeof(float))) == NULL)
		return ERR_NOMEM;
	logits = llama_get_logits_ith(m->ctx, -1);
	if (logits == NULL)
		return ERR_STATE;
	memcpy(m->kept[r->seq], logits, m->n_vocab * sizeof(float));
	*ret_logits = m->kept[r->seq];
	return 0;
}

/* Single rows by sequence, ascending: llama.cpp computes neighbours in one pass. */
static size_t order_singles(struct model *m, const struct model_rows *rows, size_t n_rows)
{
	size_t n = 0;

	for (size_t i = 0; i < n_rows; i++) {
		size_t at = n;

		if (rows[i].n != 1)
			continue;
		for (; at > 0 && rows[m->order[at - 1]].seq > rows[i].seq; at--)
			m->order[at] = m->order[at - 1];
		m->order[at] = i;
		n++;
	}
	return n;
}

/* A row of a prompt that goes on does without logits: with a large vocabulary they are half the work. */
static int compute_one_by_one(struct model *m, const struct model_rows *rows, size_t n)
{
	int rc = 0;

	for (size_t k = 0; k < n && rc == 0; k++)
		rc = compute_chunk(m, &rows[m->order[k]], &m->logits[m->order[k]]);
	return rc;
}

static bool are_faster_alone(const struct model *m, const struct model_rows *rows, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (!is_faster_alone(m, &rows[m->order[k]], n))
			return false;
	return n > 1;
}

static bool needs_company(const struct model *m, const struct model_rows *r)
{
	return r->first >= m->exact.pad_from;
}

/* Sequences between the kth single row's and the next one's, when rows of no use are to fill the gap:
 * llama.cpp then computes both in one pass, and they are each other's company.  Conversations
 * that go on where they were leave gaps. */
static size_t gap_to_fill(const struct model *m, const struct model_rows *rows, size_t k, size_t n)
{
	const struct model_rows *r = &rows[m->order[k]], *next = k + 1 < n ? &rows[m->order[k + 1]] : NULL;

	if (next == NULL || next->seq - r->seq - 1 > MAX_GAP || !needs_company(m, r) || !needs_company(m, next))
		return 0;
	return next->seq - r->seq - 1;
}

static bool has_neighbour(const struct model *m, const struct model_rows *rows, size_t k, size_t n)
{
	return k + 1 < n && rows[m->order[k]].seq + gap_to_fill(m, rows, k, n) + 1 == rows[m->order[k + 1]].seq;
}

static bool is_alone(const struct model *m, const struct model_rows *rows, size_t k, size_t n)
{
	return !has_neighbour(m, rows, k, n) && (k == 0 || !has_neighbour(m, rows, k - 1, n));
}

static size_t length_of(const struct model *m, size_t seq)
{
	return (size_t)(llama_memory_seq_pos_max(llama_get_memory(m->ctx), (llama_seq_id)seq) + 1);
}

/* Rows behind what idle sequences hold; gone after the pass. */
static void fill_gap(struct model *m, size_t first, size_t n)
{
	for (size_t seq = first; seq < first + n; seq++)
		add_row(m, seq, 0, length_of(m, seq), false);
}

static void empty_gap(struct model *m, size_t first, size_t n)
{
	for (size_t seq = first; seq < first + n; seq++)
		cut(m, seq, length_of(m, seq) - 1);
}

/* One row each of several sequences.  A row that would be alone in its pass gets a second one
 * of the same sequence, whose result nobody looks at, where a lone row would give other bits. */
static int compute_singles(struct model *m, const struct model_rows *rows, size_t n_rows)
{
	size_t n = order_singles(m, rows, n_rows);
	bool is_padded = false;
	int rc;

	if (are_faster_alone(m, rows, n))
		return compute_one_by_one(m, rows, n);
	m->batch.n_tokens = 0;
	for (size_t k = 0; k < n; k++) {
		const struct model_rows *r = &rows[m->order[k]];

		add_row(m, r->seq, r->tokens[0], r->first, true);
		fill_gap(m, r->seq + 1, gap_to_fill(m, rows, k, n));
		if (!needs_company(m, r) || !is_alone(m, rows, k, n))
			continue;
		add_row(m, r->seq, r->tokens[0], r->first + 1, true);
		is_padded = true;
	}
	rc = n > 0 ? decode(m) : 0;
	for (size_t k = 0; rc == 0 && k < n; k++)
		empty_gap(m, rows[m->order[k]].seq + 1, gap_to_fill(m, rows, k, n));
	for (size_t k = 0; is_padded && k < n; k++)
		cut(m, rows[m->order[k]].seq, rows[m->order[k]].first + 1);
	if (rc != 0)
		return ERR_STATE;
	for (size_t i = 0, k = 0; k < n; k++) {
		const struct model_rows *r = &rows[m->order[k]];

		while (m->batch.seq_id[i][0] != (llama_seq_id)r->seq)
			i++; /* of no use */
		m->logits[m->order[k]] = llama_get_logits_ith(m->ctx, (int32_t)i);
	}
	return 0;
}

int model_compute(struct model *m, const struct model_rows *rows, size_t n_rows)
{
	uint64_t began_us = clock_us();
	int rc;

	/* Single rows last: their logits stay in place, those of chunks are copied. */
	for (size_t i = 0; i < n_rows; i++)
		if (rows[i].n > 1 && (rc = compute_chunk(m, &rows[i], &m->logits[i])) < 0)
			return rc;
	m->chunks_us = clock_us() - began_us;
	return compute_singles(m, rows, n_rows);
}

const float *model_logits(struct model *m, size_t i, size_t *ret_n)
{
	*ret_n = m->n_vocab;
	return m->logits[i];
}

void model_set_threads(struct model *m, size_t n_threads)
{
	llama_set_n_threads(m->ctx, (int32_t)n_threads, (int32_t)n_threads);
	if (m->embed != NULL)
		llama_set_n_threads(m->embed, (int32_t)n_threads, (int32_t)n_threads);
}

uint64_t model_chunks_us(const struct model *m)
{
	return m->chunks_us;
}

void model_drop(struct model *m, size_t seq)
{
	cut(m, seq, 0);
}

/* llama.cpp copies whole sequences only, as each has a part of the cache for itself; the data
 * follow at the beginning of the next pass.  A cache that lets go of what lies before an
 * attention window may have lost the beginning: then the rest is of no use. */
size_t model_keep(struct model *m, size_t seq, size_t from, size_t n)
{
	llama_memory_t memory = llama_get_memory(m->ctx);
	llama_seq_id id = (llama_seq_id)seq;

	if (n > 0 && from != seq) {
		llama_memory_seq_cp(memory, (llama_seq_id)from, id, -1, -1);
		m->has_copies = true;
	}
	if (n > 0 && cut(m, seq, n) && llama_memory_seq_pos_min(memory, id) == 0 &&
		llama_memory_seq_pos_max(memory, id) == (llama_pos)n - 1)
		return n;
	cut(m, seq, 0);
	return 0;
}

int rows_finish_copies(struct model *m, size_t seq, size_t n)
{
	int rc;

	if (!m->has_copies)
		return 0;
	m->batch.n_tokens = 0;
	add_row(m, seq, 0, n, true);
	rc = decode(m);
	cut(m, seq, n);
	return rc;
}

bool rows_can_cut(const struct model *m)
{
	return !llama_model_is_recurrent(m->llama) && !llama_model_is_hybrid(m->llama);
}

/* ---- the probe ---- */

struct probe {
	struct model *m;
	uint32_t tokens[ROWS_PROBE];
	float *expected; /* logits of all rows, computed in one pass */
	bool (*on_progress)(void *ctx, double share);
	void *ctx;
	int n_passes;
	bool is_over; /* given up */
};

#define PROBE_PASSES 6

static int probe_pass(struct probe *p, size_t first, size_t n)
{
	cut(p->m, 0, first);
	p->m->batch.n_tokens = 0;
	for (size_t i = first; i < first + n; i++)
		add_row(p->m, 0, p->tokens[i], i, true);
	p->is_over = !p->on_progress(p->ctx, (double)p->n_passes++ / PROBE_PASSES);
	return !p->is_over && llama_decode(p->m->ctx, p->m->batch) == 0 ? 0 : ERR_STATE;
}

/* True when n rows from `first` on, computed by themselves, equal those of the one wide pass. */
static bool is_same(struct probe *p, size_t first, size_t n)
{
	size_t size = p->m->n_vocab * sizeof(float);

	if (probe_pass(p, first, n) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (memcmp(llama_get_logits_ith(p->m->ctx, (int32_t)i), p->expected + (first + i) * p->m->n_vocab, size) !=
			0)
			return false;
	return true;
}

static int probe(struct probe *p)
{
	static const struct {
		size_t first, n;
	} narrow[] = { { 12, 2 }, { 9, 3 }, { 2, 5 }, { 5, 9 } };
	struct model *m = p->m;

	if (probe_pass(p, 0, ROWS_PROBE) < 0)
		return ERR_STATE;
	for (size_t i = 0; i < ROWS_PROBE; i++)
		memcpy(p->expected + i * m->n_vocab, llama_get_logits_ith(m->ctx, (int32_t)i), m->n_vocab * sizeof(float));
	for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]); i++)
		if (!is_same(p, narrow[i].first, narrow[i].n))
			return ERR_RANGE;
	m->exact.is_exact = true;
	if (!is_same(p, 7, 1))
		m->exact.pad_from = 0;
	else if (m->max_threads > 1)
		m->exact.pad_from = LONE_ROW_CELLS;
	return 0;
}

int rows_probe(struct model *m, bool (*on_progress)(void *ctx, double share), void *ctx)
{
	struct probe p = { .m = m, .on_progress = on_progress, .ctx = ctx };
	int rc;

	/* A state that cannot be cut allows no second row, and its bits depend on the cuts of a
	 * prompt; without flash attention rows differ with the number of them. */
	if (!m->has_flash || !rows_can_cut(m))
		return 0;
	p.expected = calloc(m->n_vocab * ROWS_PROBE, sizeof(float));
	if (p.expected == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < ROWS_PROBE; i++)
		p.tokens[i] = (uint32_t)((i + 1) * 7919 % m->n_vocab);
	rc = probe(&p);
	free(p.expected);
	cut(m, 0, 0);
	return p.is_over ? ERR_CLOSED : rc;
}

/* ---- what passes cost ---- */

#define LONE_MAX 4
#define TRIES 3
#define LONG_US 50000

/* The fastest of some: whatever else the box does only adds to it.  0: it cannot be computed. */
static uint64_t time_pass(struct model *m, size_t n)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < TRIES && (best == UINT64_MAX || best < LONG_US); i++) {
		uint64_t began = clock_us();

		cut(m, 0, 0);
		m->batch.n_tokens = 0;
		for (size_t k = 0; k < n; k++)
			add_row(m, 0, (uint32_t)(k * 7919 % m->n_vocab), k, true); /* as next tokens do */
		if (decode(m) < 0)
			return 0;
		llama_synchronize(m->ctx);
		if (clock_us() - began < best)
			best = clock_us() - began;
	}
	return best;
}

int rows_measure(struct model *m, bool (*on_progress)(void *ctx, double share), void *ctx)
{
	uint64_t lone_us;

	m->lone_rows = 1;
	if (m->exact.pad_from == 0)
		return 0;
	(void)time_pass(m, 1); /* reads the weights */
	lone_us = time_pass(m, 1);
	for (size_t n = 2; lone_us > 0 && n <= LONE_MAX; n++) {
		if (!on_progress(ctx, (double)n / LONE_MAX))
			return ERR_CLOSED;
		if (10 * n * lone_us > 9 * time_pass(m, n))
			break;
		m->lone_rows = n;
	}
	cut(m, 0, 0);
	return 0;
}
