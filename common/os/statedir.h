/* statedir.h - a daemon's state directory: one process at a time, and a number for each life.
 *
 * The pid file is locked as long as the process lives, so that two daemons never share a
 * directory and a pid in a file without a lock is known to be stale.  The epoch counts the
 * lives of this directory: it is raised and on disk before statedir_epoch() returns, so no
 * two lives ever speak with the same number, even after a power cut. */
#ifndef SHOAL_STATEDIR_H
#define SHOAL_STATEDIR_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct statedir;

/* Makes the directory (0700) when it is missing and takes the lock on pid_name in it.  On
 * failure err (of err_size bytes) holds one sentence that says what to do. */
SHOAL_CHECK int statedir_open(const char *path, const char *pid_name, char *err, size_t err_size, struct statedir **ret);
/* The number of this life: 1 in a new directory. */
SHOAL_CHECK int statedir_epoch(struct statedir *s, char *err, size_t err_size, uint64_t *ret);
/* An open descriptor of the directory, lent. */
int statedir_fd(const struct statedir *s);
/* Removes the pid file and frees the lock. */
struct statedir *statedir_free(struct statedir *s);

#endif
