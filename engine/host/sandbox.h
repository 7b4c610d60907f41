/* sandbox.h - locks this process in, before it looks at a file from a stranger.
 *
 * From then on it has the descriptors it has and those that come with messages, memory, threads
 * and the clock.  It cannot open a file, reach a network, start a program, look into another
 * process, make memory executable, or undo any of it.  What is refused fails with EPERM;
 * what only an attacker would try ends the process (SIGSYS).
 *
 * The only file that includes seccomp.h is sandbox.c. */
#ifndef ENGINE_SANDBOX_H
#define ENGINE_SANDBOX_H

#include "err.h"

/* Descriptors at most: three, the agent's, and what a loader has open at a time. */
#define SANDBOX_MAX_FDS 64

/* For all threads there are and will be.  -ENOSYS: limits are in place, but the kernel has no
 * system-call filter.  Other failures: the process may be half locked in, end it. */
SHOAL_CHECK int sandbox_enter(void);

#endif
