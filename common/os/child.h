/* child.h - starts a program, cleanly: only the descriptors it is meant to have, default
 * signals, its parent's death a signal to it. */
#ifndef SHOAL_CHILD_H
#define SHOAL_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "err.h"

struct child_spec {
	const char *file;          /* path of the program */
	const char *const *argv;   /* argv[0] included, NULL-terminated */
	const char *const *envp;   /* NULL: an empty environment */
	int fd3;                   /* becomes fd 3; -1: none.  fd 0 is /dev/null, fds from 4 up are closed */
	int out, err;              /* become fd 1 and 2; -1: inherited */
	bool die_with_parent;      /* killed when the thread that started it ends; also PR_SET_NO_NEW_PRIVS */
	bool new_group;            /* own process group: a terminal's Ctrl-C does not reach it */
};

/* Starts it; an exec that fails is reported here as -errno, no child is left. */
SHOAL_CHECK int child_spawn(const struct child_spec *spec, pid_t *ret_pid);
/* Finds a program that lies beside the running one, else the given fallback directory,
 * else PATH.  Heap string, or NULL. */
char *child_find(const char *name, const char *fallback_dir);

#endif
