/* probs.h - how likely the tokens were that wait to be shown, ready for TOKENS. */
#ifndef ENGINE_PROBS_H
#define ENGINE_PROBS_H

#include "model.h"

/* Tokens held back past so many bytes are told without alternatives: all that may wait, with
 * their ids and text, fits one frame. */
#define PROBS_PENDING_MAX ((size_t)28 << 10)

struct probs {
	struct buf items; /* token-prob after token-prob, encoded */
	struct buf ends;  /* uint32_t each: where a token's item ends */
};

/* Adds token id, drawn after rows[i] of the last step, and the n_top likeliest there. */
SHOAL_CHECK int probs_add(struct probs *p, struct model *m, size_t i, uint32_t id, size_t n_top);
/* The items of the first n tokens, until the next call. */
struct span probs_of(const struct probs *p, size_t n);
/* Forgets the first n tokens. */
void probs_drop(struct probs *p, size_t n);
void probs_fini(struct probs *p);

#endif
