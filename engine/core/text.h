/* text.h - from tokens to what a client may be shown.
 *
 * A token's bytes may end inside a UTF-8 character or inside what may become a stop
 * string.  text holds tokens back until neither is so, then gives out whole tokens with
 * exactly their text.  After each hand-out nothing is pending, so an attempt that takes
 * over after those tokens starts in the same state.  Bytes that are not UTF-8 become
 * U+FFFD, one for each maximal subpart (Unicode 15, section 3.9).  Pure. */
#ifndef ENGINE_TEXT_H
#define ENGINE_TEXT_H

#include "proto.h"

#define TEXT_MAX_TOKENS 1024 /* held back at once */

struct text {
	struct buf bytes;      /* UTF-8 of the pending tokens */
	struct buf ids, ends;  /* uint32_t each: the token, and where its text ends (UINT32_MAX: inside a character) */
	size_t ready, n_ready; /* bytes and tokens that may be shown */
	uint8_t part[4];       /* a character that has begun */
	size_t n_part;
	bool has_stopped;
	struct span stop[PROTO_MAX_STOP]; /* copies */
	size_t n_stop;
};

/* Copies the stop strings.  On failure *t is empty. */
SHOAL_CHECK int text_init(struct text *t, const struct span *stop, size_t n_stop);
void text_fini(struct text *t);
/* Adds a token with its bytes.  1: a stop string is complete, the text before it is
 * ready and nothing may be added any more; 0; or ERR_NOMEM. */
SHOAL_CHECK int text_add(struct text *t, uint32_t id, struct span piece);
/* No token follows: all that is pending is ready, but for what a stop string cut off. */
SHOAL_CHECK int text_end(struct text *t);
/* What is ready: ids and their text, until the next call.  Returns the number of tokens. */
size_t text_take(struct text *t, const uint32_t **ret_ids, struct span *ret_text);
/* Forgets what text_take() gave. */
void text_taken(struct text *t);

#endif
