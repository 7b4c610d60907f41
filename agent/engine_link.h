/* engine_link.h - one engine child: its process, its socket, its frames.
 *
 * Decides nothing: messages and the end of the process go to the owner, who starts,
 * sends and kills.  Callbacks run from the loop, never inside a call of this module.
 * What it says on fd 1 and 2 becomes lines.  A child that closes its end or does not read is killed here; its end follows.  What
 * the child has started goes with it, as far as it stayed in its process group. */
#ifndef SHOAL_ENGINE_LINK_H
#define SHOAL_ENGINE_LINK_H

#include <sys/types.h>

#include "engine_proto.h"
#include "loop.h"

struct engine_link;

struct engine_link_callbacks {
	/* NULL: bytes came that are no message; no more is read. */
	void (*message)(void *ctx, size_t index, const struct engine_msg *m);
	void (*exited)(void *ctx, size_t index, int wstatus);
	void (*stopped)(void *ctx, size_t index, int signo); /* SIGSTOP or the like: it stands still */
	void (*said)(void *ctx, size_t index, int level, struct span line); /* on its standard error */
};

SHOAL_CHECK int engine_link_new(struct loop *loop, size_t index, const char *path, const struct engine_link_callbacks *cb,
	void *ctx, struct engine_link **ret);
/* -errno when it cannot be started; ERR_STATE while one runs. */
SHOAL_CHECK int engine_link_start(struct engine_link *l);
/* fd goes with the message, and is closed here in any case; -1: none. */
void engine_link_send(struct engine_link *l, const struct engine_msg *m, int fd);
void engine_link_kill(struct engine_link *l);
pid_t engine_link_pid(const struct engine_link *l); /* 0: none */
struct engine_link *engine_link_free(struct engine_link *l); /* kills the child */

#endif
