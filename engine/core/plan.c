#include "plan.h"

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- who is in ---- */

/* Marks with n = 1 those that may be in this step. */
static void choose(const struct plan_limits *limits, struct plan_seq *seqs, size_t n_seqs)
{
	for (size_t i = 0; i < n_seqs; i++)
		seqs[i].n = limits->max_batch == 0 && seqs[i].pending > 0;
	for (size_t k = 0; k < limits->max_batch; k++) {
		size_t best = n_seqs;

		for (size_t i = 0; i < n_seqs; i++)
			if (seqs[i].n == 0 && seqs[i].pending > 0 &&
				(best == n_seqs || seqs[i].n_waited > seqs[best].n_waited))
				best = i;
		if (best == n_seqs)
			return;
		seqs[best].n = 1;
	}
}

/* ---- how much of each ---- */

/* Nobody generates. */
static size_t give_chunks(const struct plan_limits *limits, struct plan_seq *seqs, size_t n_seqs)
{
	size_t sum = 0, n_chunks = 0;
	bool is_full = false;

	for (size_t i = 0; i < n_seqs; i++) {
		size_t chunk = seqs[i].n > 0 ? min_size(seqs[i].pending, limits->chunk) : 0;

		/* The first chunk always goes in. */
		is_full = is_full || (chunk > 0 && n_chunks > 0 && sum + chunk > limits->batch_tokens);
		seqs[i].n = is_full ? 0 : chunk;
		sum += seqs[i].n;
		n_chunks += seqs[i].n > 0;
	}
	return sum;
}

static bool is_whole(const struct plan_limits *limits, const struct plan_seq *s, size_t sum)
{
	return s->n > 0 && s->is_short && s->pending <= limits->whole && sum + s->pending <= limits->batch_tokens;
}

/* All prompts that may go in whole; a bad moment for those that may not, which get nothing. */
static size_t give_whole(struct plan_limits limits, struct plan_seq *seqs, size_t n_seqs, size_t n_generating)
{
	size_t sum = 0;

	for (size_t i = 0; i < n_seqs; i++) {
		if (seqs[i].is_generating)
			continue;
		seqs[i].n = is_whole(&limits, &seqs[i], n_generating + sum) ? seqs[i].pending : 0;
		sum += seqs[i].n;
		limits.whole -= seqs[i].n;
	}
	return sum;
}

/* A pass of a few rows costs more than its share: a prompt gets what others left of the rows only
 * when that is half of them, or all that it can use. */
static size_t give_rows(const struct plan_limits *limits, struct plan_seq *seqs, size_t n_seqs, size_t n_generating)
{
	size_t room = limits->batch_tokens > n_generating ? limits->batch_tokens - n_generating : 1;
	size_t rows = limits->beside > 0 ? min_size(limits->beside, room) : 1, left = rows, chunk;

	for (size_t i = 0; i < n_seqs; i++) {
		if (seqs[i].is_generating || seqs[i].n == 0)
			continue;
		chunk = min_size(seqs[i].pending, limits->chunk);
		seqs[i].n = chunk <= left || 2 * left >= rows ? min_size(chunk, left) : 0;
		left -= seqs[i].n;
	}
	return rows - left;
}

static bool has_whole(const struct plan_limits *limits, const struct plan_seq *seqs, size_t n_seqs, size_t n_generating)
{
	for (size_t i = 0; i < n_seqs; i++)
		if (!seqs[i].is_generating && seqs[i].pending > limits->beside && is_whole(limits, &seqs[i], n_generating))
			return true;
	return false;
}

size_t plan_step(const struct plan_limits *limits, struct plan_seq *seqs, size_t n_seqs)
{
	size_t n_generating = 0;

	choose(limits, seqs, n_seqs);
	for (size_t i = 0; i < n_seqs; i++)
		n_generating += seqs[i].n > 0 && seqs[i].is_generating;
	if (n_generating == 0)
		return give_chunks(limits, seqs, n_seqs);
	if (has_whole(limits, seqs, n_seqs, n_generating))
		return n_generating + give_whole(*limits, seqs, n_seqs, n_generating);
	return n_generating + give_rows(limits, seqs, n_seqs, n_generating);
}
