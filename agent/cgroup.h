/* cgroup.h - how much memory the control groups we are in leave us.
 *
 * Version 2, version 1 and both at once; our group and all above it that can be seen.  Of
 * what a group uses, the pages of files and what else the kernel gives back when it has to
 * are taken out: with them a group would look full whenever files have been read. */
#ifndef SHOAL_AGENT_CGROUP_H
#define SHOAL_AGENT_CGROUP_H

#include <stdint.h>
#include <sys/types.h>

struct cgroup_memory {
	uint64_t limit, used; /* bytes, of the group that leaves least; limit 0: none is limited */
};

/* root stands before each path: "" on a real box, a directory in tests. */
struct cgroup_memory cgroup_memory(const char *root);
/* Anonymous memory of a process, bytes; 0: it is gone. */
uint64_t cgroup_anon_of(const char *root, pid_t pid);

#endif
