/* benchfile.h - how fast models were found to be, kept in the state directory: a restart does
 * not measure again.  One line each, newest first.  Nothing depends on the file: a line that
 * is not understood is a model that is measured once more. */
#ifndef SHOAL_AGENT_BENCHFILE_H
#define SHOAL_AGENT_BENCHFILE_H

#include "agent.h"

#define BENCHFILE_MAX 64

struct benchfile {
	int dir_fd; /* lent */
	struct agent_bench list[BENCHFILE_MAX];
	size_t n;
};

/* Empty when there is none. */
void benchfile_read(int dir_fd, struct benchfile *ret);
/* Puts it first, in the place of an older one of the same; the oldest of too many goes.  0 or -errno. */
SHOAL_CHECK int benchfile_add(struct benchfile *f, const struct agent_bench *b);

#endif
