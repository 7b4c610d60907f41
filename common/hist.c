#include "hist.h"

#include <stddef.h>

#define HIST_TOP (((uint64_t)1 << 40) - 1)

/* Values below HIST_STEPS have a bucket each; above, the top 5 bits choose it. */
static size_t bucket_of(uint64_t v)
{
	unsigned shift = 0;

	if (v > HIST_TOP)
		v = HIST_TOP;
	while (v >> shift >= 2 * HIST_STEPS)
		shift++;
	return v < HIST_STEPS ? (size_t)v : shift * HIST_STEPS + (size_t)(v >> shift);
}

static uint64_t upper_edge(size_t bucket)
{
	size_t shift = bucket < 2 * HIST_STEPS ? 0 : bucket / HIST_STEPS - 1;

	return (((uint64_t)(bucket - shift * HIST_STEPS) + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t value)
{
	if (h->count == 0 || value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
	h->count++;
	h->sum += value;
	h->bucket[bucket_of(value)]++;
}

void hist_merge(struct hist *into, const struct hist *from)
{
	if (from->count == 0)
		return;
	if (into->count == 0 || from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	into->count += from->count;
	into->sum += from->sum;
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t seen = 0, rank;

	if (h->count == 0)
		return 0;
	rank = (uint64_t)(q * (double)h->count);
	rank = rank >= h->count ? h->count - 1 : rank;
	for (size_t i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > rank)
			return upper_edge(i) < h->max ? upper_edge(i) : h->max;
	}
	return h->max;
}
