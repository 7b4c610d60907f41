/* advice.h - what a code, or a reason why an agent is not chosen, means to people and what to do.  Pure. */
#ifndef SHOAL_ADVICE_H
#define SHOAL_ADVICE_H

#include "code.h"

struct advice {
	const char *name, *means, *mend;
};

/* Of a code of code.h in any case, or as OpenAI's clients know it; NULL: unknown. */
const struct advice *advice_of_code(struct span name);
/* Of a reason of the hub's routing; NULL: unknown. */
const struct advice *advice_of_reason(struct span name);
/* The code an error object of the hub means; NULL: unknown. */
const struct code_info *advice_code(struct span name);
/* The nth code with an advice; NULL: no more. */
const struct advice *advice_nth(size_t n);

#endif
