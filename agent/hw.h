/* hw.h - what the box is and how it is, from /proc.  root stands before each path: "" on a
 * real box, a directory in tests.  What cannot be read is left zero or empty. */
#ifndef SHOAL_AGENT_HW_H
#define SHOAL_AGENT_HW_H

#include <stdint.h>
#include <sys/types.h>

struct hw {
	char host[256], arch[64], kernel[128], cpu[128];
	uint64_t cores, mem_total; /* bytes */
};

void hw_read(const char *root, struct hw *ret);
uint64_t hw_mem_available(const char *root); /* bytes */
uint64_t hw_load_milli(const char *root);    /* of the last minute, x 1000 */
uint64_t hw_rss(const char *root, pid_t pid); /* bytes resident; pid 0: ourselves */

#endif
