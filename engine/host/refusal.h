/* refusal.h - why something was not done: a code for programs, a sentence for people. */
#ifndef ENGINE_REFUSAL_H
#define ENGINE_REFUSAL_H

#include "code.h"
#include "model.h"

struct refusal {
	enum code code; /* CODE_OK: nothing was refused */
	char reason[MODEL_REASON_MAX];
};

/* ERR_RANGE, for the caller to return. */
int refuse(struct refusal *r, enum code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
