#include "plan.h"

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t plan_step(const struct plan_limits *limits, struct plan_seq *seqs, size_t n_seqs)
{
	size_t sum = 0, n_chunks = 0;

	for (size_t i = 0; i < n_seqs; i++) {
		seqs[i].n = seqs[i].is_generating ? seqs[i].pending : 0;
		sum += seqs[i].n;
	}
	for (size_t i = 0; i < n_seqs; i++) {
		size_t chunk = min_size(seqs[i].pending, limits->chunk);

		if (seqs[i].is_generating || chunk == 0)
			continue;
		/* The first chunk always goes in: generating sequences that fill the budget do
		 * not keep a prompt out for ever. */
		if (n_chunks > 0 && sum + chunk > limits->batch_tokens)
			break;
		seqs[i].n = chunk;
		sum += chunk;
		n_chunks++;
	}
	return sum;
}
