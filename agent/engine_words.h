/* engine_words.h - what an engine says on its standard error, as lines of a bounded number.
 *
 * The engine writes to a pipe of its own: whatever it says, the agent's log is not
 * flooded, lines of both do not mix, and each has the level that its "<N>" asks for. */
#ifndef SHOAL_ENGINE_WORDS_H
#define SHOAL_ENGINE_WORDS_H

#include "loop.h"
#include "span.h"

struct engine_words;

/* One line without its end, and what was too long or too many cut away; level as log.h has it. */
typedef void (*engine_words_fn)(void *ctx, int level, struct span line);

/* *ret_fd: the end to be given to the engine, the caller's to close. */
SHOAL_CHECK int engine_words_new(struct loop *loop, engine_words_fn fn, void *ctx, int *ret_fd, struct engine_words **ret);
/* Says what is still in the pipe; never waits for more. */
struct engine_words *engine_words_free(struct engine_words *w);

#endif
