/* agent_detail.h - all there is to say of one agent. */
#ifndef SHOAL_AGENT_DETAIL_H
#define SHOAL_AGENT_DETAIL_H

#include "api.h"

/* "0.4 s", "12 s", "3 min", "5 h", "2 d". */
void detail_age(uint64_t ms, char *ret, size_t size);
/* A line of it; control characters and the like from elsewhere must not reach a terminal. */
void detail_text(struct span text);
/* Prints it; an exit code. */
int detail_print(const struct api_agent *a);

#endif
