/* plan.h - what goes into the next step of the model.
 *
 * Continuous batching with chunked prefill, as in Sarathi-Serve (Agrawal et al., OSDI 2024):
 * a step holds the next token of every sequence that is generating, and what is left of the
 * token budget goes to prompts, oldest first, in chunks.  So a long prompt slows the others
 * down by one chunk a step instead of stopping them.
 *
 * While nobody generates the budget is batch_tokens, and a chunk is taken whole or not at all:
 * small leftovers would cost a pass each.  Beside sequences that generate it is what pace.h has
 * found to be bearable: prompts that may go in whole, else a few rows, to the oldest prompt first.
 * Pure. */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H

#include <stdbool.h>
#include <stddef.h>

struct plan_limits {
	size_t batch_tokens; /* in one step; tokens of sequences that generate and one chunk always go in */
	size_t chunk;        /* of a prompt */
	size_t max_batch;    /* sequences in one step, 0: all; who waited longest comes first */
	size_t beside;       /* rows of prompts beside sequences that generate, at least 1 */
	size_t whole;        /* or prompts of so many tokens in all go in whole */
};

struct plan_seq {
	size_t pending;     /* tokens known and not yet computed; 0: not in this step */
	bool is_generating; /* pending is one token, the last one drawn */
	bool is_short;      /* a prompt that may go in whole beside others, see pace.h */
	size_t n_waited;    /* steps since it was last in one */
	size_t n;           /* out: how many of them go into this step */
};

/* Fills n of every sequence; seqs are in the order of their arrival.  At least one n is not
 * 0 when any pending is.  Returns the sum. */
size_t plan_step(const struct plan_limits *limits, struct plan_seq *seqs, size_t n_seqs);

#endif
