/* gbnf.h - grammars in llama.cpp's notation (GBNF), and answers that keep to them.
 *
 * A grammar comes from a client and may be made to do harm; llama.cpp's own reader and sampler
 * answer some with an exception or abort(), and ambiguous ones with work that doubles with each
 * character.  Here everything has a bound, and what passes it is an error of that one job.
 *
 * The answer is followed by a set of stacks, as llama.cpp does it: what is still to come, once
 * for each way of having read the text so far.  Equal stacks are one (their frames are interned),
 * so only grammars that can be read in very many ways at once reach the bounds.  Pure. */
#ifndef ENGINE_GBNF_H
#define ENGINE_GBNF_H

#include "err.h"
#include "span.h"

#define GBNF_MAX_NESTING 64              /* parentheses in parentheses */
#define GBNF_MAX_REPEAT 10000            /* of x{m,n} */
#define GBNF_MAX_ELEMENTS 100000         /* of all rules, repetitions written out */
#define GBNF_MAX_STACKS 1024             /* ways of having read the text so far */
#define GBNF_MAX_FRAMES 131072           /* of all stacks */
#define GBNF_MAX_STEPS ((size_t)1 << 25) /* of following the rules, for one token of the answer */

struct gbnf;

/* Reads a grammar, whose first rule is "root".  ERR_MALFORMED, ERR_TOOBIG: it cannot be
 * used; why says so in a sentence. */
SHOAL_CHECK int gbnf_new(struct span text, struct buf *why, struct gbnf **ret);
struct gbnf *gbnf_free(struct gbnf *g);
/* A new token of the answer is looked for: what may be spent on it is as at first. */
void gbnf_begin(struct gbnf *g);
/* 1: the answer may go on with these bytes, which may end inside a character; 0: it may not;
 * ERR_TOOBIG: that takes more than the bounds allow.  Nothing never goes on. */
SHOAL_CHECK int gbnf_fits(struct gbnf *g, struct span piece);
/* As gbnf_fits(); if it is 1 the answer has gone on. */
SHOAL_CHECK int gbnf_accept(struct gbnf *g, struct span piece);
/* True when the answer may end here. */
bool gbnf_may_end(const struct gbnf *g);
/* True when it must. */
bool gbnf_must_end(const struct gbnf *g);

#endif
