#include "gather.h"

#include <math.h>

#define MEMORY_US 1e6 /* an arrival that long ago counts 1/e */

static double recent(const struct gather *g, uint64_t now_us)
{
	return g->recent * exp(-(double)(now_us - g->recent_us) / MEMORY_US);
}

void gather_arrived(struct gather *g, uint64_t now_us)
{
	g->recent = recent(g, now_us) + 1;
	g->recent_us = now_us;
}

/* Arrivals by chance at the recent rate: none comes within t with probability exp(-rate t).  The
 * newest itself says nothing about the next. */
static bool is_likely(const struct gather *g, uint64_t now_us, double within_us)
{
	double rate = (recent(g, now_us) - 1) / MEMORY_US;

	return rate > 0 && exp(-rate * within_us) < 0.5;
}

uint64_t gather_wait(
	const struct gather *g, const struct gather_limits *limits, size_t n_jobs, uint64_t oldest_us, uint64_t now_us)
{
	uint64_t waited = now_us - oldest_us;

	if (n_jobs == 0 || n_jobs >= limits->min_batch || waited >= limits->wait_us)
		return 0;
	if (limits->is_adaptive && !is_likely(g, now_us, (double)(limits->wait_us - waited)))
		return 0;
	return limits->wait_us - waited;
}
