/* tier.c - sizes of models, and of the boxes that serve them.
 *
 * A model's size is what it takes: its file's bytes, counted as parameters of 4.8 bits (the
 * common quantisation), so that the same parameters at 16 bits stand three tiers higher; its
 * parameter count where no size is told.  Never its name.
 *
 * A box's size is that of the largest model it could serve: three quarters of its memory as
 * weights, and, as each token reads all weights once, what it reads in a second by its
 * measured speed, at no less than 2 tokens a second. */
#include "core.h"

#define X(name, text) text,
const char *const tier_names[] = { TIER_LIST(X) NULL };
#undef X

#define BYTES_PER_PARAM 0.6
#define WEIGHTS_SHARE 0.75
#define USABLE_PER_S 2.0
#define TELLING_BYTES 200e6 /* smaller models say little about how fast memory is read */

static enum tier tier_of(double params)
{
	static const double from[] = { 3e9, 7e9, 13e9, 30e9 };
	unsigned t = TIER_BELOW_3B;

	while (t < TIER_COUNT - 1 && params >= from[t])
		t++;
	return (enum tier)t;
}

enum tier tier_of_model(const struct model_info *m)
{
	return tier_of(m->size > 0 ? (double)m->size / BYTES_PER_PARAM : (double)m->n_params);
}

static double memory_of(const struct agent *a)
{
	uint64_t limit = a->heartbeat != NULL ? a->heartbeat->memory_limit : 0;

	return (double)(limit > 0 ? limit : a->reg->hardware.mem_total);
}

/* Bytes of weights a second; 0: not known. */
static double read_rate(const struct agent *a)
{
	double best = 0;

	for (size_t i = 0; i < a->n_holds; i++) {
		const struct hold *o = &a->holds[i];
		double size = (double)o->info->size;

		if (size < TELLING_BYTES || (o->rates.n_decode == 0 && o->info->decode_milli == 0))
			continue;
		size *= 1000 / rates_decode_ms(o, 0);
		best = size > best ? size : best;
	}
	return best;
}

enum tier tier_of_agent(const struct agent *a)
{
	double params = memory_of(a) * WEIGHTS_SHARE / BYTES_PER_PARAM;
	double usable = read_rate(a) / USABLE_PER_S / BYTES_PER_PARAM;

	return tier_of(usable > 0 && usable < params ? usable : params);
}
