/* sysfs.h - small files of /proc and /sys.  root stands before each path: "" on a real box,
 * a directory in tests.  What cannot be read is empty: nothing here is an error. */
#ifndef SHOAL_AGENT_SYSFS_H
#define SHOAL_AGENT_SYSFS_H

#include "span.h"

#define SYSFS_MAX 4096 /* of a file, and of a path */

/* A descriptor, or -1. */
int sysfs_open(const char *root, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* All of the file from its beginning, without blanks around it: the kernel writes it anew each time. */
struct span sysfs_pread(int fd, char buf[SYSFS_MAX]);
struct span sysfs_read(char buf[SYSFS_MAX], const char *root, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Calls fn for each entry of a directory whose name begins so, cpu2 before cpu10. */
void sysfs_each(const char *root, const char *dir, const char *prefix, void (*fn)(void *ctx, const char *name), void *ctx);

#endif
