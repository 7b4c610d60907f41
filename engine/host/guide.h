/* guide.h - holds an answer to a grammar (gbnf.h), token by token.
 *
 * A token may come when the answer may go on with its bytes; one that ends the answer when it
 * may end.  Tokens without bytes never may: they would bring nothing, for ever. */
#ifndef ENGINE_GUIDE_H
#define ENGINE_GUIDE_H

#include "gbnf.h"
#include "model.h"

struct guide;

/* As gbnf_new(). */
SHOAL_CHECK int guide_new(struct span grammar, const struct model *m, struct buf *why, struct guide **ret);
struct guide *guide_free(struct guide *g);
/* 1: the token may come next; 0: it may not; ERR_TOOBIG: past the bounds of gbnf.h. */
SHOAL_CHECK int guide_fits(struct guide *g, const struct model *m, uint32_t id);
/* Which tokens may come next: a truth value for each, until the next call.  Those that end an answer
 * only with_ends.  1; 0: none may; or as guide_fits(). */
SHOAL_CHECK int guide_allowed(struct guide *g, const struct model *m, bool with_ends, const uint8_t **ret);
/* The token has come; what guide_fits() says. */
SHOAL_CHECK int guide_accept(struct guide *g, const struct model *m, uint32_t id);
bool guide_may_end(const struct guide *g);
bool guide_must_end(const struct guide *g);

#endif
