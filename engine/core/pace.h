/* pace.h - how much of a prompt goes in beside answers that are being generated.
 *
 * Each row of a prompt makes those who read an answer wait.  How long, no constant can say: where
 * memory is the bottleneck eight rows cost what one does, on a core or two each costs as much as
 * a token of an answer.  So both are measured, and prompts get so many rows that a step stays
 * below `gap` times one without them.  The measure is taken of chunks of the size in use, as it
 * differs with the size: the next size is what would be right at that price, at most twice the
 * last.  Where a single row is too much already it goes in all the same, in the pass of the next tokens,
 * and twice as much is tried now and then.
 *
 * By that rule alone somebody with a short question would wait for long.  A prompt of up to
 * PACE_SHORT tokens goes in at once as long as there is credit, in rows: it grows with every step
 * that generates, so long gaps stay few, and is full when nobody generates.
 *
 * Pure. */
#ifndef ENGINE_PACE_H
#define ENGINE_PACE_H

#include <stdint.h>

#include "plan.h"

#define PACE_GAP 2.5
#define PACE_SHORT 256   /* tokens that a prompt brings; at most limits.batch_tokens */
#define PACE_CREDIT 2048 /* rows */
#define PACE_REFILL 8    /* rows a step: 64 tokens each 8 steps */

struct pace {
	double gap;
	double decode_us; /* the pass of next tokens alone, 0: not known */
	double row_us;    /* of a prompt, in chunks like the last ones */
	bool has_price;   /* row_us is known */
	double alone_us;  /* a step without prompts, of n_alone answers; 0: not known */
	size_t n_alone;
	size_t beside, credit;
	unsigned n_same, retry; /* steps with a single row, or with more; until more is tried again */
};

/* gap of 0: PACE_GAP. */
void pace_init(struct pace *p, double gap);
/* What the next step may hold. */
void pace_limit(const struct pace *p, struct plan_limits *limits);
/* What the step took: the passes of chunks, and the one of single rows. */
void pace_took(struct pace *p, const struct plan_seq *seqs, size_t n_seqs, uint64_t chunks_us, uint64_t singles_us);

#endif
