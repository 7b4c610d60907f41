/* hist.h - log-linear histogram of durations or sizes.
 *
 * HDR-style buckets (Gil Tene, HdrHistogram): each power of two is cut into 16
 * equal steps, so a quantile is off by at most 1/16 of its value.  Fixed size,
 * no allocation; values beyond 2^40 count as 2^40. */
#ifndef SHOAL_HIST_H
#define SHOAL_HIST_H

#include <stdint.h>

#define HIST_STEPS 16
#define HIST_BUCKETS ((40 - 4 + 1) * HIST_STEPS)

struct hist {
	uint64_t count, sum, min, max;
	uint32_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);
/* The value below which the share q (0..1) of all values lies, rounded up to a
 * bucket's upper edge but never past max; 0 when empty. */
uint64_t hist_quantile(const struct hist *h, double q);

#endif
