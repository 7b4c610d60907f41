/* box.h - what else the box does: the kernel's figures, read through descriptors opened before the
 * sandbox.
 *
 * /proc/pressure/cpu says for how long something waited for a core, /proc/stat for how long
 * cores did nothing.  Both are of the whole box, in a container too, and either may be missing. */
#ifndef ENGINE_BOX_H
#define ENGINE_BOX_H

#include "tuner.h"

struct box {
	size_t cores;       /* this process may use, by affinity and by the quota of its control groups */
	int pressure, stat; /* descriptors, -1: none */
	double hz;          /* of the figures in /proc/stat */
	uint64_t read_us;   /* 0: not yet */
	double stalled_us, idle_s;
	struct tuner_load load;
};

/* Before sandbox_enter(); the descriptors are the process's until it ends.  root: what stands before
 * /proc and /sys, "" but in tests. */
void box_open(struct box *b, const char *root);
/* Over the last quarter of a second or more. */
const struct tuner_load *box_load(struct box *b, uint64_t now_us);
#endif
