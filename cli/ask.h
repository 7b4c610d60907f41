/* ask.h - one question to the hub over HTTP, on a loop of its own. */
#ifndef SHOAL_ASK_H
#define SHOAL_ASK_H

#include <stdint.h>

#include "msg.h"

/* GET url + path, or POST of json.  CLI_OK: the hub answered, with whatever status; else an exit code, and why was said.
 * ret_body: the caller's, initialised; its max bounds the answer. */
int ask_hub(const char *url, const char *path, const struct span *json, struct buf *ret_body, long *ret_status);
/* The same without a word: CLI_UNAVAILABLE, and why in err. */
int ask_quietly(const char *url, const char *path, struct buf *ret_body, long *ret_status, char *err, size_t err_size);
/* GET of a document of type t.  Texts lie in *ret_memory, the caller's to free(), the bytes in ret_body.  Exit code;
 * failures, also a refusal, were said. */
int ask_document(
	const char *url, const struct buf *path, const struct msg_type *t, struct buf *ret_body, void *ret, void **ret_memory);
/* Appends a value of a query. */
void ask_escape(struct buf *out, struct span value);
/* Waits; CLI_CANCELLED: Ctrl-C came. */
int ask_pause(uint64_t ms);
/* What an answer that is no success means: says it, returns the exit code. */
int ask_refused(const char *url, struct span document, long status);
/* The exit code for a refusal, said on stderr; code is a name of code.h, http the status
 * to judge by when it is not. */
int ask_refused_as(struct span code, struct span message, long http);

#endif
