/* verbs.h - what an operator asks over HTTP, made a request of the core.  Pure. */
#ifndef HUB_VERBS_H
#define HUB_VERBS_H

#include "proto.h"

#define VERBS_AGENTS "/api/v1/agents/"
#define VERBS_JOBS "/api/v1/jobs/"

/* POST VERBS_AGENTS<agent>/<verb> or VERBS_JOBS<job>/cancel, with a document of admin's fields or no body.  CODE_OK, or
 * what is wrong and in *ret_why, a static sentence. */
enum code verbs_read(struct span path, struct span body, struct arena *arena, struct admin *ret, const char **ret_why);

#endif
