#include "draw.h"

#include <math.h>

#include "rng.h"

size_t draw_greatest(const struct candidate *c, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (c[i].logit > c[best].logit || isnan(c[best].logit))
			best = i;
	return best;
}

static double weight(const struct candidate *c, float max)
{
	return isnan(c->logit) ? 0 : exp((double)c->logit - (double)max);
}

size_t draw(const struct candidate *c, size_t n, uint64_t seed, uint64_t index)
{
	size_t last = draw_greatest(c, n);
	float max = c[last].logit;
	double sum = 0, at;

	if (!isfinite(max))
		return last;
	for (size_t i = 0; i < n; i++)
		sum += weight(&c[i], max);
	/* 53 random bits are a real number in [0, 1). */
	at = (double)(rng_mix(seed, index) >> 11) * 0x1p-53 * sum;
	for (size_t i = 0; i < n; i++) {
		double w = weight(&c[i], max);

		if (w <= 0)
			continue;
		last = i;
		if (at < w)
			break;
		at -= w;
	}
	return last;
}
