/* session_dir.h - the folder with the computed states of conversations.
 *
 * A state is written to NAME.part, which takes the place of NAME.kv when the engine has said that
 * it is whole; both are for this user only, and never found through a symbolic link.  What
 * is not ours in the folder is left alone. */
#ifndef SHOAL_AGENT_SESSION_DIR_H
#define SHOAL_AGENT_SESSION_DIR_H

#include <stdint.h>

#include "err.h"
#include "span.h"

struct session_dir;

/* Makes the folder (0700) if it is not there, and removes what was not finished. */
SHOAL_CHECK int session_dir_open(const char *path, struct session_dir **ret);
struct session_dir *session_dir_free(struct session_dir *d);
/* Names and sizes of what is there, used longest ago first. */
SHOAL_CHECK int session_dir_list(
	struct session_dir *d, void (*found)(void *ctx, struct span name, uint64_t bytes), void *ctx);
/* A descriptor, or -errno. */
SHOAL_CHECK int session_dir_write(struct session_dir *d, struct span name);
SHOAL_CHECK int session_dir_read(struct session_dir *d, struct span name); /* counts as a use */
SHOAL_CHECK int session_dir_keep(struct session_dir *d, struct span name);
void session_dir_discard(struct session_dir *d, struct span name);
void session_dir_drop(struct session_dir *d, struct span name);

#endif
