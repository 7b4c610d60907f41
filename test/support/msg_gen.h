/* msg_gen.h - random messages of any table, and comparison, for property tests and fuzzing. */
#ifndef TEST_MSG_GEN_H
#define TEST_MSG_GEN_H

#include "msg.h"
#include "rng.h"

/* Every message type of the project, NULL-terminated. */
extern const struct msg_type *const msg_gen_types[];

/* Fills *ret with a random valid message; what it points at lies in the arena. */
void msg_gen(struct rng *rng, const struct msg_type *t, struct arena *arena, void *ret);
/* True when both have the same content (fields one would not write count as absent). */
bool msg_equal(const struct msg_type *t, const void *a, const void *b);

#endif
