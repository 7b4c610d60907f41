/* chat.h - a conversation as its client keeps it: what was said, and the name of its session.
 *
 * Owns: the texts of its turns.  struct run borrows them for one turn. */
#ifndef SHOAL_CHAT_H
#define SHOAL_CHAT_H

#include "run.h"

struct chat {
	struct run run; /* how each turn is asked; its messages are ours */
	struct turn turns[PROTO_MAX_TURNS];
	size_t n_turns;
	char session[PROTO_MAX_ID + 1];
	bool has_system, is_verbose;
};

/* Another session, and nothing said in it but the system's words, if there are any.  ERR_STATE: no random numbers. */
SHOAL_CHECK int chat_begin(struct chat *c);
void chat_fini(struct chat *c);
/* What the system says before all: a new conversation with it; empty: with none. */
SHOAL_CHECK int chat_system(struct chat *c, struct span text);
/* Says text, prints the answer as it comes; the exit code.  What was not answered is not remembered as said. */
int chat_say(struct chat *c, struct span text);

#endif
