/* hw.h - what the box is and how it is, from /proc and /sys.  root stands before each path: ""
 * on a real box, a directory in tests.  What cannot be read is left zero or empty. */
#ifndef SHOAL_AGENT_HW_H
#define SHOAL_AGENT_HW_H

#include <sys/types.h>

#include "hwtext.h"

struct hw { /* said points into the rest: it stays where it is */
	struct hardware said;
	char host[256], arch[64], kernel[128], machine[256];
	struct hwtext_cpu cpu;
	struct span isa[PROTO_MAX_ISA];
};

void hw_read(const char *root, struct hw *ret);
uint64_t hw_mem_available(const char *root);  /* bytes */
uint64_t hw_load_milli(const char *root);     /* of the last minute, x 1000 */
uint64_t hw_rss(const char *root, pid_t pid); /* bytes resident; pid 0: ourselves */

#endif
