#include "likely.h"

#include <math.h>

#include "logprob.h"

double likely_norm(const float *logits, size_t n)
{
	double max = -INFINITY, sum = 0;

	for (size_t i = 0; i < n; i++)
		if ((double)logits[i] > max)
			max = (double)logits[i];
	if (!isfinite(max))
		return max;
	for (size_t i = 0; i < n; i++)
		if (!isnan(logits[i]))
			sum += exp((double)logits[i] - max);
	return max + log(sum);
}

double likely_log(float logit, double norm)
{
	double log_p = (double)logit - norm;

	if (!(log_p > LOGPROB_LEAST)) /* NaN, too */
		return LOGPROB_LEAST;
	return log_p < 0 ? log_p : 0; /* rounding */
}

size_t likely_top(const float *logits, size_t n, struct candidate *top, size_t n_top)
{
	size_t k = 0;

	for (size_t i = 0; i < n && n_top > 0; i++) {
		size_t at;

		if (!(logits[i] > -INFINITY) || (k == n_top && !(logits[i] > top[k - 1].logit)))
			continue;
		at = k < n_top ? k++ : k - 1;
		for (; at > 0 && logits[i] > top[at - 1].logit; at--)
			top[at] = top[at - 1];
		top[at] = (struct candidate){ .id = (uint32_t)i, .logit = logits[i] };
	}
	return k;
}
