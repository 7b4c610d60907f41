/* place.h - gives a job a sequence of the model, with what is there of its tokens already. */
#ifndef ENGINE_PLACE_H
#define ENGINE_PLACE_H

#include "prefix.h"
#include "seq.h"

/* Where these tokens would go, and what of them is there, at most max_keep. */
SHOAL_CHECK int place_choose(const struct seq *seqs, size_t n_seqs, const struct model *m, const uint32_t *tokens,
	size_t max_keep, struct prefix_choice *ret);
/* Moves fresh into one of the seqs, of which at least one has no job, and makes the model hold
 * what can be kept (prefix.h).  On failure nothing has changed. */
SHOAL_CHECK int place_take(struct seq *seqs, size_t n_seqs, struct model *m, struct seq *fresh, struct seq **ret);

#endif
