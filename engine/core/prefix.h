/* prefix.h - which sequence a new prompt takes, and what of it is there already.
 *
 * A sequence whose job has ended keeps what was computed, until its place is needed: the
 * one not used for longest goes first.  A new prompt takes over the longest beginning it has
 * in common with any sequence, one whose job is still running included.  Usually that is the
 * conversation's own last turn, and the new tokens go behind it, in place.  What others would
 * miss (a system prompt shared by several conversations, a running job) is copied.  A
 * copy moves a whole part of the cache, however little of it is of use, so it has to save
 * enough tokens to be worth that.  Pure. */
#ifndef ENGINE_PREFIX_H
#define ENGINE_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct prefix_slot {
	const uint32_t *tokens; /* that the model holds for the sequence */
	size_t n;
	uint64_t used; /* when its job ended, on any clock that rises; 0: it holds nothing */
	bool is_busy;  /* a job is running in it */
};

struct prefix_choice {
	size_t slot; /* to take */
	size_t from; /* whose beginning to keep: slot itself, or one to copy from */
	size_t keep; /* tokens of it; 0: start with nothing */
};

/* Tokens a copy must save when a sequence may hold n_ctx.  A cell is copied about a thousand
 * times as fast as a small model computes a token; it is not worth less than a few tokens. */
size_t prefix_min_copy(size_t n_ctx);

/* At most max_keep tokens of the prompt are kept: not all, as what follows the last one has
 * to be computed.  ERR_STATE: all slots are busy. */
SHOAL_CHECK int prefix_choose(const struct prefix_slot *slots, size_t n_slots, const uint32_t *prompt, size_t max_keep,
	size_t min_copy, struct prefix_choice *ret);

#endif
