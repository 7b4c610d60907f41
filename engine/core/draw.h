/* draw.h - the last step of sampling: one of the candidates, by chance.
 *
 * The number drawn is a function of (seed, index of the token in the answer) and of nothing
 * else: there is no generator with a history, so an attempt that takes over at any index
 * goes on with the tokens the first one would have drawn.  Pure. */
#ifndef ENGINE_DRAW_H
#define ENGINE_DRAW_H

#include <stddef.h>
#include <stdint.h>

struct candidate {
	uint32_t id;
	float logit; /* -INFINITY: never */
};

/* Position in c of the one drawn by its softmax probability.  n > 0; NaN counts as never. */
size_t draw(const struct candidate *c, size_t n, uint64_t seed, uint64_t index);
/* Position of the greatest logit, the first of equal ones. */
size_t draw_greatest(const struct candidate *c, size_t n);

#endif
