/* ask.h - one question to the hub over HTTP, on a loop of its own. */
#ifndef SHOAL_ASK_H
#define SHOAL_ASK_H

#include "span.h"

/* GET url + path, or POST of json.  CLI_OK: the hub answered, with whatever status; else an exit code, and why was said.
 * ret_body: the caller's, initialised; its max bounds the answer. */
int ask_hub(const char *url, const char *path, const struct span *json, struct buf *ret_body, long *ret_status);
/* What an answer that is no success means: says it, returns the exit code. */
int ask_refused(const char *url, struct span document, long status);
/* The exit code for a refusal, said on stderr; code is a name of code.h, http the status
 * to judge by when it is not. */
int ask_refused_as(struct span code, struct span message, long http);

#endif
