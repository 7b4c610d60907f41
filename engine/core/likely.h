/* likely.h - how likely tokens are: logarithms of the probabilities a model's logits stand for.
 *
 * log softmax(x)_i = x_i - log(sum of e^x_j), the greatest x taken out of the sum, so that
 * nothing overflows.  Pure. */
#ifndef ENGINE_LIKELY_H
#define ENGINE_LIKELY_H

#include "draw.h"

/* What is to be taken from a logit to make it a log probability.  NaN counts as never. */
double likely_norm(const float *logits, size_t n);
/* The log probability of a logit; LOGPROB_LEAST for one that never comes. */
double likely_log(float logit, double norm);
/* The n_top greatest of n logits, the greatest first, of equal ones the first; never more than
 * there are possible ones.  Returns how many. */
size_t likely_top(const float *logits, size_t n, struct candidate *top, size_t n_top);

#endif
