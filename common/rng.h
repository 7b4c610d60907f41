/* rng.h - random numbers from a seed, for cores that must be replayable.
 *
 * xoshiro256** seeded by splitmix64 (Blackman and Vigna, "Scrambled linear
 * pseudorandom number generators", ACM TOMS 2021).  Not for secrets. */
#ifndef SHOAL_RNG_H
#define SHOAL_RNG_H

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, n); 0 for n = 0. */
uint64_t rng_below(struct rng *r, uint64_t n);
/* Uniform in [0, 1). */
double rng_real(struct rng *r);
/* Mixes two numbers into one: a stateless generator keyed by (seed, counter). */
uint64_t rng_mix(uint64_t seed, uint64_t counter);

#endif
