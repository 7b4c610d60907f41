/* format.h - what an answer must be ("response_format"), made a grammar.
 *
 * Here and not at the agents: a schema that cannot be kept to is refused before there is a job,
 * every attempt gets the same grammar, and agents and engines need to know of grammars only. */
#ifndef HUB_FORMAT_H
#define HUB_FORMAT_H

#include "proto.h"

/* Turns s->response_format into s->grammar, whose text lies in the arena.  On failure why says in
 * a sentence what is wrong. */
SHOAL_CHECK int format_to_grammar(struct submit *s, struct arena *arena, struct buf *why);

#endif
